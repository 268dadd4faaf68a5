//! The hand-over between sockets and threads on one side and a worker on the other.
//!
//! Invariant: bounded by frames and by bytes, whatever the peers do. What is queued and what the
//! taker holds are at most half of the bound each, so that both sides work at the same time; a
//! single larger frame is let in alone. The worker never waits; the other side does.

mod inbound;
mod outbound;
mod owed;

pub(crate) use self::inbound::{EndGuard, Gone, Inbound, NoRoom, inbound};
pub(crate) use self::outbound::{Outbound, OutboundReceiver, outbound};
pub(crate) use self::owed::{Owed, can_acknowledge};

/// What a queue may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { frames: 16 << 10, bytes: 32 << 20 }
    }
}

impl Bounds {
    /// Each side's half.
    pub(crate) fn half(self) -> Self {
        Self { frames: (self.frames / 2).max(1), bytes: (self.bytes / 2).max(1) }
    }
}

/// Capacity that an emptied batch keeps for the next frames.
const KEPT_BYTES: usize = 256 << 10;
const KEPT_FRAMES: usize = 16 << 10;

/// Frames back to back in one piece of memory: no allocation a frame, and what it holds is known
/// exactly.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The indices of frames that their transport refused, in order: few.
    refused: Vec<usize>,
    /// After how many frames the worker asks where it is.
    mark: Option<usize>,
}

impl Batch {
    /// Appends one frame made of `parts`; grows at most to `bytes_max` if the frame fits in it.
    pub(crate) fn push(&mut self, parts: &[&[u8]], bytes_max: usize) {
        let needed = self.bytes.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        if needed > self.bytes.capacity() {
            let grown = needed.max(2 * self.bytes.capacity()).min(bytes_max.max(needed));
            self.bytes.reserve_exact(grown - self.bytes.len());
        }
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    /// Marks the frame that was pushed last as refused by its transport.
    pub(crate) fn refuse_last(&mut self) {
        self.refused.extend(self.len().checked_sub(1));
    }

    pub(crate) fn is_refused(&self, index: usize) -> bool {
        self.refused.binary_search(&index).is_ok()
    }

    /// Asks where the other side is once it has written what is in here now.
    fn ask(&mut self) {
        self.mark = Some(self.len());
    }

    /// After how many frames the worker wants to know that they are written, if it does.
    pub(crate) fn mark(&self) -> Option<usize> {
        self.mark
    }

    /// How many frames there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All frames, back to back.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The frame at `index`.
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before));
        self.bytes.get(start.copied().unwrap_or(0)..end)
    }

    /// The frames `from..to`, back to back.
    pub(crate) fn bytes_of(&self, from: usize, to: usize) -> &[u8] {
        let end = |count: usize| count.checked_sub(1).and_then(|last| self.ends.get(last));
        let (from, to) = (end(from).copied().unwrap_or(0), end(to).copied().unwrap_or(0));
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// The frames, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Forgets the frames, and gives back memory that only a burst needed.
    pub(crate) fn clear(&mut self) {
        self.mark = None;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.ends.clear();
        self.ends.shrink_to(KEPT_FRAMES);
        self.refused.clear();
        self.refused.shrink_to(KEPT_FRAMES);
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anabranch::sink::Taken;
    use anabranch::source::{FrameReader as _, Progress, Waker};

    use super::*;

    fn counting_waker() -> (Arc<AtomicUsize>, Waker) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let waker = Waker::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        (count, waker)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(future)
    }

    /// Sends until the queue lets no more in; gives how many frames it took.
    fn fill(queue: &Inbound, frame: &[u8]) -> usize {
        let mut taken = 0;
        while block_on(async {
            tokio::select! {
                biased;
                sent = queue.send(frame) => sent.is_ok(),
                () = std::future::ready(()) => false,
            }
        }) {
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_worker_that_never_reads_bounds_what_is_held_by_bytes_and_by_frames() {
        let (_, waker) = counting_waker();
        let bounds = Bounds { frames: 1000, bytes: 1 << 20 };
        let (queue, mut reader) = inbound(bounds, waker, 0);
        assert_eq!(fill(&queue, &[7; 10_000]), (1 << 19) / 10_000);
        assert_eq!(reader.held(), ((1 << 19) / 10_000, true), "half of the bound is queued");
        // The worker takes the batch and stops in it: the other half, and no more.
        assert_eq!(reader.read(&mut |_| false).unwrap(), Progress::Ready);
        assert_eq!(fill(&queue, &[7; 10_000]), (1 << 19) / 10_000);
        assert_eq!(reader.read(&mut |_| true).unwrap(), Progress::Idle);
        assert_eq!(fill(&queue, b""), 500, "half of the frames, however small");
        assert_eq!(fill(&queue, &[0; 600_000]), 0);
        assert_eq!(reader.read(&mut |_| true).unwrap(), Progress::Idle);
        assert_eq!(fill(&queue, &[0; 600_000]), 1, "a larger frame is let in alone");
    }

    #[test]
    fn many_frames_are_let_in_together_or_not_at_all() {
        let (woken, waker) = counting_waker();
        let (queue, mut reader) = inbound(Bounds { frames: 8, bytes: 200 }, waker, 10);
        assert_eq!(queue.offer_all(&[b"a", b"b", b"c"]), Ok(13));
        assert_eq!(queue.offer_all(&[b"d", b"e"]), Err(NoRoom::Full), "half of 8 frames");
        assert_eq!(queue.offer_all(&[&[0; 98]]), Err(NoRoom::Full), "half of 200 bytes");
        assert_eq!((queue.offer_all(&[]), queue.offer_all(&[b"d"])), (Ok(13), Ok(14)));
        assert_eq!((reader.held().0, woken.load(Ordering::SeqCst)), (4, 1));
        let mut offsets = Vec::new();
        let mut read = |reader: &mut dyn anabranch::source::FrameReader| {
            reader.read(&mut |frame| {
                offsets.push(frame.offset);
                true
            })
        };
        read(&mut reader).unwrap();
        assert_eq!(
            queue.offer_all(&[&[0; 70], &[0; 70]]),
            Ok(16),
            "more than all are let in alone"
        );
        assert_eq!(queue.offer_all(&[b"e"]), Err(NoRoom::Full));
        read(&mut reader).unwrap();
        assert_eq!(offsets, [10, 11, 12, 13, 14, 15]);
        drop(reader);
        assert_eq!(queue.offer_all(&[b"e"]), Err(NoRoom::Gone));
    }

    #[test]
    fn the_worker_is_woken_when_the_queue_turns_non_empty() {
        let (woken, waker) = counting_waker();
        let (queue, mut reader) = inbound(Bounds::default(), waker, 0);
        for round in 1..4 {
            assert_eq!(reader.read(&mut |_| true).unwrap(), Progress::Idle);
            for _ in 0..3 {
                block_on(queue.send(b"x")).unwrap();
            }
            assert_eq!(woken.load(Ordering::SeqCst), round);
            let mut offsets = Vec::new();
            reader
                .read(&mut |frame| {
                    offsets.push(frame.offset);
                    true
                })
                .unwrap();
            let first = 3 * (round as u64 - 1);
            assert_eq!(offsets, [first, first + 1, first + 2]);
        }
        queue.finish(Ok(()));
        assert_eq!(woken.load(Ordering::SeqCst), 4);
        assert_eq!(reader.read(&mut |_| true).unwrap(), Progress::End);
        assert_eq!(reader.read(&mut |_| true).unwrap(), Progress::End);
    }

    #[test]
    fn a_reader_that_is_gone_ends_the_senders() {
        let (_, waker) = counting_waker();
        let (queue, reader) = inbound(Bounds { frames: 2, bytes: 2 }, waker, 0);
        assert_eq!(fill(&queue, b"x"), 1);
        let waiting = std::thread::spawn(move || block_on(queue.send(b"y")));
        drop(reader);
        assert_eq!(waiting.join().unwrap(), Err(Gone));
    }

    #[test]
    fn a_feeder_that_dies_is_an_error_and_no_silence() {
        let (_, waker) = counting_waker();
        let (queue, mut reader) = inbound(Bounds::default(), waker, 0);
        drop(EndGuard(queue));
        let error = reader.read(&mut |_| true).unwrap_err().to_string();
        assert!(error.contains("unexpectedly"), "{error}");
    }

    #[test]
    fn a_full_sink_takes_nothing_and_wakes_the_worker_when_there_is_room() {
        let (woken, waker) = counting_waker();
        let (queue, receiver) = outbound(Bounds { frames: 10, bytes: 200 }, waker);
        for _ in 0..5 {
            assert_eq!(queue.offer(&[b"head", b"body"]).unwrap(), Taken::All);
        }
        assert_eq!(queue.offer(&[b"more"]).unwrap(), Taken::Partly, "half of 10 frames");
        let mut batch = Batch::default();
        assert!(receiver.take_blocking(&mut batch));
        assert_eq!(batch.iter().collect::<Vec<_>>(), [b"headbody"; 5]);
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        assert_eq!(queue.offer(&[&[0; 99]]).unwrap(), Taken::All);
        assert_eq!(queue.offer(&[b"xy"]).unwrap(), Taken::Partly, "half of 200 bytes");
        assert!(receiver.take_blocking(&mut batch));
        assert_eq!(queue.offer(&[&[0; 5000]]).unwrap(), Taken::All, "a larger frame goes alone");
        assert_eq!(queue.offer(&[b""]).unwrap(), Taken::Partly);
        assert!(receiver.take_blocking(&mut batch));
        assert!(batch.capacity() <= 5000);
    }

    #[test]
    fn closing_waits_for_the_other_side_and_its_error_arrives_once() {
        let (woken, waker) = counting_waker();
        let (queue, receiver) = outbound(Bounds::default(), waker);
        queue.offer(&[b"last"]).unwrap();
        assert_eq!(queue.close().unwrap(), Taken::Partly);
        let mut batch = Batch::default();
        assert!(block_on(receiver.take(&mut batch)));
        assert!(!block_on(receiver.take(&mut batch)));
        block_on(receiver.closing());
        let before = woken.load(Ordering::SeqCst);
        receiver.finish(Ok(()));
        assert!(woken.load(Ordering::SeqCst) > before);
        assert_eq!(queue.close().unwrap(), Taken::All);

        let (queue, receiver) = outbound(Bounds::default(), counting_waker().1);
        receiver.finish(Err(anabranch::Error::Connector("disk full".into())));
        assert!(queue.offer(&[b"x"]).unwrap_err().to_string().contains("disk full"));
        assert!(queue.offer(&[b"x"]).is_err());

        let (queue, receiver) = outbound(Bounds::default(), counting_waker().1);
        drop(receiver);
        assert!(queue.close().unwrap_err().to_string().contains("unexpectedly"));
    }

    #[test]
    fn a_position_is_asked_at_one_place_and_told_when_it_is_reached() {
        let (woken, waker) = counting_waker();
        let (queue, receiver) = outbound(Bounds::default(), waker);
        let mut batch = Batch::default();
        queue.offer(&[b"a"]).unwrap();
        queue.offer(&[b"b"]).unwrap();
        assert_eq!(queue.position().unwrap(), None);
        queue.offer(&[b"c"]).unwrap();
        assert_eq!(queue.position().unwrap(), None, "the place is that of the first call");
        assert!(receiver.take_blocking(&mut batch));
        assert_eq!((batch.len(), batch.mark()), (3, Some(2)));
        let before = woken.load(Ordering::SeqCst);
        receiver.reached(vec![7]);
        assert!(woken.load(Ordering::SeqCst) > before);
        assert_eq!(queue.position().unwrap(), Some(vec![7]));
        // A question alone is a batch.
        assert_eq!(queue.position().unwrap(), None);
        assert!(receiver.take_blocking(&mut batch));
        assert_eq!((batch.len(), batch.mark()), (0, Some(0)));
        let patience = receiver.patience();
        assert!(patience(std::time::Duration::ZERO));
        drop(queue);
        assert!(!patience(std::time::Duration::MAX), "nobody is there");
    }
}
