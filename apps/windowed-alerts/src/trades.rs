//! Trades: where they come from.
//!
//! Invariant: amounts are exact. The made market is a pure function, its disorder included.

use std::time::Duration;

use anabranch::Error;
use anabranch::decimal::{self, Portable};
use anabranch::prelude::*;
use anabranch::source::{self, Decoded, Frame, Source};
use anabranch_connectors::market::{Market, MarketOptions};
use anabranch_connectors::{inlet, json, market};
use serde::{Deserialize, Serialize};

use crate::Options;

/// So much of a product, traded at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trade {
    pub(crate) product: String,
    pub(crate) size: Portable,
    pub(crate) time: Time,
}

/// The source that the options name.
pub(crate) fn from(options: &Options) -> Result<Box<dyn Source<Item = Trade>>> {
    let Some(url) = &options.trades else {
        return Ok(Box::new(source::memory(vec![made()].into())));
    };
    let inlet = match url.starts_with("gen:") {
        true => Box::new(market::parse(url)?.inlet()),
        false => inlet(url)?,
    };
    let options = options.clone();
    Ok(Box::new(source::frames(inlet, move || {
        let options = options.clone();
        move |frame: Frame<'_>, out: &mut Decoded<'_, Trade>| decode(&options, frame, out)
    })))
}

fn decode(options: &Options, frame: Frame<'_>, out: &mut Decoded<'_, Trade>) -> Result<()> {
    let message = json::message(frame.bytes)?;
    let Some(size) = options.size.text(&message)? else { return Ok(()) };
    let missing =
        |field| Error::Decode(format!("a message with `{}` has no `{field}`", options.size));
    let time = options.time.time(&message)?.ok_or_else(|| missing(&options.time))?;
    let product = options.product.text(&message)?.ok_or_else(|| missing(&options.product))?;
    out.time(time);
    out.emit(Trade { product, size: decimal::parse(&size)?.into(), time });
    Ok(())
}

/// Two minutes of a market, in the order and at the times of arrival.
fn made() -> Vec<(Time, Trade)> {
    let options = MarketOptions {
        seed: 7,
        count: Some(120_000),
        keys: 2,
        rate: 1_000,
        ..MarketOptions::default()
    };
    let mut trades = Vec::new();
    for (n, trade) in (0_u64..).zip(Market::new(options).trades()) {
        // A prime moves each trade by another part of the two seconds that the program waits for.
        let delay = match n {
            _ if n % 25_000 == 20_000 => 25_000,
            _ if n % 9_000 == 8_000 => 6_000,
            _ => n * 7_919 % 2_000,
        };
        let (product, size, time) = (trade.product.to_string(), trade.size.into(), trade.time);
        let arrival = time.after(Duration::from_millis(delay));
        trades.push((arrival, Trade { product, size, time }));
    }
    trades.sort_by_key(|(arrival, _)| *arrival);
    trades
}
