//! `verify`: whether the application is a pure function of its journal.
//!
//! Invariant: what is the same was compared byte by byte, every row that changed and every record
//! that was released, epoch by epoch, and at the boundaries of checkpoints with what the program had
//! when it ran; of what differs the first is shown.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use super::contents::{Contents, RowKey, rows};
use super::replaying::{Replaying, next_epoch};
use super::{Common, only_order, text_of};
use crate::checkpoint::{CheckpointId, Manifest, Restored};
use crate::config::Config;
use crate::durable::{Span, ends_before, released, store};
use crate::released::Released;
use crate::trace::{Output, Step};
use crate::worker::Build;
use crate::{Result, clock};

/// On how many workers.
const WORKERS: [usize; 3] = [1, 2, 4];
/// From one word about how far it is to the next.
const TELL: Duration = Duration::from_secs(5);

/// What a verification has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many epochs did something.
    pub epochs: u64,
    /// How often a row changed.
    pub changes: u64,
    /// How many records were released.
    pub outputs: u64,
    /// With how many checkpoints tables and outputs were compared.
    pub checkpoints: usize,
    /// What differs first; then the numbers above are of what comes before it.
    pub difference: Option<Difference>,
}

/// A difference between replays, or between them and what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In which epoch, or up to which boundary.
    pub when: String,
    /// Of what: a table and a key, or a sink.
    pub place: String,
    /// What each has there.
    pub found: Vec<(String, String)>,
    /// What may be the reason.
    pub advice: &'static str,
}

const IMPURE: &str = "A computation is no function of its records and rows: look for a clock, a random \
    number, a HashMap that is iterated, or a global variable, and use Context::now, Context::random, a \
    BTreeMap or a table instead.";
const UNORDERED: &str = "The two are the same but for the order within: a HashMap or HashSet is in the \
    value; use a BTreeMap or BTreeSet.";
const RECORDED: &str = "All replays agree, and the program that ran had something else: either it was \
    another version of this program, or a computation is no function of its records and rows (a clock, \
    the environment, a file).";

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "different in {}, {}", self.when, self.place)?;
        let width = self.found.iter().map(|(who, _)| who.chars().count()).max().unwrap_or(0);
        for (who, what) in &self.found {
            writeln!(f, "  {who:width$}  {what}")?;
        }
        f.write_str(self.advice)
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epochs, changes, outputs, checkpoints, difference } = self;
        if let Some(difference) = difference {
            writeln!(f, "{difference}")?;
            return write!(f, "Before it {epochs} epochs were the same.");
        }
        write!(
            f,
            "the same on 1, 2 and 4 workers: {epochs} epochs, {changes} changes of rows, {outputs} \
             released records; "
        )?;
        match checkpoints {
            0 => write!(f, "there is no later checkpoint to compare with"),
            1 => write!(f, "and as recorded in 1 checkpoint"),
            many => write!(f, "and as recorded in {many} checkpoints"),
        }
    }
}

/// See [`verify`](crate::verify).
pub(crate) fn verify_build(config: &Config, span: Span, build: Build) -> Result<Verified> {
    let common = Common::of(config, span, build)?;
    // Before the replays begin: what these are made of is in the journal by now.
    let recorded = recorded(&common)?;
    let mut contents = Contents::default();
    match &common.restored {
        Some(restored) => {
            tracing::info!("replaying on 1, 2 and 4 workers from {}", restored.manifest.id());
            contents = Contents::of(&common, restored)?;
        }
        None => tracing::info!("replaying on 1, 2 and 4 workers from the beginning"),
    }
    let start = |workers| {
        let name = if workers == 1 { "1 worker".into() } else { format!("{workers} workers") };
        Replaying::here(&common, name, workers, true)
    };
    let replays = WORKERS.into_iter().map(start).collect::<Result<Vec<_>>>()?;
    let released = BTreeMap::new();
    let verified = Verified { epochs: 0, changes: 0, outputs: 0, checkpoints: 0, difference: None };
    let told = clock::instant();
    Comparison { common, replays, recorded, contents, released, verified, told }.run()
}

/// The checkpoints after the beginning, the earliest first.
fn recorded(common: &Common) -> Result<VecDeque<CheckpointId>> {
    let store = store(&common.config, &common.data)?;
    let mut ids = Manifest::list(&store)?;
    ids.retain(|id| id.epoch > common.from());
    ids.sort_by_key(|id| (id.epoch, id.generation));
    Ok(ids.into())
}

struct Comparison {
    common: Common,
    replays: Vec<Replaying>,
    recorded: VecDeque<CheckpointId>,
    /// What the tables are, by the first replay.
    contents: Contents,
    /// What the sinks were given, by the first replay.
    released: BTreeMap<u16, Released>,
    verified: Verified,
    told: Instant,
}

impl Comparison {
    fn run(mut self) -> Result<Verified> {
        loop {
            let epoch = next_epoch(&mut self.replays)?;
            while let Some(id) =
                self.recorded.pop_front_if(|id| epoch.is_none_or(|e| id.epoch <= e))
            {
                self.verified.difference = self.with_recorded(id)?;
                if self.verified.difference.is_some() {
                    return Ok(self.verified);
                }
            }
            let Some(epoch) = epoch else { return Ok(self.verified) };
            let steps: Vec<Step> = self.replays.iter_mut().map(|it| it.take(epoch)).collect();
            let Some((first, others)) = steps.split_first() else { return Ok(self.verified) };
            if others.iter().any(|other| other != first) {
                self.verified.difference = Some(self.between(&steps)?);
                return Ok(self.verified);
            }
            self.verified.epochs += 1;
            self.verified.changes += self.contents.apply(first)?;
            self.verified.outputs += first.outputs.values().map(|o| o.len() as u64).sum::<u64>();
            self.released.extend(&first.released);
            if self.told.elapsed() >= TELL {
                self.told = clock::instant();
                let (epochs, at) = (self.verified.epochs, self.common.name_of(epoch));
                tracing::info!("the same up to {at}, {epochs} epochs so far");
            }
        }
    }

    /// The first difference between replays in an epoch: of a row if there is one, since outputs follow
    /// from rows.
    fn between(&self, steps: &[Step]) -> Result<Difference> {
        let when = self.common.name_of(steps.first().map_or(0, |step| step.epoch));
        let names = || self.replays.iter().map(|replay| replay.name.clone());
        let tables: Vec<BTreeMap<RowKey, Option<Vec<u8>>>> =
            steps.iter().map(|s| rows(s).map(BTreeMap::from_iter)).collect::<Result<_>>()?;
        let keys: BTreeSet<&RowKey> = tables.iter().flat_map(BTreeMap::keys).collect();
        let of = |key: &RowKey| tables.iter().map(|rows| rows.get(key)).collect::<Vec<_>>();
        for key in keys {
            let values = of(key);
            let Some((first, others)) = values.split_first() else { continue };
            let Some(other) = others.iter().find(|other| other != &first) else { continue };
            let text = |value: &Option<&Option<Vec<u8>>>| match value {
                Some(Some(bytes)) => text_of(bytes),
                Some(None) => "removed".to_string(),
                None => "not changed".to_string(),
            };
            let bytes = |value: &Option<&Option<Vec<u8>>>| value.cloned().flatten();
            let order = bytes(first).zip(bytes(other)).is_some_and(|(a, b)| only_order(&a, &b));
            return Ok(Difference {
                when,
                place: self.name_of(key),
                found: names().zip(values.iter().map(text)).collect(),
                advice: if order { UNORDERED } else { IMPURE },
            });
        }
        let sinks: BTreeSet<u16> = steps.iter().flat_map(|s| s.outputs.keys().copied()).collect();
        for sink in sinks {
            let outputs: Vec<&[Output]> =
                steps.iter().map(|s| s.outputs.get(&sink).map_or(&[][..], Vec::as_slice)).collect();
            let longest = outputs.iter().map(|outputs| outputs.len()).max().unwrap_or(0);
            for place in 0..longest {
                let there: Vec<Option<&Output>> = outputs.iter().map(|o| o.get(place)).collect();
                if there.windows(2).all(|pair| pair.first() == pair.last()) {
                    continue;
                }
                let text = |output: &Option<&Output>| {
                    output.map_or_else(|| "nothing".to_string(), ToString::to_string)
                };
                return Ok(Difference {
                    when,
                    place: self.name_of_sink(sink),
                    found: names().zip(there.iter().map(text)).collect(),
                    advice: IMPURE,
                });
            }
        }
        // The same frames of other records.
        let released = |step: &Step| format!("{:?}", step.released);
        Ok(Difference {
            when,
            place: "a record that was released".to_string(),
            found: names().zip(steps.iter().map(released)).collect(),
            advice: IMPURE,
        })
    }

    /// The first difference from what was recorded at a boundary.
    fn with_recorded(&mut self, id: CheckpointId) -> Result<Option<Difference>> {
        let store = store(&self.common.config, &self.common.data)?;
        let read = || {
            let restored = Restored::open(&store, id)?;
            if !ends_before(&restored.manifest, self.common.span) {
                return Ok(None);
            }
            Ok(Some((Contents::of(&self.common, &restored)?, restored)))
        };
        let (there, restored) = match read() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            // A program that runs removes checkpoints that it no longer needs.
            Err(_) if !Manifest::list(&store)?.contains(&id) => return Ok(None),
            Err(error) => return Err(error),
        };
        let when = format!("what was recorded by {id}");
        if let Some(key) = there.first_difference(&self.contents) {
            let text = |bytes: Option<&[u8]>| bytes.map_or("no row".to_string(), text_of);
            let (was, is) = (there.get(key), self.contents.get(key));
            let order = was.zip(is).is_some_and(|(was, is)| only_order(was, is));
            return Ok(Some(Difference {
                when,
                place: self.name_of(key),
                found: vec![("recorded".into(), text(was)), ("replayed".into(), text(is))],
                advice: if order { UNORDERED } else { RECORDED },
            }));
        }
        for (index, name) in (0_u16..).zip(self.common.sinks.iter()) {
            let known = restored.manifest.sinks.iter().find(|sink| sink.name == *name);
            let Some(was) = known.and_then(|sink| sink.released) else { continue };
            let before = || released(self.common.restored.as_ref(), name);
            let Some(is) = self.released.get(&index).copied().or_else(before) else { continue };
            if was != is {
                let text =
                    |it: Released| format!("{} records, digest {:016x}", it.records, it.digest);
                return Ok(Some(Difference {
                    when,
                    place: format!("what sink `{name}` was given up to there"),
                    found: vec![("recorded".into(), text(was)), ("replayed".into(), text(is))],
                    advice: RECORDED,
                }));
            }
        }
        self.verified.checkpoints += 1;
        Ok(None)
    }

    fn name_of(&self, key: &RowKey) -> String {
        let RowKey { table, key, sub_key } = key;
        let table = self.common.tables.get(usize::from(*table)).map_or("", String::as_str);
        let sub_key = sub_key.as_deref().map(|it| format!(", sub-key {}", text_of(it)));
        format!("table `{table}`, key {}{}", text_of(key), sub_key.unwrap_or_default())
    }

    fn name_of_sink(&self, sink: u16) -> String {
        let name = self.common.sinks.get(usize::from(sink)).map_or("", String::as_str);
        format!("what sink `{name}` was given")
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  ", self.id)?;
        match &self.frame {
            // One line, whatever is in it.
            Some(frame) => {
                let text = String::from_utf8_lossy(frame);
                text.chars().try_for_each(|c| match c.is_control() {
                    true => write!(f, "{}", c.escape_default()),
                    false => write!(f, "{c}"),
                })
            }
            None => f.write_str("(left out: it has no form in this encoding)"),
        }
    }
}
