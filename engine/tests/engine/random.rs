//! Time and randomness in a computation depend on the record and the computation alone.

use std::collections::BTreeSet;
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::{TestDriver, Time, sink, source};

/// The record, its time, the first two random numbers for it, and the first of a second sequence.
type Drawn = (u64, Time, [u64; 3]);

fn draw(n: u64, (): (), out: &mut Context<'_, Drawn>) {
    let (mut random, mut second) = (out.random(), out.random());
    out.emit((n, out.now(), [random.next_u64(), random.next_u64(), second.next_u64()]));
}

fn build(app: &App) -> Result<()> {
    let numbers = app.source("numbers", source::empty::<u64>());
    for name in ["a", "b"] {
        numbers
            .clone()
            .flat_map(|n| [n, n])
            .key_by(|n| n % 16)
            .compute(name, (), draw)
            .sink(&format!("out-{name}"), sink::null());
    }
    // Twice in one fused chain, the second for two records made of one.
    numbers
        .key_by(|n| n % 16)
        .compute("first", (), draw)
        .flat_map(|(n, ..)| [n, n])
        .compute("second", (), draw)
        .sink("out-second", sink::null());
    Ok(())
}

fn drive(workers: usize, seed: u64) -> [Vec<Drawn>; 3] {
    let start = Time::from_millis(1_000);
    let mut driver =
        TestDriver::new(build).workers(workers).seed(seed).time(start).start().unwrap();
    for n in 0..100 {
        driver.advance(Duration::from_millis(n % 3));
        driver.send("numbers", n).unwrap();
    }
    driver.run().unwrap();
    ["out-a", "out-b", "out-second"].map(|sink| driver.outputs(sink))
}

#[test]
fn time_and_randomness_are_the_same_on_any_workers_in_any_schedule() {
    let expected = drive(1, 0);
    for workers in 1..=4 {
        for seed in 0..4 {
            assert_eq!(drive(workers, seed), expected);
        }
    }
}

#[test]
fn time_is_the_time_of_sending() {
    let [drawn, ..] = drive(3, 5);
    let mut millis = 1_000;
    let expected: Vec<(u64, Time)> = (0..100_u64)
        .flat_map(|n| {
            millis += n as i64 % 3;
            [(n, Time::from_millis(millis)); 2]
        })
        .collect();
    assert_eq!(drawn.iter().map(|(n, time, ..)| (*n, *time)).collect::<Vec<_>>(), expected);
}

#[test]
fn randomness_differs_between_records_computations_and_draws() {
    let drawn = drive(2, 1).concat();
    let numbers: BTreeSet<u64> = drawn.iter().flat_map(|(_, _, numbers)| *numbers).collect();
    assert_eq!(drawn.len(), 600);
    assert_eq!(numbers.len(), 1800);
    // Each bit is set in about half of them: within 6 deviations of 21.
    for bit in 0..64 {
        let set = numbers.iter().filter(|number| *number >> bit & 1 == 1).count();
        assert!((900 - 127..=900 + 127).contains(&set), "bit {bit} is set {set} times");
    }
}
