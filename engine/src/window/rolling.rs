//! Rolling values of one key: at each record, over the last so long or the last so many.
//!
//! Invariant: a value is a function of the records it is over, and of nothing else, also if `combine`
//! rounds; no record is needed again: what can no longer enter a value is evicted.

use std::time::Duration;

use super::{Combine, Tree, Window};
use crate::Time;

/// Values over the last so long, that of a record at `t` over the times in `(t - size, t]`; records may
/// come in any order until they are too late.
///
/// Records of one time are one entry. Cost: that of [`Tree`], with as many entries as there are times
/// in the size, and in what may still come late.
#[derive(Clone, Debug)]
pub struct RollingTime<C: Combine> {
    size: Duration,
    bound: Time,
    tree: Tree<Time, C>,
}

impl<C: Combine> RollingTime<C> {
    /// Over the last `size`; no record yet, and none is too late.
    pub fn new(size: Duration, combine: C) -> Self {
        Self::from_tree(size, Window::ALL.start, Tree::new(combine))
    }

    /// With what it had: [`bound`](Self::bound), and a tree of the entries of its [`tree`](Self::tree).
    pub fn from_tree(size: Duration, bound: Time, tree: Tree<Time, C>) -> Self {
        Self { size, bound, tree }
    }

    /// Adds a record, and gives the value at its time. `None` if it is too late: then it enters nothing.
    pub fn push(&mut self, time: Time, state: C::State) -> Option<C::State> {
        if time < self.bound {
            return None;
        }
        self.tree.insert(time, state);
        self.at(time)
    }

    /// The value at a time. Before [`bound`](Self::bound), some of its records may be gone.
    pub fn at(&self, time: Time) -> Option<C::State> {
        self.tree.query_range(Window::up_to(time, self.size).start..=time)
    }

    /// Says that records before `bound` are too late from now on, and evicts what is in no value at or
    /// after it. A bound before the last one changes nothing.
    pub fn advance(&mut self, bound: Time) {
        if bound > self.bound {
            self.bound = bound;
            self.tree.evict_before(Window::up_to(bound, self.size).start);
        }
    }

    /// The first time that is not too late.
    pub fn bound(&self) -> Time {
        self.bound
    }

    /// The entries, for a checkpoint: a tree made of them answers as this one, bit for bit.
    pub fn tree(&self) -> &Tree<Time, C> {
        &self.tree
    }
}

/// Values over the last so many records, in the order in which they were applied.
#[derive(Clone, Debug)]
pub struct RollingCount<C: Combine> {
    most: usize,
    tree: Tree<u64, C>,
}

impl<C: Combine> RollingCount<C> {
    /// Over the last `most` records, at least one.
    pub fn new(most: usize, combine: C) -> Self {
        Self::from_tree(most, Tree::new(combine))
    }

    /// With what it had: a tree of the entries of its [`tree`](Self::tree).
    pub fn from_tree(most: usize, tree: Tree<u64, C>) -> Self {
        Self { most: most.max(1), tree }
    }

    /// Adds a record, and gives the value over it and those before it.
    pub fn push(&mut self, state: C::State) -> Option<C::State> {
        let number = self.tree.last().map_or(0, |(last, _)| last.saturating_add(1));
        self.tree.insert(number, state);
        while self.tree.len() > self.most
            && let Some((first, _)) = self.tree.first()
        {
            self.tree.evict_through(first);
        }
        self.tree.query()
    }

    /// The entries by their numbers, for a checkpoint: a tree made of them answers as this one, bit for bit.
    pub fn tree(&self) -> &Tree<u64, C> {
        &self.tree
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Joins names: not commutative.
    struct Join;

    impl Combine for Join {
        type State = Vec<u32>;

        fn combine(&self, earlier: &mut Vec<u32>, later: &Vec<u32>) {
            earlier.extend(later);
        }
    }

    /// Rounds.
    #[derive(Debug)]
    struct Sum;

    impl Combine for Sum {
        type State = f64;

        fn combine(&self, earlier: &mut f64, later: &f64) {
            *earlier += later;
        }
    }

    proptest! {
        #[test]
        fn a_value_is_over_the_records_before_it_in_time(
            steps in prop::collection::vec((0_i64..40, 0_i64..12), 1..150),
            size in 1_u64..60,
        ) {
            let mut rolling = RollingTime::new(Duration::from_nanos(size), Join);
            let mut kept: Vec<(i64, u32)> = Vec::new();
            let (mut now, mut bound) = (-100, i64::MIN);
            for (number, (late, on)) in steps.into_iter().enumerate() {
                now += on;
                let (time, number) = (now - late, u32::try_from(number).unwrap());
                let value = rolling.push(Time::from_nanos(time), vec![number]);
                let expected = (time >= bound).then(|| {
                    kept.push((time, number));
                    let from = time - i64::try_from(size).unwrap();
                    let mut within = kept.clone();
                    within.retain(|(there, _)| from < *there && *there <= time);
                    within.sort_by_key(|(there, _)| *there);
                    within.into_iter().map(|(_, number)| number).collect::<Vec<_>>()
                });
                prop_assert_eq!(value, expected);
                // Every third record moves the bound.
                if number % 3 == 0 {
                    bound = bound.max(now - 20);
                    rolling.advance(Time::from_nanos(now - 20));
                    let first = rolling.tree().first().map(|(first, _)| first.as_nanos());
                    let gone = rolling.bound().as_nanos() - i64::try_from(size).unwrap();
                    prop_assert!(first.is_none_or(|first| first > gone));
                }
            }
        }

        /// After a restart the values are those that would have been, bit for bit.
        #[test]
        fn sums_that_round_are_the_same_if_it_is_made_again_from_its_entries(
            steps in prop::collection::vec((0_i64..60, 0_i64..12, -8_i32..8), 1..200),
            size in 1_u64..300,
            lost in prop::collection::vec(any::<prop::sample::Index>(), 3),
        ) {
            let size = Duration::from_nanos(size);
            let (mut one, mut other) = (RollingTime::new(size, Sum), RollingTime::new(size, Sum));
            let (mut count, mut other_count) = (RollingCount::new(50, Sum), RollingCount::new(50, Sum));
            let mut now = 0;
            for (number, (late, on, magnitude)) in steps.iter().enumerate() {
                now += on;
                let (time, state) = (Time::from_nanos(now - late), 10_f64.powi(*magnitude) / 3.0);
                if lost.iter().any(|lost| lost.index(steps.len()) == number) {
                    let entries = other.tree().iter().map(|(time, state)| (time, *state));
                    let tree = Tree::from_entries(Sum, entries.collect::<Vec<_>>());
                    other = RollingTime::from_tree(size, other.bound(), tree);
                    let entries = other_count.tree().iter().map(|(at, state)| (at, *state));
                    let tree = Tree::from_entries(Sum, entries.collect::<Vec<_>>());
                    other_count = RollingCount::from_tree(50, tree);
                }
                let bits = |sum: Option<f64>| sum.map(f64::to_bits);
                prop_assert_eq!(bits(one.push(time, state)), bits(other.push(time, state)));
                prop_assert_eq!(bits(count.push(state)), bits(other_count.push(state)));
                // One evicts more often than the other: a value does not know.
                other.advance(Time::from_nanos(now - 60));
                if number % 7 == 0 {
                    one.advance(Time::from_nanos(now - 60));
                }
            }
        }

        #[test]
        fn a_value_is_over_the_last_records(most in 0_usize..40, count in 1_u32..200) {
            let mut rolling = RollingCount::new(most, Join);
            for number in 0..count {
                let from = (number + 1).saturating_sub(u32::try_from(most.max(1)).unwrap());
                prop_assert_eq!(rolling.push(vec![number]), Some((from..=number).collect()));
            }
            prop_assert!(rolling.tree().len() <= most.max(1));
        }
    }
}
