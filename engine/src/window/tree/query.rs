//! What entries of a [`Tree`] combine to, and the entries.
//!
//! Invariant: nothing is changed, and nothing is called recursively.

use std::ops::{Bound, RangeBounds};

use super::caches::add;
use super::{Combine, Tree};

impl<K: Ord + Copy, C: Combine> Tree<K, C> {
    /// What all entries combine to, in order; at most four combines.
    pub fn query(&self) -> Option<C::State> {
        let last_leaf = *self.right.first()?;
        let mut all = self.front.last().cloned();
        self.add_middle(&mut all, 0);
        if let Some(before_last) = self.cache(last_leaf) {
            add(&self.combine, &mut all, before_last);
        }
        if let Some((_, last)) = self.entries(last_leaf).last() {
            add(&self.combine, &mut all, last);
        }
        all
    }

    /// Adds what is between the left edge's node of a level and the right edge's caches.
    fn add_middle(&self, all: &mut Option<C::State>, level: usize) {
        let top = self.top();
        if level + 1 < top
            && let Some(state) = self.left.get(level + 1).and_then(|above| self.cache(*above))
        {
            add(&self.combine, all, state);
        }
        if top > 0
            && let Some(state) = self.left.get(top).and_then(|root| self.cache(*root))
        {
            add(&self.combine, all, state);
        }
    }

    /// What the entries of a range of keys combine to, in order.
    pub fn query_range(&self, range: impl RangeBounds<K>) -> Option<C::State> {
        let before = |key: &K| match range.start_bound() {
            Bound::Included(start) => key < start,
            Bound::Excluded(start) => key <= start,
            Bound::Unbounded => false,
        };
        let past = |key: &K| match range.end_bound() {
            Bound::Included(end) => key > end,
            Bound::Excluded(end) => key >= end,
            Bound::Unbounded => false,
        };
        let (top, from, to) = (self.top(), self.left_height(&before), self.right_height(&past));
        if top == 0 || from == top || to == top {
            return self.walk(&before, &past);
        }
        let mut all = self.suffix(from, &before);
        self.add_middle(&mut all, from);
        if to + 1 < top
            && let Some(state) = self.right.get(to + 1).and_then(|above| self.cache(*above))
            && !(to == 0 && self.last().is_some_and(|(last, _)| !past(&last)))
        {
            add(&self.combine, &mut all, state);
        }
        self.add_prefix(&mut all, to, &past);
        all
    }

    /// The lowest level at which the left edge's node reaches to the start of the range.
    fn left_height(&self, before: &impl Fn(&K) -> bool) -> usize {
        let mut height = 0;
        for (level, &node) in self.left.iter().enumerate().skip(1) {
            match self.children(node).get(1) {
                Some((low, _)) if before(low) => height = level,
                Some(_) => break,
                // As far as its one child.
                None => {}
            }
        }
        height
    }

    /// The lowest level at which the right edge's node begins before the range ends.
    fn right_height(&self, past: &impl Fn(&K) -> bool) -> usize {
        let mut height = 0;
        for (level, &node) in self.right.iter().enumerate().skip(1) {
            match self.children(node).last() {
                Some((low, _)) if past(low) => height = level,
                _ => break,
            }
        }
        height
    }

    /// What is below the left edge's node of a level, from the start of the range.
    fn suffix(&self, level: usize, before: &impl Fn(&K) -> bool) -> Option<C::State> {
        let mut node = *self.left.get(level)?;
        if level == 0 {
            let gone = self.entries(node).partition_point(|(key, _)| before(key));
            let kept = self.entries(node).len().saturating_sub(gone);
            return kept.checked_sub(1).and_then(|at| self.front.get(at)).cloned();
        }
        let mut later = None;
        for _ in 0..level {
            let children = self.children(node);
            let at = children.partition_point(|(low, _)| before(low)).saturating_sub(1);
            let mut piece = None;
            self.add_children(&mut piece, children.get(at + 1..).unwrap_or_default());
            later = self.joined(piece, later);
            node = children.get(at)?.1;
        }
        let entries = self.entries(node);
        let gone = entries.partition_point(|(key, _)| before(key));
        let mut first = None;
        self.add_entries(&mut first, entries.get(gone..).unwrap_or_default());
        self.joined(first, later)
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

    /// Adds what is below the right edge's node of a level, up to the end of the range.
    fn add_prefix(&self, all: &mut Option<C::State>, level: usize, past: &impl Fn(&K) -> bool) {
        let Some(mut node) = self.right.get(level).copied() else { return };
        for _ in 0..level {
            let children = self.children(node);
            let at = children.partition_point(|(low, _)| !past(low)).saturating_sub(1);
            self.add_children(all, children.get(..at).unwrap_or_default());
            let Some((_, child)) = children.get(at) else { return };
            node = *child;
        }
        let entries = self.entries(node);
        match (entries, self.cache(node)) {
            // The last leaf's cache has all that the edge caches, to its last entry but one.
            ([.., (key, last)], cache) if level == 0 && !past(key) => {
                if let Some(cache) = cache {
                    add(&self.combine, all, cache);
                }
                add(&self.combine, all, last);
            }
            _ => {
                let kept = entries.partition_point(|(key, _)| !past(key));
                self.add_entries(all, entries.get(..kept).unwrap_or_default());
            }
        }
    }

    /// Any range, from the root down, by caches off the edges only.
    fn walk(&self, before: &impl Fn(&K) -> bool, past: &impl Fn(&K) -> bool) -> Option<C::State> {
        let mut all = None;
        // Nodes with their least key and the next one's; none at the tree's ends.
        let mut stack = vec![(*self.right.last()?, None, None)];
        while let Some((node, low, next)) = stack.pop() {
            let within = |low: &K, next: &K| !before(low) && !past(next);
            if let (Some(low), Some(next), Some(cache)) = (low, next, self.cache(node))
                && within(&low, &next)
            {
                add(&self.combine, &mut all, cache);
                continue;
            }
            for (key, state) in self.entries(node) {
                if !before(key) && !past(key) {
                    add(&self.combine, &mut all, state);
                }
            }
            let children = self.children(node);
            let mut next = next;
            for (at, (child_low, child)) in children.iter().enumerate().rev() {
                let child_low = if at == 0 { low } else { Some(*child_low) };
                let empty = child_low.is_some_and(|low| past(&low))
                    || next.is_some_and(|next| before(&next));
                if !empty {
                    stack.push((*child, child_low, next));
                }
                next = child_low;
            }
        }
        all
    }

    /// The first entry.
    pub fn first(&self) -> Option<(K, &C::State)> {
        let (key, state) = self.entries(*self.left.first()?).first()?;
        Some((*key, state))
    }

    /// The last entry.
    pub fn last(&self) -> Option<(K, &C::State)> {
        let (key, state) = self.entries(*self.right.first()?).last()?;
        Some((*key, state))
    }

    /// All entries, in order.
    pub fn iter(&self) -> Iter<'_, K, C> {
        Iter {
            tree: self,
            stack: self.right.last().copied().into_iter().collect(),
            leaf: [].iter(),
        }
    }
}

/// The entries of a [`Tree`], in order.
#[derive(Debug)]
pub struct Iter<'a, K, C: Combine> {
    tree: &'a Tree<K, C>,
    stack: Vec<usize>,
    leaf: std::slice::Iter<'a, (K, C::State)>,
}

impl<'a, K: Ord + Copy, C: Combine> Iterator for Iter<'a, K, C> {
    type Item = (K, &'a C::State);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, state)) = self.leaf.next() {
                return Some((*key, state));
            }
            let node = self.stack.pop()?;
            self.leaf = self.tree.entries(node).iter();
            self.stack.extend(self.tree.children(node).iter().rev().map(|(_, child)| *child));
        }
    }
}

impl<'a, K: Ord + Copy, C: Combine> IntoIterator for &'a Tree<K, C> {
    type Item = (K, &'a C::State);
    type IntoIter = Iter<'a, K, C>;

    fn into_iter(self) -> Iter<'a, K, C> {
        self.iter()
    }
}
