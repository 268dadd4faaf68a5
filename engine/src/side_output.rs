//! [`SideOutput`]: named further outputs of computations.
//!
//! Invariant: what is emitted to one keeps its order, and its origins are children of what it was
//! emitted for.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::letters::Posted;
use crate::pipeline::{Hub, Tagged};
use crate::{Origin, Record};

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
    letters: RefCell<Option<Waiting<Posted>>>,
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
    pub(crate) fn emit<T: Record>(&self, side: SideOutput<T>, origin: Origin, record: T) {
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

    /// Where dead letters of the chain are handed on.
    pub(crate) fn letters(&self) -> Rc<Hub<Posted>> {
        Rc::clone(&self.letters.borrow_mut().get_or_insert_with(Waiting::new).hub)
    }

    /// The record of that origin is a dead letter, or a retry that was dealt with.
    pub(crate) fn post(&self, origin: Origin, posted: Posted) {
        if let Some(letters) = &mut *self.letters.borrow_mut() {
            letters.push(origin, posted);
        }
    }

    /// Hands what was emitted to the uses of the side outputs.
    pub(crate) fn dispatch(&self) {
        for (_, side) in self.sides.borrow_mut().iter_mut() {
            side.dispatch();
        }
        if let Some(letters) = &mut *self.letters.borrow_mut() {
            letters.dispatch();
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
