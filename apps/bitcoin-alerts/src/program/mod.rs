//! The program: its options, and the application that they ask for.
//!
//! Invariant: each option that is left out is a part of the demo, and one that is given replaces
//! that part only.

mod demo;
mod figures;
mod introduction;
mod screen;
mod style;

use std::time::Duration;

use anabranch::http::Page;
use anabranch::prelude::*;
use anabranch::sink::{self, Json};
use anabranch::source::{self, Source};
use anabranch_connectors::{outlet, posted, stream};

use crate::averaging::{Averaging, duration};
use crate::connect::{notifications_to, prices_from, updates_from, upserts_to};
use crate::views::views;
use crate::{AlertUpdate, UpdateDecoder, pipelines, tried_pipelines, watched_pipelines};

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
    /// JSON by ws://, wss://, ws-listen://, http-listen://, tcp-listen://, stream:NAME, - (standard input) or
    /// file:PATH; http: is POST /api/v1/alerts of the program's own interface (--http), and so does the demo.
    #[arg(long, value_name = "URL")]
    pub updates: Option<String>,

    /// Where notifications go, as JSON [default: readable, on this terminal]
    ///
    /// - (standard output), ws-listen:// (to all who connect), tcp://, file:PATH or null:.
    #[arg(long, value_name = "URL")]
    pub notify: Option<String>,

    /// Tell nothing but when this alert would have fired: with `replay`, or recorded prices
    ///
    /// An update as JSON, as for --updates: {"price":"65000","user_id":7}. It is added before the first
    /// price; nothing that is kept is changed. `replay --data-dir DIR` goes through what --keep-journal
    /// has kept, also while the program runs; `--notify -` prints it.
    #[arg(long = "try", value_name = "ALERT", value_parser = parse_alert)]
    pub tried: Option<AlertUpdate>,

    /// Where input goes that could not be read, as JSON with the reason [default: only the log]
    ///
    /// The same places as for --notify.
    #[arg(long, value_name = "URL")]
    pub dead_letters: Option<String>,

    /// Where it goes how many alerts of each user are open, as JSON, whenever that changes
    ///
    /// {"op":"update","key":7,"value":3,"before":2}: user 7 has 3 and had 2. op may be insert or delete,
    /// and what is not there is null. The same places as for --notify.
    #[arg(long, value_name = "URL")]
    pub open_alerts: Option<String>,

    /// Where it goes which ten products are nearest to an alert, as JSON, whenever that changes
    ///
    /// {"op":"insert","key":1,"value":{"distance":"12.5","product":"BTC-USD"},"before":null}: the nearest
    /// is BTC-USD, whose average has to move by 12.5. The same places as for --notify.
    #[arg(long, value_name = "URL")]
    pub distances: Option<String>,

    /// Folder of durable streams that the program answers for over HTTP, at /api/v1/streams
    ///
    /// As stream:NAME?dir=DIR names them: what is appended there can be read here as it comes, by
    /// --updates 'stream:NAME?dir=DIR&follow=true'. Needs --http.
    #[arg(long, value_name = "DIR")]
    pub streams: Option<std::path::PathBuf>,

    /// Which average of a product's prices is compared with thresholds: of the last 10m or any other
    /// duration, last:100, or running
    ///
    /// At a trade of time t, 10m is over the trades so far with times after t - 10 min, up to t, by the
    /// exchange's clock; a trade without a time is of when it was received. last:100 is over the last
    /// 100 trades, and running over all since the start. All are exact. A data directory belongs to
    /// the average that it began with, and is refused with another; one from before there was a choice
    /// is of running.
    #[arg(long, value_name = "AVERAGE", default_value = "10m", value_parser = parse_averaging)]
    pub average: Averaging,

    /// How late a trade may be, of an average over a duration [default: 1m]
    ///
    /// A trade that is older than the newest one of the feed by more counts for nothing: it enters no average,
    /// fires no alert, and is counted in the end, as average-10m.too_late. Others are never waited for.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub lateness: Option<Duration>,
}

fn parse_alert(typed: &str) -> Result<AlertUpdate, String> {
    UpdateDecoder::update(typed.as_bytes()).1.map_err(|e| e.to_string())
}

fn parse_averaging(typed: &str) -> Result<Averaging, String> {
    typed.parse()
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
  op may be remove or edit, direction may be below or crossing; {\"price\":\"65000\",\"user_id\":7} is enough.
  Not of the average but of the price: \"of\":\"price\". Of its change over a time, or its z-score:
   {\"of\":\"change\",\"over\":\"10m\",\"percent\":\"-5\",\"direction\":\"below\",\"user_id\":7}
   {\"of\":\"zscore\",\"over\":\"1h\",\"z\":\"3\",\"user_id\":7}
  More than once: \"repeat\":\"every\" or \"rearm\" (with \"hysteresis\"), \"cooldown\":\"5m\". And
   \"expires\":\"2030-01-01T00:00:00Z\", \"labels\":[\"mine\"].
";

/// The page of alerts in the dashboard.
const PAGE: Page = Page { name: "Alerts", script: include_str!("../pages/alerts.js") };

/// Where updates are POSTed to the program itself.
const POSTED: &str = "http:";

/// Alerts that are POSTed to `/api/v1/alerts`, after these.
fn posted_updates(app: &App, first: Vec<Vec<u8>>) -> Result<Box<dyn Source<Item = AlertUpdate>>> {
    let posted = posted("alerts")?.beginning_with(first);
    app.routes(posted.routes());
    Ok(Box::new(source::frames(posted, UpdateDecoder::default)))
}

/// Draws the application that `options` ask for: the function to give to [`anabranch::main`].
///
/// # Errors
/// [`anabranch::Error::Usage`] when a URL is not understood.
pub fn build(app: &App, options: &Options) -> Result<()> {
    let averaging = match options.lateness {
        Some(lateness) => options.average.lateness(lateness),
        None => options.average,
    };
    if options.prices.is_none() {
        app.http(demo::HTTP);
    }
    app.page(PAGE);
    if let Some(dir) = &options.streams {
        app.routes(stream::routes(dir));
    }
    let prices = options.prices.as_deref().map_or_else(demo::prices, prices_from)?;
    let updates = match &options.updates {
        Some(url) if url == POSTED => posted_updates(app, Vec::new())?,
        Some(url) => updates_from(url)?,
        None if options.prices.is_none() => posted_updates(app, demo::alerts_as_json())?,
        None => demo::alerts(prices.nature()),
    };
    if let Some(url) = &options.dead_letters {
        app.dead_letters(sink::frames(outlet(url)?, || Json));
    }
    match (&options.tried, &options.notify) {
        (Some(tried), notify) => {
            let notify = notifications_to(notify.as_deref().unwrap_or("-"))?;
            tried_pipelines(app, averaging, tried.clone(), prices, updates, notify)?;
        }
        (None, Some(url)) => {
            drop(pipelines(app, averaging, prices, updates, notifications_to(url)?));
        }
        (None, None) => {
            watched_pipelines(app, averaging, prices, updates, screen::Screen::of(options));
        }
    }
    let open_alerts = options.open_alerts.as_deref().map(upserts_to).transpose()?;
    let distances = options.distances.as_deref().map(upserts_to).transpose()?;
    views(app, averaging, open_alerts, distances);
    Ok(())
}
