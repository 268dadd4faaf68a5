//! What happened on the market: one log that all connections and requests read.
//!
//! Invariant: what is published never changes. The log keeps the newest trades only; a subscriber
//! that falls out of it is told so, never skipped silently. Memory is bounded by the log, the
//! history of each product and the number of subscribers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anabranch_connectors::coinbase::{Product, Trade};
use tokio::sync::{Notify, watch};

pub(crate) struct Book {
    state: Mutex<State>,
    log_max: usize,
    history_max: usize,
    /// How many trades were published: what subscribers wait for.
    head: watch::Sender<u64>,
    /// A subscriber came, went or read.
    pub(crate) moved: Notify,
}

#[derive(Default)]
struct State {
    log: VecDeque<Trade>,
    /// The index of the log's first trade.
    base: u64,
    histories: BTreeMap<Product, VecDeque<Trade>>,
    /// Where each subscriber is.
    cursors: BTreeMap<u64, u64>,
}

impl State {
    fn newest(&self, product: Product, max: usize) -> Vec<Trade> {
        let Some(history) = self.histories.get(&product) else { return Vec::new() };
        history.iter().skip(history.len().saturating_sub(max)).copied().collect()
    }
}

/// The subscriber was too slow: what it would have read next is gone.
#[derive(Debug)]
pub(crate) struct Behind;

impl Book {
    pub(crate) fn new(log_max: usize, history_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            log_max: log_max.max(1),
            history_max: history_max.max(1),
            head: watch::Sender::new(0),
            moved: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, trades: &[Trade]) {
        let mut state = self.state();
        for trade in trades {
            let history = state.histories.entry(trade.product).or_default();
            if history.len() >= self.history_max {
                history.pop_front();
            }
            history.push_back(*trade);
            if state.log.len() >= self.log_max {
                state.log.pop_front();
                state.base += 1;
            }
            state.log.push_back(*trade);
        }
        let head = state.base + state.log.len() as u64;
        drop(state);
        self.head.send_replace(head);
    }

    /// How many trades were published.
    pub(crate) fn published(&self) -> u64 {
        *self.head.borrow()
    }

    /// Tells when trades are published.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Adds a subscriber, which will read what is published from now on; gives it the newest
    /// trades of `products` until now, at most `max` each, oldest first.
    pub(crate) fn subscribe(
        &self,
        id: u64,
        products: &[Product],
        max: usize,
    ) -> (u64, Vec<Vec<Trade>>) {
        let mut state = self.state();
        let head = state.base + state.log.len() as u64;
        state.cursors.insert(id, head);
        let old = products.iter().map(|product| state.newest(*product, max)).collect();
        drop(state);
        self.moved.notify_one();
        (head, old)
    }

    /// Removes a subscriber.
    pub(crate) fn unsubscribe(&self, id: u64) {
        self.state().cursors.remove(&id);
        self.moved.notify_one();
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.state().cursors.len()
    }

    /// How far the slowest subscriber is behind; `None` without subscribers.
    pub(crate) fn lag(&self) -> Option<u64> {
        let state = self.state();
        let head = state.base + state.log.len() as u64;
        state.cursors.values().map(|cursor| head - cursor).max()
    }

    /// Whether what comes after `cursor` is gone.
    pub(crate) fn is_behind(&self, cursor: u64) -> bool {
        cursor < self.state().base
    }

    /// Reads at most `max` trades from the subscriber's `cursor` on, and moves it.
    pub(crate) fn read(&self, id: u64, cursor: &mut u64, max: usize) -> Result<Vec<Trade>, Behind> {
        let mut state = self.state();
        let from = cursor.checked_sub(state.base).ok_or(Behind)?;
        let from = usize::try_from(from).map_err(|_| Behind)?;
        let trades: Vec<Trade> = state.log.iter().skip(from).take(max).copied().collect();
        *cursor += trades.len() as u64;
        if let Some(noted) = state.cursors.get_mut(&id) {
            *noted = *cursor;
        }
        drop(state);
        self.moved.notify_one();
        Ok(trades)
    }

    /// The newest trades of a product, at most `max`, oldest first.
    pub(crate) fn newest(&self, product: Product, max: usize) -> Vec<Trade> {
        self.state().newest(product, max)
    }

    /// At most `limit` trades of a product before the trade `after`, newest first.
    pub(crate) fn page(&self, product: Product, after: Option<u64>, limit: usize) -> Vec<Trade> {
        let state = self.state();
        let Some(history) = state.histories.get(&product) else { return Vec::new() };
        let end = match after {
            None => history.len(),
            Some(after) => history.partition_point(|trade| trade.trade_id < after),
        };
        history.iter().take(end).rev().take(limit).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use anabranch_connectors::market;

    use super::*;

    #[test]
    fn log_and_history_are_bounded_and_a_slow_reader_is_told() {
        let trades: Vec<Trade> = market::parse("gen:?count=100").unwrap().trades().collect();
        let book = Book::new(10, 20);
        let (mut slow, mut fast) = (book.subscribe(1, &[], 0).0, book.subscribe(2, &[], 0).0);
        for some in trades.chunks(5) {
            book.publish(some);
            assert_eq!(book.read(2, &mut fast, 100).unwrap(), some);
        }
        assert_eq!((book.published(), book.lag()), (100, Some(100)));
        assert!(book.is_behind(slow) && !book.is_behind(fast));
        assert!(book.read(1, &mut slow, 1).is_err());
        book.unsubscribe(1);
        assert_eq!(book.lag(), Some(0));
        let product = trades[0].product;
        assert_eq!(book.page(product, None, 1000).len(), 20);
        let ids = |page: Vec<Trade>| page.iter().map(|trade| trade.trade_id).collect::<Vec<_>>();
        assert_eq!(ids(book.page(product, Some(95), 3)), [94, 93, 92]);
        assert_eq!(ids(book.page(product, Some(81), 3)), [0_u64; 0]);
        assert_eq!(ids(book.newest(product, 2)), [99, 100]);
    }
}
