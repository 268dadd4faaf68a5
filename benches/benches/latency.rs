//! Open-loop latency of the alerts workload, from when a record was due to when a sink has it.
//!
//! `cargo bench -p anabranch-benches --bench latency [-- --rate 100000 --seconds 5 --rounds 3]`.
//! Forms take turns; the figures are medians over the rounds, in microseconds.

use std::time::Duration;

use anabranch::prelude::*;
use anabranch_benches::latency::{Latencies, Schedule, engine, hand_timely};
use anabranch_benches::report::{median, option};

const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 0.9999];

fn main() -> Result<()> {
    let (rate, seconds) = (option("--rate", 100_000), option("--seconds", 5));
    let rounds = option("--rounds", 3);
    let duration = Duration::from_secs(seconds as u64);
    let schedule = Schedule {
        rate: rate as u64,
        duration,
        warm_up: Duration::from_secs(1),
        pause: Duration::ZERO,
    };
    let mut forms: Vec<(&str, Vec<Latencies>)> = vec![
        ("(b) hand-written timely", Vec::new()),
        ("(c) by arrival", Vec::new()),
        ("(d) deterministic", Vec::new()),
        ("(d) deterministic, spinning", Vec::new()),
    ];
    let spin = ["--idle-spin", "1ms"];
    for _ in 0..rounds {
        let latencies = [
            hand_timely(schedule),
            engine(schedule, Order::Arrival, &[])?,
            engine(schedule, Order::Deterministic, &[])?,
            engine(schedule, Order::Deterministic, &spin)?,
        ];
        for ((_, all), latencies) in forms.iter_mut().zip(latencies) {
            all.push(latencies);
        }
    }
    println!("latency at {rate} records/s for {seconds} s, 1,000 keys, {rounds} rounds, in us");
    println!("| form | records | p50 | p99 | p99.9 | p99.99 |");
    println!("|---|---|---|---|---|---|");
    for (form, rounds) in forms {
        let count = rounds.iter().map(|latencies| latencies.len() as f64).collect::<Vec<_>>();
        let at = |quantile: f64| {
            let of = |latencies: &Latencies| latencies.value_at_quantile(quantile) as f64 / 1000.0;
            median(&rounds.iter().map(of).collect::<Vec<_>>())
        };
        let figures: Vec<String> = QUANTILES.map(|q| format!("{:.1}", at(q))).to_vec();
        println!("| {form} | {:.0} | {} |", median(&count), figures.join(" | "));
    }
    Ok(())
}
