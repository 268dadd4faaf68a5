//! [`Rows`]: the rows and timers of one key while a record or a timer is applied to it.
//!
//! Invariant: names of timers are in the order of the names of rows.

use std::ops::RangeBounds;

use crate::state::{MapRow, SubKey};
use crate::window::Window;
use crate::window::entries::{Ordered, OrderedMut, Stored};
use crate::window::pane::{SlidingKey, Store};
use crate::{Clock, Context, Record, Time};

/// What names a row, and its timers.
pub trait Name: SubKey + Copy {
    /// The name of its timers.
    fn timer(self) -> String;

    /// The row whose timers have that name; `None` if there can be none.
    fn of_timer(name: &str) -> Option<Self>;
}

/// Numbers, in their order, as sixteen hexadecimal digits each.
fn hexadecimal<const N: usize>(numbers: [u64; N]) -> String {
    let mut digits = String::with_capacity(16 * N);
    for number in numbers {
        let nibbles = (0..16).rev().map(|place| (number >> (4 * place)) as u32 & 15);
        digits.extend(nibbles.filter_map(|nibble| char::from_digit(nibble, 16)));
    }
    digits
}

/// A number that is in the order of times.
fn ordered(time: Time) -> u64 {
    time.as_nanos() as u64 ^ 1 << 63
}

/// Times, in their order.
pub(super) fn digits(time: Time) -> String {
    hexadecimal([ordered(time)])
}

pub(super) fn of_digits(digits: &str) -> Option<Time> {
    let bits = u64::from_str_radix(digits, 16).ok()?;
    Some(Time::from_nanos((bits ^ 1 << 63) as i64))
}

impl Name for Window {
    fn timer(self) -> String {
        hexadecimal([ordered(self.end), ordered(self.start)])
    }

    fn of_timer(name: &str) -> Option<Self> {
        let (end, start) = name.split_at_checked(16)?;
        Some(Self::new(of_digits(start)?, of_digits(end)?))
    }
}

/// Has one timer.
impl Name for SlidingKey {
    fn timer(self) -> String {
        String::new()
    }

    fn of_timer(_: &str) -> Option<Self> {
        Some(Self::Next)
    }
}

impl Name for u64 {
    fn timer(self) -> String {
        hexadecimal([self])
    }

    fn of_timer(name: &str) -> Option<Self> {
        u64::from_str_radix(name, 16).ok()
    }
}

/// The rows and timers of one key.
pub(crate) struct Rows<'a, 'r, 'c, N: Name, R: Record, O> {
    row: &'a mut MapRow<'r, N, Stored<R>>,
    out: &'a mut Context<'c, O>,
}

impl<'a, 'r, 'c, N: Name, R: Record, O> Rows<'a, 'r, 'c, N, R, O> {
    pub(crate) fn new(row: &'a mut MapRow<'r, N, Stored<R>>, out: &'a mut Context<'c, O>) -> Self {
        Self { row, out }
    }
}

impl<N: Name, R: Record, O> Ordered<N, R> for Rows<'_, '_, '_, N, R, O> {
    fn get(&self, key: &N) -> Option<&R> {
        Ordered::get(self.row, key)
    }

    fn range<'b>(
        &'b self,
        range: impl RangeBounds<N>,
    ) -> impl DoubleEndedIterator<Item = (&'b N, &'b R)>
    where
        N: 'b,
        R: 'b,
    {
        Ordered::range(self.row, range)
    }
}

impl<N: Name, R: Record, O> OrderedMut<N, R> for Rows<'_, '_, '_, N, R, O> {
    fn insert(&mut self, key: N, row: R) {
        OrderedMut::insert(self.row, key, row);
    }

    fn update<P>(&mut self, key: &N, change: impl FnOnce(&mut R) -> P) -> Option<P> {
        OrderedMut::update(self.row, key, change)
    }

    fn remove(&mut self, key: &N) -> Option<R> {
        OrderedMut::remove(self.row, key)
    }
}

impl<N: Name, R: Record, O> Store<N, R> for Rows<'_, '_, '_, N, R, O> {
    fn set_timer(&mut self, clock: Clock, name: &N, at: Time) {
        match clock {
            Clock::Event => self.out.set_timer(name.timer(), at),
            Clock::Engine => self.out.set_engine_timer(name.timer(), at),
        }
    }

    fn cancel_timer(&mut self, clock: Clock, name: &N) {
        match clock {
            Clock::Event => self.out.cancel_timer(name.timer()),
            Clock::Engine => self.out.cancel_engine_timer(name.timer()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_of_timers_are_in_the_order_of_windows(ends in any::<[(i64, i64); 2]>()) {
            let windows = ends.map(|(start, end)| {
                Window::new(Time::from_nanos(start), Time::from_nanos(end))
            });
            let names = windows.map(Name::timer);
            prop_assert_eq!(windows[0].cmp(&windows[1]), names[0].cmp(&names[1]));
            prop_assert_eq!(Window::of_timer(&names[0]), Some(windows[0]));
        }

        #[test]
        fn names_of_timers_are_in_the_order_of_numbers(numbers in any::<[u64; 2]>()) {
            let names = numbers.map(Name::timer);
            prop_assert_eq!(numbers[0].cmp(&numbers[1]), names[0].cmp(&names[1]));
            prop_assert_eq!(u64::of_timer(&names[0]), Some(numbers[0]));
        }
    }
}
