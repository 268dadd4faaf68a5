//! The tree beside a sorted map that combines everything anew, and its form.
//!
//! Invariant: the states do not commute, so that a wrong order is a wrong answer.

mod bracketing;
mod cost;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::Time;

/// Affine maps modulo a prime: associative, not commutative; equal only if in the same order.
#[derive(Clone, Debug, Default)]
struct Affine {
    combines: Rc<Cell<u64>>,
}

const PRIME: u64 = 2_147_483_647;

impl Combine for Affine {
    type State = (u64, u64);

    fn combine(&self, earlier: &mut (u64, u64), later: &(u64, u64)) {
        self.combines.set(self.combines.get() + 1);
        *earlier = (earlier.0 * later.0 % PRIME, (earlier.1 * later.0 + later.1) % PRIME);
    }
}

impl key::sealed::Bits for i64 {
    fn bits(self) -> u64 {
        self.cast_unsigned()
    }
}

impl key::sealed::Bits for usize {
    fn bits(self) -> u64 {
        self as u64
    }
}

impl TreeKey for i64 {}
impl TreeKey for usize {}

fn state(n: u64) -> (u64, u64) {
    (n * 7_919 % PRIME + 2, n * 104_729 % PRIME + 3)
}

fn folded<'a>(states: impl Iterator<Item = &'a (u64, u64)>) -> Option<(u64, u64)> {
    states.copied().reduce(|mut all, next| {
        Affine::default().combine(&mut all, &next);
        all
    })
}

impl<K: TreeKey + std::fmt::Debug, C: Combine> Tree<K, C> {
    fn first_key(&self, node: usize) -> K {
        match self.children(node) {
            [(_, first), ..] => self.first_key(*first),
            [] => self.entries(node)[0].0,
        }
    }

    /// Whether each node begins where it must, is in order, and is reached once.
    fn check_form(&self) {
        let mut nodes = 0;
        let mut level = self.right.last().copied().into_iter().collect::<Vec<_>>();
        if let [root] = level[..] {
            assert!(self.top() == 0 || self.children(root).len() >= 2);
        }
        for height in (0..self.right.len()).rev() {
            assert_eq!(
                (level.first(), level.last()),
                (self.left.get(height), self.right.get(height))
            );
            let mut below = Vec::new();
            for &node in &level {
                nodes += 1;
                let (entries, children) = (self.entries(node), self.children(node));
                assert_eq!(height == 0, children.is_empty());
                assert_eq!(height == 0, !entries.is_empty());
                if Some(&node) != self.left.get(height) {
                    assert!(key::height(self.first_key(node)) > height);
                }
                for (key, _) in entries.iter().skip(1) {
                    assert_eq!(key::height(*key), 0);
                }
                for (at, (low, child)) in children.iter().enumerate() {
                    if at > 0 || Some(&node) != self.left.get(height) {
                        assert_eq!(*low, self.first_key(*child));
                    }
                    assert!(at == 0 || key::height(*low) == height);
                }
                below.extend(children.iter().map(|(_, child)| *child));
            }
            level = below;
        }
        assert!(level.is_empty());
        assert_eq!(nodes + self.free.len(), self.nodes.len());
        let keys = self.iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(keys.len(), self.len());
        let front = if self.top() == 0 { 0 } else { self.entries(self.left[0]).len() };
        assert_eq!(self.front.len(), front);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(i64),
    InOrder(u8),
    EvictBefore(i64),
    EvictThrough(i64),
    EvictSome(u8),
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0_i64..2_000).prop_map(Step::Insert),
        4 => any::<u8>().prop_map(Step::InOrder),
        1 => (0_i64..700).prop_map(Step::EvictBefore),
        1 => (0_i64..700).prop_map(Step::EvictThrough),
        3 => any::<u8>().prop_map(Step::EvictSome),
        1 => Just(Step::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn it_is_a_sorted_map_that_combines(
        steps in prop::collection::vec(step(), 1..120),
        ranges in prop::collection::vec((0_i64..2_500, 0_i64..2_500), 24),
    ) {
        let mut tree = Tree::new(Affine::default());
        let mut model: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        let mut made = 0;
        for step in steps {
            let mut insert = |tree: &mut Tree<i64, Affine>, key| {
                made += 1;
                tree.insert(key, state(made));
                let there = model.entry(key);
                there
                    .and_modify(|there| Affine::default().combine(there, &state(made)))
                    .or_insert(state(made));
            };
            match step {
                Step::Insert(key) => insert(&mut tree, key),
                Step::InOrder(count) => {
                    for n in 0..count {
                        let last = tree.last().map_or(0, |(last, _)| last);
                        // Every fourth goes to the last entry.
                        insert(&mut tree, last + i64::from(n % 4 != 0));
                    }
                }
                Step::EvictBefore(key) => {
                    tree.evict_before(key);
                    model = model.split_off(&key);
                }
                Step::EvictThrough(key) => {
                    tree.evict_through(key);
                    model = model.split_off(&(key + 1));
                }
                Step::EvictSome(count) => {
                    for _ in 0..count / 4 {
                        if let Some((first, _)) = model.pop_first() {
                            tree.evict_through(first);
                        }
                    }
                }
                Step::Restore => {
                    let entries = tree.iter().map(|(key, state)| (key, *state)).collect::<Vec<_>>();
                    tree = Tree::from_entries(Affine::default(), entries.into_iter().rev());
                }
            }
            tree.check_form();
            prop_assert_eq!(tree.query(), folded(model.values()));
            prop_assert_eq!(tree.query_range(..), folded(model.values()));
        }
        prop_assert!(tree.iter().eq(model.iter().map(|(key, state)| (*key, state))));
        let first = tree.first().map(|(key, _)| key);
        prop_assert_eq!(first, model.keys().next().copied());
        for (a, b) in ranges {
            let (from, to) = (a.min(b), a.max(b));
            prop_assert_eq!(tree.query_range(from..to), folded(model.range(from..to).map(|e| e.1)));
            prop_assert_eq!(tree.query_range(from..=to), folded(model.range(from..=to).map(|e| e.1)));
            prop_assert_eq!(tree.query_range(..to), folded(model.range(..to).map(|e| e.1)));
            prop_assert_eq!(tree.query_range(from..), folded(model.range(from..).map(|e| e.1)));
        }
        let again = Tree::from_entries(Affine::default(), tree.iter().map(|(k, s)| (k, *s)));
        again.check_form();
        prop_assert_eq!(again.query(), tree.query());
    }
}

/// Sliding windows by their panes: one entry for all records of a pane.
#[test]
fn sliding_windows_are_ranges_of_panes() {
    use std::time::Duration;

    use crate::window::{WindowAssigner as _, sliding};

    let windows = sliding(Duration::from_nanos(100), Duration::from_nanos(15));
    let mut tree = Tree::new(Affine::default());
    // Kept in the order of panes, and in that of arrival within them, as the tree has them.
    let mut kept: Vec<(Time, Time, (u64, u64))> = Vec::new();
    let mut first = Vec::new();
    windows.assign(Time::ZERO, &mut first);
    let mut next = first[0];
    let mut fired = 0;
    for n in 0..3_000_i64 {
        let time = Time::from_nanos(n - n * 7_919 % 40);
        let pane = windows.pane(time).start;
        tree.insert(pane, state(n.unsigned_abs()));
        kept.push((pane, time, state(n.unsigned_abs())));
        // Nothing is later than 40.
        while next.end.as_nanos() <= n - 40 {
            let mut within = kept.clone();
            within.retain(|(_, time, _)| next.contains(*time));
            within.sort_by_key(|(pane, _, _)| *pane);
            let expected = folded(within.iter().map(|(_, _, state)| state));
            assert_eq!(tree.query_range(next.start..next.end), expected, "{next}");
            next = windows.next(next).unwrap();
            tree.evict_before(next.start);
            kept.retain(|(_, time, _)| *time >= next.start);
            fired += 1;
        }
    }
    assert!(fired > 180, "{fired}");
}
