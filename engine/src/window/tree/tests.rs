//! The tree beside a sorted map that combines everything anew; its form; what it is after a restart.
//!
//! Invariant: the states do not commute, so that a wrong order is a wrong answer.

mod cost;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

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

/// Writes down how it was combined: not even associative.
#[derive(Clone, Debug)]
struct Written;

impl Combine for Written {
    type State = String;

    fn combine(&self, earlier: &mut String, later: &String) {
        *earlier = format!("({earlier}{later})");
    }
}

fn state(n: u64) -> (u64, u64) {
    (n * 7_919 % PRIME + 2, n * 104_729 % PRIME + 3)
}

fn folded<'a>(states: impl Iterator<Item = &'a (u64, u64)>) -> Option<(u64, u64)> {
    states.copied().reduce(|mut all, next| {
        Affine::default().combine(&mut all, &next);
        all
    })
}

impl<K: Ord + Copy + std::fmt::Debug, C: Combine> Tree<K, C> {
    /// Whether each node is filled as it must be, is in order, and is reached once.
    fn check_form(&self) {
        let mut nodes = 0;
        let mut level = self.right.last().copied().into_iter().collect::<Vec<_>>();
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
                let count = entries.len() + children.len();
                assert!(count <= MOST);
                if height + 1 == self.right.len() {
                    assert!(height == 0 || count >= 2);
                } else if self.left.get(height) != Some(&node) {
                    assert!(count >= 5, "{count} in a node at {height}");
                }
                below.extend(children.iter().map(|(_, child)| *child));
                assert!(children.iter().skip(1).map(|(low, _)| low).is_sorted());
            }
            level = below;
        }
        assert!(level.is_empty());
        assert_eq!(nodes + self.free.len(), self.nodes.len());
        let keys = self.iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(keys.len(), self.len());
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
                    tree = Tree::restore(Affine::default(), entries, &tree.shape()).unwrap();
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

    /// What rounds in one tree rounds in the restored one: shown by states that write down how they were
    /// combined.
    #[test]
    fn a_restored_tree_combines_as_the_one_that_was_saved(
        before in prop::collection::vec(step(), 1..60),
        after in prop::collection::vec(step(), 1..60),
        (from, to) in (0_i64..1_000, 0_i64..2_500),
    ) {
        let mut tree = Tree::new(Written);
        let mut made = 0;
        let apply = |tree: &mut Tree<i64, Written>, step: &Step, made: &mut u32| {
            *made += 1;
            let last = tree.last().map_or(0, |(last, _)| last);
            match *step {
                Step::Insert(key) => tree.insert(key, format!("{made}.")),
                Step::InOrder(count) => {
                    for n in 0..i64::from(count / 8) {
                        tree.insert(last + n, format!("{made}:{n}."));
                    }
                }
                Step::EvictBefore(key) => tree.evict_before(key),
                Step::EvictThrough(key) => tree.evict_through(key),
                Step::EvictSome(_) | Step::Restore => {
                    if let Some((first, _)) = tree.first() {
                        tree.evict_through(first);
                    }
                }
            }
        };
        for step in &before {
            apply(&mut tree, step, &mut made);
        }
        let entries = tree.iter().map(|(key, state)| (key, state.clone())).collect::<Vec<_>>();
        let mut restored = Tree::restore(Written, entries, &tree.shape()).unwrap();
        let mut made_again = made;
        for step in &after {
            prop_assert_eq!(tree.query(), restored.query());
            prop_assert_eq!(tree.query_range(from..to), restored.query_range(from..to));
            apply(&mut tree, step, &mut made);
            apply(&mut restored, step, &mut made_again);
        }
        prop_assert_eq!(tree.query(), restored.query());
        prop_assert_eq!(tree.shape(), restored.shape());
    }

    #[test]
    fn a_damaged_shape_is_refused_or_makes_a_tree_of_the_same_entries(
        count in 0_i64..400,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let entries = (0..count).map(|key| (key, state(key.unsigned_abs()))).collect::<Vec<_>>();
        let tree = Tree::from_entries(Affine::default(), entries.clone());
        let mut shape = tree.shape();
        if cut {
            shape.truncate(at.index(shape.len() + 1));
        } else if !shape.is_empty() {
            let at = at.index(shape.len());
            shape[at] = byte;
        }
        match Tree::restore(Affine::default(), entries, &shape) {
            Ok(restored) => prop_assert_eq!(restored.query(), tree.query()),
            Err(error) => prop_assert!(error.to_string().contains("older checkpoint"), "{error}"),
        }
    }
}

/// Sliding windows by their panes: one entry for all records of a pane.
#[test]
fn sliding_windows_are_ranges_of_panes() {
    use std::time::Duration;

    use crate::Time;
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
