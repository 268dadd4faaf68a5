//! What nodes cache, made from what is below them and beside them.
//!
//! Invariant: each cache is a part of the bracketing that the keys say (see [`super`]), whether it is made
//! anew or extended; an append extends, all else makes anew.

use super::{Combine, Tree, TreeKey};

/// Adds what came `later`.
pub(super) fn add<C: Combine>(combine: &C, all: &mut Option<C::State>, later: &C::State) {
    match all {
        Some(all) => combine.combine(all, later),
        None => *all = Some(later.clone()),
    }
}

impl<K: TreeKey, C: Combine> Tree<K, C> {
    pub(super) fn cache(&self, node: usize) -> Option<&C::State> {
        self.nodes.get(node).and_then(|node| node.cache.as_ref())
    }

    /// Adds what children off the edges cache.
    pub(super) fn add_children(&self, all: &mut Option<C::State>, children: &[(K, usize)]) {
        for (_, child) in children {
            if let Some(state) = self.cache(*child) {
                add(&self.combine, all, state);
            }
        }
    }

    pub(super) fn add_entries(&self, all: &mut Option<C::State>, entries: &[(K, C::State)]) {
        for (_, state) in entries {
            add(&self.combine, all, state);
        }
    }

    fn set_cache(&mut self, node: usize, cache: Option<C::State>) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.cache = cache;
        }
    }

    /// Of a node off the edges.
    pub(super) fn cache_plain(&mut self, node: usize) {
        let mut all = None;
        self.add_entries(&mut all, self.entries(node));
        self.add_children(&mut all, self.children(node));
        self.set_cache(node, all);
    }

    /// Of the root: none if it is a leaf.
    pub(super) fn cache_root(&mut self) {
        let Some(&root) = self.right.last() else { return };
        let mut all = None;
        if let [_, middle @ .., _] = self.children(root) {
            self.add_children(&mut all, middle);
        }
        self.set_cache(root, all);
        if self.top() == 0 {
            self.front.clear();
        }
    }

    /// Of the right edge, from a level below the root down.
    pub(super) fn cache_right(&mut self, from: Option<usize>) {
        let Some(from) = from else { return };
        for level in (0..=from).rev() {
            let (Some(&node), Some(&above)) = (self.right.get(level), self.right.get(level + 1))
            else {
                return;
            };
            let mut all = if level + 1 < self.top() { self.cache(above).cloned() } else { None };
            if let [but_last @ .., _] = self.entries(node) {
                self.add_entries(&mut all, but_last);
            }
            if let [but_last @ .., _] = self.children(node) {
                self.add_children(&mut all, but_last);
            }
            self.set_cache(node, all);
        }
    }

    /// Of the left edge, from a level below the root down.
    pub(super) fn cache_left(&mut self, from: Option<usize>) {
        let Some(from) = from else { return };
        for level in (0..=from).rev() {
            let Some(&node) = self.left.get(level) else { return };
            if level == 0 {
                self.set_cache(node, None);
                self.cache_front();
                return;
            }
            let mut all = None;
            if let [_, but_first @ ..] = self.children(node) {
                self.add_children(&mut all, but_first);
            }
            if level + 1 < self.top()
                && let Some(above) = self.left.get(level + 1).and_then(|above| self.cache(*above))
            {
                add(&self.combine, &mut all, above);
            }
            self.set_cache(node, all);
        }
    }

    fn cache_front(&mut self) {
        self.front.clear();
        let Some(&leaf) = self.left.first() else { return };
        let mut front = std::mem::take(&mut self.front);
        for (_, state) in self.entries(leaf).iter().rev() {
            let mut all = state.clone();
            if let Some(later) = front.last() {
                self.combine.combine(&mut all, later);
            }
            front.push(all);
        }
        self.front = front;
    }

    /// Of the root and both edges.
    pub(super) fn cache_all(&mut self) {
        self.cache_root();
        if let Some(below) = self.top().checked_sub(1) {
            self.cache_right(Some(below));
            self.cache_left(Some(below));
        }
    }
}
