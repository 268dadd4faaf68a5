//! Computations: user code applied to one record, rows in, records out.
//!
//! Invariant: a computation sees one record at a time and the rows of its key; what it emits goes
//! on after it has returned. It learns time and randomness from its [`Context`] alone.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::origin::RecordId;
use crate::pipeline::{Chain, Hub, Tagged};
use crate::state::Tables;
use crate::{Key, Origin, Record, Time};

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
///     fn apply(&mut self, word: String, mut count: Row<'_, u64>, out: &mut Context<'_, (String, u64)>) {
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

    /// Applies it to one record.
    fn apply(&mut self, record: I, rows: S::Rows<'_>, out: &mut Context<'_, Self::Output>);
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
    fn apply(&mut self, record: I, rows: S::Rows<'_>, out: &mut Context<'_, O>) {
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

    /// The record's ingest time: the same in every replay.
    pub fn now(&self) -> Time {
        self.origin.time()
    }

    /// How far the event time of the pipeline has come: what was read before the record's epoch says
    /// that no record with an event time before this is expected any more. The same in every replay.
    /// The beginning of time if no source of the pipeline says what its
    /// [`event_time`](crate::Stream::event_time) is, or not all of its partitions have brought
    /// something; the end of time when all have ended.
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

/// A named second output of a computation.
///
/// ```
/// use anabranch::SideOutput;
/// const LATE: SideOutput<String> = SideOutput::new("late");
/// ```
pub struct SideOutput<T> {
    name: &'static str,
    of: PhantomData<fn() -> T>,
}

impl<T> SideOutput<T> {
    /// The side output of that name.
    pub const fn new(name: &'static str) -> Self {
        Self { name, of: PhantomData }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for SideOutput<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SideOutput<T> {}

/// The side outputs that the application uses of one chain of computations.
#[derive(Default)]
pub(crate) struct Sides {
    sides: RefCell<Vec<(&'static str, Box<dyn Side>)>>,
}

impl Sides {
    /// The hub of `side`, made at its first use; `None` if the name is taken by another type.
    pub(crate) fn hub<T: Record>(&self, side: SideOutput<T>) -> Option<Rc<Hub<T>>> {
        let mut sides = self.sides.borrow_mut();
        if !sides.iter().any(|(name, _)| *name == side.name) {
            sides.push((side.name, Box::new(Waiting::<T>::new())));
        }
        let (_, known) = sides.iter_mut().find(|(name, _)| *name == side.name)?;
        let waiting: &mut Waiting<T> = known.as_any().downcast_mut()?;
        Some(Rc::clone(&waiting.hub))
    }

    #[allow(clippy::panic)]
    fn emit<T: Record>(&self, side: SideOutput<T>, origin: Origin, record: T) {
        let mut sides = self.sides.borrow_mut();
        let Some((_, known)) = sides.iter_mut().find(|(name, _)| *name == side.name) else {
            return;
        };
        match known.as_any().downcast_mut::<Waiting<T>>() {
            Some(waiting) => waiting.push(origin, record),
            None => panic!(
                "side output `{}` takes records of another type; give one of the two another name",
                side.name
            ),
        }
    }

    /// Hands what was emitted to the uses of the side outputs.
    pub(crate) fn dispatch(&self) {
        for (_, side) in self.sides.borrow_mut().iter_mut() {
            side.dispatch();
        }
    }
}

trait Side {
    fn as_any(&mut self) -> &mut dyn Any;
    fn dispatch(&mut self);
}

/// What was emitted to one side output and not yet handed on.
struct Waiting<T> {
    hub: Rc<Hub<T>>,
    records: Vec<Tagged<T>>,
    /// The origin last emitted for, and the next place among its outputs.
    last: Option<(Origin, u32)>,
}

impl<T: Record> Waiting<T> {
    fn new() -> Self {
        Self { hub: Hub::new(), records: Vec::new(), last: None }
    }

    fn push(&mut self, origin: Origin, record: T) {
        let place = match self.last {
            Some((last, place)) if last == origin => place,
            _ => 0,
        };
        self.last = Some((origin, place + 1));
        self.records.push(Tagged { origin: origin.child(place), record });
    }
}

impl<T: Record> Side for Waiting<T> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn dispatch(&mut self) {
        self.hub.dispatch(&mut self.records);
    }
}

/// A chain followed by a computation on tables.
pub(crate) struct Compute<C: Chain<Key: Key>, S: Tables<C::Key>, P: Computation<C::Key, C::Out, S>>
{
    pub(crate) chain: C,
    pub(crate) bound: S::Bound,
    pub(crate) computation: P,
    pub(crate) surroundings: Surroundings,
    pub(crate) outputs: Vec<P::Output>,
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
        let Self { chain, bound, computation, surroundings, outputs } = self;
        let mut nth = 0;
        chain.feed(origin, key, record, &mut |record| {
            {
                let mut guard = S::lock(bound);
                let rows = S::rows(&mut guard, key);
                let sequences = Cell::new(0);
                let mut context = Context { origin, nth, sequences, outputs, surroundings };
                computation.apply(record, rows, &mut context);
                S::settle(&mut guard, key);
            }
            nth += 1;
            if !outputs.is_empty() {
                for output in outputs.drain(..) {
                    next(output);
                }
            }
        });
    }
}
