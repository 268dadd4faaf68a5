//! [`AlertUpdate`] and its decoder: how alerts are added, removed and edited.
//!
//! Invariant: an update is decoded whole or refused with the reason; what a sender leaves out has
//! one meaning, stated here. Not the alerts themselves: those are in [`alerts`](crate::alerts).

use std::time::Duration;

use anabranch::decimal::Portable;
use anabranch::source::{Decoded, Decoder, Frame};
use anabranch::{Error, Result, Time};
use anabranch_connectors::coinbase::Product;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::averaging;
use crate::field::{self, Field};
use crate::rule::{self, Alert, Direction, Measure, Repeat, Unit};

/// The longest id of an alert, in bytes of UTF-8.
pub const ALERT_ID_LENGTH_MAX: usize = 128;

/// A change of one alert.
///
/// As JSON, in any order: `{"op":"add"|"remove"|"edit","id":"..","product":"..","price":"6500.00","user_id":7,
/// "direction":"above"|"below"|"crossing","time":".."}`. What is left out, or `null`: `op` is `add`, `product` is
/// `BTC-USD`, `direction` is `above` (of an `edit`: as it was), and `id` is [`Alert::default_id`].
///
/// | field | what it says | left out |
/// |---|---|---|
/// | `of` | what is measured: `average`, `price`, `change` or `zscore` | `average` |
/// | `over` | how far a `change` or `zscore` goes back: `10m`, `1s` to `168h` | needed by these |
/// | `price`, `percent`, `z` | the level: `percent` of a `change`, `z` of a `zscore`, else `price` | needed |
/// | `repeat` | `once`, `every` (at every price while it holds) or `rearm` (when it is reached anew) | `once` |
/// | `hysteresis` | of `rearm`: how far beyond the level it has to go back first | `0` |
/// | `cooldown` | how long it does not fire again: `90s` | `0s` |
/// | `expires` | when it ends by itself, an RFC 3339 time; in an `edit` also `never` | never |
/// | `labels` | a list of texts, which are told with it | none |
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertUpdate {
    /// Whose alerts; ids are per product, and an edit never moves an alert to another.
    pub product: Product,
    /// Which of its alerts.
    pub id: String,
    /// What to do with it.
    pub change: Change,
}

/// What an update does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Adds the alert, in place of the one with that id if there is one.
    Add(Alert),
    /// Removes it, if it is there.
    Remove,
    /// Sets what is named, if it is there; it is armed anew.
    Edit(Edit),
}

/// What an edit sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The new level, and what it is called.
    pub level: Option<(Unit, Portable)>,
    /// The new user.
    pub user_id: Option<u64>,
    /// The new direction.
    pub direction: Option<Direction>,
    /// How often it fires.
    pub repeat: Option<Repeat>,
    /// How long it does not fire again.
    pub cooldown: Option<Duration>,
    /// When it ends, or that it does not.
    pub expires: Option<Expiry>,
    /// What its user calls it.
    pub labels: Option<Vec<String>>,
}

/// When an alert ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiry {
    /// It does not.
    Never,
    /// At the first price of that time or later, before that fires anything.
    At(Time),
}

impl Edit {
    /// `alert` with what is set.
    ///
    /// # Errors
    /// If the level has another unit.
    pub(crate) fn applied_to(self, alert: Alert) -> Result<Alert> {
        let unit = alert.measure.unit();
        let level = match self.level {
            None => alert.level,
            Some((named, level)) if named == unit => level.into(),
            Some((named, _)) => {
                return Err(Error::Decode(format!(
                    "`{}` is no level of this alert, which is of `{}`: name its `{}`",
                    named.as_str(),
                    alert.measure.as_str(),
                    unit.as_str()
                )));
            }
        };
        Ok(Alert {
            measure: alert.measure,
            direction: self.direction.unwrap_or(alert.direction),
            level,
            user_id: self.user_id.unwrap_or(alert.user_id),
            repeat: self.repeat.unwrap_or(alert.repeat),
            cooldown: self.cooldown.unwrap_or(alert.cooldown),
            expires: match self.expires {
                None => alert.expires,
                Some(Expiry::Never) => None,
                Some(Expiry::At(time)) => Some(time),
            },
            labels: self.labels.unwrap_or(alert.labels),
        })
    }
}

/// Reads [`AlertUpdate`]s from JSON.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpdateDecoder;

impl Decoder<AlertUpdate> for UpdateDecoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Decoded<'_, AlertUpdate>) -> Result<()> {
        let (time, update) = Self::update(frame.bytes);
        if let Some(time) = time {
            out.time(time);
        }
        out.emit(update?);
        Ok(())
    }
}

impl UpdateDecoder {
    /// The update that `json` is, with the time that it names; the time is given even of an update
    /// that is refused, where it can be read.
    ///
    /// # Errors
    /// [`Error::Decode`] with the reason.
    ///
    /// ```
    /// use bitcoin_alerts::UpdateDecoder;
    /// let (_, update) = UpdateDecoder::update(br#"{"price":"6500.00","user_id":7}"#);
    /// assert_eq!(update?.id, "7:above:6500");
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn update(json: &[u8]) -> (Option<Time>, Result<AlertUpdate>) {
        match field::text_of(json).and_then(field::object::<Fields<'_>>) {
            Ok(fields) => {
                let time = fields.time.map(|time| field::time("time", time)).transpose();
                match time {
                    Ok(time) => (time, fields.update()),
                    Err(error) => (None, Err(error)),
                }
            }
            Err(error) => (None, Err(error)),
        }
    }
}

/// An update as it is written.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    op: Field<'a>,
    #[serde(borrow)]
    id: Field<'a>,
    #[serde(borrow)]
    product: Field<'a>,
    #[serde(borrow)]
    of: Field<'a>,
    #[serde(borrow)]
    over: Field<'a>,
    #[serde(borrow)]
    price: Field<'a>,
    #[serde(borrow)]
    percent: Field<'a>,
    #[serde(borrow)]
    z: Field<'a>,
    #[serde(borrow)]
    user_id: Field<'a>,
    #[serde(borrow)]
    direction: Field<'a>,
    #[serde(borrow)]
    repeat: Field<'a>,
    #[serde(borrow)]
    hysteresis: Field<'a>,
    #[serde(borrow)]
    cooldown: Field<'a>,
    #[serde(borrow)]
    expires: Field<'a>,
    #[serde(borrow)]
    labels: Field<'a>,
    #[serde(borrow)]
    time: Field<'a>,
}

impl Fields<'_> {
    fn update(&self) -> Result<AlertUpdate> {
        let op = self.op.map(|op| field::text("op", op)).transpose()?;
        let product = self.product.map(|product| field::text("product", product)).transpose()?;
        let product = product.map_or(Ok(Product::BTC_USD), |product| product.parse())?;
        let edit = self.edit()?;
        let measure = self.measure()?;
        let id = match self.id {
            Some(id) => checked_id(id)?,
            None => default_id(measure, &edit)?,
        };
        let change = match op.as_deref() {
            None | Some("add") => Change::Add(added(measure, edit)?),
            Some("remove") => Change::Remove,
            Some("edit") if self.of.is_some() || self.over.is_some() => {
                return Err(Error::Decode(
                    "what an alert is `of` and `over` cannot be edited: remove it and add another"
                        .to_owned(),
                ));
            }
            Some("edit") => Change::Edit(edit),
            Some(other) => return Err(unknown("op", other, "`add`, `remove` or `edit`")),
        };
        Ok(AlertUpdate { product, id, change })
    }

    fn edit(&self) -> Result<Edit> {
        Ok(Edit {
            level: self.level()?,
            user_id: self.user_id.map(|user| field::integer("user_id", user)).transpose()?,
            direction: self.direction.map(direction).transpose()?,
            repeat: self.repeat()?,
            cooldown: self.cooldown.map(|it| duration("cooldown", it)).transpose()?,
            expires: self.expires.map(expires).transpose()?,
            labels: self.labels.map(labels).transpose()?,
        })
    }

    fn measure(&self) -> Result<Measure> {
        let of = self.of.map(|of| field::text("of", of)).transpose()?;
        let over = self.over.map(|over| duration("over", over)).transpose()?;
        match (of.as_deref(), over) {
            (None | Some("average"), None) => Ok(Measure::Average),
            (Some("price"), None) => Ok(Measure::Price),
            (Some("change"), Some(over)) => Ok(Measure::Change(over)),
            (Some("zscore"), Some(over)) => Ok(Measure::Score(over)),
            (Some("change" | "zscore"), None) => Err(missing("over")),
            (None | Some("average" | "price"), Some(_)) => Err(Error::Decode(
                "`over` is of `change` and `zscore`: add \"of\":\"change\"".to_owned(),
            )),
            (Some(other), _) => {
                Err(unknown("of", other, "`average`, `price`, `change` or `zscore`"))
            }
        }
    }

    fn level(&self) -> Result<Option<(Unit, Portable)>> {
        let named = [(Unit::Price, self.price), (Unit::Percent, self.percent), (Unit::Z, self.z)];
        let mut levels = named.into_iter().filter_map(|(unit, value)| Some((unit, value?)));
        let Some((unit, value)) = levels.next() else { return Ok(None) };
        if let Some((other, _)) = levels.next() {
            return Err(Error::Decode(format!(
                "an alert has one level, and here are `{}` and `{}`",
                unit.as_str(),
                other.as_str()
            )));
        }
        let level = field::decimal(unit.as_str(), value)?;
        Ok(Some((unit, level.into())))
    }

    fn repeat(&self) -> Result<Option<Repeat>> {
        let repeat = self.repeat.map(|repeat| field::text("repeat", repeat)).transpose()?;
        let hysteresis = self.hysteresis.map(|it| field::decimal("hysteresis", it)).transpose()?;
        match (repeat.as_deref(), hysteresis) {
            (Some("rearm"), hysteresis) => {
                Ok(Some(Repeat::Rearm { hysteresis: hysteresis.unwrap_or_default() }))
            }
            (_, Some(_)) => Err(Error::Decode(
                "`hysteresis` is of alerts that are armed again: add \"repeat\":\"rearm\""
                    .to_owned(),
            )),
            (None, None) => Ok(None),
            (Some("once"), None) => Ok(Some(Repeat::Once)),
            (Some("every"), None) => Ok(Some(Repeat::Every)),
            (Some(other), None) => Err(unknown("repeat", other, "`once`, `every` or `rearm`")),
        }
    }
}

/// The alert that an update with these fields adds.
fn added(measure: Measure, edit: Edit) -> Result<Alert> {
    let unit = measure.unit().as_str();
    if edit.level.is_none() {
        return Err(missing(unit));
    }
    let user_id = edit.user_id.ok_or_else(|| missing("user_id"))?;
    let plain = Alert { measure, ..Alert::once(Direction::Above, Decimal::ZERO, user_id) };
    let alert = edit.applied_to(plain)?;
    alert.check()?;
    Ok(alert)
}

fn direction(value: &RawValue) -> Result<Direction> {
    match &*field::text("direction", value)? {
        "above" => Ok(Direction::Above),
        "below" => Ok(Direction::Below),
        "crossing" => Ok(Direction::Crossing),
        other => Err(unknown("direction", other, "`above`, `below` or `crossing`")),
    }
}

fn duration(name: &str, value: &RawValue) -> Result<Duration> {
    averaging::duration(&field::text(name, value)?)
        .map_err(|e| Error::Decode(format!("`{name}`: {e}")))
}

fn expires(value: &RawValue) -> Result<Expiry> {
    match &*field::text("expires", value)? {
        "never" => Ok(Expiry::Never),
        _ => field::time("expires", value).map(Expiry::At),
    }
}

fn labels(value: &RawValue) -> Result<Vec<String>> {
    let labels = field::array("labels", value)?;
    labels.into_iter().map(|label| Ok(field::text("labels", label)?.into_owned())).collect()
}

fn checked_id(value: &RawValue) -> Result<String> {
    let id = field::text("id", value)?;
    if (1..=ALERT_ID_LENGTH_MAX).contains(&id.len()) {
        return Ok(id.into_owned());
    }
    let length = id.len();
    Err(Error::Decode(format!("`id` has {length} bytes, and must have 1 to {ALERT_ID_LENGTH_MAX}")))
}

fn default_id(measure: Measure, edit: &Edit) -> Result<String> {
    let user = edit.user_id.ok_or_else(|| missing("user_id"))?;
    let (_, level) = edit.level.ok_or_else(|| missing(measure.unit().as_str()))?;
    let direction = edit.direction.unwrap_or_default();
    Ok(rule::default_id(user, measure, direction, level.into()))
}

fn missing(name: &str) -> Error {
    Error::Decode(format!("`{name}` is missing"))
}

fn unknown(name: &str, found: &str, known: &str) -> Error {
    let shown: String = found.chars().take(40).collect();
    Error::Decode(format!("`{name}` is `{shown}`, and must be {known}"))
}
