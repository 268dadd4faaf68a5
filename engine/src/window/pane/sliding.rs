//! [`Sliding`]: windows that overlap, at a cost that does not grow with how many overlap.
//!
//! Invariant: a record changes one row, that of its slice. A window that has ended was told if it had a
//! record, or if it follows one that was and empty ones are told.

use std::marker::PhantomData;
use std::time::Duration;

use super::blocks::Blocks;
use super::lateness::{Lateness, has_ended};
use super::slices::Next;
use super::{
    Cache, Contents, Fired, Kind, Moment, Outcome, SlidingKey, SlidingRow, Store, TooLate,
};
use crate::aggregate::Aggregate;
use crate::window::assign::wrong;
use crate::window::{Aligned, Window, WindowAssigner};
use crate::{Result, Time};

/// Sliding windows of one key, each told when it has ended, and corrected at each record that is late.
///
/// One row for each slice (the greatest common divisor of size and slide) that has records. A record in
/// order costs one look-up and one update, a window three combines a slice; a late record, as many as
/// there are windows to correct. For other triggers take [`Windows`](super::Windows).
pub struct Sliding<T, A> {
    pub(super) assigner: Aligned,
    aggregate: A,
    pub(super) lateness: Lateness,
    pub(super) empties: u64,
    blocks: Blocks,
    of: PhantomData<fn(&T)>,
}

/// What a call works on.
pub(super) struct Key<'a, S, O, R> {
    pub(super) at: Moment,
    pub(super) cache: &'a mut Cache<S>,
    pub(super) store: &'a mut R,
    pub(super) out: &'a mut Vec<Fired<O>>,
}

impl<T: 'static, A: Aggregate<T>> Sliding<T, A> {
    /// Those of `assigner`.
    pub fn new(assigner: Aligned, aggregate: A) -> Self {
        let length = i64::try_from(assigner.size().as_nanos()).unwrap_or(i64::MAX);
        let anchor = assigner.pane(Time::ZERO).start.as_nanos();
        let blocks = Blocks { anchor, length };
        let lateness = Lateness::default();
        Self { assigner, aggregate, lateness, empties: 0, blocks, of: PhantomData }
    }

    /// Windows stay open for so long after they have ended, and are corrected.
    #[must_use]
    pub fn lateness(mut self, allowed: Duration) -> Self {
        self.lateness.allowed = allowed;
        self
    }

    /// What becomes of a record when its windows have closed.
    #[must_use]
    pub fn too_late(mut self, policy: TooLate) -> Self {
        self.lateness.too_late = policy;
        self
    }

    /// Also tells windows without records, after one that was told, at most so many in a row; see
    /// [`Windows::empty_windows`](super::Windows::empty_windows).
    #[must_use]
    pub fn empty_windows(mut self, most: u64) -> Self {
        self.empties = most;
        self
    }

    pub(crate) fn lateness_allowed(&self) -> Lateness {
        self.lateness
    }

    pub(crate) fn empties(&self) -> u64 {
        self.empties
    }

    pub(crate) fn into_parts(self) -> (Aligned, A) {
        (self.assigner, self.aggregate)
    }

    pub(crate) fn aggregate(&self) -> &A {
        &self.aggregate
    }

    /// What is wrong with how it was made.
    ///
    /// # Errors
    ///
    /// [`Error::Application`](crate::Error::Application), with what to do.
    pub fn check(&self) -> Result<()> {
        self.assigner.check()?;
        let mistake = (self.assigner.slide() >= self.assigner.size()).then(|| {
            "windows that do not overlap are not kept as slices; give them to `Windows`".to_owned()
        });
        wrong(mistake.as_ref())
    }

    /// A record of the key, of event time `time`; `cache` is what is cached of the key.
    pub fn on_record<S: Store<SlidingKey, SlidingRow<A::State>>>(
        &mut self,
        (time, record): (Time, &T),
        at: Moment,
        cache: &mut Cache<A::State>,
        store: &mut S,
        out: &mut Vec<Fired<A::Output>>,
    ) -> Outcome {
        let mut key = Key { at, cache, store, out };
        let outcome = self.enter(time, record, &mut key);
        if outcome != Outcome::Dropped {
            return outcome;
        }
        match self.lateness.too_late {
            TooLate::Drop => Outcome::Dropped,
            TooLate::SideOutput => Outcome::SideOutput,
            TooLate::FirePerRecord => {
                let mut state = self.aggregate.initial();
                self.aggregate.update(&mut state, record);
                if let Some((_, window)) = self.assigner.first_and_last(time) {
                    let value = self.aggregate.output(&state);
                    key.out.push(Fired { window, value, count: 1, index: 0, kind: Kind::TooLate });
                }
                Outcome::FiredAlone
            }
            TooLate::OldestOpen => {
                let moved = self.lateness.cut_off(at.watermark);
                match self.enter(moved, record, &mut key) {
                    Outcome::Dropped | Outcome::Outside => Outcome::Dropped,
                    _ => Outcome::Moved,
                }
            }
        }
    }

    fn enter<S: Store<SlidingKey, SlidingRow<A::State>>>(
        &self,
        time: Time,
        record: &T,
        key: &mut Key<'_, A::State, A::Output, S>,
    ) -> Outcome {
        let watermark = key.at.watermark;
        let Some((first, last)) = self.assigner.first_and_last(time) else {
            return Outcome::Outside;
        };
        if self.lateness.is_closed(last, watermark) {
            return Outcome::Dropped;
        }
        let slice = self.assigner.pane(time);
        key.cache.changed(slice.start.as_nanos());
        let name = SlidingKey::Slice(slice);
        let weight = self.aggregate.weight(record);
        let there = key.store.update(&name, |row| {
            if let SlidingRow::Slice(slice) = row {
                self.aggregate.update(&mut slice.state, record);
                slice.count = slice.count.saturating_add(weight);
            }
        });
        if there.is_none() {
            let mut state = self.aggregate.initial();
            self.aggregate.update(&mut state, record);
            key.store.insert(name, SlidingRow::Slice(Contents { state, count: weight }));
            self.schedule(time, key);
        }
        if !has_ended(first, watermark) {
            return Outcome::InTime;
        }
        self.correct(time, key);
        Outcome::Late
    }

    /// Tells the windows of `time` again that have ended and are open.
    fn correct<S: Store<SlidingKey, SlidingRow<A::State>>>(
        &self,
        time: Time,
        key: &mut Key<'_, A::State, A::Output, S>,
    ) {
        let open = time.max(self.lateness.cut_off(key.at.watermark));
        let mut next = self.assigner.first_and_last(open).map(|(first, _)| first);
        while let Some(window) = next {
            if window.start > time || !has_ended(window, key.at.watermark) {
                return;
            }
            if !self.lateness.is_closed(window, key.at.watermark) {
                let (value, count) = self.value(window, key);
                let told = key.store.get(&SlidingKey::Told(window)).and_then(SlidingRow::told);
                // With this record alone in it, it was not told on time.
                let index = told.unwrap_or(u64::from(count > 1));
                key.out.push(Fired { window, value, count, index, kind: Kind::Late });
                self.note_told(window, index.saturating_add(1), key.store);
            }
            next = self.assigner.next(window);
        }
    }

    fn note_told<S: Store<SlidingKey, SlidingRow<A::State>>>(
        &self,
        window: Window,
        times: u64,
        store: &mut S,
    ) {
        store.insert(SlidingKey::Told(window), SlidingRow::Told(times));
    }

    /// The timer, set for `time`, is due.
    pub fn on_timer<S: Store<SlidingKey, SlidingRow<A::State>>>(
        &mut self,
        time: Time,
        at: Moment,
        cache: &mut Cache<A::State>,
        store: &mut S,
        out: &mut Vec<Fired<A::Output>>,
    ) {
        let mut key = Key { at, cache, store, out };
        let row = key.store.get(&SlidingKey::Next).and_then(SlidingRow::next);
        let Some(mut next) = row else { return };
        if let Some(window) = next.window.filter(|window| window.end <= time) {
            let (value, count) = self.value(window, &mut key);
            // No empty window precedes a record when the input has ended.
            let empties = if at.watermark < Time::END { self.empties } else { 0 };
            if count > 0 || empties > 0 {
                key.out.push(Fired { window, value, count, index: 0, kind: Kind::OnTime });
            }
            if count == 0 && !self.lateness.allowed.is_zero() {
                self.note_told(window, 1, key.store);
            }
            next.empty = if count == 0 { next.empty.saturating_add(1) } else { 0 };
            next.window = self.after(window, next.empty < empties, key.store);
        }
        self.clean(time, &mut key);
        // The timer is gone.
        let row = Next { due: None, ..next };
        // It has been due.
        let row = Next { due: None, ..row };
        self.keep_next(Some(row), next, key.store);
    }

    /// What the records of a window come to, and how many they are.
    fn value<S: Store<SlidingKey, SlidingRow<A::State>>>(
        &self,
        window: Window,
        key: &mut Key<'_, A::State, A::Output, S>,
    ) -> (A::Output, u64) {
        let store = &*key.store;
        let rows = |from: i64, to: i64| {
            let [after, before] = [from, to].map(|nanos| SlidingKey::from(Time::from_nanos(nanos)));
            let slices = store.range(after..before).filter_map(|(name, row)| match name {
                SlidingKey::Slice(slice) => Some((slice.start.as_nanos(), row.slice()?)),
                _ => None,
            });
            // One may have begun before.
            slices.filter(move |(start, _)| *start >= from)
        };
        let (from, to) = (window.start.as_nanos(), window.end.as_nanos());
        let combine = |state: &mut A::State, later: &A::State| self.aggregate.combine(state, later);
        let contents = if to.checked_sub(from) == Some(self.blocks.length) {
            key.cache.query(self.blocks, (from, to), combine, rows)
        } else {
            // Cut off at an end of time.
            rows(from, to).map(|(_, slice)| slice.clone()).reduce(|mut all, slice| {
                all.add(&slice, combine);
                all
            })
        };
        let contents =
            contents.unwrap_or_else(|| Contents { state: self.aggregate.initial(), count: 0 });
        (self.aggregate.output(&contents.state), contents.count)
    }
}
