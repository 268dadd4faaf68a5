//! How often the tree combines, and how much memory it takes: counted, not timed.
//!
//! Invariant: the bounds are those that the tree's documentation names, for ten entries and for a million.

use super::*;

/// How many combines the steps took, for each of `events`.
fn per_event(combine: &Affine, events: usize, mut step: impl FnMut(usize)) -> f64 {
    combine.combines.set(0);
    for n in 0..events {
        step(n);
    }
    combine.combines.get() as f64 / events as f64
}

const SIZES: [usize; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];

fn filled(size: usize) -> (Affine, Tree<usize, Affine>) {
    let combine = Affine::default();
    let tree = Tree::from_entries(combine.clone(), (0..size).map(|n| (n, state(n as u64))));
    (combine, tree)
}

#[test]
fn in_order_an_event_costs_ten_combines_whatever_the_size() {
    for size in SIZES {
        let (combine, mut tree) = filled(size);
        let cost = per_event(&combine, size.max(1_000), |n| {
            tree.insert(size + n, state(n as u64));
            tree.evict_through(n);
            assert!(tree.query().is_some());
        });
        println!("in order, insert + evict + query, size {size}: {cost:.2} an event");
        assert!(cost <= 10.0, "{cost} at {size}");
        assert_eq!(tree.len(), size);
    }
}

#[test]
fn ranges_at_both_ends_cost_a_constant() {
    for size in SIZES {
        // Rolling: to the newest, from a size before it, with some older ones not yet evicted.
        let (combine, mut tree) = filled(size + 20);
        let cost = per_event(&combine, size.max(1_000), |n| {
            tree.insert(size + 20 + n, state(n as u64));
            tree.evict_through(n);
            assert!(tree.query_range(n + 20..=size + 20 + n).is_some());
        });
        println!("in order, insert + evict + range, size {size}: {cost:.2} an event");
        assert!(cost <= 24.0, "{cost} at {size}");
    }
}

#[test]
fn out_of_order_an_event_costs_the_logarithm_of_its_distance() {
    for size in SIZES {
        for distance in SIZES.into_iter().filter(|distance| *distance <= size) {
            let combine = Affine::default();
            // Even keys are there, odd ones come late.
            let entries = (0..size).map(|n| (2 * n, state(n as u64)));
            let mut tree = Tree::from_entries(combine.clone(), entries);
            let late = 20_000_usize.min(size * 4);
            let cost = per_event(&combine, late, |n| {
                tree.insert(2 * (size + n), state(n as u64));
                let back = distance * (n * 7_919 % 97 + 1) / 97;
                tree.insert((2 * (size + n) + 1).saturating_sub(2 * back + 2), state(n as u64));
                assert!(tree.query().is_some());
            });
            println!("out of order, size {size}, up to {distance} late: {cost:.2} an event");
            let bound = 6.0 * (distance as f64).log2() + 10.0;
            assert!(cost <= bound, "{cost} > {bound} at {size}, {distance} late");
        }
    }
}

#[test]
fn evicting_all_at_once_or_one_by_one_costs_a_constant() {
    for size in SIZES {
        let (combine, mut tree) = filled(size);
        let cost = per_event(&combine, size, |n| tree.evict_through(n));
        println!("eviction one by one, size {size}: {cost:.2} an entry");
        assert!(cost <= 2.0, "{cost} at {size}");
        assert!(tree.is_empty());
        let (combine, mut tree) = filled(size);
        combine.combines.set(0);
        tree.evict_before(size - 5);
        let combines = combine.combines.get() as f64;
        println!("eviction at once, size {size}: {combines} in all");
        assert!(combines <= 16.0 * (size as f64).log2(), "{combines} at {size}");
        tree.check_form();
        assert_eq!(tree.len(), 5);
    }
}

#[test]
fn any_range_costs_the_logarithm_of_the_size() {
    for size in SIZES {
        let (combine, tree) = filled(size);
        let cost = per_event(&combine, 2_000, |n| {
            let (a, b) = (n * 7_919 % size, n * 104_723 % size);
            tree.query_range(a.min(b)..=a.max(b));
        });
        println!("any range, size {size}: {cost:.2} a query");
        assert!(cost <= 3.0 * (size as f64).log2() + 6.0, "{cost} at {size}");
    }
}

#[test]
fn a_pane_that_takes_many_records_combines_each_once() {
    let (combine, mut tree) = filled(1_000);
    let cost = per_event(&combine, 10_000, |n| tree.insert(999, state(n as u64)));
    assert_eq!(cost, 1.0);
}

#[test]
fn places_of_evicted_nodes_are_used_again() {
    let (_, mut tree) = filled(1_000);
    let most = tree.nodes.len();
    for n in 0..100_000 {
        tree.insert(1_000 + n, state(n as u64));
        tree.evict_through(n);
    }
    // How many nodes a thousand entries have varies.
    assert!(tree.nodes.len() <= most * 3 / 2, "{} of {most}", tree.nodes.len());
}

#[test]
fn an_entry_takes_the_memory_that_is_documented() {
    let size = 1_000_000;
    let in_order = filled(size).1;
    // A prime: each number once.
    let others = (0..size).map(|n| (n * 104_729 % size, state(n as u64)));
    let in_no_order = Tree::from_entries(Affine::default(), others);
    for (tree, most) in [(in_order, 40.0), (in_no_order, 50.0)] {
        assert_eq!(tree.len(), size);
        let of_node = |node: &Node<usize, (u64, u64)>| {
            // And what an allocator adds.
            16 + match &node.below {
                Below::Entries(entries) => entries.capacity() * 24,
                Below::Children(children) => children.capacity() * 16,
            }
        };
        let below = tree.nodes.iter().map(of_node).sum::<usize>();
        let nodes = tree.nodes.len() * size_of::<Node<usize, (u64, u64)>>();
        let each = (below + nodes) as f64 / size as f64;
        println!("{each:.1} bytes an entry; an empty tree {}", size_of::<Tree<usize, Affine>>());
        assert!(each <= most, "{each}");
    }
}

/// Also if keys are at fixed distances, as times often are.
#[test]
fn nodes_have_the_sizes_that_are_documented() {
    for distance in [1, 1_000, 1_000_000, 1_000_000_000, 60_000_000_000] {
        let entries = (0..100_000).map(|n| (Time::from_nanos(n * distance), (1, 1)));
        let tree = Tree::from_entries(Affine::default(), entries);
        let mut leaves =
            (0..tree.nodes.len()).map(|node| tree.entries(node).len()).collect::<Vec<_>>();
        leaves.retain(|entries| *entries > 0);
        leaves.sort_unstable();
        let mean = tree.len() as f64 / leaves.len() as f64;
        let (most, large) = (leaves[leaves.len() - 1], leaves[leaves.len() * 99 / 100]);
        let inner = tree.nodes.len() - leaves.len();
        let children = (tree.nodes.len() - 1) as f64 / inner as f64;
        println!("{distance}: {mean:.2} a leaf, {large}, {most}; {children:.2} children");
        assert!((7.5..8.5).contains(&mean), "{mean}");
        assert!((3.7..4.3).contains(&children), "{children}");
        assert!((30..40).contains(&large) && most < 120, "{large}, {most}");
        assert!((5..=11).contains(&tree.top()), "{}", tree.top());
    }
}

/// Keys that begin nothing are one leaf: in order, that is no worse as long as another leaf is there.
#[test]
fn keys_chosen_to_begin_nothing_cost_no_more_in_order() {
    let combine = Affine::default();
    let mut tree = Tree::new(combine.clone());
    let one = (1_000..2_000_u64).find(|key| key::height(*key) > 0).unwrap();
    let low = (10_000..).filter(|key| key::height(*key) == 0).take(50_000).collect::<Vec<_>>();
    tree.insert(0, state(0));
    tree.insert(one, state(1));
    let cost = per_event(&combine, low.len(), |n| {
        tree.insert(low[n], state(n as u64));
        assert!(tree.query().is_some());
    });
    assert!(cost <= 10.0, "{cost}");
    assert_eq!(tree.top(), key::height(one));
}
