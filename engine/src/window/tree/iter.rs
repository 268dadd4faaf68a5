//! The entries of a [`Tree`], in order.
//!
//! Invariant: nothing is changed, and nothing is called recursively.

use super::{Combine, Tree, TreeKey};

impl<K: TreeKey, C: Combine> Tree<K, C> {
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

impl<'a, K: TreeKey, C: Combine> Iterator for Iter<'a, K, C> {
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

impl<'a, K: TreeKey, C: Combine> IntoIterator for &'a Tree<K, C> {
    type Item = (K, &'a C::State);
    type IntoIter = Iter<'a, K, C>;

    fn into_iter(self) -> Iter<'a, K, C> {
        self.iter()
    }
}
