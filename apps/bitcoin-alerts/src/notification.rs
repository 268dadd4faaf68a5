//! [`Notification`]: what a price that fires alerts sends to the world.
//!
//! Invariant: one a price, its bytes a function of the price and the alerts alone: fields in the
//! order written here, decimals as text without trailing zeros.

use anabranch::Time;
use anabranch_connectors::coinbase::Product;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::average::Average;
use crate::rule::{Direction, Measure};

/// The alerts that one price fired.
///
/// ```
/// use bitcoin_alerts::{Direction, FiredAlert, FiredThreshold, Measure, Notification};
/// let notification = Notification {
///     id: "prices-0-1".into(),
///     product: "BTC-USD".parse()?,
///     time: "2024-01-01T00:00:01Z".parse()?,
///     price: "7000".parse()?,
///     average: "6750".parse()?,
///     fired: vec![FiredThreshold {
///         measure: Measure::Average,
///         direction: Direction::Above,
///         level: "6600".parse()?,
///         value: None,
///         alerts: vec![FiredAlert { id: "1:above:6600".into(), user_id: 1, labels: vec![] }],
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
    /// The levels that it reached: those of the average first; of each, `above` before `below`, by rising level.
    pub fired: Vec<FiredThreshold>,
}

/// The alerts of one level that fired.
///
/// As JSON, `{"direction":"above","price":"6600","alerts":[..]}` where the average was measured. Of what else is
/// measured, `of` and `over` say what, the level is `price`, `percent` or `z`, and `value` is what was measured:
/// `{"of":"change","over":"10m","direction":"above","percent":"5","value":"5.25","alerts":[..]}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiredThreshold {
    /// What was measured.
    pub measure: Measure,
    /// From which side it was reached.
    pub direction: Direction,
    /// The level.
    pub level: Decimal,
    /// What was measured, as it is shown; none of the average, which the notification has.
    pub value: Option<Average>,
    /// Its alerts, by id.
    pub alerts: Vec<FiredAlert>,
}

/// An alert that fired; one that fires once is open no more.
///
/// As JSON without `labels` if it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiredAlert {
    /// Its id.
    pub id: String,
    /// Who asked for it.
    pub user_id: u64,
    /// What its user calls it.
    pub labels: Vec<String>,
}

/// A time as RFC 3339 where the format is for people, else as an integer.
pub(crate) mod time_text {
    use anabranch::Time;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref)] // The signature that serde asks for.
    pub(crate) fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(time)
        } else {
            time.serialize(serializer)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Time, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            Time::deserialize(deserializer)
        }
    }
}
