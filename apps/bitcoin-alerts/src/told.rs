//! How [`FiredThreshold`] and [`FiredAlert`] are written: for people and receivers without what goes without saying,
//! between processes whole.
//!
//! Invariant: what is written is read again as it was. The bytes of alerts of the average that have no labels are those
//! of before there were others.

use std::borrow::Cow;
use std::time::Duration;

use anabranch::decimal::Portable;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::average::Average;
use crate::averaging::{duration, text};
use crate::notification::{FiredAlert, FiredThreshold};
use crate::rule::{Direction, Measure, Unit};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ThresholdText<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    over: Option<String>,
    direction: Direction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    price: Option<Portable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    percent: Option<Portable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    z: Option<Portable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Average>,
    alerts: Cow<'a, [FiredAlert]>,
}

#[derive(Serialize, Deserialize)]
struct ThresholdBytes<'a>(Measure, Direction, Portable, Option<Average>, Cow<'a, [FiredAlert]>);

impl Serialize for FiredThreshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { measure, direction, level, value, alerts } = self;
        let (direction, value, level) = (*direction, *value, Portable::from(*level));
        let alerts = Cow::Borrowed(alerts.as_slice());
        if !serializer.is_human_readable() {
            return ThresholdBytes(*measure, direction, level, value, alerts).serialize(serializer);
        }
        let level_of = |unit| (measure.unit() == unit).then_some(level);
        let (price, percent, z) =
            (level_of(Unit::Price), level_of(Unit::Percent), level_of(Unit::Z));
        let of = (*measure != Measure::Average).then(|| Cow::Borrowed(measure.as_str()));
        let over = measure.span().map(text);
        ThresholdText { of, over, direction, price, percent, z, value, alerts }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FiredThreshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            let ThresholdBytes(measure, direction, level, value, alerts) =
                Deserialize::deserialize(deserializer)?;
            let (level, alerts) = (level.into(), alerts.into_owned());
            return Ok(Self { measure, direction, level, value, alerts });
        }
        let text = ThresholdText::deserialize(deserializer)?;
        let over = text.over.as_deref().map(duration).transpose().map_err(D::Error::custom)?;
        let measure = measure(text.of.as_deref(), over)
            .ok_or_else(|| D::Error::custom("`of` and `over` do not say what was measured"))?;
        let level = match measure.unit() {
            Unit::Price => text.price,
            Unit::Percent => text.percent,
            Unit::Z => text.z,
        };
        let level = level.ok_or_else(|| D::Error::missing_field(measure.unit().as_str()))?.into();
        let (direction, value, alerts) = (text.direction, text.value, text.alerts.into_owned());
        Ok(Self { measure, direction, level, value, alerts })
    }
}

fn measure(of: Option<&str>, over: Option<Duration>) -> Option<Measure> {
    match (of, over) {
        (None, None) => Some(Measure::Average),
        (Some("price"), None) => Some(Measure::Price),
        (Some("change"), Some(over)) => Some(Measure::Change(over)),
        (Some("zscore"), Some(over)) => Some(Measure::Score(over)),
        _ => None,
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertText<'a> {
    id: Cow<'a, str>,
    user_id: u64,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    labels: Cow<'a, [String]>,
}

#[derive(Serialize, Deserialize)]
struct AlertBytes<'a>(Cow<'a, str>, u64, Cow<'a, [String]>);

impl Serialize for FiredAlert {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, user_id, labels } = self;
        let (id, labels) = (Cow::Borrowed(id.as_str()), Cow::Borrowed(labels.as_slice()));
        if serializer.is_human_readable() {
            AlertText { id, user_id: *user_id, labels }.serialize(serializer)
        } else {
            AlertBytes(id, *user_id, labels).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for FiredAlert {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (id, user_id, labels) = if deserializer.is_human_readable() {
            let AlertText { id, user_id, labels } = Deserialize::deserialize(deserializer)?;
            (id, user_id, labels)
        } else {
            let AlertBytes(id, user_id, labels) = Deserialize::deserialize(deserializer)?;
            (id, user_id, labels)
        };
        Ok(Self { id: id.into_owned(), user_id, labels: labels.into_owned() })
    }
}
