//! Sources of records in memory, and without any.
//!
//! Invariant: recorded input: what a partition brings depends on nothing but its elements.

use std::sync::Arc;

use super::{Intake, Nature, OpenContext, Progress, Reader, Source};
use crate::{Record, Result, Time};

/// A recorded source of records in memory, each with its time: one partition an element of
/// `partitions`. Times are raised to the running maximum of their partition.
///
/// ```
/// use anabranch::{Time, source};
/// let at = |nanos, word: &str| (Time::from_nanos(nanos), word.to_string());
/// let words = source::memory(vec![vec![at(1, "a"), at(3, "c")], vec![at(2, "b")]].into());
/// ```
pub fn memory<T: Record + Sync>(partitions: Arc<[Vec<(Time, T)>]>) -> impl Source<Item = T> {
    Memory { partitions, split: |(time, record): &(Time, T)| (*time, record.clone()) }
}

/// As [`memory`], of records that know their time.
///
/// ```
/// use anabranch::{Time, source};
/// let at = |nanos: &i64| Time::from_nanos(*nanos);
/// let beats = source::memory_timed(vec![vec![1, 3], vec![2]].into(), at);
/// ```
pub fn memory_timed<T: Record + Sync>(
    partitions: Arc<[Vec<T>]>,
    time: impl Fn(&T) -> Time + Clone + 'static,
) -> impl Source<Item = T> {
    Memory { partitions, split: move |record: &T| (time(record), record.clone()) }
}

struct Memory<E, F> {
    partitions: Arc<[Vec<E>]>,
    /// The time and the record of an element.
    split: F,
}

impl<E, T, F> Source for Memory<E, F>
where
    E: Send + Sync + 'static,
    T: Record,
    F: Fn(&E) -> (Time, T) + Clone + 'static,
{
    type Item = T;

    fn describe(&self) -> String {
        "memory".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Recorded
    }

    fn partitions(&self) -> Result<usize> {
        Ok(self.partitions.len())
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<T>>> {
        let (partitions, split) = (Arc::clone(&self.partitions), self.split.clone());
        let next = usize::try_from(context.resume.from).unwrap_or(usize::MAX);
        Ok(Box::new(MemoryReader { partitions, split, partition, next }))
    }
}

struct MemoryReader<E, F> {
    partitions: Arc<[Vec<E>]>,
    split: F,
    partition: usize,
    next: usize,
}

impl<E, T: Record, F: Fn(&E) -> (Time, T)> Reader<T> for MemoryReader<E, F> {
    fn read(&mut self, intake: &mut Intake<T>) -> Result<Progress> {
        let elements = self.partitions.get(self.partition).map_or(&[][..], Vec::as_slice);
        let left = elements.get(self.next..).unwrap_or_default();
        let ready = left.get(..intake.room(size_of::<T>())).unwrap_or(left);
        intake.records.reserve(ready.len());
        for (offset, element) in (self.next as u64..).zip(ready) {
            let (time, record) = (self.split)(element);
            intake.single(offset, Some(time), size_of::<T>(), record);
        }
        self.next += ready.len();
        Ok(if ready.len() < left.len() { Progress::Ready } else { Progress::End })
    }
}

/// A source without records: for [`TestDriver`](crate::TestDriver), which feeds them.
pub fn empty<T: Record>() -> impl Source<Item = T> {
    Empty(std::marker::PhantomData)
}

struct Empty<T>(std::marker::PhantomData<fn() -> T>);

impl<T: Record> Source for Empty<T> {
    type Item = T;

    fn describe(&self) -> String {
        "empty".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Recorded
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, _: &OpenContext) -> Result<Box<dyn Reader<T>>> {
        Ok(Box::new(Ended))
    }
}

/// A reader that has nothing.
pub(super) struct Ended;

impl<T> Reader<T> for Ended {
    fn read(&mut self, _: &mut Intake<T>) -> Result<Progress> {
        Ok(Progress::End)
    }
}
