//! The application's graph: two pipelines that meet in one group of tables.
//!
//! Invariant: prices are declared before updates, so at equal times a price comes first; which
//! connectors bring and take them is for the caller to say.

use anabranch::Shared;
use anabranch::prelude::*;
use anabranch::sink::{self, Json, Outlet};
use anabranch::source::{self, Inlet};

use crate::alerts::{Rows, TABLES};
use crate::{AlertUpdate, Notification, Price, PriceDecoder, UpdateDecoder};

/// Draws the application on `app`: sources `prices` and `updates`, sink `notify`. The
/// notifications are given for further uses.
///
/// ```
/// use anabranch::TestDriver;
/// use anabranch_connectors::{inlet, outlet};
/// let mut driver = TestDriver::new(|app| {
///     let unused = "ws-listen://127.0.0.1:0";
///     bitcoin_alerts::pipelines(app, inlet(unused)?, inlet(unused)?, outlet("null:")?);
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
    prices: impl Inlet,
    updates: impl Inlet,
    notify: impl Outlet,
) -> Shared<Notification> {
    let notifications = app
        .source("prices", source::frames(prices, PriceDecoder::default))
        .key_by(|price: &Price| price.product)
        .compute("evaluate-alerts", TABLES, evaluate)
        .sink("notify", sink::frames(notify, || Json));
    app.source("updates", source::frames(updates, UpdateDecoder::default))
        .key_by(|update: &AlertUpdate| update.product)
        .compute("update-alerts", TABLES, change);
    notifications
}

fn evaluate(price: Price, mut rows: Rows<'_>, out: &mut Context<'_, Notification>) {
    if let Some(notification) = crate::observe(&price, &mut rows, out.now(), out.id()) {
        out.emit(notification);
    }
}

fn change(update: AlertUpdate, mut rows: Rows<'_>, _: &mut Context<'_, ()>) {
    crate::update(update, &mut rows);
}
