//! Several tasks that read the same records: each has its frames as if it were alone, and a record goes
//! when none needs it.
//!
//! Invariant: a record is put in once.

use proptest::prelude::*;

use super::model::{Model, Settings};
use super::properties::{Step, compare, nanos, options, settings, sorted, steps, told, values};
use super::*;
use crate::window::Window;

type Entries = BTreeMap<Place, u64>;
type Own = Kept<u64, Vec<u64>>;

/// What one task keeps, with the records of all.
struct Shared<'a> {
    own: &'a mut Own,
    entries: &'a mut Entries,
    others: &'a [Option<Time>],
}

impl FrameStore<u64, Vec<u64>> for Shared<'_> {
    fn head(&self) -> &Head {
        &self.own.head
    }
    fn head_mut(&mut self) -> &mut Head {
        &mut self.own.head
    }
    fn frames(&self) -> &impl Ordered<Time, Frame<Vec<u64>>> {
        &self.own.frames
    }
    fn frames_mut(&mut self) -> &mut impl OrderedMut<Time, Frame<Vec<u64>>> {
        &mut self.own.frames
    }
    fn entries(&self) -> &impl Ordered<Place, u64> {
        &*self.entries
    }
    fn entries_mut(&mut self) -> &mut impl OrderedMut<Place, u64> {
        &mut *self.entries
    }
    fn rework(&self) -> &impl Ordered<Time, Rework> {
        &self.own.rework
    }
    fn rework_mut(&mut self) -> &mut impl OrderedMut<Time, Rework> {
        &mut self.own.rework
    }
    fn set_timer(&mut self, timer: FrameTimer, at: Time) {
        self.own.set_timer(timer, at);
    }
    fn cancel_timer(&mut self, timer: FrameTimer) {
        self.own.cancel_timer(timer);
    }
    fn least_cutoff(&self, own: Time) -> Option<Time> {
        least_cutoff(own, self.others.iter().copied())
    }
}

struct Consumer<M> {
    task: Task<u64, M>,
    own: Own,
    model: Model,
}

struct Consumers<M> {
    all: Vec<Consumer<M>>,
    entries: Entries,
    watermark: Time,
    now: Time,
}

impl<M: FrameMethod<u64, Entry = u64, Output = Vec<u64>>> Consumers<M> {
    /// Has one of them do something, and gives what it handed on.
    fn with<R>(
        &mut self,
        index: usize,
        go: impl FnOnce(&mut Task<u64, M>, &mut Shared<'_>, &mut Turn<'_, u64, Vec<u64>>) -> R,
    ) -> (R, Vec<FrameEvent<u64, Vec<u64>>>) {
        let mut others = Vec::new();
        for (_, other) in self.all.iter_mut().enumerate().filter(|(other, _)| *other != index) {
            let entries = &mut self.entries;
            let store = Shared { own: &mut other.own, entries, others: &[] };
            others.push(other.task.cutoff(&store, self.watermark));
        }
        let Consumer { task, own, .. } = &mut self.all[index];
        let mut store = Shared { own, entries: &mut self.entries, others: &others };
        let mut out = Vec::new();
        let mut turn = Turn {
            watermark: self.watermark,
            now: self.now,
            stopwatch: &mut || Duration::ZERO,
            out: &mut out,
        };
        (go(task, &mut store, &mut turn), out)
    }

    fn record(&mut self, time: Time, value: u64) {
        let (watermark, now) = (self.watermark, self.now);
        let mut wanted = false;
        for index in 0..self.all.len() {
            let (placed, _) =
                self.with(index, |task, store, _| task.observe(store, time, watermark, now));
            wanted |= placed != Placed::Late;
            self.all[index].model.record(time.as_nanos(), value);
            // Told by the caller, who has the record.
            self.all[index]
                .model
                .told
                .retain(|told| matches!(told, super::model::Told::Made { .. }));
        }
        if wanted {
            insert_item(&mut self.entries, time, value);
        }
    }

    fn fire(&mut self) -> Result<(), TestCaseError> {
        for index in 0..self.all.len() {
            let mut events = Vec::new();
            loop {
                let timers = &mut self.all[index].own.timers;
                let due = due(timers, self.watermark, self.now);
                if due.is_empty() {
                    break;
                }
                for timer in due {
                    events.extend(
                        self.with(index, |t, store, turn| t.on_timer(store, timer, turn)).1,
                    );
                }
            }
            let Consumer { own, model, .. } = &mut self.all[index];
            model.watermark = self.watermark.as_nanos();
            model.now = self.now.as_nanos();
            model.fire();
            prop_assert_eq!(told(&mut events), sorted(std::mem::take(&mut model.told)));
            compare(&own.frames, model)?;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn each_has_its_frames_and_a_record_goes_when_none_needs_it(
        settings in prop::collection::vec(settings(), 1..4), steps in steps(),
    ) {
        let consumer = |settings: Settings| {
            let settings = Settings { backfill: None, hold: false, ..settings };
            let task = options(&settings, 100).calculate(values(settings.fails));
            Consumer { task, own: Kept::new(), model: Model::new(settings) }
        };
        let mut consumers = Consumers {
            all: settings.into_iter().map(consumer).collect(),
            entries: BTreeMap::new(),
            watermark: Window::ALL.start,
            now: Time::ZERO,
        };
        let mut at = 0;
        for (value, step) in (0_u64..).zip(steps) {
            match step {
                Step::Record(after) => consumers.record(Time::from_nanos(at + after), value),
                Step::Watermark(by) => {
                    at += by;
                    consumers.watermark = Time::from_nanos(at);
                    consumers.fire()?;
                }
                Step::Wait(by) => {
                    consumers.now = consumers.now.after(nanos(by));
                    consumers.fire()?;
                }
                _ => {}
            }
        }
        consumers.watermark = Window::ALL.end;
        consumers.fire()?;
        while let Some(next) = consumers.all.iter().filter_map(|one| one.model.next_time()).min() {
            consumers.now = consumers.now.max(Time::from_nanos(next));
            consumers.fire()?;
        }
        for index in 0..consumers.all.len() {
            consumers.with(index, |task, store, turn| task.advance(store, turn));
            prop_assert!(consumers.all[index].own.timers.is_empty());
        }
        prop_assert!(consumers.entries.is_empty(), "{:?}", consumers.entries);
    }
}
