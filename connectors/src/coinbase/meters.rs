//! What the feed handler counts for people.
//!
//! Invariant: counting decides nothing. Names are listed here and nowhere else.

use std::collections::BTreeMap;

use anabranch::metrics::{Counter, Counters};

use super::{Counts, Missing, Product};

macro_rules! meters {
    ($($(#[doc = $doc:literal])+ $name:ident),* $(,)?) => {
        /// One counter a name; the names are the fields'.
        pub(super) struct Meters {
            $($(#[doc = $doc])+ pub(super) $name: Counter,)*
            counters: Counters,
            products: BTreeMap<Product, (Counter, Counter)>,
            counted: Counts,
        }

        impl Meters {
            pub(super) fn new(counters: &Counters) -> Self {
                Self {
                    $($name: counters.counter(stringify!($name)),)*
                    counters: counters.clone(),
                    products: BTreeMap::new(),
                    counted: Counts::default(),
                }
            }
        }
    };
}

meters! {
    /// Connections that were tried.
    attempts,
    /// Connections that opened.
    connections,
    /// Connections that ended, or never opened.
    closed,
    /// Connections that were given up because of a fault.
    stale,
    /// Times that a second connection was opened while the first was still there.
    failovers,
    /// Times that the exchange asked to wait (429, 503, `Retry-After`).
    throttled,
    /// Times that heartbeats were asked for again.
    resubscribes,
    /// Frames received.
    frames,
    /// Frames that could not be decoded: dead letters.
    refused_frames,
    /// Frames larger than allowed: each ends its connection.
    oversized_frames,
    /// Heartbeats.
    heartbeats,
    /// Messages of types that are not known.
    unknown_types,
    /// Error messages of the exchange.
    error_frames,
    /// Jumps of a connection's frame number.
    sequence_jumps,
    /// Trades released.
    trades,
    /// Trades dropped because they were known.
    duplicates,
    /// Trades that came after they had been given up.
    late_trades,
    /// Trades found in the exchange's history.
    filled_trades,
    /// Gaps that closed without loss.
    gaps_closed,
    /// Gaps that were given up.
    gaps,
    /// Trades that are missing.
    missing_trades,
    /// Heartbeats that told of trades that do not exist.
    refuted_heartbeats,
    /// Trades whose id cannot be.
    outliers,
    /// Trades of products that were not asked for.
    unknown_products,
    /// Pages of history asked for.
    pages,
    /// Pages that did not come.
    failed_pages,
}

impl Meters {
    /// Counts what happened in the sequencer since the last call.
    pub(super) fn count(&mut self, now: Counts) {
        let was = std::mem::replace(&mut self.counted, now);
        for (counter, now, was) in [
            (&self.trades, now.trades, was.trades),
            (&self.duplicates, now.duplicates, was.duplicates),
            (&self.late_trades, now.late, was.late),
            (&self.filled_trades, now.filled, was.filled),
            (&self.gaps_closed, now.gaps_closed, was.gaps_closed),
            (&self.gaps, now.gaps, was.gaps),
            (&self.missing_trades, now.missing, was.missing),
            (&self.refuted_heartbeats, now.hints_refuted, was.hints_refuted),
            (&self.outliers, now.outliers, was.outliers),
            (&self.unknown_products, now.unknown_products, was.unknown_products),
        ] {
            if now > was {
                counter.add(now - was);
            }
        }
    }

    /// Counts trades that will not come, for their product: `gaps.BTC-USD`,
    /// `missing_trades.BTC-USD`.
    pub(super) fn count_missing(&mut self, missing: &Missing) {
        let counters = &self.counters;
        let product = missing.product;
        let (gaps, trades) = self.products.entry(product).or_insert_with(|| {
            (
                counters.counter(&format!("gaps.{product}")),
                counters.counter(&format!("missing_trades.{product}")),
            )
        });
        gaps.add(1);
        trades.add(missing.to - missing.from + 1);
    }
}
