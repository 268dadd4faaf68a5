//! What a sink has refused it is not offered again, after crashes and on other numbers of workers, even if it
//! would take it now: so what it was given stays what it was.

use std::time::Duration;

use anabranch::{Retry, sink, verify};

use super::*;
use crate::lookups::{in_order, input};

fn copy(app: &App, input: &Memory<u64>, copies: impl Sink<Item = u64>) {
    let retry = Retry::tries(2).first_pause(Duration::from_micros(1));
    app.source("numbers", input.clone()).sink("copies", sink::retrying(copies, retry));
}

fn value(line: &str) -> u64 {
    line.split_once(' ').unwrap().1.parse().unwrap()
}

/// Of some records it depends on the life whether they are taken.
fn lived(name: &str, nature: Nature) {
    let mut folder = Folder::new(name);
    folder.1 = "forever";
    let input = Memory { nature, ..input(13, 2, 8_000) };
    let (mut copies, letters) = (Released::<u64>::new(), Released::<DeadLetter>::new());
    let lives = [(2, 500, true), (1, 600, true), (3, 700, false), (4, 400, true)];
    let mut broken = 0;
    for (life, (workers, more, breaks)) in
        (0..).zip(lives.into_iter().chain([(2, usize::MAX, false)]))
    {
        let at = copies.len().saturating_add(more);
        (copies.breaks, copies.full) = (usize::MAX, usize::MAX);
        *(if breaks { &mut copies.breaks } else { &mut copies.full }) = at;
        copies.drain = Drain::default();
        copies.refuses = Some(Arc::new(move |line| (value(line) / 8 + life) % 20 < 3));
        let (workers, dir) = (workers.to_string(), folder.0.to_str().unwrap());
        let flags = ["-w", &workers, "--data-dir", dir, "--checkpoint-interval", "10ms"];
        let more = ["--keep-journal", folder.1, "--in-flight-records", "300"];
        let config = Config::from_flags(flags.into_iter().chain(more)).unwrap();
        let (drain, from) = (copies.drain.clone(), input.clone());
        let (copies, letters) = (copies.clone(), letters.clone());
        let ended = bounded(move || {
            let build = move |app: &App| {
                copy(app, &from, copies.clone());
                app.dead_letters(letters.clone());
                Ok(())
            };
            run_until(&config, build, &drain)
        });
        assert!(breaks || ended.is_ok(), "{ended:?}");
        broken += u32::from(ended.is_err());
    }
    assert!(broken > 1, "{broken}");
    let lines = copies.lines();
    let written: Vec<u64> = lines.iter().map(|line| value(line)).collect();
    let refused = letters.lines();
    let refused = refused.iter().map(|line| {
        let (_, said) = line.split_once("there is no place for ").unwrap();
        value(said.split('"').next().unwrap())
    });
    let mut all: Vec<u64> = written.iter().copied().chain(refused).collect();
    let mut expected: Vec<u64> = in_order(&input).into_iter().map(|(_, value)| value).collect();
    if nature == Nature::Recorded {
        let refused: std::collections::BTreeSet<u64> = all.drain(written.len()..).collect();
        assert!(refused.len() > 1_000, "{}", refused.len());
        expected.retain(|value| !refused.contains(value));
        assert!(written == expected, "in order, each either written or refused");
    } else {
        all.sort_unstable();
        expected.sort_unstable();
        assert!(all == expected, "each either written or refused, once");
    }
    replayed(&folder, &input, &lines);
}

fn replayed(folder: &Folder, input: &Memory<u64>, lines: &[String]) {
    for workers in [1, 3] {
        let (config, printed) = (folder.config(workers), Lines::default());
        let (from, to) = (input.clone(), printed.clone());
        bounded(move || {
            let build = move |app: &App| {
                copy(app, &from, to.sink::<u64>());
                Ok(())
            };
            replay(&config, Span::default(), build.clone()).unwrap();
            if workers == 1 {
                let verified = verify(&config, Span::default(), build).unwrap();
                assert_eq!(verified.difference, None);
            }
        });
        let printed = printed.take();
        assert!(printed.lines().eq(lines.iter().map(String::as_str)), "{workers} workers");
    }
}

#[test]
fn recorded_input_that_was_refused_stays_so() {
    lived("refused-recorded", Nature::Recorded);
}

#[test]
fn live_input_that_was_refused_stays_so() {
    lived("refused-live", Nature::Live);
}
