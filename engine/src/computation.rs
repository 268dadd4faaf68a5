//! Computations: user code applied to one record, rows in, records out.
//!
//! Invariant: a computation sees one record at a time and the rows of its key; what it emits goes
//! on after it has returned. It learns time and randomness from its [`Context`] alone.

use std::cell::{Cell, OnceCell};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::metrics::Counters;
use crate::origin::RecordId;
use crate::pipeline::Chain;
use crate::side_output::Sides;
use crate::state::Tables;
use crate::timer::{Change, DueKey, Request, Round, Timers};
use crate::{Key, Origin, Record, SideOutput, Time, Timer};

/// User code that is applied to one record and the rows of its key.
///
/// A closure given to [`compute`](crate::Keyed::compute) does for most; a type of its own can
/// hold configuration and be shared between programs.
///
/// ```
/// use anabranch::prelude::*;
///
/// const COUNTS: Table<String, u64> = Table::new("counts");
///
/// struct CountUpTo { limit: u64 }
///
/// impl Computation<String, String, Table<String, u64>> for CountUpTo {
///     type Output = (String, u64);
///     fn apply(&mut self, _: &String, word: String, mut count: Row<u64>, out: &mut Context<(String, u64)>) {
///         if *count < self.limit {
///             *count += 1;
///             out.emit((word, *count));
///         }
///     }
/// }
/// ```
pub trait Computation<K: Key, I, S: Tables<K>>: 'static {
    /// What it emits.
    type Output: Record;

    /// Whether it sets timers, by [`Context::set_timer`].
    const TIMERS: bool = false;

    /// Applies it to one record of `key`.
    fn apply(&mut self, key: &K, record: I, rows: S::Rows<'_>, out: &mut Context<'_, Self::Output>);

    /// Does what there is to do when a timer of `key` is due: after the records of the epoch with which
    /// the watermark came to the timer's time. [`Context::now`] is the time of that epoch.
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::{TestDriver, Timer, Watermarks, sink, source};
    ///
    /// const COUNTS: Table<u32, u64> = Table::new("visits");
    ///
    /// /// How often a user came until a second of silence.
    /// struct Visits;
    ///
    /// impl Computation<u32, (u32, Time), Table<u32, u64>> for Visits {
    ///     type Output = (u32, u64);
    ///     const TIMERS: bool = true;
    ///
    ///     fn apply(&mut self, _: &u32, visit: (u32, Time), mut count: Row<u64>, out: &mut Context<(u32, u64)>) {
    ///         *count += 1;
    ///         // Replaces the one that was set before.
    ///         out.set_timer("silent", visit.1.after(std::time::Duration::from_secs(1)));
    ///     }
    ///
    ///     fn on_timer(&mut self, user: &u32, _: Timer, count: Row<u64>, out: &mut Context<(u32, u64)>) {
    ///         out.emit((*user, *count));
    ///         count.remove();
    ///     }
    /// }
    ///
    /// let driver = TestDriver::new(|app: &App| {
    ///     app.source("visits", source::empty::<(u32, Time)>())
    ///         .event_time(Watermarks::monotonic(|(_, time): &(u32, Time)| *time))
    ///         .key_by(|(user, _)| *user)
    ///         .computation("visits", COUNTS, Visits)
    ///         .sink("done", sink::null());
    ///     Ok(())
    /// });
    /// let mut driver = driver.start()?;
    /// for (user, ms) in [(1_u32, 0), (2, 100), (1, 500), (3, 1_400)] {
    ///     driver.send("visits", (user, Time::from_millis(ms)))?;
    ///     driver.run()?;
    /// }
    /// assert_eq!(driver.outputs::<(u32, u64)>("done"), [(2, 1)]);
    /// driver.finish()?;
    /// assert_eq!(driver.outputs::<(u32, u64)>("done"), [(1, 2), (3, 1)]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    fn on_timer(
        &mut self,
        key: &K,
        timer: Timer<'_>,
        rows: S::Rows<'_>,
        out: &mut Context<'_, Self::Output>,
    ) {
        let _ = (key, timer, rows, out);
    }
}

/// A closure as a computation; made by [`compute`](crate::Keyed::compute).
pub(crate) struct Closure<F, O> {
    apply: F,
    of: PhantomData<fn() -> O>,
}

impl<F, O> Closure<F, O> {
    pub(crate) fn new(apply: F) -> Self {
        Self { apply, of: PhantomData }
    }
}

impl<K, I, S, O, F> Computation<K, I, S> for Closure<F, O>
where
    K: Key,
    S: Tables<K>,
    O: Record,
    F: for<'a> FnMut(I, S::Rows<'a>, &mut Context<'_, O>) + 'static,
{
    type Output = O;

    #[inline(always)]
    fn apply(&mut self, _: &K, record: I, rows: S::Rows<'_>, out: &mut Context<'_, O>) {
        (self.apply)(record, rows, out);
    }
}

/// What a computation can learn and do while it is applied to a record.
pub struct Context<'a, O> {
    origin: Origin,
    /// Which of the records this is that the computation gets from one entering record.
    nth: u32,
    /// How many sequences of random numbers were asked for.
    sequences: Cell<u32>,
    outputs: &'a mut Vec<O>,
    requests: &'a mut Vec<Request>,
    surroundings: &'a Surroundings,
}

/// The names of the sources in declared order, known once the application is drawn.
pub(crate) type SourceNames = Rc<OnceCell<Arc<[String]>>>;

/// What the invocations of one computation share.
pub(crate) struct Surroundings {
    pub(crate) sources: SourceNames,
    /// Tells the randomness of computations apart.
    pub(crate) salt: u64,
    pub(crate) sides: Rc<Sides>,
    pub(crate) watermark: Rc<Cell<Time>>,
    /// Of the computation.
    pub(crate) counters: Counters,
    /// Whether the computation sets timers.
    pub(crate) timers: bool,
}

impl<O> Context<'_, O> {
    /// Emits a record.
    #[inline]
    pub fn emit(&mut self, record: O) {
        self.outputs.push(record);
    }

    /// Emits records, in order.
    #[inline]
    pub fn emit_all(&mut self, records: impl IntoIterator<Item = O>) {
        self.outputs.extend(records);
    }

    /// Emits a record to a side output; see [`Keyed::side`](crate::Keyed::side). It is dropped if
    /// the application does not use that output.
    ///
    /// # Panics
    /// When the application takes records of another type from a side output of that name.
    pub fn emit_to<T: Record>(&mut self, side: SideOutput<T>, record: T) {
        self.surroundings.sides.emit(side, self.origin, record);
    }

    /// Sets the timer `name` of this key: when the [watermark](Self::watermark) has come to `time`,
    /// [`Computation::on_timer`] is called, once, after the records of that epoch. A timer that was set
    /// by that name and is not due yet is replaced. One that is set for a time that the watermark has
    /// passed is due after the records of the present epoch; set by `on_timer` for the time of the timer
    /// or before, after those of the next. When all sources have ended, which only recorded ones do, the
    /// watermark is [`Time::END`], and all timers are due, also those that they set: one that sets itself
    /// again and again must stop then.
    ///
    /// # Panics
    /// When the computation does not say [`Computation::TIMERS`].
    pub fn set_timer(&mut self, name: impl Into<String>, time: Time) {
        self.request(name.into(), Change::Set(time));
    }

    /// Sets the timer `name` of this key for `time`, unless it is set for no later time.
    pub(crate) fn set_timer_by(&mut self, name: impl Into<String>, time: Time) {
        self.request(name.into(), Change::SetBy(time));
    }

    /// Takes back the timer `name` of this key, if it is set.
    ///
    /// # Panics
    /// As [`set_timer`](Self::set_timer).
    pub fn cancel_timer(&mut self, name: impl Into<String>) {
        self.request(name.into(), Change::Cancel);
    }

    fn request(&mut self, name: String, change: Change) {
        assert!(
            self.surroundings.timers,
            "a computation that sets timers must say so: `const TIMERS: bool = true;` in its \
             `impl Computation`"
        );
        self.requests.push((name, change));
    }

    /// Counts `n` more as `<computation>.<what>`, one of the [counters](crate::metrics) that the engine
    /// keeps for people to read. For what is rare: it looks the name up.
    pub fn count(&self, what: &str, n: u64) {
        self.surroundings.counters.counter(what).add(n);
    }

    /// The record's ingest time: the same in every replay.
    pub fn now(&self) -> Time {
        self.origin.time()
    }

    /// How far the event time of the pipeline has come: what was read before the record's epoch says
    /// that no record with an event time before this is expected any more. The same in every replay.
    /// [`Time::BEGIN`] if no source of the pipeline says what its
    /// [`event_time`](crate::Stream::event_time) is, or not all of its partitions have brought
    /// something; [`Time::END`] when all have ended.
    pub fn watermark(&self) -> Time {
        self.surroundings.watermark.get()
    }

    /// Where the record came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The record's name to the outside, `<source>-<partition>-<offset>`.
    pub fn id(&self) -> RecordId<'_> {
        let names = self.surroundings.sources.get();
        let source = names.and_then(|names| names.get(self.origin.source()));
        RecordId { source: source.map_or("", String::as_str), origin: self.origin }
    }

    /// Random numbers that depend on the record's origin, the computation and how often it asked
    /// alone: each call begins another sequence.
    pub fn random(&self) -> Random {
        let sequence = self.sequences.get();
        self.sequences.set(sequence.wrapping_add(1));
        let call = u64::from(self.nth).rotate_left(32) | u64::from(sequence);
        Random(self.origin.seed() ^ self.surroundings.salt ^ call)
    }
}

/// A sequence of pseudo-random numbers (SplitMix64), the same in every replay.
pub struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, uniform over all 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0 (0 gives 0); the bias is below 2^-32 for
    /// bounds below 2^32.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// A chain followed by a computation on tables.
pub(crate) struct Compute<C: Chain<Key: Key>, S: Tables<C::Key>, P: Computation<C::Key, C::Out, S>>
{
    pub(crate) chain: C,
    pub(crate) then: Applied<C, S, P>,
}

/// The computation itself.
pub(crate) struct Applied<C: Chain<Key: Key>, S: Tables<C::Key>, P: Computation<C::Key, C::Out, S>>
{
    pub(crate) bound: S::Bound,
    pub(crate) computation: P,
    pub(crate) surroundings: Surroundings,
    pub(crate) outputs: Vec<P::Output>,
    pub(crate) requests: Vec<Request>,
    pub(crate) timers: Option<Timers<C::Key>>,
}

impl<C, S, P> Applied<C, S, P>
where
    C: Chain<Key: Key>,
    S: Tables<C::Key>,
    P: Computation<C::Key, C::Out, S>,
{
    /// Calls the computation with the rows of `key`.
    #[inline(always)]
    fn call(
        &mut self,
        origin: Origin,
        nth: u32,
        key: &C::Key,
        call: impl FnOnce(&mut P, S::Rows<'_>, &mut Context<'_, P::Output>),
    ) {
        let Self { bound, computation, surroundings, outputs, requests, timers } = self;
        {
            let mut guard = S::lock(bound);
            let rows = S::rows(&mut guard, key);
            let sequences = Cell::new(0);
            let mut context = Context { origin, nth, sequences, outputs, requests, surroundings };
            call(computation, rows, &mut context);
            S::settle(&mut guard, key);
        }
        if P::TIMERS
            && !requests.is_empty()
            && let Some(timers) = timers
        {
            timers.take(key, requests);
        }
    }

    fn due(&self) -> Option<&DueKey> {
        self.timers.as_ref()?.next()
    }
}

impl<C, S, P> Chain for Compute<C, S, P>
where
    C: Chain<Key: Key>,
    S: Tables<C::Key>,
    P: Computation<C::Key, C::Out, S>,
{
    type Key = C::Key;
    type In = C::In;
    type Out = P::Output;
    const FANS_OUT: bool = true;

    #[inline(always)]
    fn feed(
        &mut self,
        origin: Origin,
        key: &C::Key,
        record: C::In,
        next: &mut impl FnMut(P::Output),
    ) {
        let Self { chain, then } = self;
        let mut nth = 0;
        chain.feed(origin, key, record, &mut |record| {
            then.call(origin, nth, key, |computation, rows, out| {
                computation.apply(key, record, rows, out);
            });
            nth += 1;
            if !then.outputs.is_empty() {
                for output in then.outputs.drain(..) {
                    next(output);
                }
            }
        });
    }

    fn begin_round(&mut self, round: Round) {
        self.chain.begin_round(round);
        if let Some(timers) = &mut self.then.timers {
            timers.begin(round);
        }
    }

    fn next_due(&self) -> Option<&DueKey> {
        let both = [self.chain.next_due(), self.then.due()];
        both.into_iter().flatten().min()
    }

    fn fire(&mut self, origin: Origin, next: &mut impl FnMut(&C::Key, P::Output)) {
        let Self { chain, then } = self;
        let own = match (chain.next_due(), then.due()) {
            (Some(before), Some(own)) => own < before,
            (None, own) => own.is_some(),
            (Some(_), None) => false,
        };
        if own {
            let Some((due, key)) = then.timers.as_mut().and_then(Timers::pop) else { return };
            let timer = Timer { name: &due.name, time: due.time };
            then.call(origin, 0, &key, |computation, rows, out| {
                computation.on_timer(&key, timer, rows, out);
            });
            then.outputs.drain(..).for_each(|output| next(&key, output));
            return;
        }
        let mut nth = 0;
        chain.fire(origin, &mut |key, record| {
            then.call(origin, nth, key, |computation, rows, out| {
                computation.apply(key, record, rows, out);
            });
            nth += 1;
            then.outputs.drain(..).for_each(|output| next(key, output));
        });
    }

    fn end_round(&mut self) {
        self.chain.end_round();
        if let Some(timers) = &mut self.then.timers {
            timers.end();
        }
    }
}
