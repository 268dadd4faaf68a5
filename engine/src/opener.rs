//! Opens the sources and sinks that a worker owns.
//!
//! Invariant: each partition and each sink is opened on exactly one worker of the cluster.

use timely::scheduling::SyncActivator;

use crate::delivery::AnySink;
use crate::ingest::{Begin, CHUNKS_AHEAD, LaneContext, open_context};
use crate::metrics::Counters;
use crate::plan::Plan;
use crate::reading::{OwnLane, Reading};
use crate::source::{Nature, Waker};
use crate::test_driver::Harness;
use crate::{Error, LANES_MAX, Result};

/// What is needed to open connectors on one worker.
pub(crate) struct Opener {
    pub(crate) counters: Counters,
    /// Under a test driver: feeds and captures in the place of connectors.
    pub(crate) harness: Option<Harness>,
}

/// How many partitions each source has, and whether all input is recorded.
pub(crate) struct Inputs {
    pub(crate) partitions: Vec<usize>,
    pub(crate) recorded: bool,
}

impl Inputs {
    /// Asks the sources of `plan`.
    ///
    /// # Errors
    /// When a source does not find what it reads.
    pub(crate) fn of(plan: &Plan, harness: Option<&Harness>) -> Result<Self> {
        if harness.is_some() {
            return Ok(Self { partitions: vec![1; plan.sources.len()], recorded: true });
        }
        let mut partitions = Vec::new();
        for source in &plan.sources {
            let count = source.source.partitions()?;
            if !(1..=LANES_MAX).contains(&count) {
                return Err(Error::Usage(format!(
                    "source `{}` has {count} partitions; 1 to {LANES_MAX} are possible",
                    source.name
                )));
            }
            partitions.push(count);
        }
        let recorded = plan.sources.iter().all(|s| s.source.nature() == Nature::Recorded);
        Ok(Self { partitions, recorded })
    }

    /// Every partition: its source, and its index within it.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = (usize, usize)> {
        self.partitions
            .iter()
            .enumerate()
            .flat_map(|(source, count)| (0..*count).map(move |partition| (source, partition)))
    }
}

impl Opener {
    /// A waker that activates an operator of this worker.
    pub(crate) fn waker(&self, activator: SyncActivator) -> Waker {
        Waker::new(move || {
            // The worker may have ended by then: there is nothing left to wake.
            let _ = activator.activate();
        })
    }

    /// Opens the partitions that this worker owns.
    pub(crate) fn open_sources(
        &self,
        plan: &Plan,
        reading: &mut Reading,
        waker: &Waker,
    ) -> Result<()> {
        let inputs = Inputs::of(plan, self.harness.as_ref())?;
        for (index, (source, partition)) in inputs.lanes().enumerate() {
            let Some(planned) = plan.sources.get(source) else { continue };
            if plan.placement.source_worker(source, partition) != plan.placement.this_worker() {
                continue;
            }
            let lane = LaneContext {
                source,
                partition,
                open: open_context(&planned.name, waker.clone(), &self.counters),
                dead_letters: std::rc::Rc::clone(&plan.dead_letters),
                // Alone, what is read ahead only cools down.
                chunks_ahead: if plan.placement.workers() == 1 { 1 } else { CHUNKS_AHEAD },
                begin: Begin::default(),
            };
            let feed = self.harness.as_ref().map(|h| h.feed(&planned.name, waker.clone()));
            let lane = planned.source.open(lane, feed)?;
            let name = format!("partition {partition} of source `{}`", planned.name);
            let source = planned.name.clone();
            let partition = u32::try_from(partition).unwrap_or(u32::MAX);
            reading.add(OwnLane { lane, index, name, source, partition, ended: false });
        }
        Ok(())
    }

    /// Opens a sink that this worker owns.
    pub(crate) fn open_sink(
        &self,
        name: &str,
        sink: &mut dyn AnySink,
        plan: &Plan,
        waker: Waker,
    ) -> Result<()> {
        let context = open_context(name, waker, &self.counters);
        let names = plan.source_names.get().cloned().unwrap_or_else(|| [].into());
        sink.open(&context, names, self.harness.as_ref().map(Harness::capture))
    }
}
