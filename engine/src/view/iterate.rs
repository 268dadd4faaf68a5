//! [`Round`]: where the steps of [`Collection::iterate`](super::Collection::iterate) are drawn.
//!
//! Invariant: what is brought in is the same in every round.

use timely::dataflow::Scope;
use timely::order::Product;

use super::collection::{Collection, Tick, ViewData};

/// The inside of an iteration; see [`Collection::iterate`].
pub struct Round<'i, T: Tick> {
    pub(super) scope: Scope<'i, Product<T, u64>>,
}

impl<'i, T: Tick> Round<'i, T> {
    /// A collection from outside, for the steps of the iteration.
    pub fn enter<D: ViewData>(
        &self,
        collection: &Collection<'_, D, T>,
    ) -> Collection<'i, D, Product<T, u64>> {
        Collection::new(collection.inner.clone().enter(self.scope))
    }
}
