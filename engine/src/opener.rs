//! Opens the sources and sinks that a worker owns.
//!
//! Invariant: each partition and each sink is opened on exactly one worker of the cluster.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use timely::scheduling::SyncActivator;

use crate::delivery::{AnySink, Instead, Opening};
use crate::durable::{Durable, Found, Span};
use crate::ingest::{Begin, CHUNKS_AHEAD, LaneContext, Point, open_context};
use crate::journal::{Journal, LaneEnd, LaneName, LanePosition};
use crate::keeper::{Keeper, KeptLane, PastLane, Places};
use crate::letters;
use crate::lookup::Refused;
use crate::metrics::Counters;
use crate::origin::Entry;
use crate::plan::Plan;
use crate::reading::{OwnLane, Reading};
use crate::source::{Nature, Waker};
use crate::test_driver::Harness;
use crate::trace::{SinkTrace, Trace};
use crate::watermark::{EventTimes, SourceTimes};
use crate::{Error, LANES_MAX, Result};

/// What is needed to open connectors on one worker.
pub(crate) struct Opener {
    /// What the sources said of themselves: they are asked once a start.
    pub(crate) inputs: Inputs,
    pub(crate) counters: Counters,
    /// Whether somebody may ask how the program does.
    pub(crate) is_asked: bool,
    /// Under a test driver: feeds and captures in the place of connectors.
    pub(crate) harness: Option<Harness>,
    /// With a data directory.
    pub(crate) durable: Option<Arc<Durable>>,
    /// In a replay that is compared with another: takes the place of sinks.
    pub(crate) trace: Option<Arc<Trace>>,
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

/// What an earlier run has left of the partitions of a worker.
#[derive(Default)]
struct Kept {
    journaled: Vec<(LaneName, LaneEnd)>,
    lanes: Vec<KeptLane>,
    past: Vec<Option<PastLane>>,
    points: Vec<Point>,
    applied: Option<Entry>,
}

impl Kept {
    fn add(&mut self, found: Found) -> Result<Begin> {
        let Found { begin, lane, end, past } = found;
        let LanePosition { next, last_epoch, .. } = end.position();
        self.lanes.push(KeptLane { next: *next, last_epoch: *last_epoch });
        self.journaled.push((lane, end));
        self.past.push(past.map(PastLane::new).transpose()?.flatten());
        self.points.push(begin.point.clone());
        self.applied = begin.applied.or(self.applied);
        Ok(begin)
    }
}

/// Lets requests of dead letters into recorded input that no earlier start has let in: after all that may
/// have left the program.
fn admit(durable: &Durable, found: &Found, plan: &Plan) -> Result<()> {
    let position = found.end.position();
    let replays = position.last_epoch.is_some_and(|last| last >= durable.from());
    if replays && !plan.board.is_empty() {
        // What was told at the end of time comes again first; the next checkpoint is after it.
        return Ok(());
    }
    let applied = found.begin.applied.map(|applied| applied.time);
    letters::admit(&durable.letters().folder, position.last_time.max(applied))
}

impl Opener {
    /// A waker that activates an operator of this worker.
    pub(crate) fn waker(&self, activator: SyncActivator) -> Waker {
        Waker::new(move || {
            // The worker may have ended by then: there is nothing left to wake.
            let _ = activator.activate();
        })
    }

    /// Opens the partitions that this worker owns, where an earlier run has left them.
    pub(crate) fn open_sources(
        &self,
        plan: &Plan,
        reading: &mut Reading,
        waker: &Waker,
    ) -> Result<()> {
        let inputs = &self.inputs;
        let mut kept = Kept::default();
        let event_times = self.event_times();
        reading.board = plan.board.clone();
        for (index, (source, partition)) in inputs.lanes().enumerate() {
            let Some(planned) = plan.sources.get(source) else { continue };
            if plan.reader(source, partition) != plan.placement.this_worker() {
                continue;
            }
            let number = u32::try_from(partition).unwrap_or(u32::MAX);
            let mut open = open_context(&planned.name, waker.clone(), &self.counters);
            let mut begin = Begin::default();
            let attends = plan.retries == Some(source);
            if let Some(durable) = &self.durable {
                let nature = planned.source.nature();
                let found = durable.find(&planned.name, number, nature, inputs.recorded)?;
                if attends && inputs.recorded && durable.keeps() {
                    admit(durable, &found, plan)?;
                }
                open.resume = durable.source_resume(&planned.name, number, &found.begin.point)?;
                begin = kept.add(found)?;
            }
            let clock = plan.board.clocks.borrow().get(&source).cloned();
            if let Some(clock) = &clock
                && let Some(known) = event_times.of(&planned.name, partition)
            {
                clock.restore(partition, known);
            }
            let lane = LaneContext {
                clock,
                source,
                partition,
                open,
                dead_letters: Rc::clone(&plan.dead_letters),
                // Alone, what is read ahead only cools down.
                chunks_ahead: if plan.placement.workers() == 1 { 1 } else { CHUNKS_AHEAD },
                begin,
            };
            let feed = self.harness.as_ref().map(|h| h.feed(&planned.name, waker.clone()));
            let lane = planned.source.open(lane, feed)?;
            let name = format!("partition {partition} of source `{}`", planned.name);
            let (of, source) = (source, planned.name.clone());
            let (partition, held, ended) = (number, false, false);
            reading.add(OwnLane { lane, index, name, of, source, partition, held, ended, attends });
        }
        let Some(durable) = &self.durable else { return Ok(()) };
        let woken = waker.clone();
        let journal = durable.journal(kept.journaled, move || woken.wake())?;
        let from = durable.from();
        let places = Places { boundary: from, applied: kept.applied, points: kept.points };
        let keeper = Keeper::new(journal, kept.lanes, kept.past, places);
        reading.keep(keeper, from);
        reading.settle_at(durable.settling());
        reading.end_at(durable.span().to);
        Ok(())
    }

    /// How far event time had come when an earlier run ended.
    pub(crate) fn event_times(&self) -> EventTimes {
        self.durable.as_ref().map(|durable| durable.event_times()).unwrap_or_default()
    }

    /// The sources of `plan` that have event times, by index.
    pub(crate) fn source_times(&self, plan: &Plan) -> BTreeMap<usize, SourceTimes> {
        let sources = plan.sources.iter().zip(&self.inputs.partitions).enumerate();
        let times = sources.filter_map(|(index, (source, partitions))| {
            let (name, idle_after) = (source.name.clone(), source.event_time?);
            Some((index, SourceTimes { name, partitions: *partitions, idle_after }))
        });
        times.collect()
    }

    /// Opens a sink that this worker owns, the one of that index; gives the journal of what it refuses, if it
    /// has one.
    pub(crate) fn open_sink(
        &self,
        index: usize,
        name: &str,
        sink: &mut dyn AnySink,
        plan: &Plan,
        waker: Waker,
    ) -> Result<Option<Rc<RefCell<Journal>>>> {
        let woken = waker.clone();
        let others = plan.port_count() + plan.lookup_count;
        let mut opening = Opening {
            context: open_context(name, waker, &self.counters),
            sources: plan.source_names.get().cloned().unwrap_or_else(|| [].into()),
            instead: self.harness.as_ref().map(|harness| Instead::Capture(harness.capture())),
            span: Span::default(),
            released: None,
            number: u32::try_from(others + index).unwrap_or(u32::MAX),
            refused: None,
            told_before: 0,
            measures: self.is_asked && !self.inputs.recorded,
        };
        let mut journal = None;
        if let Some(durable) = &self.durable {
            let counted = durable.keeps() || self.trace.is_some();
            opening.context.resume = durable.sink_resume(name)?;
            opening.span = durable.span();
            // The log of dead letters is told what fails now.
            opening.told_before = match durable.settling() {
                Some(settling) if name != letters::LETTERS => settling.at,
                _ => 0,
            };
            opening.released = durable.released(name).filter(|_| counted);
            if sink.refuses() {
                let refused = Refused::open(durable, name, move || woken.wake())?;
                journal = refused.kept().journal();
                opening.refused = Some(refused);
            }
        }
        if let Some(trace) = &self.trace {
            let sink = u16::try_from(index).unwrap_or(u16::MAX);
            opening.instead = Some(Instead::Trace(SinkTrace { trace: Arc::clone(trace), sink }));
        }
        sink.open(opening)?;
        Ok(journal)
    }
}
