//! What is told of windows, and to whom.
//!
//! Invariant: a correction says that it is one; the latest alert of a window is the one that holds.

use std::fmt;

use anabranch::decimal::Portable;
use anabranch::window::pane::{Fired, Kind};
use serde::{Deserialize, Serialize};

use crate::trades::Trade;

/// That the volume of a window is high.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alert {
    pub(crate) product: String,
    pub(crate) from: String,
    pub(crate) until: String,
    pub(crate) trades: u64,
    pub(crate) volume: Portable,
    /// Whether a late trade made it so; the window had ended before.
    pub(crate) correction: bool,
}

impl From<(String, Fired<(u64, Portable)>)> for Alert {
    fn from((product, told): (String, Fired<(u64, Portable)>)) -> Self {
        let (trades, volume) = told.value;
        let (from, until) = (told.window.start.to_string(), told.window.end.to_string());
        Self { product, from, until, trades, volume, correction: told.kind == Kind::Late }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { product, from, until, trades, volume, correction } = self;
        let correction = if *correction { ", corrected: a trade was late" } else { "" };
        write!(f, "{from} to {until}  {product}  {volume} in {trades} trades{correction}")
    }
}

/// A trade that was too late for its windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TooLate {
    pub(crate) product: String,
    pub(crate) size: Portable,
    pub(crate) time: String,
}

impl From<Trade> for TooLate {
    fn from(Trade { product, size, time }: Trade) -> Self {
        Self { product, size, time: time.to_string() }
    }
}

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { product, size, time } = self;
        write!(f, "{time}  {product}  {size} came too late")
    }
}

/// One or the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Notice {
    Alert(Alert),
    TooLate(TooLate),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert(alert) => alert.fmt(f),
            Self::TooLate(trade) => trade.fmt(f),
        }
    }
}
