//! [`AlertUpdate`] and its decoder: how alerts are added, removed and edited.
//!
//! Invariant: an update is decoded whole or refused with the reason; what a sender leaves out has
//! one meaning, stated here. Not the alerts themselves: those are in [`alerts`](crate::alerts).

use anabranch::source::{Decoded, Decoder, Frame};
use anabranch::{Error, Result, Time};
use anabranch_connectors::coinbase::Product;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::alerts::{Alert, Direction};
use crate::field::{self, Field};

/// The longest id of an alert, in bytes of UTF-8.
pub const ALERT_ID_LENGTH_MAX: usize = 128;

/// A change of one alert.
///
/// As JSON: `{"op":"add"|"remove"|"edit","id":"..","product":"..","price":"6500.00","user_id":7,
/// "direction":"above"|"below","time":".."}`, in any order. What is left out, or `null`: `op` is
/// `add`, `product` is `BTC-USD`, `direction` is `above` (of an `edit`: as it was), and `id` is
/// `<user_id>:<direction>:<price>`, the price without trailing zeros.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Adds the alert, in place of the one with that id if there is one.
    Add(Alert),
    /// Removes it, if it is there.
    Remove,
    /// Sets the fields that are named, if it is there.
    Edit {
        /// The new threshold.
        #[serde(with = "crate::optional_decimal")]
        price: Option<Decimal>,
        /// The new user.
        user_id: Option<u64>,
        /// The new direction.
        direction: Option<Direction>,
    },
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
    price: Field<'a>,
    #[serde(borrow)]
    user_id: Field<'a>,
    #[serde(borrow)]
    direction: Field<'a>,
    #[serde(borrow)]
    time: Field<'a>,
}

impl Fields<'_> {
    fn update(&self) -> Result<AlertUpdate> {
        let op = self.op.map(|op| field::text("op", op)).transpose()?;
        let product = self.product.map(|product| field::text("product", product)).transpose()?;
        let product = product.map_or(Ok(Product::BTC_USD), |product| product.parse())?;
        let price = self.price.map(|price| field::decimal("price", price)).transpose()?;
        let user_id = self.user_id.map(|user| field::integer("user_id", user)).transpose()?;
        let direction = self.direction.map(direction).transpose()?;
        let id = match self.id {
            Some(id) => checked_id(id)?,
            None => default_id(user_id, direction.unwrap_or_default(), price)?,
        };
        let change = match op.as_deref() {
            None | Some("add") => Change::Add(Alert {
                direction: direction.unwrap_or_default(),
                price: price.ok_or_else(|| missing("price"))?,
                user_id: user_id.ok_or_else(|| missing("user_id"))?,
            }),
            Some("remove") => Change::Remove,
            Some("edit") => Change::Edit { price, user_id, direction },
            Some(other) => return Err(unknown("op", other, "`add`, `remove` or `edit`")),
        };
        Ok(AlertUpdate { product, id, change })
    }
}

fn direction(value: &RawValue) -> Result<Direction> {
    match &*field::text("direction", value)? {
        "above" => Ok(Direction::Above),
        "below" => Ok(Direction::Below),
        other => Err(unknown("direction", other, "`above` or `below`")),
    }
}

fn checked_id(value: &RawValue) -> Result<String> {
    let id = field::text("id", value)?;
    if (1..=ALERT_ID_LENGTH_MAX).contains(&id.len()) {
        return Ok(id.into_owned());
    }
    let length = id.len();
    Err(Error::Decode(format!("`id` has {length} bytes, and must have 1 to {ALERT_ID_LENGTH_MAX}")))
}

fn default_id(user: Option<u64>, direction: Direction, price: Option<Decimal>) -> Result<String> {
    match (user, price) {
        (Some(user), Some(price)) => Ok(format!("{user}:{}:{price}", direction.as_str())),
        (None, _) => Err(missing("user_id")),
        (_, None) => Err(missing("price")),
    }
}

fn missing(name: &str) -> Error {
    Error::Decode(format!("`{name}` is missing"))
}

fn unknown(name: &str, found: &str, known: &str) -> Error {
    let shown: String = found.chars().take(40).collect();
    Error::Decode(format!("`{name}` is `{shown}`, and must be {known}"))
}
