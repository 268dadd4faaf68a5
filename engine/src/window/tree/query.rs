//! What entries of a [`Tree`] combine to.
//!
//! Invariant: a fold is bracketed as the keys of its entries say (see [`super`]), whether by the edges'
//! caches or without; nothing is changed, and nothing is called recursively.

use std::ops::{Bound, RangeBounds};

use super::caches::add;
use super::{Combine, Tree, TreeKey};

impl<K: TreeKey, C: Combine> Tree<K, C> {
    /// What all entries combine to, in order; at most four combines, unless they are in one leaf.
    pub fn query(&self) -> Option<C::State> {
        let mut all = None;
        if self.top() == 0 {
            self.add_entries(&mut all, self.entries(*self.right.first()?));
        } else {
            all = self.front.last().cloned();
            for state in [self.left_cache(1), self.middle()].into_iter().flatten() {
                add(&self.combine, &mut all, state);
            }
            self.add_end(&mut all);
        }
        all
    }

    /// What the left edge caches at a level; nothing at the root's.
    fn left_cache(&self, level: usize) -> Option<&C::State> {
        let node = self.left.get(level).filter(|_| level < self.top())?;
        self.cache(*node)
    }

    /// What the right edge caches at a level; nothing at the root's.
    fn right_cache(&self, level: usize) -> Option<&C::State> {
        let node = self.right.get(level).filter(|_| level < self.top())?;
        self.cache(*node)
    }

    /// What the root caches.
    fn middle(&self) -> Option<&C::State> {
        self.right.last().and_then(|root| self.cache(*root))
    }

    /// What the entries of a range of keys combine to, in order: a function of these entries alone.
    pub fn query_range(&self, range: impl RangeBounds<K>) -> Option<C::State> {
        let first = self.first_within(|key| match range.start_bound() {
            Bound::Included(start) => key < start,
            Bound::Excluded(start) => key <= start,
            Bound::Unbounded => false,
        })?;
        let last = self.last_within(|key| match range.end_bound() {
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
            Bound::Unbounded => true,
        })?;
        if first > last {
            return None;
        }
        // The lowest node that has both, from the one on the right edge that does down.
        let mut level = self.right_level(|low| *low <= first);
        let mut node = *self.right.get(level)?;
        while let Some(below) = level.checked_sub(1) {
            let from = self.child_at(node, |low| *low <= first);
            let to = self.child_at(node, |low| *low <= last);
            if from < to {
                return self.spread(node, level, (from, first), (to, last));
            }
            (level, node) = (below, self.children(node).get(from)?.1);
        }
        let entries = self.entries(node);
        let from = entries.partition_point(|(key, _)| *key < first);
        let to = entries.partition_point(|(key, _)| *key <= last);
        let mut all = None;
        self.add_entries(&mut all, entries.get(from..to).unwrap_or_default());
        all
    }

    /// What the entries from `first`, in one child of a node, to `last`, in a later one, combine to.
    fn spread(
        &self,
        node: usize,
        level: usize,
        (from, first): (usize, K),
        (to, last): (usize, K),
    ) -> Option<C::State> {
        let children = self.children(node);
        let below = level.saturating_sub(1);
        let root = level == self.top();
        let (on_left, on_right) = (root && from == 0, root && to + 1 == children.len());
        let mut all = if on_left {
            let from = self.left_level(|low| *low <= first).0;
            let later = self.left_cache(from + 1).cloned();
            self.suffix(*self.left.get(from)?, from, first, later)
        } else {
            self.suffix(children.get(from)?.1, below, first, None)
        };
        if on_left && on_right {
            if let Some(middle) = self.middle() {
                add(&self.combine, &mut all, middle);
            }
        } else {
            let mut middle = None;
            self.add_children(&mut middle, children.get(from + 1..to).unwrap_or_default());
            all = self.joined(all, middle);
        }
        if on_right {
            let to = self.right_level(|low| *low <= last);
            if to == 0 && self.last().is_some_and(|(there, _)| there == last) {
                self.add_end(&mut all);
            } else {
                let before = self.right_cache(to + 1).cloned();
                self.add_prefix(&mut all, *self.right.get(to)?, to, last, before);
            }
        } else {
            self.add_prefix(&mut all, children.get(to)?.1, below, last, None);
        }
        all
    }

    /// What is below a node of a level, from `first` on, and then what is `later`: a group of nodes for
    /// each level, from right to left.
    fn suffix(
        &self,
        mut node: usize,
        level: usize,
        first: K,
        mut later: Option<C::State>,
    ) -> Option<C::State> {
        for _ in 0..level {
            let children = self.children(node);
            let at = self.child_at(node, |low| *low <= first);
            let mut group = None;
            self.add_children(&mut group, children.get(at + 1..).unwrap_or_default());
            later = self.joined(group, later);
            node = children.get(at)?.1;
        }
        let entries = self.entries(node);
        let gone = entries.partition_point(|(key, _)| *key < first);
        let mut all = None;
        if self.left.first() == Some(&node) {
            let kept = entries.len().saturating_sub(gone);
            all = kept.checked_sub(1).and_then(|at| self.front.get(at)).cloned();
        } else {
            for (_, state) in entries.iter().skip(gone).rev() {
                all = self.joined(Some(state.clone()), all);
            }
        }
        self.joined(all, later)
    }

    fn joined(&self, first: Option<C::State>, later: Option<C::State>) -> Option<C::State> {
        match (first, later) {
            (Some(mut first), Some(later)) => {
                self.combine.combine(&mut first, &later);
                Some(first)
            }
            (first, later) => first.or(later),
        }
    }

    /// Adds what is `before` and then below a node of a level, up to `last`, from left to right.
    fn add_prefix(
        &self,
        all: &mut Option<C::State>,
        mut node: usize,
        level: usize,
        last: K,
        mut before: Option<C::State>,
    ) {
        for _ in 0..level {
            let children = self.children(node);
            let at = self.child_at(node, |low| *low <= last);
            self.add_children(&mut before, children.get(..at).unwrap_or_default());
            let Some((_, child)) = children.get(at) else { return };
            node = *child;
        }
        let entries = self.entries(node);
        let to = entries.partition_point(|(key, _)| *key <= last);
        let Some([but_last @ .., (_, last)]) = entries.get(..to) else { return };
        self.add_entries(&mut before, but_last);
        if let Some(before) = before {
            add(&self.combine, all, &before);
        }
        add(&self.combine, all, last);
    }

    /// Adds what the last leaf caches, and the last entry.
    fn add_end(&self, all: &mut Option<C::State>) {
        let Some(&last_leaf) = self.right.first() else { return };
        if let Some(before_last) = self.cache(last_leaf) {
            add(&self.combine, all, before_last);
        }
        if let Some((_, last)) = self.entries(last_leaf).last() {
            add(&self.combine, all, last);
        }
    }

    /// Which child has the key up to which the least keys are `reached`.
    pub(super) fn child_at(&self, node: usize, reached: impl Fn(&K) -> bool) -> usize {
        let but_first = self.children(node).get(1..).unwrap_or_default();
        but_first.partition_point(|(low, _)| reached(low))
    }

    /// The lowest level at which the left edge's node has that key; and the next node's least key.
    fn left_level(&self, reached: impl Fn(&K) -> bool) -> (usize, Option<K>) {
        let mut found = 0;
        for (level, &node) in self.left.iter().enumerate().skip(1) {
            match self.children(node).get(1) {
                Some((low, _)) if reached(low) => found = level,
                Some((low, _)) => return (found, Some(*low)),
                // As far as its one child.
                None => {}
            }
        }
        (found, None)
    }

    /// The lowest level at which the right edge's node has that key.
    pub(super) fn right_level(&self, reached: impl Fn(&K) -> bool) -> usize {
        let mut found = 0;
        for (level, &node) in self.right.iter().enumerate().skip(1) {
            if self.children(node).last().is_none_or(|(low, _)| reached(low)) {
                break;
            }
            found = level;
        }
        found
    }

    /// The first key that is not `before` the range.
    fn first_within(&self, before: impl Fn(&K) -> bool) -> Option<K> {
        let (mut level, mut next) = self.left_level(&before);
        let mut edge = &self.left;
        if level == self.top() {
            (level, edge) = (self.right_level(&before), &self.right);
        }
        let mut node = *edge.get(level)?;
        for _ in 0..level {
            let at = self.child_at(node, &before);
            let children = self.children(node);
            next = children.get(at + 1).map(|(low, _)| *low).or(next);
            node = children.get(at)?.1;
        }
        let entries = self.entries(node);
        let at = entries.partition_point(|(key, _)| before(key));
        entries.get(at).map(|(key, _)| *key).or(next)
    }

    /// The last key that is in the range, or before it.
    fn last_within(&self, reached: impl Fn(&K) -> bool) -> Option<K> {
        let level = self.right_level(&reached);
        let mut node = *self.right.get(level)?;
        for _ in 0..level {
            let at = self.child_at(node, &reached);
            node = self.children(node).get(at)?.1;
        }
        let entries = self.entries(node);
        let to = entries.partition_point(|(key, _)| reached(key));
        entries.get(to.checked_sub(1)?).map(|(key, _)| *key)
    }
}
