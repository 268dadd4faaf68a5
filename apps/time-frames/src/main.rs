//! Time frames: how many items there were in each quarter of a minute, calculated once its time is over, and
//! kept to be asked about.
//!
//! Invariant: a frame that fails is tried again, then told of as failed; the others go on meanwhile.

// Tests fail by panicking, in their helper functions too.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod input;
mod line;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::Duration;

use anabranch::Watermarks;
use anabranch::prelude::*;
use anabranch::sink::{self, Json};
use anabranch::window::Window;
use anabranch::window::frames::{Attempt, Frame, frames, query};
use anabranch_connectors::json::Path;
use anabranch_connectors::outlet;

use crate::input::{Item, Question};
use crate::line::{Answer, Line, Made};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The frames by their starts, which `counts` makes and questions read.
const FRAMES: MapTable<(), Time, Frame<u64>> = MapTable::new("counts.frames");

/// Count items in frames of time, one after the other, also where there are none
///
/// Without options, made items: one is late, one lets its frame fail for good and one only at first, and
/// then there is a gap. At the end it is asked what was between 12:00:10 and 12:00:40.
// Doc comments here are the text of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Options {
    /// Where items come from, as JSON messages [default: made items]
    ///
    /// ws://, wss://, ws-listen://, tcp-listen://, - (standard input) or file:PATH (also .gz, .zst and
    /// recordings with receipt stamps).
    #[arg(long, value_name = "URL")]
    items: Option<String>,

    /// Which field says when an item was, RFC 3339 or milliseconds; messages without it are passed over
    #[arg(long, value_name = "FIELD", default_value = "time")]
    time: Path,

    /// Which field is the item's text: `fail 2` lets its frame fail two times, `fail` always
    #[arg(long, value_name = "FIELD", default_value = "text")]
    text: Path,

    /// How long a frame is; the first starts at a whole minute
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    frame: Duration,

    /// How far behind the newest item others come, in time: frames wait for them
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    disorder: Duration,

    /// For how long after that a frame is calculated again if an item is late
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    lateness: Duration,

    /// How often a frame that fails is tried again: after a second, after two more, after four more, ...
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    retries: u32,

    /// Forget frames after so long [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    keep: Option<Duration>,

    /// Where questions come from: which frames have some time between two [default: one, of the made items]
    ///
    /// A line each: 2024-01-01T12:00:10Z 2024-01-01T12:00:40Z. A third time says when it is asked, in a
    /// recording. The same places as for --items.
    #[arg(long, value_name = "URL")]
    questions: Option<String>,

    /// Where frames and answers go, as JSON [default: readable, on standard output]
    ///
    /// - (standard output), ws-listen:// (to all who connect), tcp://, file:PATH or null:.
    #[arg(long, value_name = "URL")]
    out: Option<String>,
}

const EXAMPLES: &str = "\
A recording of Binance, the trades of each quarter of a minute:
  time-frames --items file:recording.gz --time data.T
";

/// `15s`, `1m 30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().map_err(|e| e.to_string())?;
    Duration::try_from(duration).map_err(|_| "a time that is not negative, such as 15s".to_owned())
}

fn time_frames(app: &App, options: &Options) -> Result<()> {
    let time = |item: &Item| item.time;
    let task = frames(options.frame)
        .lateness(options.lateness)
        .retries(options.retries, Duration::from_secs(1));
    let task = match options.keep {
        Some(keep) => task.keep(keep),
        None => task,
    };
    let made = app
        .source("items", input::items(options)?)
        .event_time(Watermarks::bounded(options.disorder, time))
        .key_by(|_| ())
        .frames("counts", time, task.calculate(item_count))
        .map(|((), event)| Line::from(event));
    let answers = app.source("questions", input::questions(options)?).key_by(|_| ()).compute(
        "answer",
        FRAMES.read(),
        |Question { from, to }, frames, out| {
            let found = query::overlapping(&*frames, Window::new(from, to)).map(Made::from);
            let (from, to) = (from.to_string(), to.to_string());
            out.emit(Line::Answer(Answer { from, to, frames: found.collect() }));
        },
    );
    let lines = made.merge(answers.share());
    match &options.out {
        Some(url) => lines.sink("out", sink::frames(outlet(url)?, || Json)),
        None => lines.sink("out", sink::frames(outlet("-")?, || sink::Text)),
    };
    Ok(())
}

/// How many items a frame has; fails if an item says so.
fn item_count(attempt: &mut Attempt, items: &[(Time, &Item)]) -> Result<u64, String> {
    for (time, item) in items {
        let Some(times) = item.text.strip_prefix("fail") else { continue };
        if times.trim().parse().map_or(true, |times: u32| attempt.number <= times) {
            return Err(format!("the item of {time} says `{}`", item.text));
        }
    }
    Ok(items.len() as u64)
}

fn main() -> ExitCode {
    anabranch::main(time_frames)
}
