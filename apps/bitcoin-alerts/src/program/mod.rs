//! The program: its options, and the application that they ask for.
//!
//! Invariant: each option that is left out is a part of the demo, and one that is given replaces
//! that part only.

mod demo;
mod figures;
mod introduction;
mod screen;
mod style;

use anabranch::prelude::*;
use anabranch::sink::{self, Json};
use anabranch_connectors::outlet;

use crate::connect::{notifications_to, prices_from, updates_from};
use crate::{pipelines, watched_pipelines};

/// Watch prices and fire alerts: each once, when the average of a product reaches its threshold
///
/// Without options this is a demo: a fake exchange with a market of its own runs inside, a handful
/// of alerts is registered, and they are shown as they fire. Each option replaces a part of it.
// Doc comments here are the text of `--help`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES_AND_FORMATS)]
pub struct Options {
    /// Where prices come from [default: the demo's exchange]
    ///
    /// coinbase:?products=BTC-USD is the exchange's own feed, without gaps. Or anything that brings
    /// messages of Coinbase, of Binance or {"type":"..","price":".."}: ws://, wss://, ws-listen://,
    /// tcp-listen://, - (standard input), file:PATH (also CSV, .gz, .zst and recordings with
    /// receipt stamps). gen:?seed=7&count=100000&keys=3 is a made market.
    #[arg(long, value_name = "URL")]
    pub prices: Option<String>,

    /// Where alerts are added, removed and edited [default: the demo's alerts]
    ///
    /// JSON by ws://, wss://, ws-listen://, tcp-listen://, - (standard input) or file:PATH.
    #[arg(long, value_name = "URL")]
    pub updates: Option<String>,

    /// Where notifications go, as JSON [default: readable, on this terminal]
    ///
    /// - (standard output), ws-listen:// (to all who connect), tcp://, file:PATH or null:.
    #[arg(long, value_name = "URL")]
    pub notify: Option<String>,

    /// Where input goes that could not be read, as JSON with the reason [default: only the log]
    ///
    /// The same places as for --notify.
    #[arg(long, value_name = "URL")]
    pub dead_letters: Option<String>,

    /// Which average of the prices is compared with thresholds: running
    ///
    /// running is over all trades of a product since the start, exactly.
    #[arg(long, value_name = "AVERAGE", default_value = "running", value_parser = averaging)]
    pub average: Averaging,
}

/// Which average is compared with thresholds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Averaging {
    /// Of all prices since the start.
    #[default]
    Running,
}

const EXAMPLES: &str = "\
The real exchange, alerts typed in, notifications as JSON:
  bitcoin-alerts --prices 'coinbase://ws-feed.exchange.coinbase.com?products=BTC-USD' \\
    --updates - --notify -
";

const EXAMPLES_AND_FORMATS: &str = "\
The real exchange, alerts typed in, notifications as JSON:
  bitcoin-alerts --prices 'coinbase://ws-feed.exchange.coinbase.com?products=BTC-USD' \\
    --updates - --notify -

The same recorded day again, to the same bytes:
  bitcoin-alerts --prices file:prices.jsonl --updates file:updates.jsonl --notify file:fired.jsonl

An update:
  {\"op\":\"add\",\"id\":\"my-first\",\"product\":\"BTC-USD\",\"price\":\"65000\",\"user_id\":7,
   \"direction\":\"above\"}
  op may be remove or edit, direction may be below; {\"price\":\"65000\",\"user_id\":7} is enough.
";

fn averaging(text: &str) -> Result<Averaging, String> {
    match text {
        "running" => Ok(Averaging::Running),
        _ => Err("only `running`, over all trades, is there now; averages over windows of time, \
                  such as ten minutes, come with windows"
            .to_owned()),
    }
}

/// Draws the application that `options` ask for: the function to give to [`anabranch::main`].
///
/// # Errors
/// [`anabranch::Error::Usage`] when a URL is not understood.
pub fn build(app: &App, options: &Options) -> Result<()> {
    let Averaging::Running = options.average;
    let prices = options.prices.as_deref().map_or_else(demo::prices, prices_from)?;
    let updates = match &options.updates {
        Some(url) => updates_from(url)?,
        None => demo::alerts(prices.nature()),
    };
    if let Some(url) = &options.dead_letters {
        app.dead_letters(sink::frames(outlet(url)?, || Json));
    }
    match &options.notify {
        Some(url) => drop(pipelines(app, prices, updates, notifications_to(url)?)),
        None => watched_pipelines(app, prices, updates, screen::Screen::of(options)),
    }
    Ok(())
}
