//! Entries go, from the start on.
//!
//! Invariant: only nodes on the left edge lose what is below them, and none stays empty; caches are made
//! anew once, when all is out.

use super::{Combine, Tree, TreeKey};

impl<K: TreeKey, C: Combine> Tree<K, C> {
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
        let mut changed = None;
        while let Some(&leaf) = self.left.first() {
            let Some(entries) = self.entries_mut(leaf) else { break };
            let (count, there) = (entries.partition_point(|(key, _)| gone(key)), entries.len());
            if count < there {
                entries.drain(..count);
                self.len = self.len.saturating_sub(count);
                self.front.truncate(self.front.len().saturating_sub(count));
                break;
            }
            self.len = self.len.saturating_sub(there);
            changed = changed.max(Some(self.drop_first_leaf()));
        }
        let shrunk = self.shrink();
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
                if let Some(children) = self.children_mut(node) {
                    children.drain(..1.min(children.len()));
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

    /// Takes out roots that have one child: what began the other ones is gone, or is the first entry now.
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
}
