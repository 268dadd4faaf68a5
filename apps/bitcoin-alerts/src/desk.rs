//! The tables that prices and alerts share, and [`Desk`]: the rows of one product.
//!
//! Invariant: each open alert has one place; one whose id does not follow from its place has an entry by its id too.
//! [`Market::nearest`](Market) says where the ends are that the average can meet, and whether every price must be
//! looked at: a price that fires nothing compares twice, whatever the alerts.

use std::cmp::Ordering;

use anabranch::{MapRow, MapTable, Result, Row, Table, Time};
use anabranch_connectors::coinbase::Product;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::average::{Average, RunningAverage};
use crate::book::{Book, Recent, Slot};
use crate::fired::Fired;
use crate::place::{Name, Named, Of, Place, Terms, Waits};
use crate::price::Price;
use crate::rule::{Alert, Direction, Measure};
use crate::value::Value;

/// What is known of each product's prices, and its nearest alerts, where the average is over all.
pub const PRICES: Table<Product, Market> = Table::new("prices");

/// The same where the average is over some of its prices: another table, so that what one average has
/// left behind is never taken for another's.
pub const MARKETS: Table<Product, Market> = Table::new("markets");

/// The open alerts of each product, by the places where they wait.
pub const ALERTS: MapTable<Product, Place, Option<Box<Terms>>> = MapTable::new("alerts");

/// Where the alerts wait whose ids do not follow from their places.
pub const ALERT_IDS: MapTable<Product, String, Place> = MapTable::new("alert-ids");

/// What is kept of products whose alerts need more than the average.
pub const BOOKS: Table<Product, Book> = Table::new("books");

/// Their recent prices, by time.
pub const RECENT: MapTable<Product, Time, Slot> = MapTable::new("recent-prices");

/// When alerts expire, and cooldowns end.
pub const DUE: MapTable<Product, (Time, String), ()> = MapTable::new("due-alerts");

/// The newest alerts that fired of each product, numbered.
pub const FIRED: MapTable<Product, u64, Fired> = MapTable::new("fired-alerts");

type IdTables = (MapTable<Product, Place, Option<Box<Terms>>>, MapTable<Product, String, Place>);
type BookTables = (Table<Product, Book>, MapTable<Product, Time, Slot>);
type TimeTables = (MapTable<Product, (Time, String), ()>, MapTable<Product, u64, Fired>);

/// The types of [`TABLES`].
pub type SharedTables = (Table<Product, Market>, IdTables, BookTables, TimeTables);

/// The tables that prices and updates share, to be computed with as one group, where the average is over
/// all prices.
pub const TABLES: SharedTables = (PRICES, (ALERTS, ALERT_IDS), (BOOKS, RECENT), (DUE, FIRED));

/// The same where it is over some of them.
pub const WINDOW_TABLES: SharedTables =
    (MARKETS, (ALERTS, ALERT_IDS), (BOOKS, RECENT), (DUE, FIRED));

/// The rows of [`TABLES`] for one product.
pub type Rows<'a> = (
    Row<'a, Market>,
    (MapRow<'a, Place, Option<Box<Terms>>>, MapRow<'a, String, Place>),
    (Row<'a, Book>, Recent<'a>),
    (MapRow<'a, (Time, String), ()>, MapRow<'a, u64, Fired>),
);

/// What is known of one product.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Market {
    /// The average that its last price has led to.
    pub average: RunningAverage,
    /// Its last price.
    #[serde(with = "crate::optional_decimal")]
    pub price: Option<Decimal>,
    /// The newest time of any of them.
    pub clock: Time,
    /// The highest number of any of its trades.
    last_trade_id: Option<u64>,
    nearest: Nearest,
}

/// The level that a rising average would meet first, and that of a falling one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Nearest {
    #[serde(with = "crate::optional_decimal")]
    above: Option<Decimal>,
    #[serde(with = "crate::optional_decimal")]
    below: Option<Decimal>,
    /// Whether some alert needs every price.
    every_price: bool,
}

impl Market {
    /// Whether `price` counts: an old trade that was seen before does not.
    #[inline]
    pub(crate) fn is_new(&self, price: &Price) -> bool {
        price.fresh || price.trade_id > self.last_trade_id
    }

    /// Takes down that `price` was seen.
    #[inline]
    pub(crate) fn saw(&mut self, price: &Price) {
        if price.trade_id > self.last_trade_id {
            self.last_trade_id = price.trade_id;
        }
    }

    /// Takes down that `price` was paid, by an average that has it; `now` is the record's ingest time. Time does not go
    /// back, and a price from the future, as it seems, is taken for one of now.
    #[inline]
    pub fn paid(&mut self, price: &Price, now: Time) {
        self.price = Some(price.price);
        self.clock = self.clock.max(price.event_time(now).min(now));
    }

    /// How far the average is from the level that it meets next; none before the first price, or if no
    /// alert waits for it.
    pub(crate) fn distance(&self) -> Option<Average> {
        let average = self.average.average()?;
        let above = self.nearest.above.map(|level| Average::of(level).above(average));
        let below = self.nearest.below.map(|level| average.above(Average::of(level)));
        above.into_iter().chain(below).min()
    }

    /// Whether alerts must be looked at as it is now.
    #[inline]
    pub fn meets_any(&self) -> bool {
        let Nearest { above, below, every_price } = self.nearest;
        let compare = |level| self.average.compare(level);
        above.is_some_and(|level| compare(level).is_some_and(Ordering::is_ge))
            || below.is_some_and(|level| compare(level).is_some_and(Ordering::is_le))
            || every_price
    }
}

/// The rows of one product, by what they are.
pub(crate) struct Desk<'r, 'a> {
    pub(crate) market: &'r mut Row<'a, Market>,
    pub(crate) alerts: &'r mut MapRow<'a, Place, Option<Box<Terms>>>,
    ids: &'r mut MapRow<'a, String, Place>,
    pub(crate) book: &'r mut Row<'a, Book>,
    pub(crate) recent: &'r mut Recent<'a>,
    pub(crate) due: &'r mut MapRow<'a, (Time, String), ()>,
    pub(crate) fired: &'r mut MapRow<'a, u64, Fired>,
}

impl<'r, 'a> Desk<'r, 'a> {
    pub(crate) fn of(rows: &'r mut Rows<'a>) -> Self {
        let (market, (alerts, ids), (book, recent), (due, fired)) = rows;
        Self { market, alerts, ids, book, recent, due, fired }
    }

    /// Where the alert of that id waits, if it is open.
    pub(crate) fn find(&self, id: &str) -> Option<Place> {
        if let Some(place) = self.ids.get(&id.to_owned()) {
            return Some(place.clone());
        }
        Place::of_default_id(id).filter(|place| self.alerts.contains_key(place))
    }

    /// The alert that waits there.
    pub(crate) fn alert_at(&self, place: &Place) -> Alert {
        let terms = self.alerts.get(place).and_then(Option::as_deref);
        place.alert(terms, self.book.measure(place.of))
    }

    /// Lets a new alert wait, armed.
    ///
    /// # Errors
    /// If it is over one span too many.
    pub(crate) fn open(&mut self, id: String, alert: &Alert) -> Result<()> {
        let of = match alert.measure {
            Measure::Average => Of::Average,
            Measure::Price => Of::Price,
            _ => self.book.of(alert.measure, self.recent)?,
        };
        if of.span().is_some() {
            self.book.came(of);
        }
        let terms = Terms::of(alert);
        let follows = of == Of::Average && terms.is_none() && id == alert.default_id();
        let name = match follows {
            true => Name::User(alert.user_id),
            false => Name::Id(Box::new(Named { id: id.clone().into(), user_id: alert.user_id })),
        };
        if let Some(expires) = alert.expires {
            self.due.insert((expires, id), ());
        }
        let side = self.newest(of).and_then(|value| value.compare(alert.level));
        let (waits, level) = (armed(alert.direction, side), alert.level);
        self.put(Place { of, waits, level, name }, terms);
        Ok(())
    }

    /// The value as of the newest price.
    fn newest(&self, of: Of) -> Option<Value<'_>> {
        match of {
            Of::Average => Some(Value::Average(&self.market.average)),
            Of::Price => self.market.price.map(Value::Price),
            Of::Change(_) | Of::Score(_) => self.book.newest(of, self.market.clock, self.recent),
        }
    }

    /// Removes an alert for good.
    pub(crate) fn close(&mut self, place: &Place) {
        let terms = self.take(place).flatten();
        self.forget(place, terms.as_deref());
    }

    /// Forgets what is known of an alert beside its place, which was taken.
    pub(crate) fn forget(&mut self, place: &Place, terms: Option<&Terms>) {
        if let Name::Id(named) = &place.name {
            self.ids.remove(&String::from(&*named.id));
        }
        let times = terms.into_iter().flat_map(|terms| [terms.expires, terms.quiet_until]);
        for time in times.flatten() {
            self.due.remove(&(time, place.id()));
        }
        if place.of.span().is_some() {
            self.book.went(place.of, self.recent);
        }
    }

    /// Puts an alert in a place.
    pub(crate) fn put(&mut self, place: Place, terms: Option<Box<Terms>>) {
        if place.needs_every_price(terms.as_deref()) {
            self.book.needing_every_price += 1;
        }
        if let Name::Id(named) = &place.name {
            self.ids.insert(String::from(&*named.id), place.clone());
        }
        self.alerts.insert(place, terms);
    }

    /// Takes an alert out of its place.
    pub(crate) fn take(&mut self, place: &Place) -> Option<Option<Box<Terms>>> {
        let terms = self.alerts.remove(place)?;
        if place.needs_every_price(terms.as_deref()) {
            self.book.needing_every_price -= 1;
        }
        Some(terms)
    }

    /// The alert that a value that rises to what is waited for, or falls, would meet first.
    pub(crate) fn end(&self, of: Of, waits: Waits) -> Option<&Place> {
        let places = Place::first(of, waits)..Place::first(of, waits.next());
        let mut places = self.alerts.range(places).map(|(place, _)| place);
        match waits {
            Waits::AtMost | Waits::Under => places.next_back(),
            _ => places.next(),
        }
    }

    /// Takes down where the nearest alerts are.
    pub(crate) fn note_nearest(&mut self) {
        let level = |waits| self.end(Of::Average, waits).map(|place| place.level);
        let nearest = Nearest {
            above: level(Waits::AtLeast),
            below: level(Waits::AtMost),
            every_price: self.book.needing_every_price > 0,
        };
        if nearest != self.market.nearest {
            self.market.nearest = nearest;
        }
    }
}

/// For what an alert waits that is armed; `side` is how the value compares with its level.
pub(crate) fn armed(direction: Direction, side: Option<Ordering>) -> Waits {
    match (direction, side) {
        (Direction::Above, _) | (Direction::Crossing, Some(Ordering::Less)) => Waits::AtLeast,
        (Direction::Below, _) => Waits::AtMost,
        (Direction::Crossing, Some(_)) => Waits::Under,
        (Direction::Crossing, None) => Waits::Value,
    }
}
