//! Rolling metrics: at every reading the mean, deviation and maximum of the last so many of its sensor,
//! and an alert whenever a rule says so.
//!
//! Invariant: what a reading comes to depends on the readings of its sensor before it, and on nothing
//! else.

// Tests fail by panicking, in their helper functions too.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod readings;
mod rules;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anabranch::aggregate::{count, deviation, max, mean};
use anabranch::prelude::*;
use anabranch::sink::{self, Json};
use anabranch::window::Rolling;
use anabranch_connectors::json::Path;
use anabranch_connectors::outlet;

use crate::readings::Reading;
use crate::rules::{Measured, Metrics, Rules, Seen};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What was seen of each sensor before.
const SEEN: Table<String, Seen> = Table::new("seen");

/// Watch numbers: mean, deviation and maximum of the last readings, with alerts, at every reading
///
/// Without options, three made sensors: one that is steady but for two readings, one that is all noise,
/// and one that drifts until its mean is above 80.
// Doc comments here are the text of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Options {
    /// Where readings come from, as JSON messages [default: made sensors]
    ///
    /// ws://, wss://, ws-listen://, tcp-listen://, - (standard input), file:PATH (also .gz, .zst and
    /// recordings with receipt stamps), or gen:?seed=7&count=10000&keys=3, a made market.
    #[arg(long, value_name = "URL")]
    readings: Option<String>,

    /// Which field is the number; messages without it are passed over
    #[arg(long, value_name = "FIELD", default_value = "value")]
    value: Path,

    /// Which field says of which sensor it is; without one, of the same
    #[arg(long, value_name = "FIELD", default_value = "key")]
    key: Path,

    /// Which field is the time, if a recording has no receipt stamps: RFC 3339, or milliseconds
    #[arg(long, value_name = "FIELD", default_value = "time")]
    time: Path,

    /// The seed of the made sensors
    #[arg(long, value_name = "NUMBER", default_value_t = 7)]
    seed: u64,

    /// Over how many readings of a sensor
    #[arg(long, value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    last: u32,

    /// Alert at each reading with which the mean is above this [default: 80 for the made sensors]
    #[arg(long, value_name = "MEAN")]
    above: Option<f64>,

    /// Alert at a reading this many deviations from the mean of the COUNT readings before it
    #[arg(long, value_name = "DEVIATIONS", default_value_t = 5.0)]
    z_score: f64,

    /// Alert at a reading this many deviations from the exponentially weighted average before it
    #[arg(long, value_name = "DEVIATIONS", default_value_t = 5.0)]
    ewma: f64,

    /// How far each reading moves that average towards itself: between 0 and 1
    #[arg(long, value_name = "PART", default_value_t = 0.05, value_parser = part)]
    alpha: f64,

    /// Where alerts go, as JSON [default: readable, on standard output]
    ///
    /// - (standard output), ws-listen:// (to all who connect), tcp://, file:PATH or null:.
    #[arg(long, value_name = "URL")]
    alerts: Option<String>,

    /// Where the metrics of every reading go, as JSON; the same places
    #[arg(long, value_name = "URL", default_value = "null:")]
    metrics: String,
}

const EXAMPLES: &str = "\
A recording of Binance, the price of each trade:
  rolling-metrics --readings file:recording.gz --key data.s --value data.p --metrics -
";

fn part(text: &str) -> Result<f64, String> {
    let part = text.parse().ok().filter(|part| (f64::MIN_POSITIVE..=1.0).contains(part));
    part.ok_or_else(|| "a number above 0 and at most 1, such as 0.05".to_owned())
}

fn rolling_metrics(app: &App, options: &Options) -> Result<()> {
    let last = usize::try_from(options.last).unwrap_or(usize::MAX);
    let value = |reading: &Reading| reading.value;
    let metrics = (count(), mean(value), deviation(value), max(value));
    let rules = Rules {
        above: options.above.or(options.readings.is_none().then_some(80.0)),
        z_score: options.z_score,
        ewma: options.ewma,
        alpha: options.alpha,
        last: u64::from(options.last),
    };
    let measured = app
        .source("readings", readings::from(options)?)
        .key_by(|reading| reading.key.clone())
        .rolling("window", Rolling::last(last, metrics))
        .compute("judge", SEEN, move |(reading, metrics), mut seen, out| {
            let metrics = Metrics::of(metrics);
            let calls = rules.judge(reading.value, metrics.as_ref(), &mut seen);
            if let Some(metrics) = metrics {
                let (time, Reading { key, value }) = (out.now().to_string(), reading);
                out.emit(Measured { time, key, value, metrics, calls });
            }
        })
        .share();
    let alerts = measured.clone().flat_map(Measured::alerts);
    match &options.alerts {
        Some(url) => alerts.sink("alerts", sink::frames(outlet(url)?, || Json)),
        None => alerts.sink("alerts", sink::frames(outlet("-")?, || sink::Text)),
    };
    measured.sink("metrics", sink::frames(outlet(&options.metrics)?, || Json));
    Ok(())
}

fn main() -> ExitCode {
    anabranch::main(rolling_metrics)
}
