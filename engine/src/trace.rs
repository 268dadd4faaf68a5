//! What comes of each epoch of a replay: which rows it changed, and what it released.
//!
//! Invariant: a [`Step`] is handed on once, in order of epochs, when every worker has finished the
//! epoch; it does not depend on the number of workers. No more steps are kept than epochs are in
//! flight: whoever takes them slowly slows the replay.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::checkpoint::{RowBytes, Rows};
use crate::released::Released;
use crate::state::{Snapshot, Stores};
use crate::{Error, Result, Time};

/// What came of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) epoch: u64,
    /// Rows as the epoch left them, by table, as [`Rows`] has them, in order of their keys' bytes.
    /// Tables are counted in the order of their names.
    pub(crate) rows: BTreeMap<u16, Vec<u8>>,
    /// By sink, in the order in which they were released.
    pub(crate) outputs: BTreeMap<u16, Vec<Output>>,
    /// What the sinks were given up to here.
    pub(crate) released: BTreeMap<u16, Released>,
}

/// A record that was released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Output {
    /// The record's name.
    pub(crate) id: String,
    /// Its ingest time.
    pub(crate) time: Time,
    /// As the sink would have written it; none if it would have left it out.
    pub(crate) frame: Option<Vec<u8>>,
}

/// Takes steps. An error ends the replay.
pub(crate) type Give = Box<dyn FnMut(Step) -> Result<()> + Send>;

/// Collects what the workers of a replay do.
pub(crate) struct Trace {
    /// Whether rows are wanted too.
    rows: bool,
    complete: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    open: BTreeMap<u64, Pending>,
    give: Give,
}

/// An epoch that some worker may not have finished.
#[derive(Default)]
struct Pending {
    rows: BTreeMap<u16, Vec<Rows>>,
    outputs: BTreeMap<u16, Vec<Output>>,
    released: BTreeMap<u16, Released>,
}

impl Trace {
    pub(crate) fn new(rows: bool, give: Give) -> Arc<Self> {
        let inner = Mutex::new(Inner { open: BTreeMap::new(), give });
        Arc::new(Self { rows, complete: AtomicU64::new(0), inner })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker's groups tell it; none if rows are not wanted.
    pub(crate) fn of_tables(self: &Arc<Self>, stores: &Stores) -> Option<TableTrace> {
        let tables: Vec<_> = stores.snapshots().map(|(name, t)| (name, Rc::clone(t))).collect();
        tables.iter().for_each(|(_, table)| table.speak_message_pack());
        self.rows.then(|| TableTrace { trace: Arc::clone(self), tables })
    }

    /// The workers have finished every epoch before `before`.
    ///
    /// # Errors
    /// When nobody takes the steps any more.
    pub(crate) fn complete(&self, before: u64) -> Result<()> {
        if before <= self.complete.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut inner = self.lock();
        while let Some(first) = inner.open.first_entry()
            && *first.key() < before
        {
            let (epoch, pending) = first.remove_entry();
            (inner.give)(pending.step(epoch))?;
        }
        self.complete.fetch_max(before, Ordering::Release);
        Ok(())
    }
}

impl Pending {
    fn step(self, epoch: u64) -> Step {
        let Self { rows, outputs, released } = self;
        let sorted = |rows: Vec<Rows>| {
            let read = rows.iter().flat_map(|rows| Rows::read(rows.bytes()).flatten());
            let mut read: Vec<RowBytes<'_>> = read.collect();
            read.sort_unstable_by_key(|row| (row.key, row.sub_key));
            let mut sorted = Rows::default();
            read.into_iter().for_each(|row| sorted.push(row));
            sorted.take().0
        };
        let rows = rows.into_iter().map(|(table, rows)| (table, sorted(rows))).collect();
        Step { epoch, rows, outputs, released }
    }
}

/// Tells a trace of the tables of a worker.
#[derive(Clone)]
pub(crate) struct TableTrace {
    trace: Arc<Trace>,
    tables: Vec<(&'static str, Rc<dyn Snapshot>)>,
}

impl TableTrace {
    /// The group that has these tables has applied `epoch`.
    pub(crate) fn applied(&self, epoch: u64, is_of_group: impl Fn(&str) -> bool) -> Result<()> {
        for (index, (name, table)) in (0_u16..).zip(&self.tables) {
            if !is_of_group(name) {
                continue;
            }
            let mut rows = Rows::default();
            if !table.begin() || !table.encode(usize::MAX, &mut rows)? {
                return Err(Error::Data(format!("changes of table `{name}` are not noted")));
            }
            if !rows.is_empty() {
                let mut inner = self.trace.lock();
                let pending = inner.open.entry(epoch).or_default();
                pending.rows.entry(index).or_default().push(rows);
            }
        }
        Ok(())
    }
}

/// Tells a trace of a sink.
#[derive(Clone)]
pub(crate) struct SinkTrace {
    pub(crate) trace: Arc<Trace>,
    /// The place of the sink among all.
    pub(crate) sink: u16,
}

impl SinkTrace {
    /// What the sink was given in `epoch`, and in all.
    pub(crate) fn delivered(&self, epoch: u64, outputs: Vec<Output>, released: Released) {
        let mut inner = self.trace.lock();
        let pending = inner.open.entry(epoch).or_default();
        pending.outputs.insert(self.sink, outputs);
        pending.released.insert(self.sink, released);
    }
}
