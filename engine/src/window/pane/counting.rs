//! What [`Counts`] does with a record and with a timer.
//!
//! Invariant: the last row is the slice that takes the next record; it is never full. Rows before it are
//! full, and in a window that is not.

use super::blocks::Blocks;
use super::store::first_in;
use super::{Cache, Clock, Contents, CountSlice, Counts, Fired, Kind, Moment, Store};
use crate::Time;
use crate::aggregate::Aggregate;

/// The timers: the time for more records is up; the input has ended.
const TIME_IS_UP: u64 = 0;
const INPUT_HAS_ENDED: u64 = 1;

impl<T: 'static, A: Aggregate<T>> Counts<T, A> {
    /// A record of the key; `cache` is what is cached of the key. A window it fills is told.
    pub fn on_record<S: Store<u64, CountSlice<A::State>>>(
        &mut self,
        (time, record): (Time, &T),
        at: Moment,
        cache: &mut Cache<A::State>,
        store: &mut S,
        out: &mut Vec<Fired<A::Output, u64>>,
    ) {
        let last = store.range(..).next_back().map(|(number, slice)| (*number, slice.since));
        let (number, since) = last.unwrap_or((0, 0));
        if last.is_none() {
            store.insert(0, self.empty(0));
            if self.flush_at_end {
                store.set_timer(Clock::Event, &INPUT_HAS_ENDED, Time::from_nanos(i64::MAX));
            }
        }
        let in_window = number % self.slide < self.size;
        let count = store.update(&number, |slice| {
            if in_window {
                self.aggregate.update(&mut slice.held.state, record);
            }
            slice.held.count = slice.held.count.saturating_add(1);
            slice.held.count
        });
        if count == Some(1)
            && number == self.told_until(number, since)
            && let Some((clock, wait)) = self.flush_after
        {
            let from = match clock {
                Clock::Event => time.max(at.watermark),
                Clock::Engine => at.now,
            };
            store.set_timer(clock, &TIME_IS_UP, from.after(wait));
        }
        if count == Some(self.slice) {
            self.filled(number, since, cache, store, out);
        }
    }

    fn empty(&self, since: u64) -> CountSlice<A::State> {
        let held = Contents { state: self.aggregate.initial(), count: 0 };
        CountSlice { held, since }
    }

    /// The first slice of which no record was told, and that is in a window, if `number` takes the next.
    fn told_until(&self, number: u64, since: u64) -> u64 {
        match self.last_full(number, since) {
            // Between windows that do not touch there is nothing to tell.
            Some(start) => start.saturating_add(self.size.max(self.slide)),
            None => since,
        }
    }

    /// Where the last full window starts, if the slices before `number` are full.
    fn last_full(&self, number: u64, since: u64) -> Option<u64> {
        let start = number.checked_sub(self.size)? / self.slide * self.slide;
        (start >= since).then_some(start)
    }

    /// The first window that is not full.
    fn first_unfilled(&self, number: u64, since: u64) -> u64 {
        self.last_full(number, since).map_or(since, |start| start.saturating_add(self.slide))
    }

    /// The slice is full, and so may be a window.
    fn filled<S: Store<u64, CountSlice<A::State>>>(
        &self,
        number: u64,
        since: u64,
        cache: &mut Cache<A::State>,
        store: &mut S,
        out: &mut Vec<Fired<A::Output, u64>>,
    ) {
        let next = number.saturating_add(1);
        if let Some(start) = self.last_full(next, since)
            && start.saturating_add(self.size) == next
        {
            let place = |slice: u64| i64::try_from(slice).unwrap_or(i64::MAX);
            let blocks = Blocks { anchor: 0, length: place(self.size) };
            let read = &*store;
            let rows = |from: i64, to: i64| {
                read.range(from.unsigned_abs()..to.unsigned_abs())
                    .map(|(number, slice)| (place(*number), &slice.held))
            };
            let combine =
                |state: &mut A::State, later: &A::State| self.aggregate.combine(state, later);
            let held = if self.size == 1 {
                store.remove(&number).map(|slice| slice.held)
            } else {
                cache.query(blocks, (place(start), place(next)), combine, rows)
            };
            self.fire(start, held, Kind::OnTime, out);
            if let Some((clock, _)) = self.flush_after {
                store.cancel_timer(clock, &TIME_IS_UP);
            }
        }
        self.go_on(self.first_unfilled(next, since), next, since, store);
    }

    fn fire(
        &self,
        start: u64,
        held: Option<Contents<A::State>>,
        kind: Kind,
        out: &mut Vec<Fired<A::Output, u64>>,
    ) {
        if let Some(held) = held {
            let value = self.aggregate.output(&held.state);
            let window = start / self.slide;
            out.push(Fired { window, value, count: held.count, index: 0, kind });
        }
    }

    /// Removes the rows before `kept`, and makes the one that takes the next record.
    fn go_on<S: Store<u64, CountSlice<A::State>>>(
        &self,
        kept: u64,
        next: u64,
        since: u64,
        store: &mut S,
    ) {
        while let Some(first) = first_in(store, ..kept) {
            store.remove(&first);
        }
        store.insert(next, self.empty(since));
    }

    /// How many records were never told, and are to be.
    pub fn pending<S: Store<u64, CountSlice<A::State>>>(&self, store: &S) -> u64 {
        let Some((number, slice)) = store.range(..).next_back() else { return 0 };
        let untold = store.range(self.told_until(*number, slice.since)..);
        untold.map(|(_, slice)| slice.held.count).fold(0, u64::saturating_add)
    }

    /// A timer is due: tells what is pending, as the first window that is not full.
    pub fn on_timer<S: Store<u64, CountSlice<A::State>>>(
        &mut self,
        store: &mut S,
        out: &mut Vec<Fired<A::Output, u64>>,
    ) {
        if self.pending(store) == 0 {
            return;
        }
        let last = store.range(..).next_back().map(|(number, slice)| (*number, slice.since));
        let Some((number, since)) = last else { return };
        let start = self.first_unfilled(number, since);
        let slices = store.range(start..).map(|(_, slice)| slice.held.clone());
        let held = slices.reduce(|mut all, later| {
            all.add(&later, |state, later| self.aggregate.combine(state, later));
            all
        });
        self.fire(start, held, Kind::Final, out);
        if let Some((clock, _)) = self.flush_after {
            store.cancel_timer(clock, &TIME_IS_UP);
        }
        // Past all slices so far, so that nothing that is cached is in a window to come.
        let next = (number / self.slide).saturating_add(1).saturating_mul(self.slide);
        self.go_on(u64::MAX, next, next, store);
    }
}
