//! `verify` finds what is no function of the journal, and where it shows first; and says of nothing
//! else that it differs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anabranch::prelude::*;
use anabranch::source::Nature;
use anabranch::{Difference, Span, Verified, run, verify};

use crate::durability::Folder;
use crate::support::{Lines, Memory, bounded};

const SUMS: Table<u8, u64> = Table::new("sums");
const LAST: MapTable<u8, u64, u64> = MapTable::new("last");
const RECORDS: u64 = 5_000;

/// What a computation adds to a sum, beside the value.
type Extra = Arc<dyn Fn(u64) -> u64 + Send + Sync>;

fn input(nature: Nature) -> Memory<u64> {
    let partition = |odd: u64| (0..RECORDS).map(|i| (Some(i as i64 * 3), 2 * i + odd)).collect();
    Memory { nature, ..Memory::new(vec![partition(0), partition(1)]) }
}

/// The same, of which the last record comes when there is a checkpoint.
fn input_until_checkpoint(nature: Nature, folder: &Folder) -> Memory<u64> {
    Memory { last_when: Some(folder.checkpointed()), ..input(nature) }
}

/// Sums by key, of which some are released; `in_rows` goes into rows, `in_outputs` not.
fn sum(app: &App, input: Memory<u64>, lines: &Lines, in_rows: &Extra, in_outputs: &Extra) {
    let (in_rows, in_outputs) = (Arc::clone(in_rows), Arc::clone(in_outputs));
    app.source("numbers", input)
        .key_by(|value| (value % 11) as u8)
        .compute(
            "sum",
            (SUMS, LAST),
            move |value, (mut sum, mut last), out: &mut Context<'_, (u64, u64)>| {
                *sum += value + in_rows(value);
                last.insert(value % 3, value);
                if value % 4 == 0 {
                    last.remove(&1);
                    out.emit((value, *sum + in_outputs(value)));
                }
            },
        )
        .sink("sums", lines.sink::<(u64, u64)>());
}

fn none() -> Extra {
    Arc::new(|_| 0)
}

/// Counts on at every call with that value, as a clock would.
fn clock_at(at: u64) -> Extra {
    let calls = AtomicU64::new(0);
    Arc::new(move |value| if value == at { calls.fetch_add(1, Ordering::SeqCst) } else { 0 })
}

/// Runs with one pair of extras, and verifies with another.
fn verified(name: &str, nature: Nature, ran: [Extra; 2], now: [Extra; 2]) -> Verified {
    let mut folder = Folder::new(name);
    folder.1 = "forever";
    let config = folder.config(2);
    bounded(move || {
        let of = input_until_checkpoint(nature, &folder);
        let build = move |app: &App| {
            sum(app, of.clone(), &Lines::default(), &ran[0], &ran[1]);
            Ok(())
        };
        run(&config, build).unwrap();
        let of = input(nature);
        let build = move |app: &App| {
            sum(app, of.clone(), &Lines::default(), &now[0], &now[1]);
            Ok(())
        };
        let verified = verify(&config, Span::default(), build).unwrap();
        drop(folder);
        verified
    })
}

fn difference(name: &str, nature: Nature, ran: [Extra; 2], now: [Extra; 2]) -> Difference {
    verified(name, nature, ran, now).difference.expect("something differs")
}

#[test]
fn a_pure_application_is_the_same_everywhere() {
    for nature in [Nature::Recorded, Nature::Live] {
        let found = verified("pure", nature, [none(), none()], [none(), none()]);
        assert_eq!(found.difference, None, "{nature:?}");
        assert_eq!(found.outputs, RECORDS / 2);
        assert!(found.changes > 100 && found.epochs > 1 && found.checkpoints > 0, "{found:?}");
        assert!(found.to_string().starts_with("the same on 1, 2 and 4 workers: "), "{found}");
    }
}

#[test]
fn the_first_row_that_differs_is_shown() {
    for nature in [Nature::Recorded, Nature::Live] {
        // 5,012 % 11 is 7. The clock counts 0, 1, 2 for three replays.
        let clock = clock_at(5_012);
        let found = difference("row", nature, [none(), none()], [clock, none()]);
        assert_eq!(found.place, "table `sums`, key 7", "{found}");
        let who: Vec<&str> = found.found.iter().map(|(who, _)| who.as_str()).collect();
        assert_eq!(who, ["1 worker", "2 workers", "4 workers"]);
        let mut sums: Vec<u64> = found.found.iter().map(|(_, sum)| sum.parse().unwrap()).collect();
        sums.sort_unstable();
        assert_eq!((sums[1] - sums[0], sums[2] - sums[1]), (1, 1), "{found}");
        assert!(found.when.starts_with("epoch "), "{found}");
        assert!(found.to_string().contains("look for a clock"), "{found}");
    }
}

#[test]
fn an_output_that_differs_alone_is_shown() {
    let clock = clock_at(8_004);
    let found = difference("output", Nature::Recorded, [none(), none()], [none(), clock]);
    assert_eq!(found.place, "what sink `sums` was given");
    assert!(
        found.found.iter().all(|(_, what)| what.starts_with("numbers-0-4002  [8004,")),
        "{found}"
    );
}

/// All replays agree with each other, and not with what ran.
#[test]
fn what_was_recorded_by_another_program_differs() {
    let fixed: Extra = Arc::new(|value| u64::from(value == 12));
    let found = difference("another", Nature::Live, [none(), none()], [Arc::clone(&fixed), none()]);
    assert!(found.when.starts_with("what was recorded by checkpoint "), "{found}");
    assert_eq!(found.place, "table `sums`, key 1");
    let [recorded, replayed] = [0, 1].map(|i| found.found[i].1.parse::<u64>().unwrap());
    assert_eq!(replayed, recorded + 1);
    let found = difference("released", Nature::Live, [none(), none()], [none(), fixed]);
    assert_eq!(found.place, "what sink `sums` was given up to there");
    assert!(found.advice.contains("another version of this program"), "{found}");
}

/// Of equal content, in an order that no two maps share.
#[test]
fn the_order_of_an_unordered_map_is_named() {
    #[allow(clippy::disallowed_types, reason = "the very thing that is to be found")]
    type Unordered = std::collections::HashMap<u64, u64>;
    const MAPS: Table<u8, Unordered> = Table::new("maps");
    let folder = Folder::new("unordered");
    let config = folder.config(1);
    let found = bounded(move || {
        let build = move |app: &App| {
            app.source("numbers", input(Nature::Recorded))
                .key_by(|_| 0_u8)
                .compute("keep", MAPS, |value, mut map, _: &mut Context<'_, ()>| {
                    map.insert(value % 20, value);
                })
                .sink("none", anabranch::sink::null());
            Ok(())
        };
        run(&config, build).unwrap();
        verify(&config, Span::default(), build).unwrap()
    });
    let difference = found.difference.expect("the order differs");
    assert_eq!(difference.place, "table `maps`, key 0");
    assert!(difference.advice.contains("BTreeMap"), "{difference}");
    let parsed = |text: &str| serde_json::from_str::<BTreeMap<String, u64>>(text).ok();
    let values: Vec<_> = difference.found.iter().map(|(_, text)| parsed(text)).collect();
    assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{difference}");
}

/// A span begins at a checkpoint and ends before the journal does.
#[test]
fn a_part_of_the_journal_is_verified() {
    let mut folder = Folder::new("part");
    folder.1 = "forever";
    let config = folder.config(3);
    bounded(move || {
        let of = Lines::default();
        let input = input_until_checkpoint(Nature::Live, &folder);
        let build = move |app: &App| {
            sum(app, input.clone(), &of, &none(), &none());
            Ok(())
        };
        run(&config, build.clone()).unwrap();
        let all = verify(&config, Span::default(), build.clone()).unwrap();
        let newest = std::fs::read_dir(folder.0.join("checkpoints/manifests")).unwrap();
        let newest = newest.map(|entry| entry.unwrap().file_name().into_string().unwrap()).max();
        let at = Time::from_nanos(newest.unwrap()[..20].parse().unwrap());
        let before = verify(&config, Span { from: None, to: Some(at) }, build.clone()).unwrap();
        let after = verify(&config, Span { from: Some(at), to: None }, build).unwrap();
        assert_eq!((&before.difference, &after.difference), (&None, &None));
        assert!(before.checkpoints >= 1, "{before:?}");
        assert_eq!(before.epochs + after.epochs, all.epochs);
        assert_eq!(before.outputs + after.outputs, all.outputs);
    });
}
