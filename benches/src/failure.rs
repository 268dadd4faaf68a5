//! Computations that may fail beside those that cannot, on one row a key and on entries of a row.

pub mod large;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::{Undo, clock, source};

use crate::windows::{Event, Outcome};

type Events = Arc<[Vec<Event>]>;

const SUMS: Table<u32, (i64, u64)> = Table::new("sums");
const PARTS: MapTable<u32, u32, i64> = MapTable::new("parts");

/// How much of the events fails: one of so many; none if it is 0.
fn fails(event: &Event, one_of: i64) -> bool {
    one_of > 0 && event.time / 1_000 % one_of == 0
}

fn run(
    events: &Events,
    draw: impl Fn(anabranch::Shared<Event>, Arc<[AtomicU64; 2]>) + Send + Sync + 'static,
) -> Outcome {
    let told: Arc<[AtomicU64; 2]> = Arc::default();
    let (counted, events) = (Arc::clone(&told), Arc::clone(events));
    let began = clock::instant();
    let ran = Config::from_flags(["-w", "1"]).and_then(|config| {
        let build = move |app: &App| {
            let stream = app.source(
                "events",
                source::memory_timed(Arc::clone(&events), |event: &Event| {
                    Time::from_nanos(event.time)
                }),
            );
            draw(stream.share(), Arc::clone(&counted));
            Ok(())
        };
        anabranch::run(&config, build).map(drop)
    });
    if let Err(error) = ran {
        eprintln!("the engine failed: {error}");
    }
    let [count, sum] = &*told;
    let seconds = began.elapsed().as_secs_f64();
    let (told, sum) = (count.load(Ordering::Relaxed), sum.load(Ordering::Relaxed) as i64);
    Outcome { told, sum, seconds }
}

fn tell(told: &[AtomicU64; 2], value: i64) {
    told[0].fetch_add(1, Ordering::Relaxed);
    told[1].fetch_add(value as u64, Ordering::Relaxed);
}

fn add(event: &Event, sum: &mut Row<'_, (i64, u64)>) -> i64 {
    let (total, count) = &mut **sum;
    *total += event.value;
    *count += 1;
    *total
}

fn enter(event: &Event, parts: &mut MapRow<'_, u32, i64>) -> i64 {
    let part = parts.entry((event.value & 15) as u32);
    *part += event.value;
    *part
}

/// A sum by key, by `compute`.
pub fn row(events: &Events) -> Outcome {
    run(events, |stream, told| {
        let keyed = stream.key_by(|event| event.key);
        keyed
            .compute("sums", SUMS, |event, mut sum, out| out.emit(add(&event, &mut sum)))
            .inspect(move |sum| tell(&told, *sum));
    })
}

/// The same by `try_compute`, where one of so many fails after it was added.
pub fn row_tried(events: &Events, one_of: i64) -> Outcome {
    run(events, move |stream, told| {
        let keyed = stream.key_by(|event| event.key);
        keyed
            .try_compute("sums", SUMS, move |event, mut sum, out| {
                out.emit(add(event, &mut sum));
                if fails(event, one_of) { Err(Undo::Ignore) } else { Ok(()) }
            })
            .inspect(move |sum| tell(&told, *sum));
    })
}

/// A sum by key and part, by `compute`.
pub fn entries(events: &Events) -> Outcome {
    run(events, |stream, told| {
        let keyed = stream.key_by(|event| event.key);
        keyed
            .compute("parts", PARTS, |event, mut parts, out| out.emit(enter(&event, &mut parts)))
            .inspect(move |sum| tell(&told, *sum));
    })
}

/// The same by `try_compute`.
pub fn entries_tried(events: &Events, one_of: i64) -> Outcome {
    run(events, move |stream, told| {
        let keyed = stream.key_by(|event| event.key);
        keyed
            .try_compute("parts", PARTS, move |event, mut parts, out| {
                out.emit(enter(event, &mut parts));
                if fails(event, one_of) { Err(Undo::Ignore) } else { Ok(()) }
            })
            .inspect(move |sum| tell(&told, *sum));
    })
}
