//! Every kind of alert, against a list that is scanned for every price, with all prices kept.

use std::cmp::Ordering;
use std::time::Duration;

use anabranch::Time;
use anabranch_connectors::coinbase::Product;
use bitcoin_alerts::{
    Alert, AlertUpdate, Change, Direction, Edit, Expiry, Measure, Notification, Price, Repeat, Unit,
};
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::world::World;

/// Tenths of a second since the last step.
#[derive(Clone, Debug)]
enum Step {
    /// How much later, whether it is older than the newest by so much, and the price.
    Price(u8, u8, i64),
    Update(u8, Change),
}

const TICK: Duration = Duration::from_millis(100);

fn at(ticks: u64) -> Time {
    Time::ZERO.after(TICK * u32::try_from(ticks).unwrap())
}

fn measure() -> impl Strategy<Value = Measure> {
    let over = (1..4_u64).prop_map(Duration::from_secs);
    prop_oneof![
        Just(Measure::Average),
        Just(Measure::Price),
        over.clone().prop_map(Measure::Change),
        over.prop_map(Measure::Score),
    ]
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Above), Just(Direction::Below), Just(Direction::Crossing)]
}

/// Levels that are met, some exactly.
fn level(measure: Measure) -> BoxedStrategy<Decimal> {
    match measure {
        Measure::Average => (190..=210_i64).prop_map(|halves| Decimal::new(halves * 5, 1)).boxed(),
        Measure::Price => (92..=108_i64).prop_map(Decimal::from).boxed(),
        Measure::Change(_) => (-10..=10_i64).prop_map(Decimal::from).boxed(),
        Measure::Score(_) => (-20..=20_i64).prop_map(|tenths| Decimal::new(tenths, 1)).boxed(),
    }
}

fn repeat() -> impl Strategy<Value = Repeat> {
    let rearm =
        (0..4_i64).prop_map(|tenths| Repeat::Rearm { hysteresis: Decimal::new(tenths * 5, 1) });
    prop_oneof![Just(Repeat::Once), Just(Repeat::Every), rearm]
}

prop_compose! {
    fn alert()(measure in measure())(
        level in level(measure),
        measure in Just(measure),
        direction in direction(),
        user_id in 0..5_u64,
        repeat in repeat(),
        cooldown in 0..20_u32,
        expires in proptest::option::weighted(0.2, 0..200_u64),
        labels in prop_oneof![3 => Just(vec![]), 1 => Just(vec!["mine".to_owned()])],
    ) -> Alert {
        let cooldown = if repeat == Repeat::Once { Duration::ZERO } else { TICK * cooldown };
        let level = level.normalize();
        let expires = expires.map(at);
        Alert { measure, direction, level, user_id, repeat, cooldown, expires, labels }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let level = (90..=110_i64).prop_map(|price| (Unit::Price, Decimal::from(price).into()));
    let expires = prop_oneof![Just(Expiry::Never), (0..200_u64).prop_map(|t| Expiry::At(at(t)))];
    let option = proptest::option::of::<BoxedStrategy<_>>;
    (
        option(level.boxed()),
        proptest::option::of(direction()),
        proptest::option::of(repeat()),
        proptest::option::of(expires),
    )
        .prop_map(|(level, direction, repeat, expires)| {
            let cooldown = Some(Duration::ZERO);
            Edit { level, direction, repeat, cooldown, expires, ..Edit::default() }
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![
        4 => alert().prop_map(Change::Add),
        1 => Just(Change::Remove),
        1 => edit().prop_map(Change::Edit),
    ];
    let price = (0..9_u8, prop_oneof![5 => Just(0), 1 => 1..9_u8], 90..=110_i64);
    let step = prop_oneof![
        3 => price.prop_map(|(later, late, price)| Step::Price(later, late, price)),
        1 => (0..12_u8, change).prop_map(|(id, change)| Step::Update(id, change)),
    ];
    proptest::collection::vec(step, 0..160)
}

/// An alert as the list has it.
#[derive(Clone, Debug)]
struct Open {
    id: String,
    alert: Alert,
    /// Whether it fires when its level is reached; if not it waits to be armed again.
    armed: bool,
    /// Of crossings: whether the value was below the level, and the level that is to be reached then.
    below: Option<(bool, Decimal)>,
    quiet_until: Option<Time>,
    cooling: bool,
}

/// All prices, all alerts, and nothing clever.
#[derive(Default)]
struct Scan {
    open: Vec<Open>,
    prices: Vec<(Time, i64)>,
    /// Each span of an open alert, with the number of the first price that is known of it.
    spans: Vec<(Duration, usize)>,
}

/// A value beside a level.
fn compare(measured: Option<Measured>, level: Decimal) -> Option<Ordering> {
    Some(match measured? {
        // a / b beside the level.
        Measured::Quotient(a, b) => a.cmp(&(level * b)),
        Measured::Score { distance, variance } => {
            let square = level * level * variance;
            match (distance < Decimal::ZERO, level < Decimal::ZERO) {
                (false, true) => Ordering::Greater,
                (true, false) => Ordering::Less,
                (false, false) => (distance * distance).cmp(&square),
                (true, true) => square.cmp(&(distance * distance)),
            }
        }
    })
}

#[derive(Clone, Copy, Debug)]
enum Measured {
    Quotient(Decimal, Decimal),
    Score { distance: Decimal, variance: Decimal },
}

impl Scan {
    /// What is measured at the price of that number.
    fn measured(&self, measure: Measure, number: usize) -> Option<Measured> {
        let (clock, price) = *self.prices.get(number)?;
        let start = |over: Duration| {
            let (_, first) = *self.spans.iter().find(|(span, _)| *span == over)?;
            let (since, _) = *self.prices[..=number].get(first)?;
            (since <= clock.before(over)).then_some(first)
        };
        match measure {
            Measure::Average => {
                let sum: i64 = self.prices[..=number].iter().map(|(_, price)| price).sum();
                Some(Measured::Quotient(sum.into(), Decimal::from(number + 1)))
            }
            Measure::Price => Some(Measured::Quotient(price.into(), Decimal::ONE)),
            Measure::Change(over) => {
                start(over)?;
                let old = |(time, _): &&(Time, i64)| *time <= clock.before(over);
                let (_, then) = *self.prices[..number].iter().rfind(old)?;
                Some(Measured::Quotient((100 * (price - then)).into(), then.into()))
            }
            Measure::Score(over) => {
                let first = start(over)?;
                let within = self.prices[first..number]
                    .iter()
                    .filter(|(time, _)| *time > clock.before(over));
                let prices: Vec<Decimal> = within.map(|(_, price)| Decimal::from(*price)).collect();
                let (count, sum) = (Decimal::from(prices.len()), prices.iter().sum::<Decimal>());
                let squares: Decimal = prices.iter().map(|price| price * price).sum();
                let variance = count * squares - sum * sum;
                let distance = count * Decimal::from(price) - sum;
                (variance > Decimal::ZERO).then_some(Measured::Score { distance, variance })
            }
        }
    }

    fn update(&mut self, id: &str, change: Change) {
        let known = self.open.iter().position(|open| open.id == id);
        let alert = match (change, known) {
            (Change::Add(alert), _) => Some(alert),
            (Change::Remove, _) => None,
            (Change::Edit(_), None) => return,
            (Change::Edit(edit), Some(known)) => {
                let mut alert = self.open[known].alert.clone();
                if let Some((unit, level)) = edit.level {
                    if unit != alert.measure.unit() {
                        return;
                    }
                    alert.level = level.into();
                }
                alert.direction = edit.direction.unwrap_or(alert.direction);
                alert.repeat = edit.repeat.unwrap_or(alert.repeat);
                alert.cooldown = edit.cooldown.unwrap_or(alert.cooldown);
                match edit.expires {
                    Some(Expiry::Never) => alert.expires = None,
                    Some(Expiry::At(time)) => alert.expires = Some(time),
                    None => {}
                }
                Some(alert)
            }
        };
        if let Some(known) = known {
            self.open.remove(known);
        }
        let Some(alert) = alert else { return self.forget_spans() };
        if let Some(over) = alert.measure.span()
            && !self.spans.iter().any(|(span, _)| *span == over)
        {
            // It begins with the prices of the newest time, if prices were kept then.
            let kept = self.spans.iter().map(|(_, first)| *first).min();
            let newest = self.prices.last().map(|(time, _)| *time);
            let known = self.prices.iter().enumerate().position(|(number, (time, _))| {
                Some(*time) == newest && kept.is_some_and(|kept| number >= kept)
            });
            self.spans.push((over, known.unwrap_or(self.prices.len())));
        }
        let newest = self.prices.len().checked_sub(1);
        let value = newest.and_then(|newest| self.measured(alert.measure, newest));
        let below = compare(value, alert.level).map(|order| (order.is_lt(), alert.level));
        let id = id.to_owned();
        self.open.push(Open { id, alert, armed: true, below, quiet_until: None, cooling: false });
        self.forget_spans();
    }

    fn forget_spans(&mut self) {
        let Self { open, spans, .. } = self;
        spans.retain(|(span, _)| open.iter().any(|open| open.alert.measure.span() == Some(*span)));
    }

    /// The ids that fire, sorted.
    fn price(&mut self, time: Time, price: i64) -> Vec<String> {
        let clock = self.prices.last().map_or(time, |(newest, _)| time.max(*newest));
        self.prices.push((clock, price));
        let number = self.prices.len() - 1;
        self.open.retain(|open| open.alert.expires.is_none_or(|expires| expires > clock));
        self.forget_spans();
        let mut fired = Vec::new();
        let measured: Vec<_> =
            self.open.iter().map(|open| self.measured(open.alert.measure, number)).collect();
        let mut values = measured.into_iter();
        self.open.retain_mut(|open| {
            let fires = open.price(values.next().unwrap(), clock);
            if fires {
                fired.push(open.id.clone());
            }
            !fires || open.alert.repeat != Repeat::Once
        });
        self.forget_spans();
        fired.sort();
        fired
    }
}

impl Open {
    /// Whether it fires at this value.
    fn price(&mut self, value: Option<Measured>, clock: Time) -> bool {
        let Alert { direction, level, repeat, cooldown, .. } = self.alert;
        let quiet = self.quiet_until.is_some_and(|until| clock < until);
        let hysteresis = match repeat {
            Repeat::Rearm { hysteresis } => hysteresis,
            Repeat::Once | Repeat::Every => Decimal::ZERO,
        };
        if direction == Direction::Crossing {
            if self.cooling && quiet {
                return false;
            }
            let Some(order) = compare(value, level) else {
                if std::mem::take(&mut self.cooling) {
                    self.below = None;
                }
                return false;
            };
            let Some((below, next)) = self.below.filter(|_| !self.cooling) else {
                self.below = Some((order.is_lt(), level));
                self.cooling = false;
                return false;
            };
            let order = compare(value, next).unwrap();
            let crosses = if below { order.is_ge() } else { order.is_lt() };
            if crosses && quiet {
                self.cooling = true;
            }
            if !crosses || quiet {
                return false;
            }
            let next = if below { level - hysteresis } else { level + hysteresis };
            self.below = Some((!below, next));
        } else {
            let above = direction == Direction::Above;
            if !self.armed {
                let back = if above { level - hysteresis } else { level + hysteresis };
                let order = compare(value, back);
                self.armed = order == Some(if above { Ordering::Less } else { Ordering::Greater });
                return false;
            }
            let order = compare(value, level);
            let met = order.is_some_and(|order| if above { order.is_ge() } else { order.is_le() });
            if !met || quiet {
                return false;
            }
            self.armed = !matches!(repeat, Repeat::Rearm { .. });
        }
        self.quiet_until = (cooldown > Duration::ZERO).then(|| clock.after(cooldown));
        true
    }
}

fn ids(notification: Option<&Notification>) -> Vec<String> {
    let groups = notification.into_iter().flat_map(|notification| &notification.fired);
    let mut ids: Vec<String> =
        groups.flat_map(|group| &group.alerts).map(|alert| alert.id.clone()).collect();
    ids.sort();
    ids
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_same_alerts_fire(steps in steps()) {
        let (mut world, mut scan) = (World::new(), Scan::default());
        let (mut now, mut records) = (0_u64, 0_u64);
        for step in steps {
            match step {
                Step::Price(later, late, price) => {
                    now += u64::from(later);
                    let time = at(now.saturating_sub(u64::from(late)));
                    let name = format!("prices-0-{records}");
                    records += 1;
                    let price_record = Price {
                        product: Product::BTC_USD,
                        price: price.into(),
                        time: Some(time),
                        trade_id: None,
                        fresh: true,
                    };
                    let notification = world.observe(&price_record, at(now), &name);
                    prop_assert_eq!(ids(notification.as_ref()), scan.price(time, price));
                    if let Some(sent) = &notification {
                        let json = serde_json::to_string(sent).unwrap();
                        prop_assert_eq!(&serde_json::from_str::<Notification>(&json).unwrap(), sent);
                        let bytes = postcard::to_stdvec(sent).unwrap();
                        prop_assert_eq!(&postcard::from_bytes::<Notification>(&bytes).unwrap(), sent);
                        let why = world.fired(Product::BTC_USD);
                        let newest = why.iter().filter(|why| why.record == name).count();
                        prop_assert_eq!(newest, ids(Some(sent)).len(), "why is known of each");
                    }
                }
                Step::Update(id, change) => {
                    let id = match (&change, id % 3) {
                        (Change::Add(alert), 0) => alert.default_id(),
                        _ => format!("id-{id}"),
                    };
                    scan.update(&id, change.clone());
                    let update = AlertUpdate { product: Product::BTC_USD, id, change };
                    let bytes = postcard::to_stdvec(&update).unwrap();
                    world.try_update(postcard::from_bytes(&bytes).unwrap());
                }
            }
            prop_assert_eq!(world.open(Product::BTC_USD), scan.open.len());
        }
    }
}
