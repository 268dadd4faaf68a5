//! [`Fired`]: why an alert fired, as it is kept for people who ask.
//!
//! Invariant: of each product the newest [`FIRED_KEPT`] are kept, in the order in which they fired.

use anabranch::Time;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::average::Average;
use crate::rule::{Direction, Measure};

/// How many alerts that fired are kept of a product.
pub const FIRED_KEPT: usize = 100;

/// An alert that fired, with what it was compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// Its id.
    pub id: String,
    /// Who asked for it.
    pub user_id: u64,
    /// What it measures.
    pub measure: Measure,
    /// From which side it fired.
    pub direction: Direction,
    /// Its level.
    #[serde(with = "anabranch::decimal")]
    pub level: Decimal,
    /// What was measured.
    pub value: Average,
    /// The name of the record that fired it.
    pub record: String,
    /// When, by the record.
    #[serde(with = "crate::notification::time_text")]
    pub time: Time,
    /// The record's price.
    #[serde(with = "anabranch::decimal")]
    pub price: Decimal,
    /// The average that it led to.
    pub average: Average,
    /// What its user calls it.
    pub labels: Vec<String>,
}
