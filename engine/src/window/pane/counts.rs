//! [`Counts`]: windows of so many records, in the order in which they come.
//!
//! Invariant: the last row is the slice that takes the next record; it is never full. Rows before it are
//! full, and in a window that is not.

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::blocks::Blocks;
use super::store::first_in;
use super::{Cache, Clock, Contents, Fired, Kind, Moment, Store};
use crate::aggregate::Aggregate;
use crate::window::assign::{nanos, wrong};
use crate::{Result, Time};

/// The most records of a window, and between the starts of two.
const RECORDS_MOST: u64 = 1 << 40;
/// The most slices of a window.
const SLICES_MOST: u64 = 100_000;
/// The timers: the time for more records is up; the input has ended.
const TIME_IS_UP: u64 = 0;
const INPUT_HAS_ENDED: u64 = 1;

/// Windows of the records of one key by their number: each is told when it is full, with its number from
/// 0 on.
///
/// Records that fill no window yet are pending; they are told before it is full if
/// [`flush_after`](Self::flush_after) or [`flush_at_end`](Self::flush_at_end) says so. One row for each
/// slice (the greatest common divisor of size and slide) of a window that is not full, at least one.
pub struct Counts<T, A> {
    aggregate: A,
    /// Records of a slice; slices of a window; slices from one window's start to the next.
    slice: u64,
    size: u64,
    slide: u64,
    flush_at_end: bool,
    flush_after: Option<(Clock, Duration)>,
    mistake: Option<String>,
    of: PhantomData<fn(&T)>,
}

/// A row of [`Counts`], by the number of the slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountSlice<S> {
    held: Contents<S>,
    /// The first slice after those that were told before they were full.
    since: u64,
}

impl<T: 'static, A: Aggregate<T>> Counts<T, A> {
    /// Windows of `size` records, side by side.
    pub fn new(size: u64, aggregate: A) -> Self {
        Self::sliding(size, size, aggregate)
    }

    /// Windows of `size` records, one every `slide` records.
    pub fn sliding(size: u64, slide: u64, aggregate: A) -> Self {
        let (mut slice, mut rest) = (slide.max(1), size % slide.max(1));
        while rest != 0 {
            (slice, rest) = (rest, slice % rest);
        }
        let mistake = if size == 0 || slide == 0 {
            Some(format!(
                "count windows of {size} records, one every {slide}: a window has at least 1 record, and \
                 starts at least 1 after the one before"
            ))
        } else if size.max(slide) > RECORDS_MOST || size / slice > SLICES_MOST {
            Some(format!(
                "count windows of {size} records, one every {slide}, are kept as {} parts; give sizes \
                 that have a greater common divisor, so that it is at most {SLICES_MOST}",
                size / slice
            ))
        } else {
            None
        };
        let (size, slide) = ((size / slice).max(1), (slide / slice).max(1));
        let (flush_at_end, flush_after) = (false, None);
        Self { aggregate, slice, size, slide, flush_at_end, flush_after, mistake, of: PhantomData }
    }

    /// Tells what is pending when the input ends.
    #[must_use]
    pub fn flush_at_end(mut self) -> Self {
        self.flush_at_end = true;
        self
    }

    /// Tells what is pending when its first record has waited so long by that clock; the next record
    /// begins a new window. So a window is told when it is full or when its time is up, whichever is
    /// first.
    #[must_use]
    pub fn flush_after(mut self, clock: Clock, wait: Duration) -> Self {
        if let Err(mistake) = nanos("wait for a full window", wait) {
            self.mistake = self.mistake.or(Some(mistake));
        }
        self.flush_after = Some((clock, wait));
        self
    }

    /// What is wrong with how it was made.
    ///
    /// # Errors
    ///
    /// [`Error::Application`](crate::Error::Application), with what to do.
    pub fn check(&self) -> Result<()> {
        wrong(self.mistake.as_ref())
    }

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
        cache: &mut Cache<A::State>,
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
        *cache = Cache::default();
        if let Some((clock, _)) = self.flush_after {
            store.cancel_timer(clock, &TIME_IS_UP);
        }
        let next = (number / self.slide).saturating_add(1).saturating_mul(self.slide);
        self.go_on(u64::MAX, next, next, store);
    }
}
