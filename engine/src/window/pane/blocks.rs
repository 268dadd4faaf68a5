//! [`Cache`]: what windows that slide over slices combine to, at a constant cost a slice.
//!
//! Time is cut into blocks as long as a window, at places that no history moves. So a window is the end
//! of one block and the beginning of the next: what the slices of the first combine to, from each of them
//! to the block's end, is made once, when the windows leave the block before it; what those of the second
//! come to is extended slice by slice. With one combine of the two that is three combines a slice, and
//! nothing is ever subtracted. (The scheme of van Herk and of Gil and Werman, 1992 and 1993.)
//!
//! A slice that changes behind the last window makes anew what has it in it: in the second block, from
//! there to its end, which is as much as there are windows to correct; in the first, what there is of
//! that block, which is as much again if averaged over where the blocks begin.
//!
//! Invariant: what a window combines to is a function of its slices and of their places alone, bit for
//! bit, whatever is cached: so a cache may be dropped at any moment.

use super::Contents;

/// What is cached of one key; made again from its rows where it is missing.
///
/// At most two states for each slice of a window. Drop it when a change of rows is undone.
#[derive(Clone, Debug)]
pub struct Cache<S> {
    /// Where the second block begins, and the first ends.
    boundary: i64,
    /// From where on the first block is cached.
    from: i64,
    /// From each slice to the end of the first block; in order.
    suffixes: Vec<(i64, Contents<S>)>,
    /// From the beginning of the second block through each slice; in order.
    prefixes: Vec<(i64, Contents<S>)>,
}

impl<S> Default for Cache<S> {
    fn default() -> Self {
        Self { boundary: i64::MIN, from: i64::MAX, suffixes: Vec::new(), prefixes: Vec::new() }
    }
}

/// Where the blocks are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    /// The place of a slice.
    pub(super) anchor: i64,
    /// As long as a window.
    pub(super) length: i64,
}

impl Blocks {
    /// The first beginning of a block at or after `from`.
    fn boundary(self, from: i64) -> i64 {
        let length = i128::from(self.length.max(1));
        let past = (i128::from(from) - i128::from(self.anchor)).rem_euclid(length);
        let ahead = if past == 0 { 0 } else { length - past };
        i64::try_from(i128::from(from) + ahead).unwrap_or(i64::MAX)
    }
}

impl<S: Clone> Cache<S> {
    /// The slice at `start` is new, or has changed.
    pub(super) fn changed(&mut self, start: i64) {
        if start >= self.boundary {
            let kept = self.prefixes.partition_point(|(there, _)| *there < start);
            self.prefixes.truncate(kept);
        } else if start >= self.from {
            self.suffixes.clear();
            self.from = i64::MAX;
        }
    }

    /// What the slices that begin in `from..to` combine to, which is as long as a block. `rows` gives
    /// those that begin in such a range, in order.
    pub(super) fn query<'a, I: DoubleEndedIterator<Item = (i64, &'a Contents<S>)>>(
        &mut self,
        blocks: Blocks,
        (from, to): (i64, i64),
        combine: impl Fn(&mut S, &S),
        rows: impl Fn(i64, i64) -> I,
    ) -> Option<Contents<S>>
    where
        S: 'a,
    {
        let add = |all: &mut Contents<S>, later: &Contents<S>| all.add(later, &combine);
        let boundary = blocks.boundary(from);
        if boundary != self.boundary {
            *self = Self { boundary, ..Self::default() };
        }
        let mut all = None;
        if from < boundary {
            if from < self.from {
                self.suffixes.clear();
                for (start, slice) in rows(from, boundary).rev() {
                    let mut suffix = slice.clone();
                    if let Some((_, later)) = self.suffixes.last() {
                        add(&mut suffix, later);
                    }
                    self.suffixes.push((start, suffix));
                }
                self.suffixes.reverse();
                self.from = from;
            }
            let first = self.suffixes.partition_point(|(start, _)| *start < from);
            all = self.suffixes.get(first).map(|(_, suffix)| suffix.clone());
        }
        if boundary < to {
            let cached = self.prefixes.last().map_or(boundary, |(last, _)| last.saturating_add(1));
            if cached < to {
                for (start, slice) in rows(cached, to) {
                    let prefix = match self.prefixes.last() {
                        Some((_, before)) => {
                            let mut prefix = before.clone();
                            add(&mut prefix, slice);
                            prefix
                        }
                        None => slice.clone(),
                    };
                    self.prefixes.push((start, prefix));
                }
            }
            let end = self.prefixes.partition_point(|(start, _)| *start < to);
            let prefix = end.checked_sub(1).and_then(|last| self.prefixes.get(last));
            match (&mut all, prefix) {
                (Some(all), Some((_, prefix))) => add(all, prefix),
                (all, prefix) => *all = all.take().or_else(|| prefix.map(|(_, it)| it.clone())),
            }
        }
        all
    }
}
