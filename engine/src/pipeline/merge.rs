//! The merge of sorted runs of records.
//!
//! Invariant: what comes out is in order of origins; records of equal origin (there are none
//! within one stream) would keep the order of arrival.

use std::collections::VecDeque;
use std::vec::IntoIter;

use super::Tagged;
use crate::Origin;

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

    /// Takes all records.
    #[inline]
    pub(crate) fn take_all(&mut self, mut each: impl FnMut(Tagged<T>)) {
        self.take_until(|_| usize::MAX, &mut each);
    }

    /// Takes the records before the first of which `beyond` holds; it must hold of all after that.
    #[inline]
    pub(crate) fn take_before(
        &mut self,
        beyond: impl Fn(&Origin) -> bool,
        mut each: impl FnMut(Tagged<T>),
    ) {
        self.take_until(|block| first_where(block, &beyond), &mut each);
    }

    /// Takes records while `count` says that a block has some that may be taken.
    #[inline]
    fn take_until(
        &mut self,
        count: impl Fn(&[Tagged<T>]) -> usize,
        each: &mut impl FnMut(Tagged<T>),
    ) {
        while let Some((index, bound)) = self.least() {
            let Some(run) = self.runs.get_mut(index) else { return };
            while let Some(block) = run.blocks.front_mut() {
                let length = block.as_slice().len();
                let within = match bound {
                    None => length,
                    Some(bound) => first_where(block.as_slice(), |origin| *origin > bound),
                };
                let allowed = count(block.as_slice());
                for record in block.by_ref().take(within.min(allowed)) {
                    each(record);
                }
                if allowed < within {
                    return;
                }
                if within < length {
                    break;
                }
                run.blocks.pop_front();
            }
            if run.blocks.is_empty() {
                self.runs.swap_remove(index);
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

/// The index of the first record of which `beyond` holds, by search from the front: what is taken
/// is often short beside the block.
#[inline]
fn first_where<T>(block: &[Tagged<T>], beyond: impl Fn(&Origin) -> bool) -> usize {
    let mut step = 1;
    let mut from = 0;
    while let Some(probe) = block.get(from + step - 1) {
        if beyond(&probe.origin) {
            break;
        }
        from += step;
        step *= 2;
    }
    let rest = block.get(from..(from + step).min(block.len())).unwrap_or_default();
    from + rest.partition_point(|tagged| !beyond(&tagged.origin))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Time;

    proptest! {
        #[test]
        fn runs_come_out_merged(blocks in proptest::collection::vec(block(), 0..12)) {
            let mut expected: Vec<Origin> = blocks.iter().flatten().copied().collect();
            expected.sort();
            let mut merge = Merge::default();
            for block in blocks {
                merge.add(block.into_iter().map(|origin| Tagged { origin, record: origin }).collect());
            }
            let middle = expected.get(expected.len() / 2).copied();
            let mut merged = Vec::new();
            merge.take_before(|o| Some(*o) >= middle, |t| merged.push(t.record));
            prop_assert!(merged.iter().all(|o| Some(*o) < middle));
            prop_assert_eq!(merge.head(), expected.get(merged.len()).copied());
            merge.take_all(|t| merged.push(t.record));
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
