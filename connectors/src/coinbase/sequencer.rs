//! The heart of the feed handler: from trades as they come to trades as they happened.
//!
//! Invariant: per product, trades are released by rising id, each at most once, and every id that
//! is passed over is reported as missing. A synchronous state machine: it is told the time, asks
//! for pages of the exchange's history, and touches neither clock nor network, so it is tested
//! against an oracle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::lane::{Lane, Scope};
use super::{Limits, Product, Trade};

/// A page of a product's history that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The product.
    pub product: Product,
    /// Only trades older than this one; the newest without it.
    pub after: Option<u64>,
    /// Given back with the answer.
    pub ticket: u64,
}

/// A page of a product's history.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its trades, in any order.
    pub trades: Vec<Trade>,
    /// What the exchange says the page after this one is before (`CB-AFTER`).
    pub next: Option<u64>,
}

/// Trades that will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The product.
    pub product: Product,
    /// The first of them.
    pub from: u64,
    /// The last of them.
    pub to: u64,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Trades released.
    pub trades: u64,
    /// Trades dropped because they were known.
    pub duplicates: u64,
    /// Trades dropped because they came after they had been passed over.
    pub late: u64,
    /// Trades that were found in the exchange's history.
    pub filled: u64,
    /// Gaps that closed without a trade missing.
    pub gaps_closed: u64,
    /// Gaps that were passed over.
    pub gaps: u64,
    /// Trades that are missing.
    pub missing: u64,
    /// Heartbeats and tickers that told of trades that do not exist.
    pub hints_refuted: u64,
    /// Trades dropped because their id cannot be.
    pub outliers: u64,
    /// Trades and hints of products that were not asked for.
    pub unknown_products: u64,
}

/// Orders, completes and deduplicates the trades of some products.
#[derive(Debug)]
pub struct Sequencer {
    limits: Limits,
    lanes: BTreeMap<Product, Lane>,
    /// The products with a gap.
    open: BTreeSet<Product>,
    released: VecDeque<Trade>,
    missing: Vec<Missing>,
    counts: Counts,
    tickets: u64,
}

impl Sequencer {
    /// For these products; others' trades are dropped and counted.
    pub fn new(products: impl IntoIterator<Item = Product>, limits: Limits) -> Self {
        Self {
            limits,
            lanes: products.into_iter().map(|product| (product, Lane::default())).collect(),
            open: BTreeSet::new(),
            released: VecDeque::new(),
            missing: Vec::new(),
            counts: Counts::default(),
            tickets: 0,
        }
    }

    /// Goes on after these trades, the newest of their products that were released before.
    #[must_use]
    pub fn after(mut self, newest: &BTreeMap<Product, u64>) -> Self {
        for (product, trade_id) in newest {
            // A product that is not asked for any more is of no interest.
            if let Some(lane) = self.lanes.get_mut(product) {
                lane.baseline(*trade_id);
            }
        }
        self
    }

    /// A trade of the feed, seen at `now`; true if it was not known.
    pub fn trade(&mut self, trade: Trade, now: Duration) -> bool {
        self.lane(trade.product, now, |lane, scope| lane.take(trade, scope.counts)).unwrap_or(false)
    }

    /// Old trades that one frame repeats (`last_match`, a snapshot). The first ones of a product
    /// only say where it is; after that they show what was missed.
    pub fn old_trades(&mut self, trades: &[Trade], now: Duration) {
        let mut baselines = BTreeMap::<Product, u64>::new();
        for trade in trades {
            if self.lanes.get(&trade.product).is_none_or(|lane| !lane.has_baseline()) {
                let newest = baselines.entry(trade.product).or_default();
                *newest = trade.trade_id.max(*newest);
            }
        }
        for trade in trades.iter().filter(|trade| !baselines.contains_key(&trade.product)) {
            self.trade(*trade, now);
        }
        for (product, newest) in baselines {
            self.lane(product, now, |lane, _| lane.baseline(newest));
        }
    }

    /// A heartbeat or ticker says that trades up to this one exist; 0 says nothing.
    pub fn hint(&mut self, product: Product, last_trade_id: u64, now: Duration) {
        self.lane(product, now, |lane, _| lane.hint(last_trade_id));
    }

    /// The connection lost something, of any product.
    pub fn lost(&mut self, now: Duration) {
        let products: Vec<Product> = self.lanes.keys().copied().collect();
        for product in products {
            self.lane(product, now, |lane, _| lane.probe());
        }
    }

    /// A page that was asked for has come.
    pub fn page(&mut self, fetch: Fetch, page: Page, now: Duration) {
        self.lane(fetch.product, now, |lane, scope| lane.page(page, fetch.ticket, scope));
    }

    /// A page that was asked for did not come; `retry_after` if the exchange asked to wait.
    pub fn page_failed(&mut self, fetch: Fetch, retry_after: Option<Duration>, now: Duration) {
        self.lane(fetch.product, now, |lane, scope| {
            lane.page_failed(fetch.ticket, retry_after, scope);
        });
    }

    /// The pages that are due; gives up gaps whose time has come.
    pub fn poll(&mut self, now: Duration) -> Vec<Fetch> {
        let mut due = Vec::new();
        for product in self.open.iter().copied().collect::<Vec<_>>() {
            due.extend(self.lane(product, now, Lane::poll).flatten());
        }
        due
    }

    /// When [`poll`](Self::poll) has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        self.open.iter().filter_map(|product| self.lanes.get(product)?.deadline()).min()
    }

    /// The next trade that is released.
    pub fn pop(&mut self) -> Option<Trade> {
        self.released.pop_front()
    }

    /// The trades that were given up since the last call.
    pub fn take_missing(&mut self) -> Vec<Missing> {
        std::mem::take(&mut self.missing)
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn lane<R>(
        &mut self,
        product: Product,
        now: Duration,
        act: impl FnOnce(&mut Lane, &mut Scope<'_>) -> R,
    ) -> Option<R> {
        let Some(lane) = self.lanes.get_mut(&product) else {
            self.counts.unknown_products += 1;
            return None;
        };
        let mut scope = Scope {
            product,
            now,
            limits: &self.limits,
            trades: &mut self.released,
            missing: &mut self.missing,
            counts: &mut self.counts,
            tickets: &mut self.tickets,
        };
        let result = act(lane, &mut scope);
        lane.settle(&mut scope);
        if lane.has_gap() {
            self.open.insert(product);
        } else {
            self.open.remove(&product);
        }
        Some(result)
    }
}

#[cfg(test)]
#[path = "sequencer_tests.rs"]
mod tests;
