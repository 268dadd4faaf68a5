//! [`Rows`]: the rows and timers of one key while a record or a timer is applied to it.
//!
//! Invariant: names of timers are in the order of the names of rows.

use std::ops::RangeBounds;

use crate::state::{MapRow, SubKey};
use crate::window::Window;
use crate::window::entries::{Ordered, OrderedMut, Stored};
use crate::window::pane::{SlidingKey, Store};
use crate::{Clock, Context, Record, Time, timer};

/// What names a row, and its timers.
pub trait Name: SubKey + Copy {
    /// The name of its timers.
    fn timer(self) -> timer::Name;

    /// The row whose timers have that name; `None` if there can be none.
    fn of_timer(name: &str) -> Option<Self>;
}

/// The digits of names, in the order of their values.
const DIGITS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
const DIGIT_BITS: u32 = 6;

/// Numbers, in their order, in as many digits as `bits` take: few enough for a name of a timer to take no memory
/// elsewhere.
fn digits(number: u128, bits: u32) -> timer::Name {
    let count = bits.div_ceil(DIGIT_BITS) as usize;
    let mut digits = [b'-'; 22];
    let mut rest = number;
    for digit in digits.iter_mut().take(count).rev() {
        *digit = DIGITS[(rest & 63) as usize];
        rest >>= DIGIT_BITS;
    }
    str::from_utf8(&digits[..count]).unwrap_or_default().into()
}

/// The number of which these are the digits.
fn of_digits(digits: &str) -> Option<u128> {
    digits.bytes().try_fold(0_u128, |number, digit| {
        let value = DIGITS.binary_search(&digit).ok()?;
        Some(number << DIGIT_BITS | value as u128)
    })
}

/// A number that is in the order of times.
fn ordered(time: Time) -> u64 {
    time.as_nanos() as u64 ^ 1 << 63
}

fn of_ordered(number: u64) -> Time {
    Time::from_nanos((number ^ 1 << 63) as i64)
}

/// A time as the name of a timer.
pub(super) fn time_name(time: Time) -> timer::Name {
    digits(ordered(time).into(), u64::BITS)
}

pub(super) fn of_time_name(name: &str) -> Option<Time> {
    u64::try_from(of_digits(name)?).ok().map(of_ordered)
}

impl Name for Window {
    fn timer(self) -> timer::Name {
        digits(u128::from(ordered(self.end)) << 64 | u128::from(ordered(self.start)), u128::BITS)
    }

    fn of_timer(name: &str) -> Option<Self> {
        let number = of_digits(name)?;
        let [end, start] = [number >> 64, number].map(|part| of_ordered(part as u64));
        Some(Self::new(start, end))
    }
}

/// Has one timer.
impl Name for SlidingKey {
    fn timer(self) -> timer::Name {
        timer::Name::default()
    }

    fn of_timer(_: &str) -> Option<Self> {
        Some(Self::Next)
    }
}

impl Name for u64 {
    fn timer(self) -> timer::Name {
        digits(self.into(), Self::BITS)
    }

    fn of_timer(name: &str) -> Option<Self> {
        Self::try_from(of_digits(name)?).ok()
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

    fn move_timer(&mut self, name: &N, from: Option<Time>, to: Option<Time>) {
        self.out.move_timer(name.timer(), from, to);
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
