//! [`Scoped`]: values that live for a record, a batch or a chain, and [`Values`], those of a chain of computations.
//!
//! Invariant: a value is never seen after its time; what is done to it in a call that is undone is undone. It is
//! in no checkpoint, as none is made while a record is applied.

use std::any::Any;
use std::cell::{OnceCell, RefCell, RefMut};
use std::marker::PhantomData;

use crate::Origin;

/// A value beside the rows, which lives while a record is applied: what computations leave for what comes after
/// them, by [`Context::scoped`](crate::Context::scoped). What is to live longer is a row of a table.
///
/// ```
/// use anabranch::prelude::*;
/// use anabranch::{OnFailure, Scoped, TestDriver, sink, source};
///
/// const TOTAL: Scoped<u64> = Scoped::chain("total");
///
/// fn shares(app: &App) -> Result<()> {
///     app.source("numbers", source::empty::<Vec<u64>>())
///         .key_by(|_| ())
///         .depends("total", (), OnFailure::Block, |n, (), out| {
///             *out.scoped(TOTAL) += n;
///             Ok(())
///         })
///         .try_batch("share", (), |n, (), out| {
///             let total = *out.scoped(TOTAL);
///             out.emit(100 * n / total);
///             Ok(())
///         })
///         .sink("shares", sink::null());
///     Ok(())
/// }
///
/// let mut driver = TestDriver::new(shares).start()?;
/// driver.send("numbers", vec![1_u64, 3])?;
/// driver.send("numbers", vec![2_u64, 2])?;
/// driver.run()?;
/// assert_eq!(driver.outputs::<Vec<u64>>("shares"), [[25, 75], [50, 50]]);
/// # Ok::<(), anabranch::Error>(())
/// ```
pub struct Scoped<T> {
    name: &'static str,
    life: Life,
    of: PhantomData<fn() -> T>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Record,
    Batch,
    Chain,
}

impl<T> Scoped<T> {
    /// While one computation is applied to one record, or one item of a batch.
    pub const fn record(name: &'static str) -> Self {
        Self { name, life: Life::Record, of: PhantomData }
    }

    /// While one computation is applied to one record, or all items of one batch.
    pub const fn batch(name: &'static str) -> Self {
        Self { name, life: Life::Batch, of: PhantomData }
    }

    /// While a record, or a batch, is taken through consecutive computations of one key.
    pub const fn chain(name: &'static str) -> Self {
        Self { name, life: Life::Chain, of: PhantomData }
    }
}

impl<T> Clone for Scoped<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Scoped<T> {}

/// When a value is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) origin: Origin,
    /// Which computation of the chain is applied,
    pub(super) level: u32,
    /// to which of the records that come to it of the one that entered,
    pub(super) nth: u32,
    /// and to which item of that.
    pub(super) item: u32,
}

impl Moment {
    /// As much of it as a value that lives that long is told apart by.
    fn of(self, life: Life) -> Self {
        match life {
            Life::Record => self,
            Life::Batch => Self { item: 0, ..self },
            Life::Chain => Self { item: 0, level: 0, nth: 0, ..self },
        }
    }
}

/// The values of one chain of computations.
#[derive(Default)]
pub(crate) struct Values {
    /// The first, if one was ever asked for: most chains have none.
    first: OnceCell<Box<Slot>>,
    undo: RefCell<Undone>,
}

/// A value, and the next one: so that one can be made while another is held.
struct Slot {
    name: &'static str,
    life: Life,
    level: u32,
    kept: RefCell<Kept>,
    next: OnceCell<Box<Slot>>,
}

struct Kept {
    moment: Moment,
    value: Box<dyn Any>,
}

/// What values were before calls that may be undone.
#[derive(Default)]
struct Undone {
    before: Vec<(usize, Kept)>,
    /// How many of these are of calls before this one.
    from: usize,
    holding: bool,
}

impl Values {
    /// The value, and its place among those of the chain; the default if there was none.
    fn find<T: Default + 'static>(&self, scoped: Scoped<T>, moment: Moment) -> (usize, &Slot) {
        let Scoped { name, life, .. } = scoped;
        let mut index = 0;
        let mut next = &self.first;
        loop {
            let slot = next.get_or_init(|| {
                let kept = RefCell::new(Kept { moment, value: Box::new(T::default()) });
                let next = OnceCell::new();
                Box::new(Slot { name, life, level: moment.level, kept, next })
            });
            if (slot.name, slot.life, slot.level) == (name, life, moment.level) {
                return (index, slot);
            }
            (index, next) = (index + 1, &slot.next);
        }
    }

    #[allow(clippy::panic)]
    pub(super) fn get<T: Clone + Default + 'static>(
        &self,
        scoped: Scoped<T>,
        now: Moment,
        trying: bool,
    ) -> RefMut<'_, T> {
        let moment = now.of(scoped.life);
        let (index, slot) = self.find(scoped, moment);
        let Ok(mut kept) = slot.kept.try_borrow_mut() else {
            panic!("the scoped value `{}` is asked for while it is held", scoped.name)
        };
        if trying && let Some(value) = kept.value.downcast_ref::<T>() {
            let before = || Kept { moment: kept.moment, value: Box::new(value.clone()) };
            self.undo.borrow_mut().remember(index, before);
        }
        if kept.moment != moment && kept.value.is::<T>() {
            *kept = Kept { moment, value: Box::new(T::default()) };
        }
        match RefMut::filter_map(kept, |kept| kept.value.downcast_mut()) {
            Ok(value) => value,
            Err(_) => panic!(
                "the scoped value `{}` is of two types; give one of the two another name",
                scoped.name
            ),
        }
    }

    /// What is done from here on may be undone.
    #[inline(always)]
    pub(super) fn attempt(&self) {
        if self.first.get().is_some() {
            let undo = &mut *self.undo.borrow_mut();
            undo.from = undo.before.len();
        }
    }

    /// What was done stays.
    #[inline(always)]
    pub(super) fn keep(&self) {
        if self.first.get().is_some() {
            let undo = &mut *self.undo.borrow_mut();
            if !undo.holding {
                undo.before.clear();
            }
        }
    }

    /// What was done is undone.
    pub(super) fn undo(&self) {
        let undo = &mut *self.undo.borrow_mut();
        for (index, before) in undo.before.drain(undo.from..).rev() {
            let mut slot = self.first.get();
            for _ in 0..index {
                slot = slot.and_then(|slot| slot.next.get());
            }
            if let Some(slot) = slot {
                *slot.kept.borrow_mut() = before;
            }
        }
    }

    /// What stays from here on may be undone at once.
    pub(super) fn hold(&self) {
        let undo = &mut *self.undo.borrow_mut();
        *undo = Undone { holding: true, ..Undone::default() };
    }

    /// What was done since is undone.
    pub(super) fn undo_held(&self) {
        self.undo.borrow_mut().from = 0;
        self.undo();
    }

    /// It stays for good.
    pub(super) fn let_go(&self) {
        let undo = &mut *self.undo.borrow_mut();
        undo.before.clear();
        undo.holding = false;
    }
}

impl Undone {
    /// Once a call.
    fn remember(&mut self, index: usize, kept: impl FnOnce() -> Kept) {
        let mut of_call = self.before.iter().skip(self.from);
        if !of_call.any(|(known, _)| *known == index) {
            self.before.push((index, kept()));
        }
    }
}
