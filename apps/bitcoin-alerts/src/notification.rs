//! [`Notification`]: what a price that fires alerts sends to the world.
//!
//! Invariant: one a price, its bytes a function of the price and the alerts alone: fields in the
//! order written here, decimals as text without trailing zeros.

use anabranch::Time;
use anabranch_connectors::coinbase::Product;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::alerts::Direction;
use crate::average::Average;

/// The alerts that one price fired.
///
/// ```
/// use bitcoin_alerts::{Direction, FiredAlert, FiredThreshold, Notification};
/// let notification = Notification {
///     id: "prices-0-1".into(),
///     product: "BTC-USD".parse()?,
///     time: "2024-01-01T00:00:01Z".parse()?,
///     price: "7000".parse()?,
///     average: "6750".parse()?,
///     fired: vec![FiredThreshold {
///         direction: Direction::Above,
///         price: "6600".parse()?,
///         alerts: vec![FiredAlert { id: "1:above:6600".into(), user_id: 1 }],
///     }],
/// };
/// let json = r#"{"id":"prices-0-1","product":"BTC-USD","time":"2024-01-01T00:00:01Z","#.to_string()
///     + r#""price":"7000","average":"6750","fired":[{"direction":"above","price":"6600","#
///     + r#""alerts":[{"id":"1:above:6600","user_id":1}]}]}"#;
/// assert_eq!(serde_json::to_string(&notification)?, json);
/// assert_eq!(serde_json::from_str::<Notification>(&json)?, notification);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The name of the price's record, `<source>-<partition>-<offset>`: stable, so that a receiver
    /// can drop repeats.
    pub id: String,
    /// What was traded.
    pub product: Product,
    /// When, by the exchange's clock; by that of the source if the exchange did not say.
    #[serde(with = "time_text")]
    pub time: Time,
    /// For how much.
    #[serde(with = "anabranch::decimal")]
    pub price: Decimal,
    /// The average that reached the thresholds.
    pub average: Average,
    /// The thresholds that it reached: `above` before `below`, each by rising price.
    pub fired: Vec<FiredThreshold>,
}

/// The alerts of one threshold that fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiredThreshold {
    /// From which side it was reached.
    pub direction: Direction,
    /// The threshold.
    #[serde(with = "anabranch::decimal")]
    pub price: Decimal,
    /// Its alerts, by id.
    pub alerts: Vec<FiredAlert>,
}

/// An alert that fired, and is open no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiredAlert {
    /// Its id.
    pub id: String,
    /// Who asked for it.
    pub user_id: u64,
}

/// A time as RFC 3339 where the format is for people, else as an integer.
mod time_text {
    use anabranch::Time;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref)] // The signature that serde asks for.
    pub(super) fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(time)
        } else {
            time.serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Time, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            Time::deserialize(deserializer)
        }
    }
}
