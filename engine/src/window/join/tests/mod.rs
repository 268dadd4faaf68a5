//! The joins beside oracles that keep every record, on random disorder, lateness, equal times and leaping
//! watermarks.
//!
//! Invariant: the whole log is compared: what was given, in which order and in which epoch, what came too
//! late, and how many entries were kept after each epoch.

mod as_of;
mod interval;
mod oracle;
mod rows;
mod windowed;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Time;

/// No watermark yet.
const NONE: i64 = i64::MIN;
/// The watermark when all input has ended.
const END: i64 = i64::MAX;

fn at(nanos: i64) -> Time {
    Time::from_nanos(nanos)
}

/// The records of an epoch, as input, time and name, and the watermark after them.
#[derive(Clone, Debug)]
struct Epoch {
    records: Vec<(u16, i64, u32)>,
    watermark: i64,
    /// Everything that is kept is written out and read in again after it.
    restart: bool,
}

/// Records around a time that moves on, sometimes in leaps, with a watermark behind it or, sometimes, ahead;
/// in the end all times are complete.
fn epochs(inputs: u16) -> impl Strategy<Value = Vec<Epoch>> {
    let record = (0..inputs, -12_i64..12);
    let leap = prop_oneof![6 => 0_i64..8, 1 => Just(60_i64)];
    let epoch = (prop::collection::vec(record, 0..8), leap, -3_i64..15, 0..4_u8);
    (prop::collection::vec(epoch, 1..30), 0..4_usize).prop_map(|(steps, silent)| {
        let (mut name, mut now, mut watermark) = (0, 0, NONE);
        let mut epochs = Vec::new();
        for (number, (records, on, behind, restart)) in steps.into_iter().enumerate() {
            now += on;
            if number >= silent {
                watermark = watermark.max(now - behind);
            }
            let mut named = |(input, off): (u16, i64)| {
                name += 1;
                (input, now + off, name)
            };
            let records = records.into_iter().map(&mut named).collect();
            epochs.push(Epoch { records, watermark, restart: restart == 0 });
        }
        epochs.push(Epoch { records: Vec::new(), watermark: END, restart: false });
        epochs
    })
}

/// A join with what it keeps.
trait Run {
    fn apply(&mut self, input: u16, time: Time, name: u32, watermark: Time, log: &mut Vec<String>);
    fn wake(&mut self, watermark: Time, log: &mut Vec<String>);
    fn timer(&mut self) -> &mut Option<Time>;
    fn kept(&self) -> usize;
    fn restart(&mut self);
}

/// Applies the epochs as an engine does, and writes down what happens.
fn log(join: &mut impl Run, epochs: &[Epoch]) -> Vec<String> {
    let (mut log, mut watermark) = (Vec::new(), at(NONE));
    for epoch in epochs {
        for (input, time, name) in &epoch.records {
            join.apply(*input, at(*time), *name, watermark, &mut log);
        }
        watermark = at(epoch.watermark);
        if join.timer().is_some_and(|due| due <= watermark) {
            *join.timer() = None;
            join.wake(watermark, &mut log);
        }
        assert!(join.timer().is_none_or(|due| due > watermark), "nothing due is left");
        log.push(format!("| {}", join.kept()));
        if epoch.restart {
            join.restart();
        }
    }
    assert_eq!(*join.timer(), None, "at the end nothing is waited for");
    log
}

/// What an entry is when it was in a checkpoint.
fn restored<T: Serialize + DeserializeOwned>(kept: &mut T) {
    let bytes = rmp_serde::to_vec_named(kept).unwrap();
    *kept = rmp_serde::from_slice(&bytes).unwrap();
}

/// The same records before any watermark, and then all times complete: at once, or nanosecond by
/// nanosecond.
fn leap_and_creep(epochs: &[Epoch]) -> [Vec<Epoch>; 2] {
    let records = epochs.iter().flat_map(|epoch| epoch.records.iter().copied()).collect::<Vec<_>>();
    let last = records.iter().map(|record| record.1).max().unwrap_or(0) + 200;
    let begin = |watermark| Epoch { records: records.clone(), watermark, restart: false };
    let on = |watermark| Epoch { records: Vec::new(), watermark, restart: false };
    let creep = (-100..last).map(on).chain([on(END)]);
    [vec![begin(END)], [begin(NONE)].into_iter().chain(creep).collect()]
}

/// A log without what tells the epochs apart.
fn outputs(log: Vec<String>) -> Vec<String> {
    log.into_iter().filter(|line| !line.starts_with('|')).collect()
}
