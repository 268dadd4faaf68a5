//! Events per second and nanoseconds per event of the alerts workload, in four forms.
//!
//! `cargo bench -p anabranch-benches --bench alerts [-- --rounds 5 --events 4000000]`: every round
//! runs all forms once, one after the other, so that the ratios compare runs under the same
//! conditions of the machine. The figures are medians over the rounds.

use std::sync::Arc;

use anabranch::prelude::*;
use anabranch_benches::alerts::{Amount, Exact, workload};
use anabranch_benches::forms::{Outcome, Recorded, engine, hand_loop, hand_timely};
use anabranch_benches::report::{median, option};

const FORMS: [&str; 4] =
    ["(a) hand-written loop", "(b) hand-written timely", "(c) by arrival", "(d) deterministic"];

fn main() {
    let (rounds, events) = (option("--rounds", 5), option("--events", 4_000_000));
    let workers = option("--workers", 1);
    println!("alerts: {events} prices, one update for 100, {workers} workers, {rounds} rounds");
    println!("| amounts | keys | form | ns/event | million events/s | of (b) | fired |");
    println!("|---|---|---|---|---|---|---|");
    let only = option("--keys", 0);
    for keys in [1, 1_000, 1_000_000].into_iter().filter(|k| only == 0 || only == *k as usize) {
        table::<i64>("i64", keys, events, workers, rounds);
        table::<Exact>("Decimal", keys, events, workers, rounds);
    }
}

fn table<P: Amount>(amounts: &str, keys: u32, events: usize, workers: usize, rounds: usize) {
    let workload = Arc::new(workload::<P>(events, keys, 7));
    let recorded = Recorded::new(&workload, workers);
    let mut figures: [Vec<f64>; 4] = Default::default();
    let mut fired = [0; 4];
    for _ in 0..rounds {
        let outcomes: [Outcome; 4] = [
            hand_loop(&workload),
            hand_timely(&workload, workers),
            engine(&recorded, Order::Arrival, workers),
            engine(&recorded, Order::Deterministic, workers),
        ];
        for ((figures, fired), outcome) in figures.iter_mut().zip(&mut fired).zip(outcomes) {
            figures.push(outcome.seconds);
            *fired = outcome.fired;
        }
    }
    let all = events as f64 * 1.01;
    let timely = &figures[1];
    for ((form, figures), fired) in FORMS.iter().zip(&figures).zip(fired) {
        let seconds = median(figures);
        // Of each round by itself: what slows the machine for a while slows all forms of a round.
        let ratios: Vec<f64> = timely.iter().zip(figures).map(|(b, form)| b / form).collect();
        println!(
            "| {amounts} | {keys} | {form} | {:.1} | {:.2} | {:.2} | {fired} |",
            seconds * 1e9 / all,
            all / seconds / 1e6,
            median(&ratios),
        );
    }
}
