//! A seeded market: the `gen:` source.
//!
//! Invariant: a market is a pure function of its options, the same on every machine. It is not
//! paced: like any recorded source it brings its times and runs as fast as it is read.
//! `anabranch-exchange` plays it in real time.

mod frames;
mod generate;
mod options;
mod random;
mod zipf;

use anabranch::source::{Intake, Nature, OpenContext, Progress, Reader, Source};
use anabranch::{Error, Result};

pub use self::frames::{FrameInlet, frames};
pub use self::generate::Trades;
pub use self::options::{KEYS_MAX, MarketOptions, PARTITIONS_MAX};
#[cfg(test)]
pub(crate) use self::random::SplitMix64;
pub(crate) use self::random::mix;
use crate::coinbase::{Product, Trade};

/// A market as a source of trades.
///
/// ```
/// let market = anabranch_connectors::market::parse("gen:?seed=7&count=1000&keys=3")?;
/// assert_eq!(market.trades().count(), 1000);
/// let first = market.trades().next().expect("there are 1000");
/// assert_eq!(first.to_string(), market.trades().next().expect("the same").to_string());
/// # Ok::<(), anabranch::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Market {
    options: MarketOptions,
}

/// The market that `gen:?seed=7&count=100000&keys=3&skew=1.0&rate=1000&partitions=2` names.
///
/// # Errors
/// [`anabranch::Error::Usage`] that names the option and says what it takes.
pub fn parse(url: &str) -> Result<Market> {
    MarketOptions::parse(url).map(Market::new)
}

impl Market {
    /// The market of these options.
    pub fn new(options: MarketOptions) -> Self {
        Self { options }
    }

    /// What it is made from.
    pub fn options(&self) -> &MarketOptions {
        &self.options
    }

    /// All its trades, in the order of their times.
    pub fn trades(&self) -> Trades {
        Trades::new(&self.options)
    }

    /// The names of its products, the most traded first.
    pub fn products(&self) -> impl Iterator<Item = Product> {
        generate::products(self.options.keys)
    }

    /// The same market as frames in the exchange's format.
    pub fn inlet(self) -> FrameInlet {
        FrameInlet::new(self)
    }

    /// The trades of one partition: those of the products that it has.
    fn partition(&self, partition: usize) -> PartitionTrades {
        PartitionTrades {
            trades: self.trades(),
            partition,
            partitions: self.options.partitions.max(1),
            offset: 0,
            from: 0,
        }
    }
}

impl Source for Market {
    type Item = Trade;

    fn describe(&self) -> String {
        self.options.to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Recorded
    }

    fn partitions(&self) -> Result<usize> {
        Ok(self.options.partitions.max(1))
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<Trade>>> {
        Ok(Box::new(self.partition(partition).after(context.resume.from)))
    }
}

/// Reads one partition: the whole market is generated and the other partitions' trades are
/// skipped, so that the number of partitions changes no trade.
struct PartitionTrades {
    trades: Trades,
    partition: usize,
    partitions: usize,
    offset: u64,
    /// The first trade that is wanted.
    from: u64,
}

/// A call of `read` skips so many trades, then returns, so that the worker can do its other work.
const SKIPPED_A_CALL: u32 = 100_000;

impl PartitionTrades {
    /// The same from this trade on.
    fn after(self, from: u64) -> Self {
        Self { from, ..self }
    }

    /// Skips trades that are not wanted; true when there are none left.
    fn reach(&mut self) -> Result<bool> {
        for _ in 0..SKIPPED_A_CALL {
            if self.offset >= self.from {
                return Ok(true);
            }
            if self.next().is_none() {
                return Err(Error::Connector(format!(
                    "an earlier run read {} trades of partition {} of the made market, and now it \
                     has {}: give the `gen:` options of then, or start with a new data directory",
                    self.from, self.partition, self.offset
                )));
            }
        }
        Ok(false)
    }
}

impl Iterator for PartitionTrades {
    type Item = (u64, Trade);

    fn next(&mut self) -> Option<(u64, Trade)> {
        loop {
            let (product, trade) = self.trades.next_of()?;
            if product % self.partitions == self.partition {
                let offset = self.offset;
                self.offset += 1;
                return Some((offset, trade));
            }
        }
    }
}

impl Reader<Trade> for PartitionTrades {
    fn read(&mut self, intake: &mut Intake<Trade>) -> Result<Progress> {
        if !self.reach()? {
            return Ok(Progress::Ready);
        }
        while !intake.is_full() {
            let Some((offset, trade)) = self.next() else { return Ok(Progress::End) };
            intake.frame(offset, Some(trade.time), size_of::<Trade>());
            intake.accept(trade);
        }
        Ok(Progress::Ready)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn market(url: &str) -> Market {
        parse(url).unwrap()
    }

    #[test]
    fn the_first_trades_of_a_seed_never_change() {
        let text: Vec<String> = market("gen:?seed=7&keys=20&skew=0.5&rate=3&count=4")
            .trades()
            .map(|trade| trade.to_string())
            .collect();
        assert_eq!(
            text,
            [
                "AVAX-USD 1: buy 0.000136 at 27.12, 2024-01-01T00:00:00Z",
                "P00018-USD 1: sell 0.0964 at 374.1135, 2024-01-01T00:00:00.333333333Z",
                "BCH-USD 1: buy 0.0889 at 385.24, 2024-01-01T00:00:00.666666666Z",
                "DOGE-USD 1: sell 0.689 at 0.12397, 2024-01-01T00:00:01Z",
            ]
        );
    }

    #[test]
    fn partitions_split_a_market_and_change_no_trade() {
        let whole: Vec<Trade> = market("gen:?seed=7&keys=20&count=5000").trades().collect();
        let split = market("gen:?seed=7&keys=20&count=5000&partitions=3");
        let mut parts: Vec<Trade> = Vec::new();
        for partition in 0..split.partitions().unwrap() {
            let part: Vec<(u64, Trade)> = split.partition(partition).collect();
            assert!(part.iter().enumerate().all(|(at, (offset, _))| at as u64 == *offset));
            assert!(part.is_sorted_by_key(|(_, trade)| trade.time));
            parts.extend(part.into_iter().map(|(_, trade)| trade));
        }
        parts.sort_by_key(|trade| trade.time);
        assert_eq!(parts, whole);
    }

    #[test]
    fn ids_are_consecutive_and_prices_are_prices() {
        let market = market("gen:?seed=3&keys=100&count=200000&skew=1");
        let products: Vec<Product> = market.products().collect();
        assert_eq!(products[0].as_str(), "BTC-USD");
        assert_eq!(products[17].as_str(), "P00017-USD");
        let mut ids = BTreeMap::new();
        for trade in market.trades() {
            let id: &mut u64 = ids.entry(trade.product).or_default();
            *id += 1;
            assert_eq!(trade.trade_id, *id);
            assert!(trade.price.is_sign_positive() && !trade.price.is_zero());
            assert!(trade.size.is_sign_positive() && !trade.size.is_zero());
            assert_eq!(trade.price.serialize(), trade.price.normalize().serialize());
        }
        assert_eq!(ids.len(), 100);
    }
}
