//! Price alerts on shared state: prices move averages, averages fire alerts, each once.
//!
//! Two pipelines meet in one group of tables: prices (the messages of exchanges, [`PriceDecoder`])
//! and updates of alerts ([`UpdateDecoder`]). [`evaluate`] and [`update`] are all that happens
//! there; [`Notification`] is what comes out. [`open_alerts_by_user`] and [`products_by_distance`] are views of
//! the tables. Which prices the average is over, [`Averaging`] says.
//!
//! Invariant: what comes out is a function of the records and their order; no binary fraction and
//! no clock takes part.

mod alerts;
mod average;
mod averaging;
mod connect;
mod field;
mod notification;
mod optional_decimal;
mod pipelines;
mod price;
mod program;
mod row;
mod update;
mod views;

pub use crate::alerts::{
    ALERTS, Alert, Direction, MARKETS, Market, PRICES, Rows, SharedTables, TABLES, THRESHOLDS,
    Threshold, WINDOW_TABLES, count, evaluate, observe, update,
};
pub use crate::average::{Average, ExactAverage, RunningAverage};
pub use crate::averaging::Averaging;
pub use crate::connect::{notifications_to, prices_from, updates_from};
pub use crate::field::DEPTH_MAX;
pub use crate::notification::{FiredAlert, FiredThreshold, Notification};
pub use crate::pipelines::{Observation, pipelines, watched_pipelines};
pub use crate::price::{Price, PriceDecoder};
pub use crate::program::{Options, build};
pub use crate::update::{ALERT_ID_LENGTH_MAX, AlertUpdate, Change, UpdateDecoder};
pub use crate::views::{Distance, NEAREST_MAX, open_alerts_by_user, products_by_distance};
