//! What a price and an update do to the alerts of their product.
//!
//! Invariant: an alert is taken out of the tables and told of by one record, or neither. Nothing fires but at a price.
//! A price that fires k of n alerts costs O((1 + k) log n).

use std::cmp::Ordering;
use std::fmt::Display;
use std::time::Duration;

use anabranch::{Result, Row, Time};
use rust_decimal::Decimal;

use crate::average::Average;
use crate::desk::{Desk, Market, Rows, armed};
use crate::fired::{FIRED_KEPT, Fired};
use crate::notification::{FiredAlert, FiredThreshold, Notification};
use crate::place::{Of, Place, Terms, Waits};
use crate::price::Price;
use crate::rule::{Alert, Direction, Measure, Repeat};
use crate::update::{AlertUpdate, Change};
use crate::value::Value;

/// Whether `price` counts, and if it does takes its number down: an old trade that was seen before does
/// not count.
#[inline]
pub fn count(price: &Price, market: &mut Row<'_, Market>) -> bool {
    let counts = market.is_new(price);
    if counts {
        market.saw(price);
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
    let market = &mut rows.0;
    if !count(price, market) {
        return None;
    }
    market.average.observe(price.price);
    market.paid(price, now);
    if market.meets_any() { evaluate(price, rows, now, id) } else { None }
}

/// Fires the alerts that `price` reaches, where the [`average`](Market::average) is as it is since; `now` and `id` as
/// for [`observe`].
///
/// To be called for every price after which the market [meets any](Market::meets_any).
pub fn evaluate(
    price: &Price,
    rows: &mut Rows<'_>,
    now: Time,
    id: impl Display,
) -> Option<Notification> {
    let time = price.event_time(now);
    let mut desk = Desk::of(rows);
    let mut hits = Vec::new();
    let clock = desk.market.clock;
    let average = desk.market.average.clone();
    let mut values =
        vec![(Of::Average, Value::Average(&average)), (Of::Price, Value::Price(price.price))];
    if desk.book.needing_every_price > 0 {
        desk.book.slide(clock, desk.recent);
        values.extend(desk.book.values(price.price, clock, desk.recent));
        desk.settle_due(clock, &values);
    }
    for (of, value) in &values {
        desk.meet(*of, value, &mut hits);
    }
    let mut fired: Vec<Fired> = Vec::new();
    for (place, terms) in hits {
        let value = values.iter().find(|(of, _)| *of == place.of).map(|(_, value)| value);
        let Some((alert, value)) = desk.hit(place, terms, clock).zip(value) else { continue };
        fired.push(Fired {
            value: value.shown(),
            record: id.to_string(),
            time,
            price: price.price,
            ..alert
        });
    }
    if desk.book.needing_every_price > 0 {
        desk.book.keep(price.price, clock, desk.recent);
    }
    desk.note_nearest();
    if fired.is_empty() {
        return None;
    }
    let average = average.average().unwrap_or_default();
    fired.sort_by(|a, b| (a.group(), &a.id).cmp(&(b.group(), &b.id)));
    desk.keep_fired(&fired, average);
    let product = price.product;
    let (id, price) = (id.to_string(), price.price);
    Some(Notification { id, product, time, price, average, fired: grouped(fired) })
}

impl Fired {
    /// What alerts that are told together have in common.
    fn group(&self) -> (Measure, Direction, Decimal) {
        (self.measure, self.direction, self.level)
    }
}

/// By what was measured, direction and level; each with its alerts, by id.
fn grouped(fired: Vec<Fired>) -> Vec<FiredThreshold> {
    let mut groups: Vec<FiredThreshold> = Vec::new();
    for fired in fired {
        let Fired { id, user_id, measure, direction, level, value, labels, .. } = fired;
        let alert = FiredAlert { id, user_id, labels };
        match groups.last_mut() {
            Some(group)
                if (group.measure, group.direction, group.level) == (measure, direction, level) =>
            {
                group.alerts.push(alert);
            }
            _ => {
                let (value, alerts) = ((measure != Measure::Average).then_some(value), vec![alert]);
                groups.push(FiredThreshold { measure, direction, level, value, alerts });
            }
        }
    }
    groups
}

type Hit = (Place, Option<Box<Terms>>);

impl Desk<'_, '_> {
    /// Ends what expires, and arms what has cooled down.
    fn settle_due(&mut self, clock: Time, values: &[(Of, Value<'_>)]) {
        while self.due.first().is_some_and(|((time, _), ())| *time <= clock) {
            let Some(((_, id), ())) = self.due.pop_first() else { return };
            let Some(place) = self.find(&id) else { continue };
            let Some(Some(terms)) = self.alerts.get(&place) else { continue };
            let is_over = |time: Option<Time>| time.is_some_and(|time| time <= clock);
            if is_over(terms.expires) {
                self.close(&place);
            } else if place.waits == Waits::Cooling && is_over(terms.quiet_until) {
                self.arm(&place, values);
            }
        }
    }

    /// Lets an alert wait on the side of its level on which the value is not.
    fn arm(&mut self, place: &Place, values: &[(Of, Value<'_>)]) {
        let Some(Some(terms)) = self.take(place) else { return };
        let value = values.iter().find(|(of, _)| *of == place.of).map(|(_, value)| value);
        let side = value.and_then(|value| value.compare(terms.level));
        let waits = armed(terms.direction, side);
        self.put(Place { waits, level: terms.level, ..place.clone() }, Some(terms));
    }

    /// Takes out what waits for that value.
    fn meet(&mut self, of: Of, value: &Value<'_>, hits: &mut Vec<Hit>) {
        if self.alerts.is_empty() {
            return;
        }
        while let Some(place) = self.end(of, Waits::Value).cloned() {
            if value.compare(place.level).is_none() {
                break;
            }
            let known = [(of, value.clone())];
            self.arm(&place, &known);
        }
        for waits in [Waits::AtLeast, Waits::Over, Waits::AtMost, Waits::Under] {
            let is_met = |place: &Place| {
                value.compare(place.level).is_some_and(|order| match waits {
                    Waits::AtLeast => order.is_ge(),
                    Waits::Over => order.is_gt(),
                    Waits::AtMost => order.is_le(),
                    _ => order == Ordering::Less,
                })
            };
            while let Some(place) = self.end(of, waits).filter(|place| is_met(place)).cloned() {
                let terms = self.take(&place).flatten();
                hits.push((place, terms));
            }
        }
    }

    /// What becomes of an alert that was met, and was taken out; what is told, if it fires.
    fn hit(&mut self, place: Place, terms: Option<Box<Terms>>, clock: Time) -> Option<Fired> {
        let fires = place.fires(terms.as_deref());
        let quiet_until =
            terms.as_ref().and_then(|terms| terms.quiet_until).filter(|until| *until > clock);
        let Some(mut terms) = terms else {
            let told = self.told(&place, None);
            self.forget(&place, None);
            return Some(told);
        };
        if !fires {
            let (waits, level) = (armed(terms.direction, None), terms.level);
            self.put(Place { waits, level, ..place }, Some(terms));
            return None;
        }
        if let Some(until) = quiet_until {
            self.cool(place, terms, until);
            return None;
        }
        let told = self.told(&place, Some(&terms));
        terms.fired += 1;
        if terms.repeat == Repeat::Once {
            self.forget(&place, Some(&terms));
            return Some(told);
        }
        let cools = terms.cooldown > Duration::ZERO;
        terms.quiet_until = cools.then(|| clock.after(terms.cooldown));
        match (terms.rearmed(place.rises() == Some(true)), terms.quiet_until) {
            (Some((waits, level)), _) => {
                self.put(Place { waits, level, ..place }, Some(terms));
            }
            (None, Some(until)) => self.cool(place, terms, until),
            (None, None) => self.put(place, Some(terms)),
        }
        Some(told)
    }

    fn cool(&mut self, place: Place, terms: Box<Terms>, until: Time) {
        self.due.insert((until, place.id()), ());
        self.put(Place { waits: Waits::Cooling, level: terms.level, ..place }, Some(terms));
    }

    fn told(&self, place: &Place, terms: Option<&Terms>) -> Fired {
        let alert = place.alert(terms, self.book.measure(place.of));
        let Alert { measure, direction, level, user_id, labels, .. } = alert;
        Fired { id: place.id(), user_id, measure, direction, level, labels, ..Fired::default() }
    }

    fn keep_fired(&mut self, fired: &[Fired], average: Average) {
        let next = self.fired.last().map_or(0, |(number, _)| number + 1);
        let skipped = fired.len().saturating_sub(FIRED_KEPT);
        for (number, fired) in (next..).zip(fired).skip(skipped) {
            self.fired.insert(number, Fired { average, ..fired.clone() });
        }
        while self.fired.len() > FIRED_KEPT {
            self.fired.pop_first();
        }
    }
}

/// Applies an update to the alerts of its product. Nothing fires before the next price.
///
/// # Errors
/// If the alert cannot be watched: then nothing is to be changed.
pub fn update(update: AlertUpdate, rows: &mut Rows<'_>) -> Result<()> {
    let AlertUpdate { id, change, .. } = update;
    let mut desk = Desk::of(rows);
    let old = desk.find(&id);
    let new = match (change, &old) {
        (Change::Add(alert), _) => Some(alert),
        (Change::Edit(edit), Some(place)) => Some(edit.applied_to(desk.alert_at(place))?),
        (Change::Remove, Some(_)) => None,
        (Change::Remove | Change::Edit(_), None) => return Ok(()),
    };
    // An alert in place of another one goes on with the prices that are known.
    let span = old.as_ref().map(|place| place.of).filter(|of| of.span().is_some());
    if let Some(of) = span {
        desk.book.came(of);
    }
    if let Some(place) = &old {
        desk.close(place);
    }
    if let Some(alert) = &new {
        alert.check()?;
        desk.open(id, alert)?;
    }
    if let Some(of) = span {
        desk.book.went(of, desk.recent);
    }
    desk.note_nearest();
    Ok(())
}
