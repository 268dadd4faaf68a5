//! The alerts of each product, and what a price does to them.
//!
//! Invariant: [`THRESHOLDS`] has exactly one entry for each entry of [`ALERTS`], and
//! [`Market::nearest`](Market) says where its ends are. So a price that fires nothing compares
//! twice and looks no alert at, and one that fires k of n takes k entries off the ends: O(k log n).

use std::cmp::Ordering;
use std::fmt::Display;

use anabranch::{MapRow, MapTable, Row, Table, Time};
use anabranch_connectors::coinbase::Product;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::average::{Average, RunningAverage};
use crate::notification::{FiredAlert, FiredThreshold, Notification};
use crate::price::Price;
use crate::update::{AlertUpdate, Change};

/// What is known of each product's prices, and its nearest thresholds, where the average is over all.
pub const PRICES: Table<Product, Market> = Table::new("prices");

/// The same where the average is over some of its prices: another table, so that what one average has
/// left behind is never taken for another's.
pub const MARKETS: Table<Product, Market> = Table::new("markets");

/// The open alerts of each product, by id.
pub const ALERTS: MapTable<Product, String, Alert> = MapTable::new("alerts");

/// The same alerts in the order in which a moving average meets them.
pub const THRESHOLDS: MapTable<Product, Threshold, u64> = MapTable::new("thresholds");

/// The types of [`TABLES`].
pub type SharedTables =
    (Table<Product, Market>, MapTable<Product, Threshold, u64>, MapTable<Product, String, Alert>);

/// The tables that prices and updates share, to be computed with as one group, where the average is over
/// all prices.
pub const TABLES: SharedTables = (PRICES, THRESHOLDS, ALERTS);

/// The same where it is over some of them.
pub const WINDOW_TABLES: SharedTables = (MARKETS, THRESHOLDS, ALERTS);

/// The rows of [`TABLES`] for one product.
pub type Rows<'a> = (Row<'a, Market>, MapRow<'a, Threshold, u64>, MapRow<'a, String, Alert>);

/// On which side of the threshold an average fires an alert.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// At the threshold and above it.
    #[default]
    Above,
    /// At the threshold and below it.
    Below,
}

impl Direction {
    /// `above` or `below`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::Below => "below",
        }
    }
}

/// An open alert: it fires once, at the first price that takes the average to its threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// From which side.
    pub direction: Direction,
    /// The threshold.
    #[serde(with = "anabranch::decimal")]
    pub price: Decimal,
    /// Who asked for it.
    pub user_id: u64,
}

/// The place of an alert among those of its product: `above` before `below`, then by rising
/// price, then by id. An average that rises meets the first ones, one that falls the last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Threshold {
    /// The alert's direction.
    pub direction: Direction,
    /// Its threshold.
    #[serde(with = "anabranch::decimal")]
    pub price: Decimal,
    /// Its id.
    pub id: String,
}

impl Threshold {
    fn of(id: &str, alert: &Alert) -> Self {
        Self { direction: alert.direction, price: alert.price, id: id.into() }
    }
}

/// What is known of one product.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Market {
    /// The average that its last price has led to.
    pub average: RunningAverage,
    /// The highest number of any of its trades.
    last_trade_id: Option<u64>,
    nearest: Nearest,
}

/// The threshold that a rising average would meet first, and that of a falling one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Nearest {
    #[serde(with = "crate::optional_decimal")]
    above: Option<Decimal>,
    #[serde(with = "crate::optional_decimal")]
    below: Option<Decimal>,
}

impl Nearest {
    fn of(thresholds: &MapRow<'_, Threshold, u64>) -> Self {
        let price_at = |end: Option<(&Threshold, &u64)>, direction| {
            end.filter(|(end, _)| end.direction == direction).map(|(end, _)| end.price)
        };
        Self {
            above: price_at(thresholds.first(), Direction::Above),
            below: price_at(thresholds.last(), Direction::Below),
        }
    }
}

impl Market {
    /// Whether `price` counts: an old trade that was seen before does not.
    #[inline]
    fn is_new(&self, price: &Price) -> bool {
        price.fresh || price.trade_id > self.last_trade_id
    }

    /// Whether an alert at that threshold fires.
    #[inline]
    fn fires(&self, direction: Direction, threshold: Decimal) -> bool {
        match direction {
            Direction::Above => self.average.compare(threshold).is_some_and(Ordering::is_ge),
            Direction::Below => self.average.compare(threshold).is_some_and(Ordering::is_le),
        }
    }

    /// How far the average is from the threshold that it meets next; none before the first price, or if no
    /// alert is open.
    pub(crate) fn distance(&self) -> Option<Average> {
        let average = self.average.average()?;
        let above = self.nearest.above.map(|threshold| Average::of(threshold).above(average));
        let below = self.nearest.below.map(|threshold| average.above(Average::of(threshold)));
        above.into_iter().chain(below).min()
    }

    #[inline]
    fn fires_any(&self) -> bool {
        let Nearest { above, below } = self.nearest;
        above.is_some_and(|threshold| self.fires(Direction::Above, threshold))
            || below.is_some_and(|threshold| self.fires(Direction::Below, threshold))
    }
}

/// Whether `price` counts, and if it does takes its number down: an old trade that was seen before does
/// not count.
#[inline]
pub fn count(price: &Price, market: &mut Row<'_, Market>) -> bool {
    let counts = market.is_new(price);
    if counts && price.trade_id > market.last_trade_id {
        market.last_trade_id = price.trade_id;
    }
    counts
}

/// Counts a price into the average of all prices of its product, and fires the alerts that it reaches.
///
/// `now` is the record's ingest time, for a price that brings none; `id` the record's name, which
/// becomes the notification's.
#[inline]
pub fn observe(
    price: &Price,
    rows: &mut Rows<'_>,
    now: Time,
    id: impl Display,
) -> Option<Notification> {
    if !count(price, &mut rows.0) {
        return None;
    }
    rows.0.average.observe(price.price);
    evaluate(price, rows, now, id)
}

/// Fires the alerts that the [`average`](Market::average) reaches, as it is since `price`; `now` and `id` as
/// for [`observe`].
#[inline]
pub fn evaluate(
    price: &Price,
    (market, thresholds, alerts): &mut Rows<'_>,
    now: Time,
    id: impl Display,
) -> Option<Notification> {
    let row: &mut Market = market;
    if !row.fires_any() {
        return None;
    }
    let fired = fire(row, thresholds, alerts);
    row.nearest = Nearest::of(thresholds);
    Some(Notification {
        id: id.to_string(),
        product: price.product,
        time: price.event_time(now),
        price: price.price,
        average: row.average.average().unwrap_or_default(),
        fired,
    })
}

/// Removes the alerts that the average reaches, and gives them in the order of their thresholds.
fn fire(
    market: &Market,
    thresholds: &mut MapRow<'_, Threshold, u64>,
    alerts: &mut MapRow<'_, String, Alert>,
) -> Vec<FiredThreshold> {
    let fires = |end: Option<(&Threshold, &u64)>, direction| {
        end.is_some_and(|(end, _)| end.direction == direction && market.fires(direction, end.price))
    };
    let mut taken = Vec::new();
    while fires(thresholds.first(), Direction::Above) {
        taken.extend(thresholds.pop_first());
    }
    let above = taken.len();
    while fires(thresholds.last(), Direction::Below) {
        taken.extend(thresholds.pop_last());
    }
    if let Some(below) = taken.get_mut(above..) {
        below.reverse();
    }
    let mut fired: Vec<FiredThreshold> = Vec::new();
    for (Threshold { direction, price, id }, user_id) in taken {
        alerts.remove(&id);
        let alert = FiredAlert { id, user_id };
        match fired.last_mut() {
            Some(group) if group.direction == direction && group.price == price => {
                group.alerts.push(alert);
            }
            _ => fired.push(FiredThreshold { direction, price, alerts: vec![alert] }),
        }
    }
    fired
}

/// Applies an update to the alerts of its product. Nothing fires before the next price.
pub fn update(update: AlertUpdate, (market, thresholds, alerts): &mut Rows<'_>) {
    let AlertUpdate { id, change, .. } = update;
    let old = alerts.get(&id).copied();
    let new = match (change, old) {
        (Change::Add(alert), _) => Some(alert),
        (Change::Edit { price, user_id, direction }, Some(old)) => Some(Alert {
            direction: direction.unwrap_or(old.direction),
            price: price.unwrap_or(old.price),
            user_id: user_id.unwrap_or(old.user_id),
        }),
        (Change::Remove, Some(_)) => None,
        (Change::Remove | Change::Edit { .. }, None) => return,
    };
    if let Some(old) = old {
        thresholds.remove(&Threshold::of(&id, &old));
    }
    match new {
        Some(new) => {
            thresholds.insert(Threshold::of(&id, &new), new.user_id);
            alerts.insert(id, new);
        }
        None => drop(alerts.remove(&id)),
    }
    let nearest = Nearest::of(thresholds);
    if nearest != market.nearest {
        market.nearest = nearest;
    }
}
