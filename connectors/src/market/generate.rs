//! The market itself: an endless or counted sequence of trades, a pure function of its options.
//!
//! Invariant: the n-th trade of a market depends on its options and on n, on nothing else; in
//! particular not on how many partitions it is read by. Prices walk at random around where they
//! began; no claim is made that they look like a market's.

use anabranch::Time;
use rust_decimal::Decimal;

use super::MarketOptions;
use super::random::{SplitMix64, mix};
use super::zipf::Zipf;
use crate::coinbase::{Product, Side, Trade};

/// Name, price in ticks, decimals of a tick.
const KNOWN: [(&str, i64, u32); 16] = [
    ("BTC-USD", 6_500_000, 2),
    ("ETH-USD", 340_000, 2),
    ("SOL-USD", 15_000, 2),
    ("XRP-USD", 6_200, 4),
    ("DOGE-USD", 12_400, 5),
    ("ADA-USD", 4_500, 4),
    ("AVAX-USD", 2_710, 2),
    ("LINK-USD", 14_250, 3),
    ("LTC-USD", 7_180, 2),
    ("DOT-USD", 6_120, 3),
    ("BCH-USD", 38_540, 2),
    ("UNI-USD", 7_900, 3),
    ("ATOM-USD", 6_330, 3),
    ("ETC-USD", 2_340, 2),
    ("XLM-USD", 98_700, 6),
    ("ALGO-USD", 1_430, 4),
];

/// The trades of a market, in the order of their times.
#[derive(Clone, Debug)]
pub struct Trades {
    random: SplitMix64,
    zipf: Zipf,
    lanes: Vec<Lane>,
    start: Time,
    rate: u64,
    index: u64,
    count: u64,
}

/// One product's price and how often it traded.
#[derive(Clone, Debug)]
struct Lane {
    product: Product,
    base: i64,
    ticks: i64,
    decimals: u32,
    trade_id: u64,
}

impl Trades {
    pub(super) fn new(options: &MarketOptions) -> Self {
        Self {
            random: SplitMix64::new(mix(options.seed)),
            zipf: Zipf::new(options.keys, options.skew_milli),
            lanes: (0..options.keys).map(|index| Lane::new(options.seed, index)).collect(),
            start: options.start,
            rate: options.rate.max(1),
            index: 0,
            count: options.count.unwrap_or(u64::MAX),
        }
    }

    /// The next trade and the index of its product.
    pub(super) fn next_of(&mut self) -> Option<(usize, Trade)> {
        if self.index >= self.count {
            return None;
        }
        let nanos = u128::from(self.index) * 1_000_000_000 / u128::from(self.rate);
        let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
        let time = Time::from_nanos(self.start.as_nanos().saturating_add(nanos));
        self.index += 1;
        let at = self.zipf.choose(&mut self.random);
        let bits = self.random.next();
        self.lanes.get_mut(at).map(|lane| (at, lane.trade(bits, time)))
    }
}

impl Iterator for Trades {
    type Item = Trade;

    fn next(&mut self) -> Option<Trade> {
        self.next_of().map(|(_, trade)| trade)
    }
}

/// The names of the first `keys` products of any market.
pub(super) fn products(keys: u32) -> impl Iterator<Item = Product> {
    (0..keys).map(|index| Lane::new(0, index).product)
}

impl Lane {
    fn new(seed: u64, index: u32) -> Self {
        let known = usize::try_from(index).ok().and_then(|index| KNOWN.get(index));
        let (name, base, decimals) = match known {
            Some((name, base, decimals)) => ((*name).to_owned(), *base, *decimals),
            None => {
                let bits = mix(seed ^ mix(u64::from(index)));
                let base = i64::try_from(1_000 + bits % 9_000_000).unwrap_or(1_000);
                (format!("P{index:05}-USD"), base, 4)
            }
        };
        // Both forms are short ASCII, so this is never another product.
        let product = name.parse().unwrap_or(Product::BTC_USD);
        Self { product, base, ticks: base, decimals, trade_id: 0 }
    }

    /// Walks one step by `bits`: at most 8 basis points, and back towards the base.
    fn trade(&mut self, bits: u64, time: Time) -> Trade {
        let step = i64::try_from(bits % 17).unwrap_or(8) - 8;
        let walk = self.ticks * step / 10_000 + step.signum();
        let pull = (self.base - self.ticks) / 2_048;
        self.ticks = (self.ticks + walk + pull).clamp(self.base / 4, self.base * 4).max(1);
        self.trade_id += 1;
        let digits = i64::try_from(1 + (bits >> 16) % 999).unwrap_or(1);
        let size = digits * 10_i64.pow(u32::try_from((bits >> 32) % 6).unwrap_or(0));
        let side = if bits >> 63 == 0 { Side::Buy } else { Side::Sell };
        Trade {
            product: self.product,
            trade_id: self.trade_id,
            // Without trailing zeros, as trades read from any feed are.
            price: Decimal::new(self.ticks, self.decimals).normalize(),
            size: Decimal::new(size, 8).normalize(),
            side,
            time,
        }
    }
}
