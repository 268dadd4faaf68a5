//! Time goes on while it is computed anew: timers that were fired are not fired again, later ones are.

use anabranch::{Timer, Watermarks};

use super::*;

/// Tells of each key of every fifty numbers that they are over.
struct Windows;

impl Computation<u8, u64, Table<u8, u64>> for Windows {
    type Output = (u8, i64);
    const TIMERS: bool = true;

    fn apply(
        &mut self,
        _: &u8,
        number: u64,
        mut sum: Row<'_, u64>,
        out: &mut Context<'_, (u8, i64)>,
    ) {
        *sum += number;
        let window = i64::try_from(number / 50).unwrap();
        out.set_timer(format!("{window}"), Time::from_millis((window + 1) * 50));
    }

    fn on_timer(
        &mut self,
        key: &u8,
        timer: Timer<'_>,
        _: Row<'_, u64>,
        out: &mut Context<'_, (u8, i64)>,
    ) {
        out.emit((*key, timer.time.as_nanos() / 1_000_000));
    }
}

fn draw(
    app: &App,
    factor: u64,
    numbers: &Memory<u64>,
    told: impl Sink<Item = Correction<u64, u64>>,
    windows: impl Sink<Item = (u8, i64)>,
) {
    let numbers = app
        .source("numbers", numbers.clone())
        .event_time(Watermarks::monotonic(|number: &u64| Time::from_millis(*number as i64)))
        .share();
    let keyed = numbers.clone().key_by(|number| (number % 3) as u8);
    keyed.computation("windows", HASHES, Windows).sink("windows", windows);
    numbers
        .key_by(|number| (number % 5) as u8)
        .identified_by(|number| *number)
        .try_compute("multiply", (), move |number, (), out| {
            out.emit(number * factor);
            Ok(())
        })
        .sink("told", told);
}

fn numbers(nature: Nature, count: u64) -> Memory<u64> {
    let time = |number: u64| (nature == Nature::Recorded).then_some(number as i64);
    Memory {
        nature,
        ..Memory::new(vec![(0..count).map(|number| (time(number), number)).collect()])
    }
}

#[test]
fn time_goes_on_where_it_was() {
    let folder = Folder::new("reprocess-timed");
    let (told, windows) = (Released::<Correction<u64, u64>>::new(), Released::new());
    let start = |factor, count, workers| {
        let (config, told, windows) = (folder.config(workers), told.clone(), windows.clone());
        bounded(move || {
            let build = move |app: &App| {
                draw(app, factor, &numbers(Nature::Live, count), told.clone(), windows.clone());
                Ok(())
            };
            run(&config, build).map(drop).unwrap();
        });
    };
    let order = |factor: u64, nature: Nature| {
        let build = move |app: &App| {
            let none = anabranch::sink::null();
            draw(app, factor, &numbers(nature, 0), anabranch::sink::null(), none);
            Ok(())
        };
        reprocess(&folder.config(1), None, build)
    };
    start(1, 1_020, 2);
    order(2, Nature::Live).unwrap();
    start(2, 2_010, 3);
    // All but number 0 is another, and what came after is told once.
    assert_eq!(told.lines().len(), 1_020 + 1_019 + 990);
    let lines = windows.lines();
    let mut lines: Vec<_> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    let windows = (1..=40).flat_map(|window| (0..3).map(move |key| (key, window * 50)));
    let mut expected: Vec<_> = windows.map(|window: (u8, i64)| format!("{window:?}")).collect();
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

/// What was told at the end of time is not taken back.
#[test]
fn the_end_of_time_is_not_computed_anew() {
    let folder = Folder::new("reprocess-ended");
    let config = folder.config(2);
    bounded(move || {
        let build = |app: &App| {
            let (told, windows) = (Released::new(), Released::new());
            draw(app, 1, &numbers(Nature::Recorded, 1_020), told, windows);
            Ok(())
        };
        run(&config, build).map(drop).unwrap();
    });
    let build = |app: &App| {
        let none = anabranch::sink::null();
        draw(app, 2, &numbers(Nature::Recorded, 0), anabranch::sink::null(), none);
        Ok(())
    };
    let why = reprocess(&folder.config(1), None, build).unwrap_err().to_string();
    assert!(why.contains("which cannot be taken back"), "{why}");
}
