//! Where starts and replays begin, and what a start has of an earlier program whose results it computes anew.
//!
//! Invariant: a replay begins at a checkpoint that this program's results follow from, never before an epoch in which
//! what an earlier one had told was corrected.

use std::ops::Range;

use super::remembered::{applied, is_recorded};
use super::{Durable, Span, store};
use crate::checkpoint::{Manifest, Restored, Store};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::reading::Settling;
use crate::reprocess::{self, Former, Order};
use crate::state::Stores;
use crate::{Error, Result, Time, journal};

impl Durable {
    /// The checkpoint from which a replay of `span` begins; none: where the journal begins.
    ///
    /// # Errors
    /// When there is none before the span, or it is damaged.
    pub(crate) fn beginning(
        config: &Config,
        dir: &DataDir,
        span: Span,
    ) -> Result<Option<Restored>> {
        let Some(order) = Order::last(dir)? else { return Self::anew(config, dir, span) };
        // What came before was told by another program, and corrected since.
        let store = store(config, dir)?;
        let mut later = Manifest::list(&store)?;
        later.retain(|id| id.epoch > order.at());
        for id in &later {
            let found = Restored::open(&store, *id)?;
            if span.may_begin_at(&found.manifest) {
                return Ok(Some(found));
            }
        }
        let Some(oldest) = later.last() else {
            return Err(Error::Usage(format!(
                "`reprocess` was asked for in {}, and there is no checkpoint since, from which a replay \
                 could begin: start the program unless it runs, and wait for one or end it in order",
                dir.path().display()
            )));
        };
        let found = Restored::open(&store, *oldest)?;
        if span.from.is_some() {
            return Err(Error::Usage(format!(
                "the program was reprocessed before {} was made: ask for a later --from",
                found.manifest.id()
            )));
        }
        Ok(Some(found))
    }

    /// The same, whatever was computed anew since.
    ///
    /// # Errors
    /// As [`beginning`](Self::beginning).
    pub(crate) fn anew(config: &Config, dir: &DataDir, span: Span) -> Result<Option<Restored>> {
        let store = store(config, dir)?;
        let mut restored = None;
        for id in Manifest::list(&store)? {
            let found = Restored::open(&store, id)?;
            let begins = span.may_begin_at(&found.manifest);
            restored = Some(found);
            if begins {
                break;
            }
        }
        // Of the checkpoints that are after the span's begin the oldest is as good as any, unless all
        // that is before it can be replayed.
        if let Some(found) = &restored
            && !span.may_begin_at(&found.manifest)
            && (is_recorded(&found.manifest) || journal::has_beginning(&dir.journal())?)
        {
            restored = None;
        } else if let (Some(from), Some(found)) = (span.from, &restored)
            && !span.may_begin_at(&found.manifest)
        {
            return Err(Error::Usage(format!(
                "the journal in {} does not go back to {from}: the first moment that can be replayed \
                 is after checkpoint {} was made; ask for a later one, and use --keep-journal to keep \
                 more",
                dir.path().display(),
                found.manifest.id()
            )));
        }
        Ok(restored)
    }

    /// Before this boundary all was computed before, by this program or an earlier one.
    pub(crate) fn computed(&self) -> u64 {
        self.former.as_ref().map_or(self.from(), |former| former.manifest.epoch)
    }

    /// Where an earlier program had come to, if what it has computed is computed anew.
    pub(crate) fn settling(&self) -> Option<Settling> {
        let manifest = &self.former.as_ref()?.manifest;
        Some(Settling { at: manifest.epoch, applied: applied(manifest) })
    }

    /// What an earlier program has told, into `stores`, of the partitions `owned`; if what it has computed is
    /// computed anew.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn load_former(
        &self,
        stores: Stores,
        (partitions, owned): (u32, Range<u32>),
        viewed: impl Fn(&str) -> bool,
        tells: bool,
    ) -> Result<Option<Former>> {
        let Some(former) = &self.former else { return Ok(None) };
        reprocess::load_told(former, &stores, owned, viewed, tells)?;
        let applied = applied(&former.manifest).map(|applied| applied.time);
        let epoch = i64::try_from(former.manifest.epoch).unwrap_or(i64::MAX);
        let time = applied.unwrap_or(Time::from_nanos(epoch));
        Ok(Some(Former { stores, partitions, time }))
    }

    /// Whether this start computes anew what an earlier program has computed.
    pub(crate) fn is_anew(&self) -> bool {
        self.former.is_some()
    }

    /// The checkpoint that sinks go on from.
    pub(super) fn told(&self) -> Option<&Restored> {
        self.former.as_ref().or(self.restored.as_ref())
    }
}

/// Where a start goes on: at the newest checkpoint; or where the order says to compute anew, with the newest as what
/// an earlier program had.
pub(super) fn anew(
    store: &Store,
    dir: &DataDir,
    newest: Option<Restored>,
) -> Result<(Option<Restored>, Option<Restored>)> {
    let order = Order::last(dir)?;
    let open =
        order.filter(|order| newest.as_ref().is_some_and(|it| order.is_open(it.manifest.id())));
    let Some(order) = open else { return Ok((newest, None)) };
    let from = order.from().map(|id| Restored::open(store, id)).transpose()?;
    tracing::info!("what was computed before is computed anew, as `reprocess` has ordered");
    Ok((from, newest))
}
