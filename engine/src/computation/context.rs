//! [`Context`]: what a computation can learn and do while it is applied; [`Random`]: its random numbers.
//!
//! Invariant: what it learns is a function of the record, its origin and what came before it: the same in every
//! replay.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

use super::scoped::{Moment, Scoped, Values};
use super::trying::Refusals;
use crate::metrics::Counters;
use crate::origin::RecordId;
use crate::side_output::Sides;
use crate::timer::{Change, Name, Request};
use crate::{Clock, Origin, Record, SideOutput, Time};

/// What was emitted to a side output while it might be undone.
pub(crate) type Held = Box<dyn FnOnce(&Sides)>;

/// What a computation can learn and do while it is applied to a record.
pub struct Context<'a, O> {
    pub(super) origin: Origin,
    /// Which of the records this is that the computation gets from one entering record.
    pub(super) nth: u32,
    /// Which item this is of a batch.
    pub(super) item: u32,
    /// How many sequences of random numbers were asked for.
    pub(super) sequences: Cell<u32>,
    pub(super) outputs: &'a mut Vec<O>,
    pub(super) requests: &'a mut Vec<Request>,
    pub(super) surroundings: &'a Surroundings,
    /// What is emitted to side outputs, if it may be undone.
    pub(super) held: Option<&'a mut Vec<Held>>,
    /// What it emitted for the record when that came the last time, if that is known.
    pub(super) former: Option<&'a dyn Any>,
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
    /// Whether it sets timers that are due by engine time.
    pub(crate) engine_timers: bool,
    /// What there is to refuse records with, if it may.
    pub(crate) refusals: Option<Refusals>,
    /// Of all computations of the chain.
    pub(crate) values: Rc<Values>,
    /// Which computation of the chain it is.
    pub(crate) level: u32,
}

impl<'a, O> Context<'a, O> {
    /// What it emits for a record that has come again is as `outputs`, of another type, and it sees the `former` ones.
    pub(super) fn with_outputs<T: 'static, R>(
        &mut self,
        outputs: &mut Vec<T>,
        former: &dyn Any,
        call: impl FnOnce(&mut Context<'_, T>) -> R,
    ) -> R {
        let Self { origin, nth, item, sequences, requests, surroundings, held, .. } = self;
        let mut context = Context {
            origin: *origin,
            nth: *nth,
            item: *item,
            sequences: Cell::new(sequences.get()),
            outputs,
            requests,
            surroundings,
            held: held.as_deref_mut(),
            former: Some(former),
        };
        let result = call(&mut context);
        sequences.set(context.sequences.get());
        result
    }

    /// A value that lives as long as `scoped` says, the default at first; what is done to it is undone with the
    /// rest.
    ///
    /// # Panics
    /// When it is asked for while it is held, or when a value of another type has its name.
    pub fn scoped<T: Clone + Default + 'static>(&self, scoped: Scoped<T>) -> RefMut<'a, T> {
        let Self { origin, nth, item, surroundings, .. } = self;
        let moment = Moment { origin: *origin, level: surroundings.level, nth: *nth, item: *item };
        surroundings.values.get(scoped, moment, self.held.is_some())
    }
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

    /// What was emitted for this record when it came the last time, if the stream is
    /// [identified](crate::Keyed::identified_by); nothing if it had not come. For what rows are made of several
    /// records: what this one has contributed to them can be taken back.
    pub fn former(&self) -> &[O]
    where
        O: 'static,
    {
        self.former.and_then(|former| former.downcast_ref::<Vec<O>>()).map_or(&[], Vec::as_slice)
    }

    /// Emits a record to a side output; see [`Keyed::side`](crate::Keyed::side). It is dropped if
    /// the application does not use that output.
    ///
    /// # Panics
    /// When the application takes records of another type from a side output of that name.
    pub fn emit_to<T: Record>(&mut self, side: SideOutput<T>, record: T) {
        let origin = self.origin;
        match &mut self.held {
            None => self.surroundings.sides.emit(side, origin, record),
            Some(held) => held.push(Box::new(move |sides| sides.emit(side, origin, record))),
        }
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
    ///
    /// [`Computation::on_timer`]: crate::Computation::on_timer
    /// [`Computation::TIMERS`]: crate::Computation::TIMERS
    pub fn set_timer(&mut self, name: impl AsRef<str>, time: Time) {
        self.request(Clock::Event, name.as_ref().into(), Change::Set(time));
    }

    /// Sets the timer `name` of this key for `time`, unless it is set for no later time.
    pub(crate) fn set_timer_by(&mut self, name: impl AsRef<str>, time: Time) {
        self.request(Clock::Event, name.as_ref().into(), Change::SetBy(time));
    }

    /// The timer `name` of this key, which a row of the computation's own says, is no longer set for `from`
    /// but for `to`.
    pub(crate) fn move_timer(&mut self, name: Name, from: Option<Time>, to: Option<Time>) {
        self.request(Clock::Event, name, Change::Moved { from, to });
    }

    /// Takes back the timer `name` of this key, if it is set.
    ///
    /// # Panics
    /// As [`set_timer`](Self::set_timer).
    pub fn cancel_timer(&mut self, name: impl AsRef<str>) {
        self.request(Clock::Event, name.as_ref().into(), Change::Cancel);
    }

    /// Sets the timer `name` of this key by engine time, beside the one of event time that may have the
    /// same name: [`Computation::on_timer`] is called, once, when ingest time passes `time`, after all
    /// records that come at that time or before, and before the first that comes later. [`now`](Self::now)
    /// is `time` then; or what it is here, if that is later. A timer that was set by that name and is not
    /// due yet is replaced.
    ///
    /// While live input is silent, the wall clock makes time pass, which is noted in the journal: a
    /// replay fires the same. Recorded input that has ended ends time too: all timers that are left are
    /// due then, also those that they set, each at its time. [`watermark`](Self::watermark) is
    /// [`Time::END`] then: one that sets itself again and again must stop.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use anabranch::prelude::*;
    /// use anabranch::{TestDriver, Timer, sink, source};
    ///
    /// const LAST: Table<String, u64> = Table::new("last");
    ///
    /// /// Says which devices have said nothing for a minute.
    /// struct Silence;
    ///
    /// impl Computation<String, (String, u64), Table<String, u64>> for Silence {
    ///     type Output = (String, u64);
    ///     const ENGINE_TIMERS: bool = true;
    ///
    ///     fn apply(&mut self, _: &String, (_, said): (String, u64), mut last: Row<u64>, out: &mut Context<(String, u64)>) {
    ///         *last = said;
    ///         out.set_engine_timer("silent", out.now().after(Duration::from_secs(60)));
    ///     }
    ///
    ///     fn on_timer(&mut self, device: &String, _: Timer, last: Row<u64>, out: &mut Context<(String, u64)>) {
    ///         out.emit((device.clone(), *last));
    ///     }
    /// }
    ///
    /// let mut driver = TestDriver::new(|app: &App| {
    ///     app.source("devices", source::empty::<(String, u64)>())
    ///         .key_by(|(device, _)| device.clone())
    ///         .computation("silence", LAST, Silence)
    ///         .sink("silent", sink::null());
    ///     Ok(())
    /// })
    /// .start()?;
    /// driver.send("devices", ("lamp".to_string(), 1_u64))?;
    /// driver.advance(Duration::from_secs(40));
    /// driver.send("devices", ("door".to_string(), 2_u64))?;
    /// driver.advance(Duration::from_secs(20));
    /// driver.run()?;
    /// assert_eq!(driver.outputs::<(String, u64)>("silent"), [("lamp".to_string(), 1)]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    ///
    /// # Panics
    /// When the computation does not say [`Computation::ENGINE_TIMERS`].
    ///
    /// [`Computation::on_timer`]: crate::Computation::on_timer
    /// [`Computation::ENGINE_TIMERS`]: crate::Computation::ENGINE_TIMERS
    pub fn set_engine_timer(&mut self, name: impl AsRef<str>, time: Time) {
        self.request(Clock::Engine, name.as_ref().into(), Change::Set(time));
    }

    /// Takes back the timer `name` of this key by engine time, if it is set.
    ///
    /// # Panics
    /// As [`set_engine_timer`](Self::set_engine_timer).
    pub fn cancel_engine_timer(&mut self, name: impl AsRef<str>) {
        self.request(Clock::Engine, name.as_ref().into(), Change::Cancel);
    }

    fn request(&mut self, clock: Clock, name: Name, change: Change) {
        let (declared, what) = match clock {
            Clock::Event => (self.surroundings.timers, "TIMERS"),
            Clock::Engine => (self.surroundings.engine_timers, "ENGINE_TIMERS"),
        };
        assert!(
            declared,
            "a computation that sets timers must say so: `const {what}: bool = true;` in its \
             `impl Computation`"
        );
        self.requests.push(Request { clock, name, change });
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
        let item = u64::from(self.item).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Random(self.origin.seed() ^ self.surroundings.salt ^ call ^ item)
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
