//! Replays beside one another: `verify`, which finds what is not a pure function of the journal, and
//! `diff`, which shows what an edit changes.
//!
//! Invariant: replays go epoch by epoch, none further ahead than a bounded queue, so the first
//! difference is found with all that led to it still at hand, and memory does not grow with the
//! journal.

mod contents;
mod diff;
mod replaying;
mod stream;
mod verify;

use std::sync::Arc;

use rmpv::Value as Packed;

pub(crate) use self::diff::{arguments, diff};
pub(crate) use self::stream::trace;
pub(crate) use self::verify::verify_build;
pub use self::verify::{Difference, Verified};
use crate::checkpoint::{Restored, unpack};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::durable::{Durable, Span};
use crate::opener::Inputs;
use crate::plan::Plan;
use crate::trace::Trace;
use crate::worker::{Build, Setup};
use crate::{Result, Time, clock, program};

/// The journal of a program that runs is compared up to this long ago, so that all replays find the
/// same.
const SETTLED_NANOS: i64 = 1_000_000_000;

/// What several replays have in common.
#[derive(Clone)]
pub(crate) struct Common {
    config: Config,
    build: Build,
    data: DataDir,
    /// Where they begin.
    restored: Option<Restored>,
    span: Span,
    sinks: Arc<[String]>,
    tables: Arc<[String]>,
    /// Whether epochs are times.
    live: bool,
}

impl Common {
    fn of(config: &Config, mut span: Span, build: Build) -> Result<Self> {
        let plan = program::plan(&build, config.workers(), config.partitions() as usize)?;
        let data = program::left_data(config)?;
        let live = !Inputs::of(&plan, None)?.recorded;
        if live && data.is_used()? {
            let settled = clock::now().as_nanos().saturating_sub(SETTLED_NANOS);
            let settled = Time::from_nanos(settled);
            span.to = Some(span.to.map_or(settled, |to| to.min(settled)));
        }
        let restored = Durable::beginning(config, &data, span)?;
        let Plan { sinks, stores, .. } = &plan;
        let sinks = sinks.iter().map(|sink| sink.name.clone()).collect();
        let tables = stores.snapshots().map(|(name, _)| name.to_string()).collect();
        Ok(Self { config: config.clone(), build, data, restored, span, sinks, tables, live })
    }

    /// A replay of the journal on so many workers, which tells `trace` what comes of it.
    fn setup(&self, workers: usize, trace: Arc<Trace>) -> Result<Setup> {
        let start = (self.restored.clone(), self.span);
        let mut setup = program::looking(&self.config, Arc::clone(&self.build), &self.data, start)?;
        setup.workers_per_process = workers;
        setup.trace = Some(trace);
        Ok(setup)
    }

    /// The first epoch that is replayed.
    fn from(&self) -> u64 {
        self.restored.as_ref().map_or(0, |restored| restored.manifest.epoch)
    }

    /// Where an epoch is, for people.
    fn name_of(&self, epoch: u64) -> String {
        match i64::try_from(epoch) {
            Ok(nanos) if self.live => format!("epoch {epoch} ({})", Time::from_nanos(nanos)),
            _ => format!("epoch {epoch}"),
        }
    }
}

/// MessagePack as text.
fn text_of(bytes: &[u8]) -> String {
    unpack(bytes).map_or_else(|| format!("{} bytes", bytes.len()), |value| value.to_string())
}

/// Whether two values are the same but for the order of the entries of a map or a set.
fn only_order(one: &[u8], other: &[u8]) -> bool {
    let read = |mut bytes: &[u8]| rmpv::decode::read_value(&mut bytes).ok().map(sorted);
    one != other && read(one).is_some_and(|one| Some(one) == read(other))
}

/// A value with what is in it in an order of its own.
fn sorted(value: Packed) -> Packed {
    let by_text = |value: &Packed| value.to_string();
    match value {
        Packed::Array(items) => {
            let mut items: Vec<Packed> = items.into_iter().map(sorted).collect();
            items.sort_by_key(by_text);
            Packed::Array(items)
        }
        Packed::Map(entries) => {
            let entries = entries.into_iter().map(|(key, value)| (sorted(key), sorted(value)));
            let mut entries: Vec<(Packed, Packed)> = entries.collect();
            entries.sort_by_key(|(key, _)| by_text(key));
            Packed::Map(entries)
        }
        other => other,
    }
}
