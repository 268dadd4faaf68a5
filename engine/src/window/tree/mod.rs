//! [`Tree`]: states in the order of their keys, and what any range of them combines to.
//!
//! Invariant: what a range combines to is the fold of its entries in the bracketing that their keys alone
//! say. So it is the same bit for bit, also if `combine` rounds, in whatever order the entries came,
//! whatever else is in the tree or was evicted from it, and after the tree was made again from them.
//!
//! # The shape
//!
//! A hash of an entry's key says how many nodes, one above the other, begin with that entry
//! (`key::height`): one in 8 begins a leaf, one in 32 the node above it too, and so on by fours. The
//! very first entry begins all there are. The root is the lowest node that has all. So the shape is a
//! function of the set of keys, and an eviction only cuts from the left edge.
//!
//! # The bracketing
//!
//! A fold of entries in one leaf goes from left to right. Any other has a lowest node with all of them,
//! at least two of whose children have some. The answer is `((A + M) + B) + last`, without those parts
//! that are empty, with
//!
//! * A: what the first of these children has of them. It is `F + (G1 + (G2 + ...))`: F the entries of
//!   the first leaf, from right to left; G1 the leaves beside it, up to where the node above ends; G2 the
//!   nodes beside that one, and so on;
//! * M: the children between, which the range has all of;
//! * B: what the last child has of them but the last entry, from left to right: first the highest nodes
//!   that the range has all of, then those below these, at the end entries.
//!
//! Nodes that are in a range as a whole, and these groups of nodes, are folded from left to right. None of
//! this depends on what is outside the range: its first entry might as well begin all nodes.
//!
//! # Caches
//!
//! They hold what these folds have in common, and say nothing of their own:
//!
//! * off the edges: all below the node;
//! * the root: M of all entries;
//! * on the right edge: B of all entries, down to the node. What is appended is new to the last leaf
//!   only, however high the tree;
//! * on the left edge: A of all entries, but what is below the first child (`G1 + (G2 + ...)` at height 1);
//! * the first leaf: F from each of its entries on (`front`), so that an eviction drops one and combines
//!   nothing.
//!
//! A tree of one leaf caches nothing: it has some 8 entries. The last entry is in no cache: a pane that
//! takes records until the next begins costs one combine a record.
//!
//! # Bounds
//!
//! The caches are those of a finger B-tree (Tangwongsan, Hirzel, Schneider: *Optimal and general
//! out-of-order sliding-window aggregation*, VLDB 2019). Combines, amortised and on average: O(1) to
//! insert at the end, to evict at the start and to ask for all; O(log d) to insert at d entries from the
//! end; O(log d) for a range whose ends are d entries from the ends of a tree of many times d; O(log n)
//! for any range of n. It never subtracts, so it is the same for minima and maxima.
//!
//! The price of a shape without a history is that sizes are geometric, not bounded: one leaf in a hundred
//! has more than 34 entries, and who can choose the keys can choose ones that begin nothing. Such
//! entries are one leaf, whatever their number: still O(1) in order as long as some key behind the first
//! one begins a leaf, else O(n) for each query, and O(n) for each insert before the end.
//!
//! # Memory
//!
//! An entry takes its key and state, and a sixth of (state + 80 bytes) for its share of nodes: 39 bytes,
//! counted, for a time and 16 bytes of state if it comes in order; 41 if not. An empty tree
//! has no heap memory; places of evicted nodes are used again.

mod caches;
mod evict;
mod insert;
mod iter;
mod key;
mod query;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::iter::Iter;
pub use self::key::TreeKey;

/// How states combine, in order: associative (but for rounding), not necessarily commutative.
pub trait Combine {
    /// What is kept of one record, or of many.
    type State: Clone;

    /// Adds what `later` records came to, to what the `earlier` came to.
    fn combine(&self, earlier: &mut Self::State, later: &Self::State);
}

/// States in the order of their keys, and what any range of them combines to, in order.
///
/// What a range combines to is a function of the entries in it: also if `combine` rounds, it is the same
/// whatever the order in which they came, whatever else the tree has, and in a tree that is made again
/// [`from_entries`](Self::from_entries) on another day.
///
/// Combines, amortised and on average over keys, whatever the size: a constant to
/// [`insert`](Self::insert) at the end, to evict at the start and to [`query`](Self::query) all (together
/// 7, counted); the logarithm of the distance to insert d entries from the end (some 5 log2 d and 5), or
/// to ask for a range that begins and ends at most d from the tree's ends. Any range costs the logarithm
/// of its length (some 3 log2 n). It never subtracts: minima and maxima cost the same.
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
    /// Of the first leaf, from its last entry to its first: what it and those after it, in the leaf,
    /// combine to. Empty if the leaf is also the last.
    front: Vec<C::State>,
    /// The way down to the leaf that is inserted into, from the leaf up: kept for its memory.
    path: Vec<usize>,
    len: usize,
}

#[derive(Clone)]
struct Node<K, S> {
    below: Below<K, S>,
    cache: Option<S>,
}

#[derive(Clone)]
enum Below<K, S> {
    /// Of a leaf.
    Entries(Vec<(K, S)>),
    /// Of an inner node: each with its first key, which for the first of a node on the left edge means
    /// nothing.
    Children(Vec<(K, usize)>),
}

impl<K, S> Node<K, S> {
    fn leaf(entries: Vec<(K, S)>) -> Self {
        Self { below: Below::Entries(entries), cache: None }
    }

    fn inner(children: Vec<(K, usize)>) -> Self {
        Self { below: Below::Children(children), cache: None }
    }
}

impl<K, C: Combine> fmt::Debug for Tree<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({} entries)", self.len)
    }
}

impl<K: TreeKey, C: Combine> Tree<K, C> {
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

    /// A tree with `entries`, which need not be in order. It answers as any other tree that has them.
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
        match self.nodes.get(node).map(|node| &node.below) {
            Some(Below::Entries(entries)) => entries,
            _ => &[],
        }
    }

    fn entries_mut(&mut self, node: usize) -> Option<&mut Vec<(K, C::State)>> {
        match &mut self.nodes.get_mut(node)?.below {
            Below::Entries(entries) => Some(entries),
            Below::Children(_) => None,
        }
    }

    fn children(&self, node: usize) -> &[(K, usize)] {
        match self.nodes.get(node).map(|node| &node.below) {
            Some(Below::Children(children)) => children,
            _ => &[],
        }
    }

    fn children_mut(&mut self, node: usize) -> Option<&mut Vec<(K, usize)>> {
        match &mut self.nodes.get_mut(node)?.below {
            Below::Children(children) => Some(children),
            Below::Entries(_) => None,
        }
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
