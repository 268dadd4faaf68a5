//! A sorted emitter: numbers wait, sorted, and are told in batches of the smallest even ones.
//!
//! `cargo run -p sorted-emitter -- --numbers -`, and type numbers.
//!
//! It shows windows of one's own: [`Sorted`] is how records are kept, [`Poll`] when they are looked at, and
//! [`Batches`] what is taken out.
//!
//! Invariant: a number is told once, or waits.

// Tests fail by panicking, in their helper functions too.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod emitter;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::source::{self, Decoded, Frame, Source};
use anabranch::window::global;
use anabranch::window::pane::Windows;
use anabranch::{Error, Watermarks, sink};
use anabranch_connectors::{inlet, outlet};

use crate::emitter::{Batches, Poll, Sorted};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tell the even ones of the numbers that wait, sorted, in batches
// Doc comments here are the text of `--help`.
#[derive(Clone, Debug, clap::Args)]
struct Options {
    /// Where numbers come from, one a line [default: a few]
    ///
    /// In a recording with the second at which it came, as in 5@0.25.
    #[arg(long, value_name = "URL")]
    numbers: Option<String>,

    /// How many numbers a batch has
    #[arg(long, value_name = "COUNT", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..))]
    size: u32,

    /// How often it is looked whether there are so many, from the first number on
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    every: Duration,

    /// Where batches go, as JSON
    #[arg(long, value_name = "URL", default_value = "-")]
    batches: String,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().map_err(|e| e.to_string())?;
    Duration::try_from(duration).map_err(|_| "a time that is not negative, such as 1s".to_owned())
}

/// What the program sorts without being given any: ten numbers in the first second, then three more.
const NUMBERS: [&str; 13] = [
    "5@0", "4@0.1", "9@0.2", "2@0.3", "8@0.4", "6@0.5", "1@0.6", "0@0.7", "7@0.8", "3@0.9",
    "12@1.2", "11@1.3", "10@1.5",
];

fn sorted_emitter(app: &App, options: &Options) -> Result<()> {
    let size = usize::try_from(options.size).unwrap_or(usize::MAX);
    let windows = Windows::new(global(), Sorted)
        .trigger(Poll::every(options.every))
        .evictor(Batches { size });
    app.source("numbers", numbers(options)?)
        // Nothing here asks for event time, which only comes to its end.
        .event_time(Watermarks::marked(|_| None))
        .key_by(|_| ())
        .window("sort", |_| Time::ZERO, windows)
        .flat_map(move |((), told)| {
            told.value.chunks(size).map(<[i64]>::to_vec).collect::<Vec<_>>()
        })
        .sink("batches", sink::frames(outlet(&options.batches)?, || sink::Json));
    Ok(())
}

fn numbers(options: &Options) -> Result<Box<dyn Source<Item = i64>>> {
    let Some(url) = &options.numbers else {
        let number = |text| number(text).map(|(time, value)| (time.unwrap_or_default(), value));
        let numbers = NUMBERS.into_iter().map(number).collect::<Result<Vec<_>>>()?;
        return Ok(Box::new(source::memory(vec![numbers].into())));
    };
    Ok(Box::new(source::frames(inlet(url)?, || decode)))
}

fn decode(frame: Frame<'_>, out: &mut Decoded<'_, i64>) -> Result<()> {
    let (time, value) = number(&String::from_utf8_lossy(frame.bytes))?;
    if let Some(time) = time {
        out.time(time);
    }
    out.emit(value);
    Ok(())
}

/// `5`, or `5@0.25` if it came after a quarter of a second.
fn number(text: &str) -> Result<(Option<Time>, i64)> {
    let wrong =
        || Error::Decode(format!("`{text}` is no number such as 5, or 5@0.25 with its second"));
    let (value, time) = match text.trim().split_once('@') {
        None => (text.trim(), None),
        Some((value, seconds)) => {
            let time = duration(&format!("{seconds}s")).map_err(|_| wrong())?;
            (value, Some(Time::ZERO.after(time)))
        }
    };
    Ok((time, value.parse().map_err(|_| wrong())?))
}

fn main() -> ExitCode {
    anabranch::main(sorted_emitter)
}
