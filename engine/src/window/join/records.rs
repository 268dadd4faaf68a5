//! The records of one key that are in open windows, by input and time.
//!
//! Invariant: a record is kept once, whatever the number of its windows, and as long as one of them is
//! open. Its windows are those open ones that contain its time: so when sessions become one, no record is
//! touched.

use std::ops::Bound;

use super::panes::{Open, Slot};
use crate::Time;
use crate::window::Window;
use crate::window::entries::{Ordered, OrderedMut};

/// Where a record stands: its input, its time, and how many of both were applied before it.
pub type Spot = (u16, Time, u64);

/// The entries of `input` in `window`.
pub(super) fn within<'a, V: 'a>(
    records: &'a impl Ordered<Spot, V>,
    input: u16,
    window: Window,
) -> impl DoubleEndedIterator<Item = (&'a Spot, &'a V)> {
    let end = if window.is_endless() {
        Bound::Included((input, window.end, u64::MAX))
    } else {
        Bound::Excluded((input, window.end, 0))
    };
    records.range((Bound::Included((input, window.start, 0)), end))
}

/// Keeps a record after those of its input and time.
pub(super) fn keep<V>(records: &mut impl OrderedMut<Spot, V>, input: u16, time: Time, value: V) {
    let same = (input, time, 0)..=(input, time, u64::MAX);
    let last = records.range(same).next_back().map(|((_, _, nth), _)| *nth);
    records.insert((input, time, last.map_or(0, |nth| nth.saturating_add(1))), value);
}

/// Drops the records of a closed window that are in no open one. Those end later: so the ones that have a
/// time of the closed one are those that begin by then.
pub(super) fn drop_closed<V>(
    window: Window,
    records: &mut impl OrderedMut<Spot, V>,
    windows: &impl Ordered<Slot, Open>,
) {
    let needed = windows.range(..).map(|((_, open), _)| open.start).min();
    let mut input = Some(0);
    while let Some(next) = input.and_then(|input| input_from(records, input)) {
        let all = within(records, next, window).map(|(spot, _)| *spot);
        let gone = all.take_while(|spot| needed.is_none_or(|needed| spot.1 < needed));
        for spot in gone.collect::<Vec<_>>() {
            records.remove(&spot);
        }
        input = next.checked_add(1);
    }
}

/// The first input from `input` on that has records.
fn input_from<V>(records: &impl Ordered<Spot, V>, input: u16) -> Option<u16> {
    let mut there = records.range((input, Window::ALL.start, 0)..);
    there.next().map(|((input, _, _), _)| *input)
}
