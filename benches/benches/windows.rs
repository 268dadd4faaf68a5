//! Windows beside a plain loop and, where one is at hand, hand-written timely.
//!
//! `cargo bench -p anabranch-benches --bench windows [-- --rounds 3 --events 2000000 --only tumbling]`: the
//! parts are `tumbling` (with `--keys`, of so many only), `sliding`, `rolling`, `sessions`, `timers` and
//! `memory`. Every round runs all forms once; figures are medians over the rounds, and ratios those of each
//! round. One worker.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anabranch_benches::report::{median, option, text};
use anabranch_benches::windows::{
    Event, HELD, Outcome, events, memory, rolling_engine, rolling_loop, session_engine,
    session_loop, sliding_engine, sliding_loop, timers_engine, tumbling_engine, tumbling_loop,
    tumbling_timely,
};

type Events = Arc<[Vec<Event>]>;
type Form<'a> = (&'a str, &'a dyn Fn(&Events) -> Outcome);

fn main() {
    let (rounds, count) = (option("--rounds", 3), option("--events", 2_000_000));
    let only = text("--only");
    let is_wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if only.as_deref() == Some("memory-of") {
        match memory(&text("--of").unwrap_or_default(), 1_000_000, 4) {
            Ok(bytes) => {
                println!("memory: {bytes:.0} bytes for {}", text("--of").unwrap_or_default());
            }
            Err(error) => eprintln!("the engine failed: {error}"),
        }
        return;
    }
    println!("windows: {count} events, 1 worker, {rounds} rounds");
    println!("| part | keys | form | ns/event | events/s | of the loop | told |");
    println!("|---|---|---|---|---|---|---|");
    let second = Duration::from_secs(1);
    if is_wanted("tumbling") {
        let only = option("--keys", 0) as u32;
        for (part, size, count) in
            [("count, 1 s", second, count), ("count, 5 s", 5 * second, 5 * count)]
        {
            for keys in [100, 10_000, 100_000, 1_000_000] {
                if only == 0 || keys == only {
                    let forms: [Form<'_>; 3] = [
                        ("loop", &|events| tumbling_loop(events, size)),
                        ("timely", &|events| tumbling_timely(events, size)),
                        ("engine", &|events| tumbling_engine(events, size)),
                    ];
                    table(part, keys, &events(count, keys, 1_000), &forms, rounds);
                }
            }
        }
    }
    if is_wanted("sliding") {
        let spans = [
            ("10 s by 100 ms", 10 * second, Duration::from_millis(100), 100_000),
            ("10 min by 1 s", 600 * second, second, 1_000_000),
        ];
        for (part, size, slide, every) in spans {
            let forms: [Form<'_>; 3] = [
                ("loop, sum", &|events| sliding_loop(events, size, slide)),
                ("engine, sum", &|events| sliding_engine(events, size, slide, false)),
                ("engine, sum and max", &|events| sliding_engine(events, size, slide, true)),
            ];
            table(part, 100, &events(count, 100, every), &forms, rounds);
        }
    }
    if is_wanted("rolling") {
        for keys in [100, 10_000] {
            let forms: [Form<'_>; 2] = [
                ("loop, mean", &|events| rolling_loop(events, 600 * second)),
                ("engine, mean", &|events| rolling_engine(events, 600 * second)),
            ];
            table("10 min per record", keys, &events(count, keys, 1_000_000), &forms, rounds);
        }
    }
    if is_wanted("sessions") {
        // Half of the gaps of a key are longer.
        let gap = Duration::from_micros(6_930);
        let forms: [Form<'_>; 2] = [
            ("loop", &|events| session_loop(events, gap)),
            ("engine", &|events| session_engine(events, gap)),
        ];
        table("sessions", 10_000, &events(count, 10_000, 1_000), &forms, rounds);
    }
    if is_wanted("timers") {
        let forms: [Form<'_>; 1] = [("engine", &timers_engine)];
        table("1,000,000 pending timers", 1_000_000, &every_key(1_000_000), &forms, rounds);
    }
    if is_wanted("memory") {
        tell_memory();
    }
}

/// Each in a process of its own, so that none uses what another has given back.
fn tell_memory() {
    let measure = |of: &str| {
        let program = std::env::current_exe()?;
        Command::new(program).args(["--bench", "--only", "memory-of", "--of", of]).status()
    };
    for of in HELD {
        if let Err(error) = measure(of) {
            eprintln!("cannot start another process to measure {of}: {error}");
        }
    }
}

/// One event of each key.
fn every_key(keys: u32) -> Events {
    let event = |key| Event { key, time: i64::from(key) * 1_000, value: 1 };
    vec![(0..keys).map(event).collect()].into()
}

fn table(part: &str, keys: u32, events: &Events, forms: &[Form<'_>], rounds: usize) {
    let mut figures = vec![Vec::new(); forms.len()];
    let mut last = Vec::new();
    for _ in 0..rounds {
        last = forms.iter().map(|(_, form)| form(events)).collect::<Vec<_>>();
        for (figures, outcome) in figures.iter_mut().zip(&last) {
            figures.push(outcome.seconds);
        }
    }
    if last.iter().any(|outcome| (outcome.told, outcome.sum) != (last[0].told, last[0].sum)) {
        eprintln!("the forms do not agree: {last:?}");
    }
    let all = events.iter().map(Vec::len).sum::<usize>() as f64;
    let base = figures[0].clone();
    for (((form, _), figures), outcome) in forms.iter().zip(&figures).zip(&last) {
        let seconds = median(figures);
        let ratios: Vec<f64> = base.iter().zip(figures).map(|(base, form)| form / base).collect();
        println!(
            "| {part} | {keys} | {form} | {:.1} | {:.0} | {:.2} | {} |",
            seconds * 1e9 / all,
            all / seconds,
            median(&ratios),
            outcome.told,
        );
    }
}
