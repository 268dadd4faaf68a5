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
//! 43 bytes for a time and 16 bytes of state. At worst (5 of 16 places filled) it is 3.2 times its size.
//! An empty tree has no heap memory; places of evicted nodes are used again.

mod caches;
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
/// How many stay when a full node is appended to.
const KEPT_AT_END: usize = 12;
/// How many stay when a full node grows elsewhere.
const KEPT_INSIDE: usize = MOST / 2;

/// States in the order of their keys: see the [module's bounds](self).
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

/// Puts `item` at place `at`; what must go to a new node because there are too many.
fn put<T>(items: &mut Vec<T>, at: usize, item: T) -> Option<Vec<T>> {
    if items.len() < MOST {
        items.insert(at.min(items.len()), item);
        return None;
    }
    let kept = if at >= items.len() { KEPT_AT_END } else { KEPT_INSIDE };
    let mut given = Vec::with_capacity(MOST);
    given.extend(items.drain(kept..));
    match at.checked_sub(kept) {
        Some(at) if at > 0 => given.insert(at.min(given.len()), item),
        _ => items.insert(at.min(items.len()), item),
    }
    Some(given)
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

    /// Adds a state; to what is there already if the key is.
    pub fn insert(&mut self, key: K, state: C::State) {
        let Some(&last_leaf) = self.right.first() else {
            self.nodes.push(Node::leaf(vec![(key, state)]));
            self.left.push(0);
            self.right.push(0);
            self.len = 1;
            return;
        };
        let Some(leaf) = self.nodes.get_mut(last_leaf) else { return };
        let full = leaf.entries.len() >= MOST;
        match leaf.entries.last_mut() {
            Some((last, there)) if *last == key => self.combine.combine(there, &state),
            Some((last, there)) if *last < key => {
                if full {
                    self.path.clear();
                    self.put_entry(last_leaf, MOST, key, state);
                    return;
                }
                caches::add(&self.combine, &mut leaf.cache, there);
                leaf.entries.push((key, state));
                self.len += 1;
            }
            _ => self.insert_inside(key, state),
        }
    }

    /// Inserts before the last entry, or into it.
    fn insert_inside(&mut self, key: K, state: C::State) {
        let mut height = 0;
        for (level, &node) in self.right.iter().enumerate().skip(1) {
            if self.children(node).last().is_none_or(|(low, _)| key >= *low) {
                break;
            }
            height = level;
        }
        let mut node = self.right.get(height).copied().unwrap_or_default();
        self.path.clear();
        self.path.push(node);
        for _ in 0..height {
            let children = self.children(node);
            let at = children.partition_point(|(low, _)| *low <= key).saturating_sub(1);
            node = children.get(at).map_or(node, |(_, child)| *child);
            self.path.push(node);
        }
        self.path.reverse();
        match self.entries(node).binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => {
                let leaf = self.nodes.get_mut(node);
                if let Some((_, there)) = leaf.and_then(|leaf| leaf.entries.get_mut(at)) {
                    self.combine.combine(there, &state);
                }
                self.after_change(None);
            }
            Err(at) => self.put_entry(node, at, key, state),
        }
    }

    /// Puts a new entry into a leaf, at the end of `path`, and corrects what is above it.
    fn put_entry(&mut self, leaf: usize, at: usize, key: K, state: C::State) {
        let Some(node) = self.nodes.get_mut(leaf) else { return };
        self.len += 1;
        let given = put(&mut node.entries, at, (key, state));
        let fresh = given.and_then(|given| {
            let low = given.first().map(|(key, _)| *key)?;
            Some((low, self.add_node(Node::leaf(given))))
        });
        self.after_change(fresh);
    }

    /// Goes up from the leaf at the end of `path`, beside which there may be a `fresh` one: makes room
    /// for it, and says which caches are to be made anew.
    fn after_change(&mut self, mut fresh: Option<(K, usize)>) {
        let top = self.top();
        // The highest levels, below the root, at which the edges changed.
        let (mut left, mut right) = (None, None);
        for level in 0..=top {
            let Some(node) = self.on_path(level) else { break };
            let is_right = self.right.get(level) == Some(&node);
            let is_left = self.left.get(level) == Some(&node);
            let Some((low, added)) = fresh.take() else {
                if level == top {
                    self.cache_root();
                } else if is_right {
                    right = Some(level);
                } else if is_left {
                    left = Some(level);
                } else {
                    self.cache_plain(node);
                    continue;
                }
                break;
            };
            if is_right {
                self.set_edge(level, added);
            }
            if level == top {
                self.grow(node, (low, added));
                return;
            }
            if is_right {
                right = Some(level);
            } else {
                self.cache_plain(added);
            }
            if is_left {
                left = Some(level);
            } else {
                self.cache_plain(node);
            }
            fresh = self.put_child(level + 1, node, (low, added));
        }
        self.cache_right(right);
        self.cache_left(left);
    }

    /// Puts a child beside `node` into the parent of both; what it must give away.
    fn put_child(&mut self, level: usize, node: usize, child: (K, usize)) -> Option<(K, usize)> {
        let parent = self.on_path(level)?;
        let children = &mut self.nodes.get_mut(parent)?.children;
        let at = children.iter().position(|(_, there)| *there == node)?;
        let given = put(children, at + 1, child)?;
        let low = given.first().map(|(low, _)| *low)?;
        Some((low, self.add_node(Node::inner(given))))
    }

    /// A new root above the old one, which has been split.
    fn grow(&mut self, old: usize, fresh: (K, usize)) {
        // The least key of the first child is never asked for.
        let root = self.add_node(Node::inner(vec![(fresh.0, old), fresh]));
        self.left.push(root);
        self.right.push(root);
        self.cache_all();
    }

    /// Removes all entries with keys before `key`.
    pub fn evict_before(&mut self, key: K) {
        self.evict(|there| *there < key);
    }

    /// Removes all entries with keys up to `key`, and that one.
    pub fn evict_through(&mut self, key: K) {
        self.evict(|there| *there <= key);
    }

    /// Removes the entries at the start that are `gone`.
    fn evict(&mut self, gone: impl Fn(&K) -> bool) {
        if self.last().is_none_or(|(key, _)| gone(&key)) {
            self.clear();
            return;
        }
        let (mut changed, mut shrunk) = (None, false);
        while let Some(&leaf) = self.left.first() {
            let Some(node) = self.nodes.get_mut(leaf) else { break };
            let count = node.entries.partition_point(|(key, _)| gone(key));
            self.len = self.len.saturating_sub(count);
            if count < node.entries.len() {
                node.entries.drain(..count);
                if count > self.front.len() && changed.is_none() {
                    changed = Some(0);
                }
                self.front.truncate(self.front.len().saturating_sub(count));
                break;
            }
            changed = changed.max(Some(self.drop_first_leaf()));
            shrunk |= self.shrink();
        }
        let top = self.top();
        match changed {
            None => {}
            Some(_) if shrunk => self.cache_all(),
            Some(level) if level >= top => {
                self.cache_root();
                self.cache_left(top.checked_sub(1));
            }
            Some(level) => self.cache_left(Some(level)),
        }
    }

    /// Takes the first leaf out, and the nodes that have no other; the level that has lost a child.
    fn drop_first_leaf(&mut self) -> usize {
        let mut level = 0;
        while let Some(&node) = self.left.get(level) {
            if level > 0 {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.children.drain(..1.min(node.children.len()));
                }
                if !self.children(node).is_empty() {
                    break;
                }
            }
            self.free_node(node);
            level += 1;
        }
        for below in (0..level).rev() {
            let above = self.left.get(below + 1).copied().unwrap_or_default();
            let first = self.children(above).first().map(|(_, child)| *child);
            if let (Some(first), Some(place)) = (first, self.left.get_mut(below)) {
                *place = first;
            }
        }
        level
    }

    /// Takes out roots that have one child.
    fn shrink(&mut self) -> bool {
        let mut shrunk = false;
        while let Some(&root) = self.right.last().filter(|_| self.top() > 0)
            && self.children(root).len() == 1
        {
            self.free_node(root);
            self.left.pop();
            self.right.pop();
            shrunk = true;
        }
        shrunk
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
