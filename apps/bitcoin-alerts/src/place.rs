//! [`Place`]: where an alert waits among those of its product, and [`Terms`]: what else there is to it.
//!
//! Invariant: the places that wait for one side of one value lie together, by rising level, so what a value reaches is
//! at an end of them. An alert that fires once and has nothing but a level takes one place and no terms: that is the
//! memory of most.

use std::time::Duration;

use anabranch::Time;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::rule::{Alert, Direction, Measure, Repeat, default_id};

/// Where an alert waits: for which value, on which side, at which level.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// For which value.
    pub of: Of,
    /// For what of it.
    pub waits: Waits,
    /// At which level.
    #[serde(with = "anabranch::decimal")]
    pub level: Decimal,
    /// Which alert.
    pub name: Name,
}

/// Which value of a product.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Of {
    /// [`Measure::Average`].
    #[default]
    Average,
    /// [`Measure::Price`].
    Price,
    /// [`Measure::Change`], over the product's span of that number.
    Change(u8),
    /// [`Measure::Score`], likewise.
    Score(u8),
}

impl Of {
    /// The number of its span.
    pub(crate) const fn span(self) -> Option<u8> {
        match self {
            Self::Average | Self::Price => None,
            Self::Change(span) | Self::Score(span) => Some(span),
        }
    }
}

/// What an alert waits for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Waits {
    /// That the value is at the level, or above it.
    #[default]
    AtLeast,
    /// That it is above it.
    Over,
    /// That it is at the level, or below it.
    AtMost,
    /// That it is below it.
    Under,
    /// That there is a value, to tell on which side it is.
    Value,
    /// That its cooldown ends.
    Cooling,
}

impl Waits {
    /// Of the places after those that wait for this.
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::AtLeast => Self::Over,
            Self::Over => Self::AtMost,
            Self::AtMost => Self::Under,
            Self::Under => Self::Value,
            Self::Value | Self::Cooling => Self::Cooling,
        }
    }
}

/// The name of an alert: its id, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// Of this user, and its id follows from that and its place.
    User(u64),
    /// Any other.
    Id(Box<Named>),
}

impl Default for Name {
    fn default() -> Self {
        Self::User(0)
    }
}

/// An id that does not follow from what the alert is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Named {
    /// The id.
    pub id: Box<str>,
    /// Who asked for it.
    pub user_id: u64,
}

/// What an alert has beside its place, if there is anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// From which side it fires.
    pub direction: Direction,
    /// Its level, which is not always that at which it waits.
    #[serde(with = "anabranch::decimal")]
    pub level: Decimal,
    /// How often it fires.
    pub repeat: Repeat,
    /// How long it does not fire again.
    pub cooldown: Duration,
    /// When it ends.
    pub expires: Option<Time>,
    /// What its user calls it.
    pub labels: Vec<String>,
    /// Until when it does not fire again.
    pub quiet_until: Option<Time>,
    /// How often it has fired.
    pub fired: u64,
}

impl Place {
    /// Before all places of that kind.
    pub(crate) const fn first(of: Of, waits: Waits) -> Self {
        Self { of, waits, level: Decimal::MIN, name: Name::User(0) }
    }

    /// The place of the alert that has this id because of what it is, if there can be one.
    pub(crate) fn of_default_id(id: &str) -> Option<Self> {
        let mut parts = id.splitn(3, ':');
        let user_id = parts.next()?.parse().ok()?;
        let waits = match parts.next()? {
            "above" => Waits::AtLeast,
            "below" => Waits::AtMost,
            _ => return None,
        };
        let level = anabranch::decimal::parse(parts.next()?).ok()?.normalize();
        let place = Self { of: Of::Average, waits, level, name: Name::User(user_id) };
        (place.id() == id).then_some(place)
    }

    /// Whose alert it is.
    pub fn user_id(&self) -> u64 {
        match &self.name {
            Name::User(user_id) => *user_id,
            Name::Id(named) => named.user_id,
        }
    }

    /// The alert's id.
    pub fn id(&self) -> String {
        match &self.name {
            Name::User(user_id) => {
                default_id(*user_id, Measure::Average, self.direction(), self.level)
            }
            Name::Id(named) => named.id.to_string(),
        }
    }

    /// The direction of an alert that has no terms.
    const fn direction(&self) -> Direction {
        match self.waits {
            Waits::AtMost | Waits::Under => Direction::Below,
            _ => Direction::Above,
        }
    }

    /// Whether it waits for a value to rise; none if for no value.
    pub(crate) const fn rises(&self) -> Option<bool> {
        match self.waits {
            Waits::AtLeast | Waits::Over => Some(true),
            Waits::AtMost | Waits::Under => Some(false),
            Waits::Value | Waits::Cooling => None,
        }
    }

    /// Whether the alert fires when what it waits for is there; else it is armed again then.
    pub(crate) fn fires(&self, terms: Option<&Terms>) -> bool {
        match (terms.map_or(self.direction(), |terms| terms.direction), self.waits) {
            (Direction::Above, waits) => waits == Waits::AtLeast,
            (Direction::Below, waits) => waits == Waits::AtMost,
            (Direction::Crossing, waits) => matches!(waits, Waits::AtLeast | Waits::Under),
        }
    }

    /// Whether each price must be looked at because of it, and not only one that takes the average to its level.
    pub(crate) fn needs_every_price(&self, terms: Option<&Terms>) -> bool {
        let is_met_by_average =
            self.of == Of::Average && matches!(self.waits, Waits::AtLeast | Waits::AtMost);
        !is_met_by_average || terms.is_some_and(|terms| terms.expires.is_some())
    }

    /// The alert that waits here; `measure` is that of its [`Of`].
    pub(crate) fn alert(&self, terms: Option<&Terms>, measure: Measure) -> Alert {
        let plain = Alert::once(self.direction(), self.level, self.user_id());
        match terms {
            None => Alert { measure, ..plain },
            Some(terms) => Alert {
                measure,
                direction: terms.direction,
                level: terms.level,
                user_id: plain.user_id,
                repeat: terms.repeat,
                cooldown: terms.cooldown,
                expires: terms.expires,
                labels: terms.labels.clone(),
            },
        }
    }
}

impl Terms {
    /// What `alert` has beside its place; none if that says all.
    pub(crate) fn of(alert: &Alert) -> Option<Box<Self>> {
        let plain = Alert {
            measure: alert.measure,
            ..Alert::once(alert.direction, alert.level, alert.user_id)
        };
        if *alert == plain && alert.direction != Direction::Crossing {
            return None;
        }
        Some(Box::new(Self {
            direction: alert.direction,
            level: alert.level,
            repeat: alert.repeat,
            cooldown: alert.cooldown,
            expires: alert.expires,
            labels: alert.labels.clone(),
            quiet_until: None,
            fired: 0,
        }))
    }

    /// Where it waits to fire again after it has fired, if it has to be armed again by the value; `rose` is whether it
    /// fired upwards.
    pub(crate) fn rearmed(&self, rose: bool) -> Option<(Waits, Decimal)> {
        let hysteresis = match self.repeat {
            Repeat::Rearm { hysteresis } => hysteresis,
            // A crossing is told every time, and each of its sides arms the other.
            Repeat::Every if self.direction == Direction::Crossing => Decimal::ZERO,
            Repeat::Once | Repeat::Every => return None,
        };
        match (self.direction, rose) {
            (_, true) => Some((Waits::Under, self.level - hysteresis)),
            (Direction::Crossing, false) => Some((Waits::AtLeast, self.level + hysteresis)),
            (_, false) => Some((Waits::Over, self.level + hysteresis)),
        }
    }
}
