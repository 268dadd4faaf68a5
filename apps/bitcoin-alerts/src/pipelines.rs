//! The application's graph: two pipelines that meet in one group of tables.
//!
//! Invariant: prices are declared before updates, so at equal times a price comes first; which
//! connectors bring and take them is for the caller to say.

use anabranch::Shared;
use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::Source;
use anabranch_connectors::coinbase::Product;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::alerts::{Rows, TABLES};
use crate::{AlertUpdate, Average, Notification, Price};

/// Draws the application on `app`: sources `prices` and `updates`, sink `notify`. The
/// notifications are given for further uses.
///
/// ```
/// use anabranch::TestDriver;
/// use bitcoin_alerts::{notifications_to, prices_from, updates_from};
/// let mut driver = TestDriver::new(|app| {
///     let unused = "ws-listen://127.0.0.1:0";
///     let (prices, updates) = (prices_from(unused)?, updates_from(unused)?);
///     bitcoin_alerts::pipelines(app, prices, updates, notifications_to("null:")?);
///     Ok(())
/// })
/// .workers(2)
/// .start()?;
/// driver.send_bytes("updates", r#"{"price":"6500","user_id":1}"#)?;
/// driver.run()?;
/// driver.send_bytes("prices", r#"{"type":"ticker","price":"6500.00"}"#)?;
/// driver.run()?;
/// assert_eq!(driver.ids("notify"), ["prices-0-0"]);
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn pipelines(
    app: &App,
    prices: impl Source<Item = Price>,
    updates: impl Source<Item = AlertUpdate>,
    notify: impl Sink<Item = Notification>,
) -> Shared<Notification> {
    let notifications = app
        .source("prices", prices)
        .key_by(|price: &Price| price.product)
        .compute("evaluate-alerts", TABLES, evaluate)
        .sink("notify", notify);
    update_alerts(app, updates);
    notifications
}

/// Draws the same application for people who watch: the sink is told of every price that counts,
/// with the figures that it led to.
pub fn watched_pipelines(
    app: &App,
    prices: impl Source<Item = Price>,
    updates: impl Source<Item = AlertUpdate>,
    notify: impl Sink<Item = Observation>,
) {
    app.source("prices", prices)
        .key_by(|price: &Price| price.product)
        .compute("evaluate-alerts", TABLES, watch)
        .sink("notify", notify);
    update_alerts(app, updates);
}

/// What one price came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// What was traded.
    pub product: Product,
    /// For how much.
    #[serde(with = "anabranch::decimal")]
    pub price: Decimal,
    /// The average of the product, this price included.
    pub average: Average,
    /// How many of its alerts are still open.
    pub open_alerts: u64,
    /// The alerts that fired, if any did.
    pub notification: Option<Notification>,
}

fn update_alerts(app: &App, updates: impl Source<Item = AlertUpdate>) {
    app.source("updates", updates).key_by(|update: &AlertUpdate| update.product).compute(
        "update-alerts",
        TABLES,
        change,
    );
}

fn evaluate(price: Price, mut rows: Rows<'_>, out: &mut Context<'_, Notification>) {
    if let Some(notification) = crate::observe(&price, &mut rows, out.now(), out.id()) {
        out.emit(notification);
    }
}

fn watch(price: Price, mut rows: Rows<'_>, out: &mut Context<'_, Observation>) {
    let before = rows.0.average.count();
    let notification = crate::observe(&price, &mut rows, out.now(), out.id());
    let (market, _, alerts) = &rows;
    if market.average.count() == before {
        return;
    }
    out.emit(Observation {
        product: price.product,
        price: price.price,
        average: market.average.average().unwrap_or_default(),
        open_alerts: alerts.len() as u64,
        notification,
    });
}

fn change(update: AlertUpdate, mut rows: Rows<'_>, _: &mut Context<'_, ()>) {
    crate::update(update, &mut rows);
}
