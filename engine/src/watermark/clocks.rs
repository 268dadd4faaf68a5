//! [`Clocks`]: the watermarks of the pipelines that end in one group of tables, and its engine time.
//!
//! Invariant: while an epoch is applied, a pipeline's watermark is that before the epoch; afterwards it
//! is that after it. All groups know the same of an epoch when they apply it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::{EventTimes, LaneTime, Moment, Note};
use crate::Time;
use crate::metrics::Counter;
use crate::timer::Round;

/// A pipeline as its group knows it.
pub(crate) struct PortTime {
    /// The name of its first computation.
    pub(crate) name: String,
    pub(crate) clock: PortClock,
    /// Its watermark for people, in milliseconds; once all input has ended, what it was before.
    pub(crate) shown: Counter,
}

/// The sources of a pipeline that have event times, by index, and its watermark.
#[derive(Clone)]
pub(crate) struct PortClock {
    pub(crate) sources: Rc<BTreeSet<usize>>,
    pub(crate) watermark: Rc<Cell<Time>>,
}

impl PortClock {
    pub(crate) fn new(sources: Rc<BTreeSet<usize>>) -> Self {
        Self { sources, watermark: Rc::new(Cell::new(Time::BEGIN)) }
    }
}

/// A source that has event times.
pub(crate) struct SourceTimes {
    pub(crate) name: String,
    pub(crate) partitions: usize,
    /// After which silence a partition of it is idle.
    pub(crate) idle_after: Option<Duration>,
}

/// The watermarks of the pipelines that end in one group.
pub(crate) struct Clocks {
    /// By index.
    sources: BTreeMap<usize, SourceTimes>,
    lanes: BTreeMap<(usize, u16), LaneTime>,
    /// What was told of epochs that are not applied yet.
    waiting: BTreeMap<u64, Vec<Note>>,
    /// Also those that have no event time.
    ports: Vec<PortTime>,
    /// The logical time of the last epoch that was told of: that of no other.
    now: Time,
    /// No record that is yet to come has that ingest time or an earlier one.
    passed: Time,
    /// All input has ended.
    ended: bool,
}

/// How far engine time comes with an epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing {
    /// What is due then or before is fired with the epoch.
    pub(crate) until: Time,
    /// All input has ended: the rest is fired, too.
    pub(crate) ended: bool,
}

impl Clocks {
    /// `known` is how far an earlier run had come.
    pub(crate) fn new(
        ports: Vec<PortTime>,
        sources: BTreeMap<usize, SourceTimes>,
        known: &EventTimes,
    ) -> Self {
        let mut lanes = BTreeMap::new();
        for (index, source) in &sources {
            let known = known.sources.get(&source.name).into_iter().flatten();
            lanes.extend(known.map(|(partition, lane)| ((*index, *partition), *lane)));
        }
        for port in &ports {
            // That of the others is known when nothing follows, which this run may see otherwise.
            let timed = !port.clock.sources.is_empty();
            let watermark = known.watermarks.get(&port.name).filter(|_| timed).copied();
            port.clock.watermark.set(watermark.unwrap_or(Time::BEGIN));
        }
        let waiting = BTreeMap::new();
        let (now, passed) = (known.now, known.passed);
        Self { sources, lanes, waiting, ports, now, passed, ended: false }
    }

    /// What was due then or before was fired.
    pub(crate) fn passed(&self) -> Time {
        self.passed
    }

    /// How far time has come.
    pub(crate) fn known(&self) -> EventTimes {
        let (now, passed) = (self.now, self.passed);
        let mut known = EventTimes { now, passed, ..EventTimes::default() };
        for ((index, partition), lane) in &self.lanes {
            if let Some(source) = self.sources.get(index) {
                known.sources.entry(source.name.clone()).or_default().insert(*partition, *lane);
            }
        }
        let ports = self.ports.iter();
        known.watermarks.extend(ports.map(|it| (it.name.clone(), it.clock.watermark.get())));
        known
    }

    /// Keeps what was told of an epoch until it is applied.
    pub(crate) fn stash(&mut self, epoch: u64, note: Note) {
        self.waiting.entry(epoch).or_default().push(note);
    }

    /// How far engine time comes with `epoch`, which is about to be applied.
    pub(crate) fn passing(&self, epoch: u64) -> Passing {
        let known = Passing { until: self.passed, ended: self.ended };
        let moments = self.waiting.get(&epoch).into_iter().flatten().map(|note| note.moment);
        let Some(moment) = moments.reduce(Moment::and) else { return known };
        let until = match moment.end {
            // What is due with the last round is so before it: then the rest can follow in its order.
            true => self.next_now(moment.time),
            false => moment.passed,
        };
        Passing { until: until.max(self.passed), ended: moment.end || self.ended }
    }

    fn next_now(&self, time: Time) -> Time {
        time.max(Time::from_nanos(self.now.as_nanos().saturating_add(1)))
    }

    /// `epoch` was applied. Gives for each port what is to be fired now, if anything was told of the
    /// epoch.
    pub(crate) fn applied(&mut self, epoch: u64) -> Option<Vec<Option<Round>>> {
        let Passing { until, ended } = self.passing(epoch);
        (self.passed, self.ended) = (until, ended);
        let notes = self.waiting.remove(&epoch)?;
        let moment = notes.iter().map(|note| note.moment).reduce(Moment::and)?;
        if moment.cut {
            return None;
        }
        self.now = self.next_now(moment.time);
        for (source, partition, lane) in notes.into_iter().flat_map(|note| note.lanes) {
            self.lanes.insert((source.into(), partition), lane);
        }
        let first = self.first().unwrap_or(moment.time);
        let rounds = self.ports.iter().map(|PortTime { clock, shown, .. }| {
            let from = clock.watermark.get();
            let watermark = match ended {
                true => Time::END,
                false => {
                    let known = self.watermark(&clock.sources, first, moment.time);
                    known.unwrap_or(Time::BEGIN)
                }
            };
            // What was idle may come back with older times.
            let until = watermark.max(from);
            clock.watermark.set(until);
            if until < Time::END {
                shown.set(u64::try_from(until.as_nanos() / 1_000_000).unwrap_or(0));
            }
            let now = self.now;
            (until > Time::BEGIN && from < Time::END).then_some(Round { now, from, until })
        });
        Some(rounds.collect())
    }

    /// When the next partition is idle that holds a watermark back, if it brings nothing until then.
    pub(crate) fn next_idle(&self) -> Option<Time> {
        let first = self.first()?;
        self.ports.iter().filter_map(|port| self.next_idle_of(&port.clock, first)).min()
    }

    /// The same of one pipeline: when all are idle whose watermarks are not beyond that of the pipeline.
    /// That matters if another one then is not.
    fn next_idle_of(&self, clock: &PortClock, first: Time) -> Option<Time> {
        let known = clock.watermark.get();
        let (mut holders, mut others) = (None, None);
        for (index, source) in clock.sources.iter().filter_map(|i| Some((i, self.sources.get(i)?)))
        {
            for partition in (0..).take(source.partitions) {
                let lane = self.lanes.get(&(*index, partition));
                let watermark = lane.map_or(Time::BEGIN, |lane| lane.watermark);
                let last = lane.map_or(first, |lane| lane.last);
                let idle = source.idle_after.map_or(Time::END, |silence| last.after(silence));
                match watermark {
                    Time::END => {}
                    held if held <= known => holders = holders.max(Some(idle)),
                    _ => others = others.max(Some(idle)),
                }
            }
        }
        holders.filter(|idle| *idle < Time::END && others > Some(*idle))
    }

    /// The time of the first epoch to which any partition brought something.
    fn first(&self) -> Option<Time> {
        self.lanes.values().map(|lane| lane.first).min()
    }

    /// The least of all partitions that may bring more and are not idle; none if those that may are idle.
    fn watermark(&self, sources: &BTreeSet<usize>, first: Time, now: Time) -> Option<Time> {
        let mut least = (!sources.is_empty()).then_some(Time::END);
        for (index, source) in sources.iter().filter_map(|i| Some((i, self.sources.get(i)?))) {
            for partition in (0..).take(source.partitions) {
                let lane = self.lanes.get(&(*index, partition));
                let watermark = lane.map_or(Time::BEGIN, |lane| lane.watermark);
                let last = lane.map_or(first, |lane| lane.last);
                if watermark == Time::END {
                    continue;
                }
                let idle = source.idle_after.is_some_and(|silence| last.after(silence) <= now);
                least = match least {
                    Some(Time::END) | None if idle => None,
                    Some(least) if idle => Some(least),
                    Some(least) => Some(least.min(watermark)),
                    None => Some(watermark),
                };
            }
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: fn(i64) -> Time = Time::from_nanos;

    /// Two sources of two partitions each, by what is known of the partitions.
    fn clocks(idle_after: [Option<u64>; 2], lanes: &[Option<(i64, i64)>]) -> Clocks {
        let source = |index: usize| SourceTimes {
            name: index.to_string(),
            partitions: 2,
            idle_after: idle_after[index].map(Duration::from_nanos),
        };
        let clock = PortClock::new(Rc::new(BTreeSet::from([0, 1])));
        let port = PortTime { name: "port".into(), clock, shown: Counter::default() };
        let sources = BTreeMap::from([0, 1].map(|index| (index, source(index))));
        let mut clocks = Clocks::new(vec![port], sources, &EventTimes::default());
        for (place, lane) in lanes.iter().enumerate() {
            if let Some((watermark, last)) = lane {
                let watermark = if *watermark == 9 { Time::END } else { AT(*watermark) };
                let known = LaneTime { watermark, first: AT(0), last: AT(*last) };
                clocks.lanes.insert((place / 2, (place % 2) as u16), known);
            }
        }
        clocks
    }

    proptest! {
        #[test]
        fn the_next_idle_partition_is_the_first_that_moves_a_watermark(
            idle_after in any::<[Option<u8>; 2]>(),
            lanes in proptest::collection::vec(proptest::option::weighted(0.9, (0..10_i64, 0..20_i64)), 4),
        ) {
            let idle_after = idle_after.map(|it| it.map(|it| u64::from(it % 40) + 1));
            let clocks = clocks(idle_after, &lanes);
            let now = 20;
            let of = BTreeSet::from([0, 1]);
            let at = |time: i64| clocks.watermark(&of, AT(0), AT(time)).unwrap_or(Time::BEGIN);
            clocks.ports[0].clock.watermark.set(at(now));
            let moves = (now + 1..100).find(|time| at(*time) > at(now)).map(AT);
            let found = clocks.next_idle().filter(|at| *at > AT(now));
            if clocks.first().is_some() {
                prop_assert_eq!(found, moves);
            }
        }
    }
}
