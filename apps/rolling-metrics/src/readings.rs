//! Readings: where they come from.
//!
//! Invariant: a reading is a finite number. The made sensors are a pure function of their seed.

use anabranch::prelude::*;
use anabranch::source::{self, Decoded, Frame, Source};
use anabranch_connectors::{inlet, json, market};
use serde::{Deserialize, Serialize};

use crate::Options;

/// One reading of one sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) key: String,
    pub(crate) value: f64,
}

/// The source that the options name.
pub(crate) fn from(options: &Options) -> Result<Box<dyn Source<Item = Reading>>> {
    let Some(url) = &options.readings else {
        return Ok(Box::new(source::memory(vec![made(options.seed)].into())));
    };
    let inlet = match url.starts_with("gen:") {
        true => Box::new(market::parse(url)?.inlet()),
        false => inlet(url)?,
    };
    let options = options.clone();
    Ok(Box::new(source::frames(inlet, move || {
        let options = options.clone();
        move |frame: Frame<'_>, out: &mut Decoded<'_, Reading>| decode(&options, frame, out)
    })))
}

fn decode(options: &Options, frame: Frame<'_>, out: &mut Decoded<'_, Reading>) -> Result<()> {
    let message = json::message(frame.bytes)?;
    if let Some(time) = options.time.time(&message)? {
        out.time(time);
    }
    if let Some(value) = options.value.number(&message)? {
        let key = options.key.text(&message)?.unwrap_or_else(|| "readings".to_owned());
        out.emit(Reading { key, value });
    }
    Ok(())
}

/// How many readings each made sensor gives, ten a second.
const MADE: u32 = 600;

/// Three sensors, a minute of each.
fn made(seed: u64) -> Vec<(Time, Reading)> {
    let mut random = Random(seed);
    let mut readings = Vec::new();
    for n in 0..MADE {
        // 2024-01-01T00:00:00Z
        let time = Time::from_millis(1_704_067_200_000 + i64::from(n) * 100);
        let steady = match n {
            200 => 75.0,
            450 => 22.0,
            _ => 45.0 + random.below(10.0),
        };
        let noise = random.below(100.0);
        let drifts = 30.0 + 50.5 * f64::from(n) / f64::from(MADE) + random.below(8.0);
        for (key, value) in [("steady", steady), ("noise", noise), ("drifts", drifts)] {
            readings.push((time, Reading { key: key.to_owned(), value }));
        }
    }
    readings
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// A number from 0 up to `most`, in steps of a 65,536th of it.
    fn below(&mut self, most: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [high, low, ..] = (z ^ (z >> 31)).to_be_bytes();
        f64::from(u16::from_be_bytes([high, low])) / 65_536.0 * most
    }
}
