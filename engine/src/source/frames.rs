//! [`Frames`]: an inlet, which knows a protocol, and a decoder, which knows a record type, are a source.
//!
//! Invariant: frames reach the decoder in order and one by one, those of a journal as those of the inlet.

use std::rc::Rc;

use super::memory::Ended;
use super::{Decoder, Frame, Intake, Nature, OpenContext, Progress, Reader, Source};
use crate::{Record, Result};

/// An [`Inlet`] with a decoder: the usual source. Built by [`frames`].
pub struct Frames<T> {
    inlet: Box<dyn Inlet>,
    decoder: Rc<dyn Fn() -> Box<dyn Decoder<T>>>,
}

/// A source that reads frames from `inlet` and decodes them by what `decoder` makes, one a
/// partition.
pub fn frames<T, D>(inlet: impl Inlet, decoder: impl Fn() -> D + 'static) -> Frames<T>
where
    T: Record,
    D: Decoder<T> + 'static,
{
    Frames { inlet: Box::new(inlet), decoder: Rc::new(move || Box::new(decoder())) }
}

/// What brings frames: the part of a source that knows a protocol and no record type.
pub trait Inlet: 'static {
    /// See [`Source::describe`].
    fn describe(&self) -> String;
    /// See [`Source::nature`].
    fn nature(&self) -> Nature;
    /// See [`Source::partitions`].
    ///
    /// # Errors
    /// When what it reads cannot be found.
    fn partitions(&self) -> Result<usize>;
    /// See [`Source::open`].
    ///
    /// # Errors
    /// When the partition cannot be opened.
    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>>;
}

/// An inlet behind a pointer, as chosen by URL.
impl Inlet for Box<dyn Inlet> {
    fn describe(&self) -> String {
        (**self).describe()
    }
    fn nature(&self) -> Nature {
        (**self).nature()
    }
    fn partitions(&self) -> Result<usize> {
        (**self).partitions()
    }
    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        (**self).open(partition, context)
    }
}

/// Reads the frames of one partition.
pub trait FrameReader {
    /// Gives each frame that is ready to `each`, until `each` returns false or none is ready. Never
    /// blocks for long.
    ///
    /// # Errors
    /// Only what ends the program.
    fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress>;

    /// See [`Reader::durable`].
    fn durable(&mut self, _next: u64) {}

    /// See [`Reader::position`].
    fn position(&self) -> Option<Vec<u8>> {
        None
    }
}

impl<T: Record> Source for Frames<T> {
    type Item = T;

    fn describe(&self) -> String {
        self.inlet.describe()
    }

    fn nature(&self) -> Nature {
        self.inlet.nature()
    }

    fn partitions(&self) -> Result<usize> {
        self.inlet.partitions()
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<T>>> {
        let frames = self.inlet.open(partition, context)?;
        Ok(Box::new(FramePartition { frames, decoder: (self.decoder)() }))
    }

    fn decoder(&self) -> Option<Box<dyn Decoder<T>>> {
        Some((self.decoder)())
    }
}

/// A reader that has nothing of its own, and decodes what was journaled.
pub(crate) fn journaled<T: Record>(decoder: Option<Box<dyn Decoder<T>>>) -> Box<dyn Reader<T>> {
    match decoder {
        Some(decoder) => Box::new(FramePartition { frames: Box::new(NoFrames), decoder }),
        None => Box::new(Ended),
    }
}

struct NoFrames;

impl FrameReader for NoFrames {
    fn read(&mut self, _: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
        Ok(Progress::End)
    }
}

struct FramePartition<T> {
    frames: Box<dyn FrameReader>,
    decoder: Box<dyn Decoder<T>>,
}

impl<T> Reader<T> for FramePartition<T> {
    fn read(&mut self, intake: &mut Intake<T>) -> Result<Progress> {
        if intake.is_full() {
            return Ok(Progress::Ready);
        }
        let decoder = &mut *self.decoder;
        self.frames.read(&mut |frame| {
            intake.decode(frame, decoder);
            !intake.is_full()
        })
    }

    fn replay(&mut self, frame: Frame<'_>, intake: &mut Intake<T>) -> Result<()> {
        intake.decode(frame, &mut *self.decoder);
        Ok(())
    }

    fn durable(&mut self, next: u64) {
        self.frames.durable(next);
    }

    fn position(&self) -> Option<Vec<u8>> {
        self.frames.position()
    }
}
