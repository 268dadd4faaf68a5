//! The merge of sorted runs of records.
//!
//! Invariant: what comes out is in order of origins; records of equal origin (there are none
//! within one stream) would keep the order of arrival.

use std::collections::VecDeque;
use std::vec::IntoIter;

use super::Tagged;
use crate::Origin;
use crate::origin::Entry;

/// Sorted runs of one stream's records, merged as they are taken.
pub(crate) struct Merge<T> {
    runs: Vec<Run<T>>,
}

struct Run<T> {
    blocks: VecDeque<IntoIter<Tagged<T>>>,
    last: Origin,
}

impl<T> Run<T> {
    fn head(&self) -> Option<Origin> {
        Some(self.blocks.front()?.as_slice().first()?.origin)
    }
}

impl<T> Default for Merge<T> {
    fn default() -> Self {
        Self { runs: Vec::new() }
    }
}

impl<T> Merge<T> {
    /// Adds `block`, which is in order of origins.
    pub(crate) fn add(&mut self, block: Vec<Tagged<T>>) {
        let (Some(first), Some(last)) = (block.first(), block.last()) else { return };
        let (first, last) = (first.origin, last.origin);
        let block = block.into_iter();
        match self.runs.iter_mut().find(|run| run.last <= first) {
            Some(run) => {
                run.blocks.push_back(block);
                run.last = last;
            }
            None => self.runs.push(Run { blocks: VecDeque::from([block]), last }),
        }
    }

    /// The origin of the next record.
    pub(crate) fn head(&self) -> Option<Origin> {
        self.runs.iter().filter_map(Run::head).min()
    }

    /// The next record.
    pub(crate) fn first(&self) -> Option<&Tagged<T>> {
        let heads = self.runs.iter().filter_map(|run| run.blocks.front()?.as_slice().first());
        heads.min_by_key(|tagged| tagged.origin)
    }

    /// Takes the records before `end`, in order; all if there is no end. Every `ahead` records, `each` is shown
    /// as many of those that follow; never, if that is 0.
    #[inline]
    pub(crate) fn take_before(
        &mut self,
        end: Option<Entry>,
        ahead: usize,
        mut each: impl FnMut(Tagged<T>, &[Tagged<T>]),
    ) {
        while let Some((index, bound)) = self.least() {
            let Some(run) = self.runs.get_mut(index) else { return };
            while let Some(block) = run.blocks.front_mut() {
                let within = first_beyond(block.as_slice(), bound, end);
                let length = block.as_slice().len();
                let mut shown = 0;
                for left in (0..within).rev() {
                    let Some(record) = block.next() else { break };
                    let following = if shown == 0 { left.min(ahead) } else { 0 };
                    shown = if shown == 0 { following } else { shown - 1 };
                    each(record, block.as_slice().get(..following).unwrap_or_default());
                }
                if within < length {
                    break;
                }
                run.blocks.pop_front();
            }
            match run.head() {
                None => drop(self.runs.swap_remove(index)),
                Some(head) if end.is_some_and(|end| head.entry() >= end) => return,
                Some(_) => {}
            }
        }
    }

    /// The run with the least head, and the head of the next least.
    fn least(&self) -> Option<(usize, Option<Origin>)> {
        let mut least: Option<(Origin, usize)> = None;
        let mut bound = None;
        for (index, run) in self.runs.iter().enumerate() {
            let Some(head) = run.head() else { continue };
            match least {
                Some((origin, _)) if origin <= head => {
                    if bound.is_none_or(|bound| head < bound) {
                        bound = Some(head);
                    }
                }
                _ => {
                    bound = least.map(|(origin, _)| origin);
                    least = Some((head, index));
                }
            }
        }
        least.map(|(_, index)| (index, bound))
    }
}

/// How many records of `block` come neither after `bound` nor at or after `end`: by search from the
/// front, since what is taken is often short beside the block.
#[inline]
fn first_beyond<T>(block: &[Tagged<T>], bound: Option<Origin>, end: Option<Entry>) -> usize {
    if bound.is_none() && end.is_none() {
        return block.len();
    }
    let beyond = |tagged: &Tagged<T>| {
        bound.is_some_and(|bound| tagged.origin > bound)
            || end.is_some_and(|end| tagged.origin.entry() >= end)
    };
    let mut step = 1;
    let mut from = 0;
    while block.get(from + step - 1).is_some_and(|probe| !beyond(probe)) {
        from += step;
        step *= 2;
    }
    let rest = block.get(from..(from + step).min(block.len())).unwrap_or_default();
    from + rest.partition_point(|tagged| !beyond(tagged))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Time;

    proptest! {
        #[test]
        fn runs_come_out_merged(
            blocks in proptest::collection::vec(block(), 0..12),
            ahead in 0..5_usize,
        ) {
            let mut expected: Vec<Origin> = blocks.iter().flatten().copied().collect();
            expected.sort();
            let mut merge = Merge::default();
            for block in blocks {
                merge.add(block.into_iter().map(|origin| Tagged { origin, record: origin }).collect());
            }
            let middle = expected.get(expected.len() / 2).map(|origin| origin.entry());
            let mut merged = Vec::new();
            for (index, end) in [middle, None].into_iter().enumerate() {
                let mut soon = VecDeque::new();
                merge.take_before(end, ahead, |tagged, following| {
                    if let Some(expected) = soon.pop_front() {
                        assert_eq!((tagged.record, following.len()), (expected, 0));
                    }
                    soon.extend(following.iter().map(|tagged| tagged.record));
                    assert!(soon.len() <= ahead);
                    merged.push(tagged.record);
                });
                prop_assert!(soon.is_empty());
                prop_assert!(index > 0 || merged.iter().all(|o| middle.is_none_or(|middle| o.entry() < middle)));
                prop_assert_eq!(merge.head(), expected.get(merged.len()).copied());
            }
            prop_assert_eq!(merged, expected);
        }
    }

    fn block() -> impl Strategy<Value = Vec<Origin>> {
        proptest::collection::vec((0..50_i64, 0..3_usize), 1..20).prop_map(|items| {
            let mut block: Vec<_> = items
                .into_iter()
                .map(|(time, lane)| Origin::new(Time::from_nanos(time), 0, lane, time as u64))
                .collect();
            block.sort();
            block
        })
    }
}
