//! From the feed handler's threads to the worker: a bounded queue.
//!
//! Invariant: at most `items_max` items wait, and at most `bytes_max` bytes of refused frames but
//! for a single larger one; whoever puts more in waits for room, and so does the exchange.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use anabranch::source::{Intake, Waker};
use tokio::sync::Notify;

use super::{Product, Trade};

/// The newest trade of each product.
pub(super) type Newest = BTreeMap<Product, u64>;

/// What a worker reads.
#[derive(Debug)]
pub(super) enum Item {
    Trade(Trade),
    /// A frame that could not be decoded, and why.
    Refused(String, Vec<u8>),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Trade(_) => size_of::<Trade>(),
            Self::Refused(reason, frame) => reason.len() + frame.len(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Output {
    waiting: Mutex<Waiting>,
    items_max: usize,
    bytes_max: usize,
    room: Notify,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
}

impl Output {
    pub(super) fn new(items_max: usize, bytes_max: usize, waker: Waker) -> Self {
        let waiting = Mutex::new(Waiting::default());
        Self { waiting, items_max: items_max.max(1), bytes_max, room: Notify::new(), waker }
    }

    /// Puts all items in, in order, as there is room.
    pub(super) async fn put(&self, items: &mut VecDeque<Item>) {
        while !items.is_empty() {
            if self.put_some(items) {
                self.waker.wake();
            }
            if !items.is_empty() {
                self.room.notified().await;
            }
        }
    }

    /// Puts in what there is room for; true if that is anything.
    fn put_some(&self, items: &mut VecDeque<Item>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = items.len();
        while waiting.items.len() < self.items_max
            && (waiting.bytes < self.bytes_max || waiting.items.is_empty())
            && let Some(item) = items.pop_front()
        {
            waiting.bytes += item.bytes();
            waiting.items.push_back(item);
        }
        items.len() < before
    }

    /// Moves items into `intake` until it is full; counts them from `offset` on, and notes in
    /// `newest` how far each product is. True if nothing is left.
    pub(super) fn read(
        &self,
        intake: &mut Intake<Trade>,
        offset: &mut u64,
        newest: &mut Newest,
    ) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waiting.items.len();
        while !intake.is_full()
            && let Some(item) = waiting.items.pop_front()
        {
            waiting.bytes -= item.bytes();
            intake.frame(*offset, None, item.bytes());
            *offset += 1;
            match item {
                Item::Trade(trade) => {
                    newest.insert(trade.product, trade.trade_id);
                    intake.accept(trade);
                }
                Item::Refused(reason, frame) => intake.reject(reason, &frame),
            }
        }
        if waiting.items.len() < before {
            self.room.notify_one();
        }
        waiting.items.is_empty()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.waiting.lock().unwrap().items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_no_more_than_its_bounds() {
        let output = Output::new(3, 1000, Waker::new(|| {}));
        let refused = |size| Item::Refused(String::new(), vec![0; size]);
        let mut items: VecDeque<Item> = (0..5).map(|_| refused(1)).collect();
        assert!(output.put_some(&mut items));
        assert_eq!((output.len(), items.len()), (3, 2), "by number");
        assert!(!output.put_some(&mut items));

        let output = Output::new(10, 1000, Waker::new(|| {}));
        let mut items: VecDeque<Item> = [5000, 1].map(refused).into();
        output.put_some(&mut items);
        assert_eq!((output.len(), items.len()), (1, 1), "one too large, and only one");
    }
}
