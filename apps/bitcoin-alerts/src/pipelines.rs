//! The application's graph: two pipelines that meet in one group of tables.
//!
//! Invariant: prices are declared before updates, so at equal times a price comes first; which
//! connectors bring and take them is for the caller to say. Whether a price counts is decided before it
//! enters an average.

use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::{Decoder, Nature, OpenContext, Reader, Source};
use anabranch::window::Rolling;
use anabranch::{Chain, Error, Shared, Stream, Undo, Watermarks};
use anabranch_connectors::coinbase::Product;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::desk::{MARKETS, Market, PRICES, Rows, SharedTables, TABLES, WINDOW_TABLES};
use crate::{AlertUpdate, Average, Averaging, Change, ExactAverage, Notification, Price};

/// Prices of a source partition that brings none for so long hold back no one's time.
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// Draws the application on `app`: sources `prices` and `updates`, sink `notify`, and the average that is
/// compared with thresholds. The notifications are given for further uses.
///
/// ```
/// use anabranch::TestDriver;
/// use bitcoin_alerts::{Averaging, notifications_to, prices_from, updates_from};
/// let mut driver = TestDriver::new(|app| {
///     let unused = "ws-listen://127.0.0.1:0";
///     let (prices, updates) = (prices_from(unused)?, updates_from(unused)?);
///     let average = Averaging::default();
///     bitcoin_alerts::pipelines(app, average, prices, updates, notifications_to("null:")?);
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
    averaging: Averaging,
    prices: impl Source<Item = Price>,
    updates: impl Source<Item = AlertUpdate>,
    notify: impl Sink<Item = Notification>,
) -> Shared<Notification> {
    draw(app, averaging, None, prices, updates, notify)
}

/// Draws the same application to try an alert on past input: it is added before the first price of its product, and
/// nothing but that it fires is told.
///
/// # Errors
/// [`Error::Usage`](anabranch::Error::Usage) if `tried` adds no alert.
pub fn tried_pipelines(
    app: &App,
    averaging: Averaging,
    tried: AlertUpdate,
    prices: impl Source<Item = Price>,
    updates: impl Source<Item = AlertUpdate>,
    notify: impl Sink<Item = Notification>,
) -> Result<()> {
    if !matches!(tried.change, Change::Add(_)) {
        return Err(Error::Usage("--try is an alert to be added: leave `op` out".to_owned()));
    }
    draw(app, averaging, Some(tried), OnlyPast(prices), updates, notify);
    Ok(())
}

/// Draws the same application for people who watch: the sink is told of every price that counts,
/// with the figures that it led to.
pub fn watched_pipelines(
    app: &App,
    averaging: Averaging,
    prices: impl Source<Item = Price>,
    updates: impl Source<Item = AlertUpdate>,
    notify: impl Sink<Item = Observation>,
) {
    draw(app, averaging, None, prices, updates, notify);
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

/// Prices that are not those of a program that runs: an alert that is tried is in no other program's state.
struct OnlyPast<S>(S);

impl<S: Source<Item = Price>> Source for OnlyPast<S> {
    type Item = Price;

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn nature(&self) -> Nature {
        self.0.nature()
    }

    fn partitions(&self) -> Result<usize> {
        self.0.partitions()
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<Price>>> {
        if self.nature() == Nature::Live || context.resume.folder.is_some() {
            return Err(Error::Usage(
                "--try tells when an alert would have fired: use it with `replay --data-dir DIR`, or with recorded \
                 prices and without --data-dir"
                    .to_owned(),
            ));
        }
        self.0.open(partition, context)
    }

    fn decoder(&self) -> Option<Box<dyn Decoder<Price>>> {
        self.0.decoder()
    }
}

/// What is told of a price that counts.
trait Told: Record {
    /// Whether something is told of every one, and not only of those that fire alerts.
    const ALWAYS: bool;

    /// Of `price`, which has led to these rows; nothing if there is nothing to say.
    fn of(price: &Price, rows: &Rows<'_>, notification: Option<Notification>) -> Option<Self>;
}

/// An alert that is tried, until its product has it.
#[derive(Clone)]
struct Tried {
    alert: Option<AlertUpdate>,
    product: Product,
    id: String,
}

impl Tried {
    fn of(update: AlertUpdate) -> Self {
        Self { product: update.product, id: update.id.clone(), alert: Some(update) }
    }

    /// Adds it, the first time.
    fn begin(&mut self, product: Product, rows: &mut Rows<'_>) {
        if let Some(alert) = self.alert.take_if(|_| self.product == product) {
            // It was checked when it was read; there may be too many spans, and then it cannot fire.
            if let Err(error) = crate::update(alert, rows) {
                tracing::error!("--try: {error}");
            }
        }
    }

    /// What is told of it alone.
    fn alone(&self, notification: Notification) -> Option<Notification> {
        let Notification { product, mut fired, .. } = notification;
        for level in &mut fired {
            level.alerts.retain(|alert| product == self.product && alert.id == self.id);
        }
        fired.retain(|level| !level.alerts.is_empty());
        (!fired.is_empty()).then_some(Notification { fired, ..notification })
    }
}

impl Told for Notification {
    const ALWAYS: bool = false;

    #[inline]
    fn of(_: &Price, _: &Rows<'_>, notification: Option<Notification>) -> Option<Self> {
        notification
    }
}

impl Told for Observation {
    const ALWAYS: bool = true;

    fn of(
        price: &Price,
        (market, (alerts, _), ..): &Rows<'_>,
        notification: Option<Notification>,
    ) -> Option<Self> {
        Some(Self {
            product: price.product,
            price: price.price,
            average: market.average.average().unwrap_or_default(),
            open_alerts: alerts.len() as u64,
            notification,
        })
    }
}

fn draw<O: Told>(
    app: &App,
    averaging: Averaging,
    tried: Option<AlertUpdate>,
    prices: impl Source<Item = Price>,
    updates: impl Source<Item = AlertUpdate>,
    notify: impl Sink<Item = O>,
) -> Shared<O> {
    let (prices, name) = (app.source("prices", prices), averaging.name());
    let tried = tried.map(Tried::of);
    let (told, tables) = match averaging {
        Averaging::Running => (over_all(prices, tried, notify), TABLES),
        Averaging::Over { size, lateness } => {
            // Computations see the time of each price as it is, or was found to be: see `over_some`.
            let time = |price: &Price| price.event_time(Time::ZERO);
            let rolling = Rolling::over(size, time, ExactAverage).lateness(lateness);
            (
                over_some(prices.event_time(watermarks()), &name, rolling, tried, notify),
                WINDOW_TABLES,
            )
        }
        Averaging::Last(most) => {
            let rolling = Rolling::last(most, ExactAverage);
            (over_some(prices, &name, rolling, tried, notify), WINDOW_TABLES)
        }
    };
    update_alerts(app, updates, tables);
    told
}

/// How far time has come, which decides what is late and what is forgotten, and nothing else. No disorder is
/// allowed for here: that is what the lateness is. A price from the future, as it seems, is taken for one of
/// now, or those after it would all be late.
fn watermarks() -> Watermarks<impl Fn(&Price, Time) -> Option<Time>> {
    let after = |price: &Price, ingest| Some(price.event_time(ingest).min(ingest));
    Watermarks::at_ingest(after).idle_after(IDLE_AFTER)
}

/// The average and its nearest alerts are in one row: a price that meets none costs one look, and no allocation. Only
/// the others come to the alerts.
fn over_all<O: Told>(
    prices: Stream<impl Chain<Key = (), In: Record, Out = Price>>,
    tried: Option<Tried>,
    notify: impl Sink<Item = O>,
) -> Shared<O> {
    let of = tried.as_ref().map(|tried| tried.product);
    prices
        .key_by(|price: &Price| price.product)
        .compute("count-prices", PRICES, move |price, mut market, out| {
            if crate::count(&price, &mut market) {
                market.average.observe(price.price);
                pass::<O>(price, market, of, out);
            }
        })
        .compute("evaluate-alerts", TABLES, telling(tried))
        .sink("notify", notify)
}

/// The same, with the average between: which prices count and when they were paid, the average at each, which of them
/// meet an alert, and the alerts.
fn over_some<O: Told>(
    prices: Stream<impl Chain<Key = (), In: Record, Out = Price>>,
    name: &str,
    rolling: Rolling<Price, ExactAverage>,
    tried: Option<Tried>,
    notify: impl Sink<Item = O>,
) -> Shared<O> {
    let of = tried.as_ref().map(|tried| tried.product);
    prices
        .key_by(|price: &Price| price.product)
        .compute("count-prices", MARKETS, |price, mut market, out| {
            if crate::count(&price, &mut market) {
                let time = Some(price.event_time(out.now()));
                out.emit(Price { time, ..price });
            }
        })
        .rolling(name, rolling)
        .compute("meet-alerts", MARKETS, move |(price, average), mut market, out| {
            market.average = average;
            pass::<O>(price, market, of, out);
        })
        .compute("evaluate-alerts", WINDOW_TABLES, telling(tried))
        .sink("notify", notify)
}

/// Passes `price` on to the alerts, if it can meet one, or all are told of, or one of its product is tried.
#[inline]
fn pass<O: Told>(
    price: Price,
    mut market: Row<'_, Market>,
    tried: Option<Product>,
    out: &mut Context<'_, Price>,
) {
    market.paid(&price, out.now());
    if O::ALWAYS || market.meets_any() || tried == Some(price.product) {
        out.emit(price);
    }
}

/// Evaluates the alerts at a price, and tells of it.
fn telling<O: Told>(
    mut tried: Option<Tried>,
) -> impl FnMut(Price, Rows<'_>, &mut Context<'_, O>) + 'static {
    move |price, mut rows, out| {
        if let Some(tried) = &mut tried {
            tried.begin(price.product, &mut rows);
        }
        let mut notification = match rows.0.meets_any() {
            true => crate::evaluate(&price, &mut rows, out.now(), out.id()),
            false => None,
        };
        if let Some(tried) = &tried {
            notification = notification.and_then(|notification| tried.alone(notification));
        }
        if let Some(told) = O::of(&price, &rows, notification) {
            out.emit(told);
        }
    }
}

fn update_alerts(app: &App, updates: impl Source<Item = AlertUpdate>, tables: SharedTables) {
    app.source("updates", updates).key_by(|update: &AlertUpdate| update.product).try_compute(
        "update-alerts",
        tables,
        change,
    );
}

fn change(
    update: &AlertUpdate,
    mut rows: Rows<'_>,
    _: &mut Context<'_, ()>,
) -> std::result::Result<(), Undo> {
    Ok(crate::update(update.clone(), &mut rows)?)
}
