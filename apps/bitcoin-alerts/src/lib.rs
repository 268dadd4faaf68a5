//! Price alerts on shared state: prices move averages, averages fire alerts, each once.
//!
//! Two pipelines meet in one group of tables: prices (the messages of exchanges, [`PriceDecoder`])
//! and updates of alerts ([`UpdateDecoder`]). [`observe`] and [`update`] are all that happens
//! there; [`Notification`] is what comes out.
//!
//! Invariant: what comes out is a function of the records and their order; no binary fraction and
//! no clock takes part.

mod alerts;
mod average;
mod field;
mod notification;
mod optional_decimal;
mod pipelines;
mod price;
mod row;
mod update;

pub use crate::alerts::{
    ALERTS, Alert, Direction, Market, PRICES, Rows, SharedTables, TABLES, THRESHOLDS, Threshold,
    observe, update,
};
pub use crate::average::{Average, RunningAverage};
pub use crate::field::DEPTH_MAX;
pub use crate::notification::{FiredAlert, FiredThreshold, Notification};
pub use crate::pipelines::pipelines;
pub use crate::price::{Price, PriceDecoder};
pub use crate::update::{ALERT_ID_LENGTH_MAX, AlertUpdate, Change, UpdateDecoder};
