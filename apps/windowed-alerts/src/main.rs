//! Windowed alerts: which products were traded how much, in windows of event time; told when a window has
//! ended, and corrected when trades are late.
//!
//! Invariant: in which windows a trade counts is a matter of its own time. As long as no trade is too
//! late, the last alert of each window is the same whatever the order in which trades arrive.

// Tests fail by panicking, in their helper functions too.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod notice;
#[cfg(test)]
mod tests;
mod trades;

use std::process::ExitCode;
use std::time::Duration;

use anabranch::aggregate::{count, sum};
use anabranch::decimal::Portable;
use anabranch::prelude::*;
use anabranch::sink::{self, Json};
use anabranch::window::pane::{Fired, Sliding, Windows};
use anabranch::window::{Windowing, sliding, tumbling};
use anabranch::{Watermarks, decimal};
use anabranch_connectors::json::Path;
use anabranch_connectors::outlet;
use rust_decimal::Decimal;

use crate::notice::{Alert, Notice};
use crate::trades::Trade;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOO_LATE: SideOutput<Trade> = SideOutput::new("volume.too-late");

/// Alert when much is traded: in each window of event time in which a product's volume is high
///
/// Without options, a made market: most of its trades arrive up to two seconds out of order, some are
/// late, and correct what was told, and a few are too late.
// Doc comments here are the text of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Options {
    /// Where trades come from, as JSON messages [default: a made market, in disorder]
    ///
    /// ws://, wss://, ws-listen://, tcp-listen://, - (standard input), file:PATH (also .gz, .zst and
    /// recordings with receipt stamps), or gen:?seed=7&count=10000&keys=3, a market in order.
    #[arg(long, value_name = "URL")]
    trades: Option<String>,

    /// Which field of a message is the amount traded; messages without it are passed over
    #[arg(long, value_name = "FIELD", default_value = "size")]
    size: Path,

    /// Which field says what was traded
    #[arg(long, value_name = "FIELD", default_value = "product_id")]
    product: Path,

    /// Which field says when: RFC 3339, or milliseconds
    #[arg(long, value_name = "FIELD", default_value = "time")]
    time: Path,

    /// How long a window is
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    window: Duration,

    /// How far apart the starts of windows are [default: side by side]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    slide: Option<Duration>,

    /// Alert from this volume of a window on
    #[arg(long, value_name = "AMOUNT", default_value = "625", value_parser = decimal::parse)]
    volume: Decimal,

    /// How far behind the newest trade others come, in time: windows wait for them
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    disorder: Duration,

    /// For how long after that a window is corrected
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    lateness: Duration,

    /// Where alerts go, as JSON [default: readable, on standard output]
    ///
    /// - (standard output), ws-listen:// (to all who connect), tcp://, file:PATH or null:.
    #[arg(long, value_name = "URL")]
    alerts: Option<String>,

    /// Where trades go that are too late for any window, as JSON [default: among the alerts]
    #[arg(long, value_name = "URL")]
    too_late: Option<String>,
}

const EXAMPLES: &str = "\
A recording of Binance, the last ten seconds at every second:
  windowed-alerts --trades file:recording.gz --product data.s --size data.q --time data.T \\
    --slide 1s --volume 15
";

/// `10s`, `1m 30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().map_err(|e| e.to_string())?;
    Duration::try_from(duration).map_err(|_| "a time that is not negative, such as 10s".to_owned())
}

fn windowed_alerts(app: &App, options: &Options) -> Result<()> {
    let totals = (count(), sum(|trade: &Trade| trade.size));
    let Options { window, lateness, .. } = *options;
    match options.slide {
        None => {
            let windows = Windows::new(tumbling(window), totals);
            draw(app, options, windows.lateness(lateness))
        }
        Some(slide) => {
            let windows = Sliding::new(sliding(window, slide), totals);
            draw(app, options, windows.lateness(lateness))
        }
    }
}

/// The application, with windows of one form or the other.
fn draw(
    app: &App,
    options: &Options,
    windows: impl Windowing<Trade, Told = Fired<(u64, Portable)>>,
) -> Result<()> {
    let time = |trade: &Trade| trade.time;
    let threshold = options.volume;
    let (too_late, told) = app
        .source("trades", trades::from(options)?)
        .event_time(Watermarks::bounded(options.disorder, time))
        .key_by(|trade| trade.product.clone())
        .window("volume", time, windows)
        .side(TOO_LATE);
    let alerts = told.filter(move |(_, told)| *told.value.1 >= threshold).map(Alert::from);
    let too_late = too_late.map(notice::TooLate::from);
    let notices = match &options.too_late {
        Some(url) => {
            too_late.sink("too-late", sink::frames(outlet(url)?, || Json));
            alerts.map(Notice::Alert).share()
        }
        None => alerts.map(Notice::Alert).merge(too_late.map(Notice::TooLate)),
    };
    match &options.alerts {
        Some(url) => notices.sink("alerts", sink::frames(outlet(url)?, || Json)),
        None => notices.sink("alerts", sink::frames(outlet("-")?, || sink::Text)),
    };
    Ok(())
}

fn main() -> ExitCode {
    anabranch::main(windowed_alerts)
}
