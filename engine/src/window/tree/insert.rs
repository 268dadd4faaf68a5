//! Entries come in: anywhere, at a cost that grows with the logarithm of how far from the end.
//!
//! Invariant: a node begins where an entry's key says so, and at the first entry; the caches of all that
//! changed are made anew, from the leaf up to the first edge, and from there down that edge.

use super::key::height;
use super::{Below, Combine, Node, Tree, TreeKey, caches};

/// Takes what is at `at` and after it. What stays is likely to stay as it is, and gives back memory.
fn cut<T>(items: &mut Vec<T>, at: usize) -> Vec<T> {
    let cut = items.split_off(at.min(items.len()));
    items.shrink_to_fit();
    cut
}

impl<K: TreeKey, C: Combine> Tree<K, C> {
    /// Adds a state; to what is there already if the key is.
    pub fn insert(&mut self, key: K, state: C::State) {
        let Some(&last_leaf) = self.right.first() else {
            self.nodes.push(Node::leaf(vec![(key, state)]));
            self.left.push(0);
            self.right.push(0);
            self.len = 1;
            return;
        };
        let cached = self.top() > 0;
        let Some(leaf) = self.nodes.get_mut(last_leaf) else { return };
        let Below::Entries(entries) = &mut leaf.below else { return };
        match entries.last_mut() {
            Some((last, there)) if *last == key => self.combine.combine(there, &state),
            Some((last, _)) if *last < key && height(key) > 0 => {
                let at = entries.len();
                self.path.clear();
                self.put_entry(last_leaf, at, key, state);
            }
            Some((last, there)) if *last < key => {
                if cached {
                    caches::add(&self.combine, &mut leaf.cache, there);
                }
                entries.push((key, state));
                self.len += 1;
            }
            _ => self.insert_inside(key, state),
        }
    }

    /// Inserts before the last entry, or into it.
    fn insert_inside(&mut self, key: K, state: C::State) {
        let level = self.right_level(|low| *low <= key);
        let mut node = self.right.get(level).copied().unwrap_or_default();
        self.path.clear();
        self.path.push(node);
        for _ in 0..level {
            let at = self.child_at(node, |low| *low <= key);
            node = self.children(node).get(at).map_or(node, |(_, child)| *child);
            self.path.push(node);
        }
        self.path.reverse();
        match self.entries(node).binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => {
                if let Some(Node { below: Below::Entries(entries), .. }) = self.nodes.get_mut(node)
                    && let Some((_, there)) = entries.get_mut(at)
                {
                    self.combine.combine(there, &state);
                }
                self.cache_up(0, None, None);
            }
            Err(at) => self.put_entry(node, at, key, state),
        }
    }

    /// Puts a new entry into a leaf, at the end of `path`, and makes the nodes that begin with it.
    fn put_entry(&mut self, leaf: usize, at: usize, key: K, state: C::State) {
        let Some(entries) = self.entries_mut(leaf) else { return };
        let at = at.min(entries.len());
        entries.insert(at, (key, state));
        self.len += 1;
        // The tree's first entry is that of its nodes anyway, but the one that was is no longer.
        let at = at.max(1);
        if let Some((low, _)) = self.entries(leaf).get(at) {
            let low = *low;
            self.begin(low, at);
        }
    }

    /// Makes the nodes that begin with the entry of key `low`, at place `at` of the leaf at the end of
    /// `path`: cuts as many there as its height says, and makes what changed.
    fn begin(&mut self, low: K, mut at: usize) {
        let (height, top) = (height(low), self.top());
        for _ in top..height {
            self.raise(low);
        }
        // The highest levels, below the root, at which the edges changed.
        let (mut left, mut right) = (None, None);
        let mut fresh = None;
        for level in 0..height {
            let Some(node) = self.on_path(level) else { break };
            let is_left = self.left.get(level) == Some(&node);
            let is_right = self.right.get(level) == Some(&node);
            let beside = self.on_path(level + 1).map_or(&[][..], |above| self.children(above));
            let next = beside.iter().position(|(_, there)| *there == node).map_or(0, |at| at + 1);
            let Some(added) = self.split(node, at, fresh.map(|fresh| (low, fresh))) else { break };
            if is_right {
                self.set_edge(level, added);
                right = Some(level);
            } else {
                self.cache_plain(added);
            }
            if is_left {
                left = Some(level);
            } else {
                self.cache_plain(node);
            }
            (at, fresh) = (next, Some(added));
        }
        if let (Some(fresh), Some(above)) = (fresh, self.on_path(height))
            && let Some(children) = self.children_mut(above)
        {
            children.insert(at.min(children.len()), (low, fresh));
        }
        if height > top {
            self.cache_all();
        } else {
            self.cache_up(height, left, right);
        }
    }

    /// A root above the root. The least key of its child is never asked for.
    fn raise(&mut self, low: K) {
        if let Some(&root) = self.right.last() {
            let root = self.add_node(Node::inner(vec![(low, root)]));
            self.left.push(root);
            self.right.push(root);
        }
    }

    /// A new node beside `node`, with what it has at `at` and after it; `first` goes before that.
    fn split(&mut self, node: usize, at: usize, first: Option<(K, usize)>) -> Option<usize> {
        let added = match first {
            None => Node::leaf(cut(self.entries_mut(node)?, at)),
            Some(first) => {
                let mut children = cut(self.children_mut(node)?, at);
                children.insert(0, first);
                Node::inner(children)
            }
        };
        Some(self.add_node(added))
    }

    /// Makes the caches anew that a change below `path` at a level asks for: those up to an edge, and
    /// down that edge; and down the edges that changed at these levels, below it.
    fn cache_up(&mut self, from: usize, mut left: Option<usize>, mut right: Option<usize>) {
        let top = self.top();
        for level in from..=top {
            let Some(node) = self.on_path(level) else { break };
            if level == top {
                self.cache_root();
            } else if self.right.get(level) == Some(&node) {
                right = Some(level);
            } else if self.left.get(level) == Some(&node) {
                left = Some(level);
            } else {
                self.cache_plain(node);
                continue;
            }
            break;
        }
        self.cache_right(right);
        self.cache_left(left);
    }
}
