//! [`Store`]: where the rows and the timers of one key are.
//!
//! Invariant: the logic keeps nothing of a key outside its store, but for what can be made again from it.

use std::ops::RangeBounds;

use crate::Time;
pub use crate::timer::Clock;
use crate::window::entries::OrderedMut;

/// The rows of one key, in the order of `K`, and its timers, which are named by `K` too.
///
/// A row of a [`MapTable`](crate::MapTable) is one: rows are read, changed and kept one by one. What is
/// asked of timers:
///
/// * there is one of each clock and name: to set it again replaces it;
/// * once it is due it is gone, and the logic is told, in the order of (time, name);
/// * one that is set for a time that has been reached is due at once, in that same order: so a watermark
///   that leaps over many windows has them told one by one, each setting the timer of the next;
/// * to cancel one that is not there changes nothing.
pub trait Store<K: Ord, R>: OrderedMut<K, R> {
    /// Sets the timer of that clock and name.
    fn set_timer(&mut self, clock: Clock, name: &K, at: Time);

    /// Cancels it.
    fn cancel_timer(&mut self, clock: Clock, name: &K);

    /// The timer of event time of a row that says for when it is set: not for `from` any more, but for `to`.
    fn move_timer(&mut self, name: &K, from: Option<Time>, to: Option<Time>);
}

/// The first row's name in a range.
pub(super) fn first_in<K: Ord + Copy, R>(
    store: &impl Store<K, R>,
    range: impl RangeBounds<K>,
) -> Option<K> {
    store.range(range).next().map(|(name, _)| *name)
}
