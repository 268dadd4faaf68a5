//! [`map`]: a source with other records; and sources behind a pointer.
//!
//! Invariant: a mapped record keeps its origin, and refused and ignored frames stay what they are,
//! so a mapped source is stamped, ordered and replayed as the one inside.

use std::rc::Rc;

use super::{Decoder, Frame, Intake, Nature, OpenContext, Progress, Reader, Source};
use crate::pipeline::Tagged;
use crate::{Record, Result};

/// A source as chosen at run time.
impl<T: Record> Source for Box<dyn Source<Item = T>> {
    type Item = T;

    fn describe(&self) -> String {
        (**self).describe()
    }

    fn nature(&self) -> Nature {
        (**self).nature()
    }

    fn partitions(&self) -> Result<usize> {
        (**self).partitions()
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<T>>> {
        (**self).open(partition, context)
    }

    fn decoder(&self) -> Option<Box<dyn Decoder<T>>> {
        (**self).decoder()
    }
}

/// `source` with each record replaced by what `map` makes of it: so that sources of several types
/// can stand in one place. It has no decoder of its own.
///
/// ```
/// use anabranch::source::{self, Source};
/// use anabranch::Time;
/// let words = source::memory(vec![vec![(Time::ZERO, "hello".to_string())]].into());
/// let lengths: Box<dyn Source<Item = u64>> = Box::new(source::map(words, |w| w.len() as u64));
/// assert_eq!(lengths.partitions()?, 1);
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn map<S: Source, T: Record>(
    source: S,
    map: impl Fn(S::Item) -> T + 'static,
) -> impl Source<Item = T> {
    Mapped { source, map: Rc::new(map) }
}

struct Mapped<S, F> {
    source: S,
    map: Rc<F>,
}

impl<S: Source, T: Record, F: Fn(S::Item) -> T + 'static> Source for Mapped<S, F> {
    type Item = T;

    fn describe(&self) -> String {
        self.source.describe()
    }

    fn nature(&self) -> Nature {
        self.source.nature()
    }

    fn partitions(&self) -> Result<usize> {
        self.source.partitions()
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<T>>> {
        let reader = self.source.open(partition, context)?;
        Ok(Box::new(MappedReader { reader, map: Rc::clone(&self.map), inside: None }))
    }
}

struct MappedReader<T, F> {
    reader: Box<dyn Reader<T>>,
    map: Rc<F>,
    /// What the reader inside reads into; it remembers the partition's time.
    inside: Option<Intake<T>>,
}

impl<T, F> MappedReader<T, F> {
    /// Lets the reader inside `read` into an intake like `intake`, and maps what it has read.
    fn within<U, R>(
        &mut self,
        intake: &mut Intake<U>,
        read: impl FnOnce(&mut dyn Reader<T>, &mut Intake<T>) -> R,
    ) -> R
    where
        F: Fn(T) -> U,
    {
        let inside = self.inside.get_or_insert_with(|| intake.like());
        let (items, bytes) = (intake.records.len() + intake.refused.len(), intake.bytes);
        inside.now = intake.now;
        inside.from = intake.from;
        inside.frame = intake.frame;
        inside.last_time = intake.last_time;
        inside.time_unknown = intake.time_unknown;
        (inside.frames, inside.frames_max) = (intake.frames, intake.frames_max);
        inside.items_max = intake.items_max.saturating_sub(items);
        inside.bytes_max = intake.bytes_max.saturating_sub(bytes);
        inside.log = intake.log.take();
        let result = read(&mut *self.reader, inside);
        let map = &*self.map;
        intake.records.extend(
            inside
                .records
                .drain(..)
                .map(|Tagged { origin, record }| Tagged { origin, record: map(record) }),
        );
        intake.refused.append(&mut inside.refused);
        intake.ignored += std::mem::take(&mut inside.ignored);
        intake.bytes += std::mem::take(&mut inside.bytes);
        intake.frame = inside.frame;
        intake.frames = inside.frames;
        intake.last_time = inside.last_time;
        intake.time_unknown = inside.time_unknown;
        intake.log = inside.log.take();
        result
    }
}

impl<T, U, F: Fn(T) -> U> Reader<U> for MappedReader<T, F> {
    fn read(&mut self, intake: &mut Intake<U>) -> Result<Progress> {
        // What was read before an error was read.
        self.within(intake, |reader, inside| reader.read(inside))
    }

    fn replay(&mut self, frame: Frame<'_>, intake: &mut Intake<U>) -> Result<()> {
        self.within(intake, |reader, inside| reader.replay(frame, inside))
    }

    fn durable(&mut self, next: u64) {
        self.reader.durable(next);
    }

    fn position(&self) -> Option<Vec<u8>> {
        self.reader.position()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Counters;
    use crate::source::{Waker, memory};
    use crate::{Origin, Time};

    fn open<T: Record>(source: &impl Source<Item = T>) -> Box<dyn Reader<T>> {
        let (waker, counters) = (Waker::new(|| ()), Counters::default());
        source.open(0, &OpenContext::new("test", waker, counters)).unwrap()
    }

    fn read<T>(reader: &mut dyn Reader<T>, items_max: usize, now: Option<Time>) -> Vec<Origin> {
        let mut intake = Intake::new(3, 5, items_max, 1 << 20);
        intake.now = now;
        let mut origins = Vec::new();
        loop {
            let progress = reader.read(&mut intake).unwrap();
            assert!(intake.records.len() <= items_max);
            assert!(intake.bytes > 0 || intake.records.is_empty());
            intake.bytes = 0;
            origins.extend(intake.records.drain(..).map(|tagged| tagged.origin));
            if progress == Progress::End {
                return origins;
            }
        }
    }

    /// Times that fall, so that they are raised to the running maximum across calls.
    fn numbers() -> impl Source<Item = u64> {
        let times = [1, 5, 3, 3, 9, 2, 10];
        memory(vec![times.map(|nanos| (Time::from_nanos(nanos), 7)).to_vec()].into())
    }

    #[test]
    fn origins_are_those_of_the_source_inside() {
        for now in [None, Some(Time::from_nanos(100))] {
            for items_max in 1..9 {
                let plain = read(&mut *open(&numbers()), items_max, now);
                let mapped = map(numbers(), |number| number.to_string());
                assert_eq!(read(&mut *open(&mapped), items_max, now), plain);
                assert_eq!(plain.len(), 7);
            }
        }
    }

    /// Accepts, refuses and ignores one frame after the other.
    struct Mixed(u64);

    impl Reader<u64> for Mixed {
        fn read(&mut self, intake: &mut Intake<u64>) -> Result<Progress> {
            intake.frame(self.0, None, 10);
            match self.0 % 3 {
                0 => intake.accept(self.0),
                1 => intake.reject("odd", b"x"),
                _ => intake.ignore(),
            }
            self.0 += 1;
            Ok(if self.0 == 6 { Progress::End } else { Progress::Ready })
        }
    }

    #[test]
    fn refused_and_ignored_frames_stay_what_they_are() {
        let double = Rc::new(|number: u64| number * 2);
        let mut reader = MappedReader { reader: Box::new(Mixed(0)), map: double, inside: None };
        let mut intake = Intake::detached(100, 100);
        while reader.read(&mut intake).unwrap() != Progress::End {}
        assert_eq!((intake.ignored, intake.bytes), (2, 60));
        let refused = || Err(("odd".to_string(), b"x".to_vec()));
        assert_eq!(intake.take(), [Ok(0), refused(), Ok(6), refused()]);
    }
}
