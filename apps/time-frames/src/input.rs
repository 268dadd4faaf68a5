//! Items and questions: where they come from.
//!
//! Invariant: an item's time is its own; when it came decides only whether it is late.

use std::time::Duration;

use anabranch::Error;
use anabranch::prelude::*;
use anabranch::source::{self, Decoded, Frame, Source};
use anabranch_connectors::{inlet, json};
use serde::{Deserialize, Serialize};

use crate::Options;

/// Something that was at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) time: Time,
    pub(crate) text: String,
}

/// Which frames have some time from one until the other?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) from: Time,
    pub(crate) to: Time,
}

/// The source of items that the options name.
pub(crate) fn items(options: &Options) -> Result<Box<dyn Source<Item = Item>>> {
    let Some(url) = &options.items else {
        return Ok(Box::new(source::memory(vec![made()].into())));
    };
    let options = options.clone();
    Ok(Box::new(source::frames(inlet(url)?, move || {
        let options = options.clone();
        move |frame: Frame<'_>, out: &mut Decoded<'_, Item>| decode(&options, frame, out)
    })))
}

fn decode(options: &Options, frame: Frame<'_>, out: &mut Decoded<'_, Item>) -> Result<()> {
    let message = json::message(frame.bytes)?;
    if let Some(time) = options.time.time(&message)? {
        out.time(time);
        out.emit(Item { time, text: options.text.text(&message)?.unwrap_or_default() });
    }
    Ok(())
}

/// The source of questions that the options name.
pub(crate) fn questions(options: &Options) -> Result<Box<dyn Source<Item = Question>>> {
    match (&options.questions, &options.items) {
        (Some(url), _) => Ok(Box::new(source::frames(inlet(url)?, || ask))),
        (None, None) => {
            let question = Question { from: at(10), to: at(40) };
            Ok(Box::new(source::memory(vec![vec![(at(220), question)]].into())))
        }
        (None, Some(_)) => Ok(Box::new(source::empty())),
    }
}

fn ask(frame: Frame<'_>, out: &mut Decoded<'_, Question>) -> Result<()> {
    let text = String::from_utf8_lossy(frame.bytes);
    let times = text.split_whitespace().map(str::parse).collect::<Result<Vec<Time>>>()?;
    let (from, to) = match *times {
        [from, to] => (from, to),
        [from, to, asked] => {
            out.time(asked);
            (from, to)
        }
        _ => {
            let wrong = format!("`{text}` is no question: write two times, from when to when");
            return Err(Error::Decode(wrong));
        }
    };
    out.emit(Question { from, to });
    Ok(())
}

/// So many seconds after 2024-01-01T12:00:00Z.
pub(crate) fn at(second: i64) -> Time {
    Time::from_millis((1_704_110_400 + second) * 1_000)
}

/// What the program counts without being given anything, with the times at which it comes.
fn made() -> Vec<(Time, Item)> {
    let item = |millis, text: &str| Item { time: at(0).after(millis), text: text.to_owned() };
    let (mut items, mut millis) = (Vec::new(), 700);
    while millis < 216_000 {
        // Every 5 to 8 milliseconds, with a gap.
        if !(110_000..215_000).contains(&millis) {
            let time = Duration::from_millis(millis);
            items.push((at(0).after(time), item(time, "")));
        }
        millis += 5 + millis / 11_000 % 4;
    }
    for (came, was, text) in [(50, 5, "comes late"), (62, 62, "fail"), (92, 92, "fail 1")] {
        let (came, was) = (Duration::from_secs(came), Duration::from_secs(was));
        items.push((at(0).after(came), item(was, text)));
    }
    items.sort_by_key(|(came, _)| *came);
    items
}
