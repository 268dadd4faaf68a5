//! [`Window`]: frames on their way out that the receiver may not have.
//!
//! Invariant: a frame leaves the window only when so many bytes were written after it that the
//! socket's send buffer cannot hold any of it; so after a break all that TCP had not delivered is
//! written again, from a frame's beginning.

use std::collections::VecDeque;

use crate::queue::Batch;

/// What to write, and what was written but may be lost.
#[derive(Debug, Default)]
pub(super) struct Window {
    bytes: VecDeque<u8>,
    /// The lengths of the frames in `bytes`.
    frames: VecDeque<usize>,
    /// How many of `bytes` were written to the present connection.
    written: usize,
}

impl Window {
    /// Appends the frames of `batch`, headers included.
    pub(super) fn extend(&mut self, batch: &Batch) {
        self.bytes.extend(batch.bytes());
        self.frames.extend(batch.iter().map(<[u8]>::len));
    }

    /// The next bytes to write: empty when all are.
    pub(super) fn unwritten(&self) -> &[u8] {
        let (front, back) = self.bytes.as_slices();
        match front.get(self.written..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => back.get(self.written - front.len()..).unwrap_or_default(),
        }
    }

    /// `count` more bytes were written to a socket whose send buffer holds `buffer` bytes.
    pub(super) fn wrote(&mut self, count: usize, buffer: usize) {
        self.written += count;
        while let Some(length) = self.frames.front().copied()
            && self.written >= length + buffer
        {
            self.frames.pop_front();
            self.bytes.drain(..length);
            self.written -= length;
        }
    }

    /// A new connection: everything is to be written again. Says how many frames were begun on
    /// the last one.
    pub(super) fn rewind(&mut self) -> usize {
        let written = std::mem::take(&mut self.written);
        let mut start = 0;
        let begun = self.frames.iter().take_while(|length| {
            let begun = start < written;
            start += **length;
            begun
        });
        begun.count()
    }

    /// How many frames it holds.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether everything is written to the present connection.
    pub(super) fn is_written(&self) -> bool {
        self.written == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(frames: &[Vec<u8>]) -> Batch {
        let mut batch = Batch::default();
        for frame in frames {
            batch.push(&[frame], 1 << 20);
        }
        batch
    }

    proptest! {
        /// A receiver that gets all but the last `buffer` bytes of what was written before a break
        /// has, with what is written after it, every frame.
        #[test]
        fn what_a_break_loses_is_written_again(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 1..30),
            steps in proptest::collection::vec(1..50_usize, 1..40),
            buffer in 0..100_usize,
        ) {
            let all = frames.concat();
            let mut window = Window::default();
            window.extend(&batch(&frames));
            let mut wrote = 0;
            for step in steps {
                let count = window.unwritten().len().min(step);
                prop_assert_eq!(&all[wrote..wrote + count], &window.unwritten()[..count]);
                window.wrote(count, buffer);
                wrote += count;
            }
            let received = wrote.saturating_sub(buffer);
            let begun = window.rewind();
            prop_assert!(begun <= window.len());
            let mut again = Vec::new();
            while !window.is_written() {
                let rest = window.unwritten().to_vec();
                window.wrote(rest.len(), usize::MAX / 2);
                again.extend(rest);
            }
            let from = all.len() - again.len();
            prop_assert!(from <= received, "a gap of {} bytes", from - received);
            prop_assert_eq!(&all[from..], &again[..]);
            let starts: Vec<usize> = frames.iter().scan(0, |at, frame| {
                let start = *at;
                *at += frame.len();
                Some(start)
            }).collect();
            prop_assert!(from == all.len() || starts.contains(&from));
        }
    }
}
