//! The shape of a [`Tree`], so that it can be made again from its entries exactly.
//!
//! Invariant: a tree restored with its own shape has the same nodes and the same caches.

use super::{Combine, MOST, Node, Tree, caches};
use crate::{Error, Result};

impl<K: Ord + Copy, C: Combine> Tree<K, C> {
    /// How the tree is made of its entries: about a tenth of a byte for each. A checkpoint keeps it with
    /// them if `combine` rounds, since other shapes may round otherwise.
    ///
    /// One byte: how many entries `front` covers; then of each level, from the root down, how many
    /// children (entries) its nodes have, a byte for each.
    pub fn shape(&self) -> Vec<u8> {
        let byte = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        let Some(&root) = self.right.last() else { return Vec::new() };
        let mut shape = vec![byte(self.front.len())];
        let mut level = vec![root];
        while !level.is_empty() {
            let mut below = Vec::new();
            for node in level {
                let children = self.children(node);
                shape.push(byte(self.entries(node).len() + children.len()));
                below.extend(children.iter().map(|(_, child)| *child));
            }
            level = below;
        }
        shape
    }

    /// The tree that had these entries and this [`shape`](Tree::shape).
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if the entries are not in order, or the shape is not that of a tree of so many.
    pub fn restore(
        combine: C,
        entries: impl IntoIterator<Item = (K, C::State)>,
        shape: &[u8],
    ) -> Result<Self> {
        let entries = entries.into_iter().collect::<Vec<_>>();
        let count = entries.len();
        let refused = || {
            Error::Data(format!(
                "the kept state of a window is damaged: {count} entries cannot be arranged as its {} \
                 bytes of shape say; start from an older checkpoint",
                shape.len()
            ))
        };
        if !entries.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a < b)) {
            return Err(refused());
        }
        let mut tree = Self::new(combine);
        let Some((&front, mut rest)) = shape.split_first() else {
            return if count == 0 { Ok(tree) } else { Err(refused()) };
        };
        // From the root down to the level whose counts are those of the entries.
        let mut levels: Vec<&[u8]> = Vec::new();
        let mut width = 1;
        while !rest.is_empty() {
            let (level, below) = rest.split_at_checked(width).ok_or_else(refused)?;
            let fits = |nodes: &u8| (1..=MOST).contains(&usize::from(*nodes));
            if !level.iter().all(fits) {
                return Err(refused());
            }
            width = level.iter().map(|nodes| usize::from(*nodes)).sum();
            rest = below;
            levels.push(level);
        }
        // The edges are two below the root, and the last entry is in no cache.
        let lone = levels.len() > 1 && levels.first() == Some(&[1].as_slice());
        let covered = levels.last().and_then(|leaves| leaves.first()).map_or(0..=0, |leaf| {
            match levels.len() {
                1 => 0..=leaf.saturating_sub(1),
                _ => *leaf..=*leaf,
            }
        });
        if width != count || lone || !covered.contains(&front) {
            return Err(refused());
        }
        tree.len = count;
        tree.build(entries, &levels);
        tree.cache_everything(usize::from(front));
        Ok(tree)
    }

    /// Makes the nodes, from the leaves up.
    fn build(&mut self, entries: Vec<(K, C::State)>, levels: &[&[u8]]) {
        let mut entries = entries.into_iter();
        let mut below: Vec<(K, usize)> = Vec::new();
        for (height, level) in levels.iter().rev().enumerate() {
            let mut children = below.into_iter();
            below = Vec::with_capacity(level.len());
            for &size in *level {
                let size = usize::from(size);
                let node = if height == 0 {
                    Node::leaf(entries.by_ref().take(size).collect())
                } else {
                    Node::inner(children.by_ref().take(size).collect())
                };
                let first = node.entries.first().map(|(key, _)| *key);
                let low = first.or_else(|| node.children.first().map(|(low, _)| *low));
                let at = self.add_node(node);
                below.extend(low.map(|low| (low, at)));
            }
            self.left.extend(below.first().map(|(_, node)| *node));
            self.right.extend(below.last().map(|(_, node)| *node));
        }
    }

    /// Makes all caches; children have lower places than their parents.
    fn cache_everything(&mut self, front: usize) {
        for node in 0..self.nodes.len() {
            self.cache_plain(node);
        }
        self.cache_all();
        if self.top() == 0
            && let Some(&root) = self.right.first()
        {
            // What `front` does not cover, but the last entry.
            self.cache_front(front);
            let mut all = None;
            let entries = self.entries(root);
            let covered = front.min(entries.len());
            let rest = entries.get(covered..entries.len().saturating_sub(1)).unwrap_or_default();
            for (_, state) in rest {
                caches::add(&self.combine, &mut all, state);
            }
            if let Some(root) = self.nodes.get_mut(root) {
                root.cache = all;
            }
        }
    }
}
