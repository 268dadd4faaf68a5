//! What it costs that a computation may fail.
//!
//! `cargo bench -p anabranch-benches --bench failure [-- --rounds 5 --events 4000000 --keys 1000]`: `compute`, and
//! `try_compute` with no failure and with one of 100. Every round runs all forms once; figures are medians over the
//! rounds, ratios those of each round to `compute`. One worker. Then (`--only large`: that alone)
//! `--entries 1000000` alerts on one product, of which some are changed: the bytes of the next checkpoint for each.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anabranch_benches::durability::Scratch;
use anabranch_benches::failure::large::{Changed, Form, change};
use anabranch_benches::failure::{entries, entries_tried, row, row_tried};
use anabranch_benches::report::{is_given, median, option};
use anabranch_benches::windows::{Event, Outcome, events};

type Run<'a> = (&'a str, &'a dyn Fn(&Arc<[Vec<Event>]>) -> Outcome);

fn main() -> ExitCode {
    if !is_given("--only") {
        tried();
    }
    match large() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Entries of a map table beside a map in a row.
fn large() -> anabranch::Result<()> {
    let all = option("--entries", 1_000_000) as u64;
    let scratch = Scratch::new(&std::env::temp_dir(), "large")?;
    println!("\n{all} alerts on one product\n");
    println!("| form | changed | checkpoint, bytes a changed alert | from start to end, s |");
    println!("|---|---|---|---|");
    let forms = [
        ("`MapTable`", Form::Entries, vec![1, 1_000, 100_000]),
        ("`BTreeMap` in a `Table`", Form::Whole, vec![1, 1_000, 100_000]),
        ("`MapTable`, `try_compute`", Form::EntriesTried, vec![1, 1_000]),
        ("`BTreeMap`, `try_compute`", Form::WholeTried, vec![1, 100]),
    ];
    for (name, form, counts) in forms {
        for changed in counts {
            let dir = PathBuf::from(scratch.path(&format!("{form:?}-{changed}")));
            let Changed { bytes, seconds } = change(form, &dir, all, changed)?;
            let each = bytes as f64 / changed as f64;
            println!("| {name} | {changed} | {each:.0} | {seconds:.2} |");
        }
    }
    Ok(())
}

fn tried() {
    let (rounds, count) = (option("--rounds", 5), option("--events", 4_000_000));
    let keys = option("--keys", 1_000) as u32;
    let events = events(count, keys, 1_000);
    println!("failure: {count} events, {keys} keys, 1 worker, {rounds} rounds");
    println!("| on | form | ns/event | of compute | told |");
    println!("|---|---|---|---|---|");
    let rows: [Run<'_>; 3] = [
        ("compute", &row),
        ("try_compute", &|events| row_tried(events, 0)),
        ("try_compute, 1 % fail", &|events| row_tried(events, 100)),
    ];
    let parts: [Run<'_>; 3] = [
        ("compute", &entries),
        ("try_compute", &|events| entries_tried(events, 0)),
        ("try_compute, 1 % fail", &|events| entries_tried(events, 100)),
    ];
    for (on, forms) in [("a row", rows), ("an entry of 16", parts)] {
        let mut figures = vec![Vec::new(); forms.len()];
        let mut told = vec![0; forms.len()];
        for _ in 0..rounds {
            for (index, (_, form)) in forms.iter().enumerate() {
                let outcome = form(&events);
                figures[index].push(outcome.seconds);
                told[index] = outcome.told;
            }
        }
        for (index, (form, _)) in forms.iter().enumerate() {
            let ratios = figures[index].iter().zip(&figures[0]).map(|(form, base)| form / base);
            println!(
                "| {on} | {form} | {:.1} | {:.2} | {} |",
                median(&figures[index]) * 1e9 / count as f64,
                median(&ratios.collect::<Vec<_>>()),
                told[index],
            );
        }
    }
}
