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
mod book;
mod connect;
mod desk;
mod field;
mod fired;
mod notification;
mod optional_decimal;
mod pipelines;
mod place;
mod price;
mod program;
mod row;
mod rule;
mod told;
mod update;
mod value;
mod views;

pub use crate::alerts::{count, evaluate, observe, update};
pub use crate::average::{Average, ExactAverage, RunningAverage};
pub use crate::averaging::Averaging;
pub use crate::book::{Book, SPANS_MAX, Slot};
pub use crate::connect::{notifications_to, prices_from, updates_from};
pub use crate::desk::{
    ALERT_IDS, ALERTS, BOOKS, DUE, FIRED, MARKETS, Market, PRICES, RECENT, Rows, SharedTables,
    TABLES, WINDOW_TABLES,
};
pub use crate::field::DEPTH_MAX;
pub use crate::fired::{FIRED_KEPT, Fired};
pub use crate::notification::{FiredAlert, FiredThreshold, Notification};
pub use crate::pipelines::{Observation, pipelines, tried_pipelines, watched_pipelines};
pub use crate::place::{Name, Named, Of, Place, Terms, Waits};
pub use crate::price::{Price, PriceDecoder};
pub use crate::program::{Options, build};
pub use crate::rule::{
    Alert, Direction, LABEL_LENGTH_MAX, LABELS_MAX, Measure, Repeat, SPAN_MAX, SPAN_MIN, Unit,
};
pub use crate::update::{ALERT_ID_LENGTH_MAX, AlertUpdate, Change, Edit, Expiry, UpdateDecoder};
pub use crate::views::{Distance, NEAREST_MAX, open_alerts_by_user, products_by_distance};
