//! The alerts workload: prices move averages per key, updates set alerts, averages fire them.
//!
//! One update for 99 prices, three of four add an alert. Equal for all forms, so that their
//! numbers of fired alerts must be equal too.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Add, Div};

use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The arithmetic of prices: fixed point in an `i64`, or `Decimal`.
pub trait Amount:
    Copy
    + Ord
    + Debug
    + Default
    + Send
    + Sync
    + Serialize
    + DeserializeOwned
    + Add<Output = Self>
    + 'static
{
    /// From a fixed-point number with four decimals.
    fn from_fixed(value: i64) -> Self;
    /// The quotient.
    fn divided_by(self, count: u64) -> Self;
}

impl Amount for i64 {
    fn from_fixed(value: i64) -> Self {
        value
    }
    #[inline]
    fn divided_by(self, count: u64) -> Self {
        self.div(count as i64)
    }
}

/// `Decimal`, with 16 bytes as its form between processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Exact(#[serde(with = "anabranch::decimal")] pub Decimal);

impl Add for Exact {
    type Output = Self;
    #[inline]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Amount for Exact {
    fn from_fixed(value: i64) -> Self {
        Self(Decimal::new(value, 4))
    }
    #[inline]
    fn divided_by(self, count: u64) -> Self {
        Self(self.0 / Decimal::from(count))
    }
}

/// A price of a key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(bound = "P: Amount")]
pub struct Price<P> {
    /// Which key.
    pub key: u32,
    /// How much.
    pub size: u32,
    /// The price.
    pub price: P,
    /// When it was sent, in nanoseconds.
    pub sent: u64,
}

/// Adds or removes an alert.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(bound = "P: Amount")]
pub struct Update<P> {
    /// Which key.
    pub key: u32,
    /// Whose alert.
    pub user: u32,
    /// Fires at this average or above.
    pub threshold: P,
    /// Adds, or removes.
    pub add: bool,
}

/// An alert that fired.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(bound = "P: Amount")]
pub struct Fired<P> {
    /// Which key.
    pub key: u32,
    /// Whose alert.
    pub user: u32,
    /// Where it was set.
    pub threshold: P,
    /// What fired it.
    pub average: P,
}

/// The state of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "P: Amount")]
pub struct State<P: Amount> {
    count: u64,
    total: P,
    average: P,
    alerts: BTreeMap<(P, u32), ()>,
}

impl<P: Amount> Default for State<P> {
    fn default() -> Self {
        let (total, average) = (P::default(), P::default());
        Self { count: 0, total, average, alerts: BTreeMap::new() }
    }
}

impl<P: Amount> State<P> {
    /// The work of a price.
    #[inline(always)]
    pub fn price(&mut self, price: &Price<P>, mut fire: impl FnMut(Fired<P>)) {
        self.count += 1;
        self.total = self.total + price.price;
        self.average = self.total.divided_by(self.count);
        while let Some((&(threshold, user), ())) = self.alerts.first_key_value() {
            if threshold > self.average {
                break;
            }
            self.alerts.pop_first();
            fire(Fired { key: price.key, user, threshold, average: self.average });
        }
    }

    /// The work of an update.
    #[inline(always)]
    pub fn update(&mut self, update: &Update<P>) {
        let alert = (update.threshold, update.user);
        if update.add {
            self.alerts.insert(alert, ());
        } else {
            self.alerts.remove(&alert);
        }
    }
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Prices and updates: `prices[i]` is sent at time `i`, `updates[j]` just before `prices[100 * j]`.
pub struct Workload<P> {
    /// The prices.
    pub prices: Vec<Price<P>>,
    /// The updates.
    pub updates: Vec<Update<P>>,
}

/// `events` prices of `keys` keys around 100, and their updates.
pub fn workload<P: Amount>(events: usize, keys: u32, seed: u64) -> Workload<P> {
    let mut random = Random(seed);
    let prices = (0..events)
        .map(|sent| {
            let x = random.next_u64();
            let price = P::from_fixed(900_000 + ((x >> 10) & 0x3_ffff) as i64 % 200_001);
            let (key, size) = (((x >> 32) % u64::from(keys)) as u32, (x & 1023) as u32 + 1);
            Price { key, size, price, sent: sent as u64 }
        })
        .collect();
    let updates = (0..events / 100)
        .map(|_| {
            let x = random.next_u64();
            let threshold = P::from_fixed(980_000 + ((x >> 16) & 0xffff) as i64 % 40_001);
            let key = ((x >> 32) % u64::from(keys)) as u32;
            Update { key, user: (x & 0xffff) as u32, threshold, add: x & 3 != 0 }
        })
        .collect();
    Workload { prices, updates }
}
