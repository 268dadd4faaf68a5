//! [`Tree`]: states in the order of their keys, and what any range of them combines to.
//!
//! Invariant: every entry but the last is in exactly the caches its place asks for (below), and each
//! cache is a function of the tree's shape alone; so a tree that is restored with its shape answers
//! bit for bit as the one that was saved, also if `combine` rounds.
//!
//! # Bounds
//!
//! A finger B-tree (Tangwongsan, Hirzel, Schneider: *Optimal and general out-of-order sliding-window
//! aggregation*, VLDB 2019). Combines, amortised: O(1) to insert at the end, to evict at the start and
//! to ask for all; O(log d) to insert at d entries from the end; O(log d) for a range whose ends are d
//! entries from the tree's ends (O(log n) if it touches only one half). It never subtracts, so it is the
//! same for minima and maxima.
//!
//! Entries are in leaves of at most 16; inner nodes have at most 16 children. A node that splits at its
//! end keeps 12 and gives 4 and the new one away, elsewhere it splits in halves: so every node but the
//! root and those on the left edge, which eviction empties, has at least 5. What a node caches:
//!
//! * off the edges: all below it;
//! * the root: its children but the first and the last;
//! * on the right edge: what the edge above it caches, then its children (entries) but the last. What is
//!   appended is new to the last leaf only, however high the tree;
//! * on the left edge: its children but the first, then what the edge above it caches;
//! * the first leaf: one state for each of its entries, from there to the leaf's end (`front`), so that
//!   an eviction drops one and combines nothing.
//!
//! An insert d entries from the end meets the right edge at a height of log d, as nodes there are filled;
//! it changes what is below that and nothing else. The last entry is in no cache: a pane that takes
//! records until the next begins costs one combine a record.
//!
//! # Memory
//!
//! An entry in order takes 4/3 of its key and state, and a twelfth of (state + 80 bytes) for its leaf:
//! 42 bytes, counted, for a time and 16 bytes of state. At worst (5 of 16 places filled) it is 3.2 times its size.
//! An empty tree has no heap memory; places of evicted nodes are used again.

mod caches;
mod evict;
mod insert;
mod query;
mod shape;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::query::Iter;

/// How states combine, in order: associative (but for rounding), not necessarily commutative.
pub trait Combine {
    /// What is kept of one record, or of many.
    type State: Clone;

    /// Adds what `later` records came to, to what the `earlier` came to.
    fn combine(&self, earlier: &mut Self::State, later: &Self::State);
}

/// The most entries of a leaf, and children of a node.
const MOST: usize = 16;
/// States in the order of their keys, and what any range of them combines to, in order.
///
/// Combines, amortised, whatever the size: a constant to [`insert`](Self::insert) at the end, to evict at
/// the start and to [`query`](Self::query) all (together 9); the logarithm of the distance to insert d
/// entries from the end (some 5 log2 d and 10), or to ask for a range that begins and ends at most d from
/// the tree's ends. It never subtracts: minima and maxima cost the same.
///
/// ```
/// use anabranch::Time;
/// use anabranch::window::{Combine, Tree};
///
/// struct Greatest;
///
/// impl Combine for Greatest {
///     type State = u64;
///
///     fn combine(&self, earlier: &mut u64, later: &u64) {
///         *earlier = (*earlier).max(*later);
///     }
/// }
///
/// let mut prices = Tree::new(Greatest);
/// for (second, price) in [(1, 700), (3, 650), (2, 680)] {
///     prices.insert(Time::from_millis(second * 1_000), price);
/// }
/// assert_eq!(prices.query(), Some(700));
/// prices.evict_through(Time::from_millis(1_000));
/// assert_eq!(prices.query(), Some(680));
/// ```
#[derive(Clone)]
pub struct Tree<K, C: Combine> {
    combine: C,
    nodes: Vec<Node<K, C::State>>,
    /// Places in `nodes` that are free.
    free: Vec<usize>,
    /// The edges, from the leaf up to the root; empty if the tree is.
    left: Vec<usize>,
    right: Vec<usize>,
    /// Of the first leaf, from its last cached entry to its first: what it and those after it, in the
    /// leaf, combine to. If the leaf is also the last, its last entry is in no cache, and some before it
    /// are in the leaf's `cache` instead.
    front: Vec<C::State>,
    /// The way down to the leaf that is inserted into, from the leaf up: kept for its memory.
    path: Vec<usize>,
    len: usize,
}

/// A leaf has entries, an inner node children.
#[derive(Clone)]
struct Node<K, S> {
    entries: Vec<(K, S)>,
    /// Each with its least possible key, which for the first of a node on the left edge means nothing.
    children: Vec<(K, usize)>,
    cache: Option<S>,
}

impl<K, S> Node<K, S> {
    fn leaf(entries: Vec<(K, S)>) -> Self {
        Self { entries, children: Vec::new(), cache: None }
    }

    fn inner(children: Vec<(K, usize)>) -> Self {
        Self { entries: Vec::new(), children, cache: None }
    }
}

impl<K, C: Combine> fmt::Debug for Tree<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({} entries)", self.len)
    }
}

impl<K: Ord + Copy, C: Combine> Tree<K, C> {
    /// A tree without entries.
    pub fn new(combine: C) -> Self {
        Self {
            combine,
            nodes: Vec::new(),
            free: Vec::new(),
            left: Vec::new(),
            right: Vec::new(),
            front: Vec::new(),
            path: Vec::new(),
            len: 0,
        }
    }

    /// A tree with `entries`, which need not be in order. Its shape may be another than that of the tree
    /// they were taken from: if `combine` rounds, [`restore`](Tree::restore) it with its shape.
    pub fn from_entries(combine: C, entries: impl IntoIterator<Item = (K, C::State)>) -> Self {
        let mut tree = Self::new(combine);
        for (key, state) in entries {
            tree.insert(key, state);
        }
        tree
    }

    /// How many keys have entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn clear(&mut self) {
        self.nodes.clear();
        self.free.clear();
        self.left.clear();
        self.right.clear();
        self.front.clear();
        self.len = 0;
    }

    /// The level of the root; leaves are at 0.
    fn top(&self) -> usize {
        self.right.len().saturating_sub(1)
    }

    /// The node of this level above the leaf that is inserted into.
    fn on_path(&self, level: usize) -> Option<usize> {
        self.path.get(level).or_else(|| self.right.get(level)).copied()
    }

    fn set_edge(&mut self, level: usize, node: usize) {
        if let Some(place) = self.right.get_mut(level) {
            *place = node;
        }
    }

    fn entries(&self, node: usize) -> &[(K, C::State)] {
        self.nodes.get(node).map_or(&[], |node| &node.entries)
    }

    fn children(&self, node: usize) -> &[(K, usize)] {
        self.nodes.get(node).map_or(&[], |node| &node.children)
    }

    fn add_node(&mut self, node: Node<K, C::State>) -> usize {
        if let Some(at) = self.free.pop()
            && let Some(place) = self.nodes.get_mut(at)
        {
            *place = node;
            return at;
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn free_node(&mut self, at: usize) {
        if let Some(node) = self.nodes.get_mut(at) {
            *node = Node::leaf(Vec::new());
            self.free.push(at);
        }
    }
}
