//! Lets trades happen: by the clock, or as fast as the subscribers take them.
//!
//! Invariant: trades are published in the market's order and each once. A recorded trade keeps its
//! time; a generated one that is played by the clock happens when it is published.

use std::sync::Arc;
use std::time::Duration;

use anabranch::clock;
use anabranch_connectors::coinbase::{Product, Trade};
use anabranch_connectors::market::Market;
use tokio::time::{sleep_until, timeout};

use crate::book::Book;
use crate::{ExchangeConfig, MarketSource, Misbehaviour, Speed};

/// Trades published at a time.
const BATCH: usize = 64;

pub(crate) struct Publisher {
    trades: Box<dyn Iterator<Item = Trade> + Send>,
    book: Arc<Book>,
    speed: Speed,
    /// Whether trades happen when they are published.
    by_wall_clock: bool,
    patience: Duration,
    absent_trades: usize,
    behind_max: u64,
}

/// The market's products, the most traded first.
pub(crate) fn products(market: &MarketSource) -> Vec<Product> {
    match market {
        MarketSource::Generated(options) => Market::new(options.clone()).products().collect(),
        MarketSource::Recorded(recording) => {
            let all = recording.history.iter().chain(&recording.trades);
            let mut products: Vec<Product> = all.map(|trade| trade.product).collect();
            products.sort_unstable();
            products.dedup();
            products
        }
    }
}

impl Publisher {
    /// Publishes the history, and prepares the rest.
    pub(crate) fn new(config: &ExchangeConfig, products: &[Product], book: Arc<Book>) -> Self {
        let (history, mut trades): (Vec<Trade>, Box<dyn Iterator<Item = Trade> + Send>) =
            match &config.market {
                MarketSource::Generated(options) => {
                    (Vec::new(), Box::new(Market::new(options.clone()).trades()))
                }
                MarketSource::Recorded(recording) => {
                    (recording.history.clone(), Box::new(recording.trades.clone().into_iter()))
                }
            };
        if config.misbehave.contains(&Misbehaviour::HaltedProduct) {
            let (halted, after) = (products.last().copied(), config.trouble.after);
            trades = Box::new(
                trades
                    .filter(move |trade| Some(trade.product) != halted || trade.trade_id <= after),
            );
        }
        book.publish(&history);
        for _ in 0..config.history {
            book.publish(&trades.next().into_iter().collect::<Vec<_>>());
        }
        let generated = matches!(config.market, MarketSource::Generated(_));
        Self {
            trades,
            book,
            speed: config.speed,
            by_wall_clock: generated && config.speed != Speed::Max,
            patience: config.limits.patience,
            absent_trades: config.limits.absent_trades,
            behind_max: u64::try_from(config.limits.behind_max).unwrap_or(u64::MAX),
        }
    }

    /// Lets all trades happen.
    pub(crate) async fn run(self) {
        match self.speed {
            Speed::Times(times) => self.by_the_clock(times.max(1)).await,
            Speed::Max => self.at_full_speed().await,
        }
    }

    async fn by_the_clock(mut self, times: u32) {
        let begun = clock::instant();
        let mut first = None;
        let mut due = Vec::with_capacity(BATCH);
        for mut trade in self.trades.by_ref() {
            let first = *first.get_or_insert(trade.time.as_nanos());
            let since = u64::try_from(trade.time.as_nanos() - first).unwrap_or(0);
            let at = begun + Duration::from_nanos(since) / times;
            if at > clock::instant() {
                self.book.publish(&std::mem::take(&mut due));
                sleep_until(at.into()).await;
            }
            if self.by_wall_clock {
                trade.time = clock::now();
            }
            due.push(trade);
            if due.len() >= BATCH {
                self.book.publish(&std::mem::take(&mut due));
                tokio::task::yield_now().await;
            }
        }
        self.book.publish(&due);
    }

    async fn at_full_speed(mut self) {
        // Nothing happens before the first subscriber: what it misses would be nobody's loss.
        let mut absent = 0;
        let batch = u64::try_from(BATCH).unwrap_or(1).min(self.behind_max).max(1);
        loop {
            match self.book.lag() {
                None if absent == 0 => {
                    self.book.moved.notified().await;
                    continue;
                }
                // Some happen while nobody listens, once an absence.
                None => absent -= 1,
                Some(lag) if lag + batch > self.behind_max => {
                    let moved = timeout(self.patience, self.book.moved.notified()).await;
                    if moved.is_ok() {
                        continue;
                    }
                }
                Some(_) => absent = self.absent_trades,
            }
            let size = if self.book.subscribers() == 0 { 1 } else { batch };
            let size = usize::try_from(size).unwrap_or(BATCH);
            let trades: Vec<Trade> = self.trades.by_ref().take(size).collect();
            if trades.is_empty() {
                return;
            }
            self.book.publish(&trades);
            tokio::task::yield_now().await;
        }
    }
}
