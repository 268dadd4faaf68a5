//! [`Evictor`]: what of a pane is told when it fires, and what of it stays.
//!
//! Invariant: a record that is taken out is told in the same firing.

use serde::{Deserialize, Serialize};

/// What records came to, and how many they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents<S> {
    /// The aggregate's state.
    pub state: S,
    /// Of how many records.
    pub count: u64,
}

impl<S> Contents<S> {
    /// Adds what came later.
    pub(super) fn add(&mut self, later: &Self, combine: impl Fn(&mut S, &S)) {
        combine(&mut self.state, &later.state);
        self.count = self.count.saturating_add(later.count);
    }
}

/// What a firing tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take<S> {
    /// All that is held; it stays.
    All,
    /// What was taken out of it.
    Part(Contents<S>),
    /// Nothing yet: there is no firing.
    Nothing,
}

/// Says what of a pane a firing tells, and what stays: everything ([`Accumulate`], the default), nothing
/// ([`Discard`]), or what you say.
///
/// ```
/// use anabranch::window::pane::{Contents, Evictor, Take};
///
/// /// Two at a time, of the records that a pane collects.
/// struct Pairs;
///
/// impl<T> Evictor<Vec<T>> for Pairs {
///     fn take(&self, held: &mut Contents<Vec<T>>, _: Vec<T>) -> Take<Vec<T>> {
///         if held.state.len() < 2 {
///             return Take::Nothing;
///         }
///         held.count -= 2;
///         Take::Part(Contents { state: held.state.drain(..2).collect(), count: 2 })
///     }
/// }
/// ```
pub trait Evictor<S>: 'static {
    /// Whether each firing tells all that the window has had, so that the last one holds in place of
    /// those before it.
    const SUPERSEDES: bool = false;

    /// What is told of `held`; `none` is the state of no records.
    fn take(&self, held: &mut Contents<S>, none: S) -> Take<S>;
}

/// Each firing tells all records of the window so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accumulate;

impl<S> Evictor<S> for Accumulate {
    const SUPERSEDES: bool = true;

    fn take(&self, _: &mut Contents<S>, _: S) -> Take<S> {
        Take::All
    }
}

/// Each firing tells the records since the last one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl<S> Evictor<S> for Discard {
    fn take(&self, held: &mut Contents<S>, none: S) -> Take<S> {
        Take::Part(std::mem::replace(held, Contents { state: none, count: 0 }))
    }
}
