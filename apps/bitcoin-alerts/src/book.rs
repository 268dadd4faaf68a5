//! [`Book`]: what is kept of a product for alerts that need more than its average: its recent prices, as far back as an
//! alert looks.
//!
//! Invariant: a span's spread is that of the slots in it that began after its alerts came. Prices are kept as far back
//! as the longest span goes, in at most about [`SLOTS_MAX`] slots, however many there are. Time does not go back: a
//! price that is older than one before it counts as of the time of that one.

use std::time::Duration;

use anabranch::{Error, MapRow, Result, Time};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::averaging;
use crate::place::Of;
use crate::rule::Measure;
use crate::value::{Spread, Value, units};

/// The most spans that the alerts of a product can be over.
pub const SPANS_MAX: usize = 16;
/// Prices are told apart as finely as this part of the longest span of their product.
const SLOTS_MAX: u32 = 1_000_000;

/// What is kept of a product beside its average, if any of its alerts needs more.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Book {
    /// How many alerts need every price.
    pub needing_every_price: u64,
    /// What its alerts are over; none where there was one.
    spans: Vec<Option<Span>>,
}

/// A time that alerts are over.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Span {
    over: Duration,
    /// How many alerts are over it.
    alerts: u64,
    /// Since when its prices are known, if there are any.
    since: Option<Time>,
    /// The first slot that can be in it.
    oldest: Time,
    spread: Spread,
}

/// Prices of about one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The last of them.
    #[serde(with = "anabranch::decimal")]
    pub last: Decimal,
    spread: Spread,
}

/// The recent prices of a product, by the time of the first in each slot.
pub(crate) type Recent<'a> = MapRow<'a, Time, Slot>;

impl Book {
    /// Which value a measure is; a span that is new is begun.
    ///
    /// # Errors
    /// If there are too many others.
    pub(crate) fn of(&mut self, measure: Measure, recent: &Recent<'_>) -> Result<Of> {
        let index = |book: &mut Self, over| book.index(over, recent);
        Ok(match measure {
            Measure::Average => Of::Average,
            Measure::Price => Of::Price,
            Measure::Change(over) => Of::Change(index(self, over)?),
            Measure::Score(over) => Of::Score(index(self, over)?),
        })
    }

    /// What is measured there.
    pub(crate) fn measure(&self, of: Of) -> Measure {
        let over = |index: u8| self.span(index).map_or(Duration::ZERO, |span| span.over);
        match of {
            Of::Average => Measure::Average,
            Of::Price => Measure::Price,
            Of::Change(index) => Measure::Change(over(index)),
            Of::Score(index) => Measure::Score(over(index)),
        }
    }

    fn span(&self, index: u8) -> Option<&Span> {
        self.spans.get(usize::from(index))?.as_ref()
    }

    fn index(&mut self, over: Duration, recent: &Recent<'_>) -> Result<u8> {
        let is_it = |span: &Option<Span>| span.as_ref().is_some_and(|span| span.over == over);
        let found = self.spans.iter().position(is_it);
        let free = || self.spans.iter().position(Option::is_none).unwrap_or(self.spans.len());
        let at = found.unwrap_or_else(free);
        if at >= SPANS_MAX {
            let known: Vec<String> =
                self.spans.iter().flatten().map(|span| averaging::text(span.over)).collect();
            return Err(Error::Decode(format!(
                "alerts of this product are over {SPANS_MAX} spans already, and at most so many: use one of {}, or \
                 remove those over one",
                known.join(", ")
            )));
        }
        if found.is_none() {
            let span = Some(Span::beginning(over, recent));
            match self.spans.get_mut(at) {
                Some(there) => *there = span,
                None => self.spans.push(span),
            }
        }
        Ok(u8::try_from(at).unwrap_or(u8::MAX))
    }

    /// An alert of that value has come.
    pub(crate) fn came(&mut self, of: Of) {
        let index = of.span().map(usize::from);
        if let Some(Some(span)) = index.and_then(|index| self.spans.get_mut(index)) {
            span.alerts += 1;
        }
    }

    /// One has gone.
    pub(crate) fn went(&mut self, of: Of, recent: &mut Recent<'_>) {
        let Some(there) = of.span().and_then(|index| self.spans.get_mut(usize::from(index))) else {
            return;
        };
        if let Some(span) = there {
            span.alerts -= 1;
            if span.alerts == 0 {
                *there = None;
            }
        }
        while self.spans.last().is_some_and(Option::is_none) {
            self.spans.pop();
        }
        if self.spans.is_empty() {
            recent.clear();
        }
    }

    fn longest(&self) -> Option<Duration> {
        self.spans.iter().flatten().map(|span| span.over).max()
    }

    /// Lets prices go that are not within their spans any more, as of `clock`.
    pub(crate) fn slide(&mut self, clock: Time, recent: &Recent<'_>) {
        for span in self.spans.iter_mut().flatten() {
            let end = clock.before(span.over);
            if end < span.oldest {
                continue;
            }
            for (_, slot) in recent.range(span.oldest..=end) {
                span.spread.take(&slot.spread);
            }
            span.oldest = end.after(Duration::from_nanos(1));
        }
    }

    /// The changes and z-scores that `price` leads to at `clock`, where there are any.
    pub(crate) fn values(
        &self,
        price: Decimal,
        clock: Time,
        recent: &Recent<'_>,
    ) -> Vec<(Of, Value<'static>)> {
        let mut values = Vec::new();
        for (index, span) in (0_u8..).zip(&self.spans) {
            let Some(span) = span else { continue };
            values.extend(span.change(price, clock, recent).map(|v| (Of::Change(index), v)));
            let score = span.score(price, span.spread.clone(), clock);
            values.extend(score.map(|value| (Of::Score(index), value)));
        }
        values
    }

    /// A change or a z-score as it was at the newest price, of `clock`, if there was one.
    pub(crate) fn newest(
        &self,
        of: Of,
        clock: Time,
        recent: &Recent<'_>,
    ) -> Option<Value<'static>> {
        let span = self.span(of.span()?)?;
        let (_, newest) = recent.last()?;
        match of {
            Of::Average | Of::Price => None,
            Of::Change(_) => span.change(newest.last, clock, recent),
            Of::Score(_) => {
                let mut before = span.spread.clone();
                before.take(&Spread::of(newest.last));
                span.score(newest.last, before, clock)
            }
        }
    }

    /// Keeps `price` as one of `clock`, if any alert is over a span.
    pub(crate) fn keep(&mut self, price: Decimal, clock: Time, recent: &mut Recent<'_>) {
        let Some(longest) = self.longest() else { return };
        let newest = recent.last().map(|(start, _)| *start);
        let fits = |start: &Time| clock <= start.after(longest / SLOTS_MAX);
        let start = newest.filter(fits).unwrap_or(clock);
        let spread = Spread::of(price);
        let slot = recent.entry(start);
        slot.last = price;
        slot.spread.add(&spread);
        for span in self.spans.iter_mut().flatten() {
            span.since = span.since.or(Some(start));
            span.spread.add(&spread);
        }
        // The newest one that is old enough is what changes are measured from.
        let end = clock.before(longest);
        let second = |recent: &Recent<'_>| recent.iter().nth(1).map(|(start, _)| *start);
        while second(recent).is_some_and(|start| start <= end) {
            recent.pop_first();
        }
    }
}

impl Span {
    /// One that begins with the newest prices.
    fn beginning(over: Duration, recent: &Recent<'_>) -> Self {
        let newest = recent.last();
        let since = newest.map(|(start, _)| *start);
        Self {
            over,
            alerts: 0,
            since,
            oldest: since.unwrap_or(Time::BEGIN),
            spread: newest.map(|(_, slot)| slot.spread.clone()).unwrap_or_default(),
        }
    }

    /// Whether its prices are known as far back as it goes.
    fn is_whole(&self, clock: Time) -> bool {
        self.since.is_some_and(|since| since <= clock.before(self.over))
    }

    fn change(&self, price: Decimal, clock: Time, recent: &Recent<'_>) -> Option<Value<'static>> {
        if !self.is_whole(clock) {
            return None;
        }
        let (_, then) = recent.range(..=clock.before(self.over)).next_back()?;
        let is_measure = !then.last.is_zero() && !then.last.is_sign_negative();
        is_measure.then_some(Value::Change(price, then.last))
    }

    fn score(&self, price: Decimal, before: Spread, clock: Time) -> Option<Value<'static>> {
        let units = units(price)?;
        (self.is_whole(clock) && before.varies()).then_some(Value::Score(units, before))
    }
}
