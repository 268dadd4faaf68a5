//! Entries come in: anywhere, at a cost that grows with the logarithm of how far from the end.
//!
//! Invariant: what splits leaves no node with fewer than five; the caches of all that changed are made
//! anew, from the leaf up to the first edge, and from there down that edge.

use super::{Combine, MOST, Node, Tree, caches};

/// How many stay when a full node is appended to.
const KEPT_AT_END: usize = 12;
/// How many stay when a full node grows elsewhere.
const KEPT_INSIDE: usize = MOST / 2;

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

impl<K: Ord + Copy, C: Combine> Tree<K, C> {
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
}
