//! How what a range combines to is bracketed: as its keys say, whatever the tree went through.
//!
//! Invariant: the oracle is the definition in the tree's documentation, written down once more for a list
//! of entries: no tree, no cache.

use super::super::key::height;
use super::*;

/// Writes down how it was combined: not even associative.
#[derive(Clone, Debug)]
struct Written;

impl Combine for Written {
    type State = String;

    fn combine(&self, earlier: &mut String, later: &String) {
        *earlier = format!("({earlier} {later})");
    }
}

/// Rounds.
#[derive(Clone, Debug)]
struct Sum;

impl Combine for Sum {
    type State = f64;

    fn combine(&self, earlier: &mut f64, later: &f64) {
        *earlier += later;
    }
}

type Entry = (i64, String);

fn join(earlier: Option<String>, later: Option<String>) -> Option<String> {
    match (earlier, later) {
        (Some(earlier), Some(later)) => Some(format!("({earlier} {later})")),
        (earlier, later) => earlier.or(later),
    }
}

/// Cut before each entry, but the first, whose height is the greatest; one piece if that is none.
fn pieces(entries: &[Entry]) -> Vec<&[Entry]> {
    let most = entries.iter().skip(1).map(|(key, _)| height(*key)).max().unwrap_or(0);
    let mut pieces = Vec::new();
    let mut from = 0;
    for at in 1..entries.len() {
        if most > 0 && height(entries[at].0) == most {
            pieces.push(&entries[from..at]);
            from = at;
        }
    }
    pieces.push(&entries[from..]);
    pieces
}

fn single(entry: &Entry) -> Option<String> {
    Some(entry.1.clone())
}

/// A node that a range has all of.
fn whole(entries: &[Entry]) -> Option<String> {
    match pieces(entries).as_slice() {
        [one] => one.iter().map(single).fold(None, join),
        more => group(more),
    }
}

fn group(pieces: &[&[Entry]]) -> Option<String> {
    pieces.iter().map(|piece| whole(piece)).fold(None, join)
}

/// What a node has of a range that begins in it and goes on behind it.
fn ending(entries: &[Entry], later: Option<String>) -> Option<String> {
    match pieces(entries).as_slice() {
        [one] => {
            let entries = one.iter().rev().map(single);
            join(entries.fold(None, |later, entry| join(entry, later)), later)
        }
        [first, others @ ..] => ending(first, join(group(others), later)),
        [] => later,
    }
}

/// What a node has of a range that begins before it and ends in it, but its last entry.
fn beginning(entries: &[Entry], earlier: Option<String>) -> Option<String> {
    match pieces(entries).as_slice() {
        [[but_last @ .., _]] => but_last.iter().map(single).fold(earlier, join),
        [others @ .., last] => {
            beginning(last, others.iter().map(|piece| whole(piece)).fold(earlier, join))
        }
        [] => earlier,
    }
}

/// What a range combines to.
fn bracketed(entries: &[Entry]) -> Option<String> {
    match pieces(entries).as_slice() {
        [first, middle @ .., last] => {
            let before = join(join(ending(first, None), group(middle)), beginning(last, None));
            join(before, last.last().and_then(single))
        }
        _ => whole(entries),
    }
}

fn within<K: TreeKey, S: Clone>(entries: &[(K, S)], from: K, to: K) -> Vec<(K, S)> {
    entries.iter().filter(|(key, _)| from <= *key && *key < to).cloned().collect()
}

/// The same in another order.
fn disordered<T: Clone>(items: &[T], by: usize) -> Vec<T> {
    let mut items = items.to_vec();
    for at in 1..items.len() {
        items.swap(at, (at * 7_919 + by * 104_729) % (at + 1));
    }
    items
}

fn apply<C: Combine>(tree: &mut Tree<i64, C>, step: &Step, state: impl Fn(i64) -> C::State) {
    let last = tree.last().map_or(0, |(last, _)| last);
    match *step {
        Step::Insert(key) => tree.insert(key, state(0)),
        Step::InOrder(count) => {
            for n in 0..i64::from(count / 2) {
                tree.insert(last + n, state(n));
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
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_range_is_bracketed_as_its_keys_say(
        steps in prop::collection::vec(step(), 1..60),
        ranges in prop::collection::vec((0_i64..3_000, 0_i64..3_000), 8),
        by in 0_usize..1_000,
    ) {
        let mut tree = Tree::new(Written);
        for (made, step) in steps.iter().enumerate() {
            apply(&mut tree, step, |n| format!("{made}:{n}"));
            tree.check_form();
            let entries = tree.iter().map(|(key, state)| (key, state.clone())).collect::<Vec<_>>();
            prop_assert_eq!(tree.query(), bracketed(&entries));
            let (a, b) = ranges[made % ranges.len()];
            let asked = within(&entries, a.min(b), a.max(b));
            prop_assert_eq!(tree.query_range(a.min(b)..a.max(b)), bracketed(&asked));
        }
        let entries = tree.iter().map(|(key, state)| (key, state.clone())).collect::<Vec<_>>();
        let again = Tree::from_entries(Written, disordered(&entries, by));
        again.check_form();
        prop_assert_eq!(tree.query(), again.query());
        // The ranges whose ends are near the tree's, and any.
        let keys = entries.iter().map(|(key, _)| *key).collect::<Vec<_>>();
        let near = (0..keys.len().min(40)).map(|n| (keys[n], keys[keys.len() - 1 - n * 7 % 30 % keys.len()]));
        for (a, b) in near.chain(ranges) {
            let (from, to) = (a.min(b), a.max(b));
            let asked = within(&entries, from, to);
            let expected = bracketed(&asked);
            prop_assert_eq!(tree.query_range(from..to), expected.clone());
            prop_assert_eq!(again.query_range(from..to), expected.clone());
            // What else is in the tree says nothing.
            prop_assert_eq!(Tree::from_entries(Written, asked).query(), expected);
        }
    }

    #[test]
    fn sums_that_round_are_the_same_in_a_tree_made_again(
        before in prop::collection::vec(step(), 1..40),
        after in prop::collection::vec(step(), 1..40),
        by in 0_usize..1_000,
        (from, to) in (0_i64..1_500, 0_i64..3_000),
    ) {
        let bits = |sum: Option<f64>| sum.map(f64::to_bits);
        // Of many magnitudes, so that almost each sum rounds.
        let state = |n: i64| 10_f64.powi((n % 17) as i32 - 8) / 3.0 + n as f64;
        let mut tree = Tree::new(Sum);
        for step in &before {
            apply(&mut tree, step, state);
        }
        let entries = tree.iter().map(|(key, state)| (key, *state)).collect::<Vec<_>>();
        let mut again = Tree::from_entries(Sum, disordered(&entries, by));
        for step in &after {
            prop_assert_eq!(bits(tree.query()), bits(again.query()));
            prop_assert_eq!(bits(tree.query_range(from..=to)), bits(again.query_range(from..=to)));
            apply(&mut tree, step, state);
            apply(&mut again, step, state);
        }
        prop_assert_eq!(bits(tree.query()), bits(again.query()));
    }
}

/// Many levels, and no range that is only of the oracle's size.
#[test]
fn a_large_tree_is_bracketed_as_its_keys_say() {
    let state = |n: i64| format!("{n}");
    let entries = (0..6_000).map(|n| (n * 1_000, state(n))).collect::<Vec<_>>();
    let mut tree = Tree::new(Written);
    for (key, state) in disordered(&entries, 5) {
        tree.insert(key, state);
    }
    assert!(tree.top() >= 4, "{}", tree.top());
    for first in (0..6_000_usize).step_by(211) {
        tree.evict_before(i64::try_from(first).unwrap() * 1_000);
        tree.check_form();
        assert!(tree.query() == bracketed(&entries[first..]), "{first}");
        for (skip, leave) in [(0, 1), (3, 0), (17, 40), (100, 7), (1, 900)] {
            let (from, to) = (first + skip, 6_000_usize.saturating_sub(leave));
            if from < to {
                let range = entries[from].0..=entries[to - 1].0;
                assert!(tree.query_range(range) == bracketed(&entries[from..to]), "{from} {to}");
            }
        }
    }
}

/// What a key begins must not change from one version to the next, or sums round otherwise.
#[test]
fn what_keys_begin_stays_as_it_is() {
    let heights = |keys: &mut dyn Iterator<Item = u64>| {
        keys.map(|key| (key, height(key))).filter(|(_, height)| *height > 0).collect::<Vec<_>>()
    };
    let numbers = [(3, 1), (6, 1), (8, 1), (18, 1), (28, 1), (30, 1)];
    assert_eq!(heights(&mut (0..40)), numbers);
    assert_eq!(heights(&mut (312..313)), [(312, 6)]);
    let minutes = (0..40).map(|n| 1_700_000_000_000_000_000 + n * 60_000_000_000);
    let heights = heights(&mut { minutes }).into_iter().map(|(_, height)| height);
    assert_eq!(heights.collect::<Vec<_>>(), [2, 1, 1, 1, 1, 1, 1]);
    let before = [-1, -5, -21, -30, -31].map(|nanos| height(Time::from_nanos(nanos)));
    assert_eq!(before, [2, 1, 3, 1, 0]);
}
