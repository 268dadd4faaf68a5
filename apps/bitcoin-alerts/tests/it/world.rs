//! The application's tables in memory, and its two computations on them. Averages over some prices are made
//! by the plainest means: every price is kept, and those that are meant are added up.

use std::collections::BTreeMap;

use anabranch::source::Frame;
use anabranch::{Result, Stores, Tables, Time};
use anabranch_connectors::coinbase::Product;
use bitcoin_alerts::{
    AlertUpdate, Averaging, Fired, Notification, Price, PriceDecoder, RunningAverage, SharedTables,
    TABLES, UpdateDecoder, count, evaluate, observe, update,
};
use rust_decimal::Decimal;

pub(crate) struct World {
    bound: <SharedTables as Tables<Product>>::Bound,
    records: u64,
    averaging: Averaging,
    /// Each price that has counted, in the order in which they came.
    kept: BTreeMap<Product, Vec<(Time, Decimal)>>,
    /// Before this time less the lateness a price is late.
    pub(crate) watermark: Time,
    /// How many were.
    pub(crate) too_late: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::averaging(Averaging::Running)
    }

    pub(crate) fn averaging(averaging: Averaging) -> Self {
        let bound = <SharedTables as Tables<Product>>::bind(TABLES, &mut Stores::default());
        let kept = BTreeMap::new();
        Self { bound, records: 0, averaging, kept, watermark: Time::BEGIN, too_late: 0 }
    }

    pub(crate) fn observe(&mut self, price: &Price, now: Time, id: &str) -> Option<Notification> {
        let mut guard = <SharedTables as Tables<Product>>::lock(&self.bound);
        let mut rows = <SharedTables as Tables<Product>>::rows(&mut guard, &price.product);
        if self.averaging == Averaging::Running {
            return observe(price, &mut rows, now, id);
        }
        if !count(price, &mut rows.0) {
            return None;
        }
        let time = price.event_time(now);
        let kept = self.kept.entry(price.product).or_default();
        let mut average = RunningAverage::default();
        match self.averaging {
            Averaging::Over { lateness, .. } if time < self.watermark.before(lateness) => {
                self.too_late += 1;
                return None;
            }
            Averaging::Over { size, .. } => {
                kept.push((time, price.price));
                let within = kept.iter().filter(|(at, _)| time.before(size) < *at && *at <= time);
                within.for_each(|(_, price)| average.observe(*price));
            }
            Averaging::Last(most) => {
                kept.push((time, price.price));
                kept.iter().rev().take(most).for_each(|(_, price)| average.observe(*price));
            }
            other => panic!("{other:?} has no plain form here"),
        }
        rows.0.average = average;
        rows.0.paid(price, now);
        if rows.0.meets_any() { evaluate(price, &mut rows, now, id) } else { None }
    }

    /// Updates, unless that is refused.
    pub(crate) fn try_update(&mut self, change: AlertUpdate) {
        let product = change.product;
        let mut guard = <SharedTables as Tables<Product>>::lock(&self.bound);
        let mut rows = <SharedTables as Tables<Product>>::rows(&mut guard, &product);
        let _ = update(change, &mut rows);
    }

    /// Why the newest alerts fired.
    pub(crate) fn fired(&mut self, product: Product) -> Vec<Fired> {
        let mut guard = <SharedTables as Tables<Product>>::lock(&self.bound);
        let rows = <SharedTables as Tables<Product>>::rows(&mut guard, &product);
        rows.3.1.iter().map(|(_, fired)| fired.clone()).collect()
    }

    pub(crate) fn update(&mut self, change: AlertUpdate) {
        let product = change.product;
        let mut guard = <SharedTables as Tables<Product>>::lock(&self.bound);
        let mut rows = <SharedTables as Tables<Product>>::rows(&mut guard, &product);
        update(change, &mut rows).unwrap();
    }

    /// How many alerts of the product are open.
    pub(crate) fn open(&self, product: Product) -> usize {
        let mut guard = <SharedTables as Tables<Product>>::lock(&self.bound);
        let rows = <SharedTables as Tables<Product>>::rows(&mut guard, &product);
        rows.1.0.len()
    }

    /// Decodes a message and applies its prices; the JSON of what they send.
    pub(crate) fn price_json(&mut self, json: &str) -> Vec<String> {
        let prices = prices_of(json.as_bytes()).unwrap();
        let mut sent = Vec::new();
        for price in prices {
            let id = format!("prices-0-{}", self.records);
            self.records += 1;
            sent.extend(self.observe(&price, Time::ZERO, &id));
        }
        sent.iter().map(|notification| serde_json::to_string(notification).unwrap()).collect()
    }

    /// A price as Wallaroo's sender sends it; what fires, as `6600:[1] 6700:[2,3] average 6750`.
    pub(crate) fn price(&mut self, price: &str) -> String {
        let sent = self.price_json(&format!(r#"{{"type":"ticker","price":"{price}"}}"#));
        assert!(sent.len() <= 1);
        let Some(sent) = sent.first() else { return String::new() };
        let sent: Notification = serde_json::from_str(sent).unwrap();
        let groups = sent.fired.iter().map(|group| {
            let users: Vec<u64> = group.alerts.iter().map(|alert| alert.user_id).collect();
            format!("{}:{users:?}", group.level)
        });
        format!("{} average {}", groups.collect::<Vec<_>>().join(" "), sent.average)
    }

    pub(crate) fn update_json(&mut self, json: &str) {
        self.update(update_of(json.as_bytes()).unwrap());
    }

    pub(crate) fn alert(&mut self, price: &str, user: u64) {
        self.update_json(&format!(r#"{{"price":"{price}","user_id":{user}}}"#));
    }
}

/// The prices of a frame without columns.
pub(crate) fn prices_of(bytes: &[u8]) -> Result<Vec<Price>> {
    let mut decoder = PriceDecoder::default();
    let frame = Frame::new(0, bytes);
    decoder.prices(&frame).1.map(<[Price]>::to_vec)
}

pub(crate) fn update_of(bytes: &[u8]) -> Result<AlertUpdate> {
    UpdateDecoder::update(bytes).1
}
