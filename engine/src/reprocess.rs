//! Computing anew, with a changed program, what an earlier one has computed: [`Order`], which says so in the data
//! directory, and [`Former`], what the earlier one has told.
//!
//! Invariant: an order holds until a start has made a checkpoint after it. Until then every start begins where it
//! says, so what a crash interrupts is done again, and comes to the same.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{CheckpointId, Manifest, Restored, Store, newest};
use crate::config::Config;
use crate::data_dir::{DataDir, Seat, replace};
use crate::durable::{Durable, Span, applied, store};
use crate::journal::{self, Access, FrameHead, LaneReader};
use crate::origin::Entry;
use crate::plan::Plan;
use crate::state::Stores;
use crate::{Error, Key, Result, Time, letters};

/// The end of the names of the tables that keep what was told of records that have an identity.
pub(crate) const RESULTS: &str = "results";

/// Whether that is the name of such a table.
fn is_results(name: &str) -> bool {
    name.strip_suffix(RESULTS).is_some_and(|name| name.ends_with('.'))
}

/// What an earlier program has told, on one worker.
pub struct Former {
    /// With the tables of results, as they were.
    pub(crate) stores: Stores,
    pub(crate) partitions: u32,
    /// The time of corrections.
    pub(crate) time: Time,
}

impl Former {
    /// The partition of tables that a key belongs to.
    pub(crate) fn partition<K: Key>(&self, key: &K) -> u32 {
        let partition = key.placement_hash() % u64::from(self.partitions.max(1));
        u32::try_from(partition).unwrap_or(u32::MAX)
    }
}

/// That the next start is to compute anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The checkpoint that it begins at; none: the journal's beginning.
    from: Option<CheckpointId>,
    /// The newest checkpoint, with what the earlier program has told.
    at: CheckpointId,
}

impl Order {
    /// The last that was given in a data directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn last(dir: &DataDir) -> Result<Option<Self>> {
        let path = path(dir.path());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(format!("reading {}", path.display()), e)),
        };
        let damaged = |e| {
            Error::Data(format!(
                "{} is damaged: {e}; bring back a copy of it, or give the order again by `reprocess`",
                path.display()
            ))
        };
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    /// Whether it is still to be done, if that is the newest checkpoint.
    pub(crate) fn is_open(&self, newest: CheckpointId) -> bool {
        self.at == newest
    }

    /// The checkpoint to begin at; none: the journal's beginning.
    pub(crate) fn from(&self) -> Option<CheckpointId> {
        self.from
    }

    /// The boundary up to which all was computed by an earlier program.
    pub(crate) fn at(&self) -> u64 {
        self.at.epoch
    }

    fn give(&self, dir: &DataDir) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        replace(&path(dir.path()), &text)
    }
}

/// Whether an order is still to be carried out on a data directory.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn is_ordered(dir: &DataDir, store: &Store) -> Result<bool> {
    let Some(order) = Order::last(dir)? else { return Ok(false) };
    let newest = Manifest::list(store)?.into_iter().next();
    Ok(newest.is_some_and(|newest| order.is_open(newest)))
}

fn path(dir: &Path) -> PathBuf {
    dir.join("reprocess.json")
}

/// Orders that the next start computes anew what came since `from`: since the journal's beginning, if that is not
/// said, by the program of `plan`. Gives what it will do, in words.
///
/// # Errors
/// When it cannot be done, with what to do.
pub(crate) fn order(config: &Config, plan: &Plan, from: Option<Time>) -> Result<String> {
    let Some(path) = config.data_dir() else {
        return Err(Error::Usage("add --data-dir with the directory of the program".to_string()));
    };
    DataDir::look(path, config.program(), config.partitions())?;
    let dir = DataDir::open(path, config.program(), config.partitions())?;
    // Nobody runs on it meanwhile.
    dir.take(Seat::Program, Duration::ZERO)?;
    refuse_program(plan)?;
    let store = store(config, &dir)?;
    let Some(Restored { manifest: last, .. }) = newest(&store, |_| true)? else {
        return Err(Error::Usage(format!(
            "{} has no checkpoint yet, so nothing was computed that could be corrected: just start \
             the program",
            path.display()
        )));
    };
    refuse_what_is_open(&dir, &last)?;
    let restored = Durable::anew(config, &dir, Span { from, to: None })?;
    if restored.as_ref().is_some_and(|it| it.manifest.epoch >= last.epoch) {
        return Err(Error::Usage(format!(
            "nothing that is kept came between --from and {}, the newest, so there is nothing to \
             compute anew: ask for an earlier --from; --keep-journal keeps more",
            last.id()
        )));
    }
    let boundary = restored.as_ref().map_or(0, |restored| restored.manifest.epoch);
    refuse_retries(&dir, boundary)?;
    if let Some(restored) = &restored {
        let schemas: Vec<_> = restored.manifest.tables.iter().map(|it| it.schema.clone()).collect();
        plan.stores.restore(&schemas)?;
    }
    let begin = restored.as_ref().map(|restored| restored.manifest.id());
    Order { from: begin, at: last.id() }.give(&dir)?;
    let begins = match &restored {
        Some(restored) => restored.manifest.id().to_string(),
        None => "the beginning of its input".to_string(),
    };
    let but = match (&restored, from) {
        (None, _) => "",
        (_, Some(_)) => "; what was told of the input before that stays",
        _ => {
            "; what was told of the input before that, which is not kept, stays: see --keep-journal"
        }
    };
    Ok(format!(
        "the next start of this program computes anew from {begins} up to {}, tells how results of \
         identified records differ, and goes on{but}",
        last.id()
    ))
}

/// Refuses a program of which nothing could be corrected, or not all.
fn refuse_program(plan: &Plan) -> Result<()> {
    if !plan.stores.tables().any(|table| is_results(table.name)) && plan.views.is_empty() {
        return Err(Error::Usage(
            "no computation of this program has an identity of its records, and there is no view, so \
             there is nothing that could be corrected: say `identified_by` before `try_compute`"
                .to_string(),
        ));
    }
    if let Some(view) = plan.view_computed_with() {
        return Err(Error::Usage(format!(
            "a computation runs on what view `{view}` tells, which is not computed anew: let it run on \
             what the view is made of"
        )));
    }
    Ok(())
}

/// Refuses what an order cannot be given over: input that no checkpoint has, and retries that wait.
fn refuse_what_is_open(dir: &DataDir, last: &Manifest) -> Result<()> {
    let root = dir.journal();
    for lane in journal::lanes(&root)? {
        let mut reader = LaneReader::open(&root, &lane, last.epoch, None, Access::Look)?;
        if reader.end().position().last_epoch.is_none_or(|epoch| epoch < last.epoch) {
            continue;
        }
        while let Some(entry) = reader.next()? {
            let FrameHead { epoch, time, fence, .. } = entry.head;
            if epoch < last.epoch {
                continue;
            }
            if fence > 0 && applied(last) == Some(Entry { time, position: fence }) {
                return Err(Error::Usage(
                    "all input of the program is recorded and has ended, and what was due then was \
                     told, which cannot be taken back: with event times only a program with live input \
                     can be reprocessed"
                        .to_string(),
                ));
            }
            return Err(Error::Usage(format!(
                "the program has gone on after {}, its newest: start it as it was and end it in order, \
                 so that a checkpoint has all that it has told, then try again",
                last.id()
            )));
        }
    }
    match letters::waiting(dir.path())? {
        0 => Ok(()),
        waiting => Err(Error::Usage(format!(
            "{waiting} dead letters are to be tried again: start the program as it was, so that they \
             are, and end it in order, then try again"
        ))),
    }
}

/// Refuses a span in which dead letters were tried again: what was refused then may not be, now.
fn refuse_retries(dir: &DataDir, from: u64) -> Result<()> {
    let root = dir.journal();
    for lane in journal::lanes(&root)?.iter().filter(|lane| lane.source == letters::RETRIES) {
        let mut reader = LaneReader::open(&root, lane, from, None, Access::Look)?;
        while let Some(entry) = reader.next()? {
            if entry.head.epoch >= from && entry.head.frames > 0 {
                return Err(Error::Usage(format!(
                    "dead letters were tried again at {}, which would be applied twice: begin after \
                     that, by --from",
                    entry.head.time
                )));
            }
        }
    }
    Ok(())
}

/// The tables of results that a checkpoint has and this program knows, and those that views look at, into `stores`.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn load_told(
    restored: &Restored,
    stores: &Stores,
    owned: Range<u32>,
    viewed: impl Fn(&str) -> bool,
    tells: bool,
) -> Result<()> {
    let known: BTreeSet<&str> = stores.tables().map(|table| table.name).collect();
    for table in &restored.manifest.tables {
        let name = &table.schema.name;
        if !is_results(name) && !viewed(name) {
            continue;
        }
        if !known.contains(name.as_str()) {
            if tells {
                tracing::warn!(
                    "the program has no table `{name}` any more: what was told of it stays"
                );
            }
            continue;
        }
        for fate in stores.restore(std::slice::from_ref(&table.schema))? {
            if let crate::state::Fate::Restored(restoring) = fate {
                restoring.load(restored, name, owned.clone())?;
            }
        }
    }
    Ok(())
}
