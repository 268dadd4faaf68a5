//! One row of many entries: a map table beside a map in a row of a plain table.
//!
//! Invariant: both forms hold the same entries, and are changed by the same records.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::{Shared, clock, source};

use crate::durability::checkpoints::Watch;

/// An alert on the one product: its threshold, and who is to be told.
type Alert = (u64, u64);
/// A partition of numbers of alerts, and their thresholds.
type Records = Vec<(Time, (u64, u64))>;

const ENTRIES: MapTable<(), u64, Alert> = MapTable::new("entries");
const WHOLE: Table<(), BTreeMap<u64, Alert>> = Table::new("whole");

/// Which form, and whether it is tried.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Entries of a map table.
    Entries,
    /// A map in a row.
    Whole,
    /// Entries of a map table, by `try_compute`.
    EntriesTried,
    /// A map in a row, by `try_compute`.
    WholeTried,
}

/// What it cost to change some of the entries.
#[derive(Clone, Copy, Debug)]
pub struct Changed {
    /// The bytes of the checkpoint's rows,
    pub bytes: u64,
    /// and the seconds from the start of the program to its end.
    pub seconds: f64,
}

/// Sets `all` alerts; then a program that goes on there changes `changed` of them.
///
/// # Errors
/// When a program fails.
pub fn change(form: Form, dir: &Path, all: u64, changed: u64) -> Result<Changed> {
    let dir = dir.display().to_string();
    let mut records: Records =
        (0..all).map(|number| (Time::from_millis(0), (number, number % 1_000))).collect();
    // Setting them is not what is measured: a map in a row would be copied for each.
    let first = match form {
        Form::Entries | Form::EntriesTried => Form::Entries,
        Form::Whole | Form::WholeTried => Form::Whole,
    };
    let mut watch = Watch::new(&dir);
    run(first, &dir, records.clone())?;
    watch.look();
    let before = watch.made.len();
    let step = all / changed.max(1);
    records.extend((0..changed).map(|n| (Time::from_millis(1), (n * step, 7))));
    let began = clock::instant();
    run(form, &dir, records)?;
    let seconds = began.elapsed().as_secs_f64();
    watch.look();
    let bytes = watch.made.iter().skip(before).map(|made| made.bytes).sum();
    Ok(Changed { bytes, seconds })
}

fn run(form: Form, dir: &str, records: Records) -> Result<()> {
    let flags = ["-w", "1", "--data-dir", dir, "--checkpoint-interval", "1h", "--quiet"];
    let partitions: Arc<[Records]> = vec![records].into();
    let build = move |app: &App| {
        draw(form, app.source("alerts", source::memory(Arc::clone(&partitions))).share());
        Ok(())
    };
    anabranch::run(&Config::from_flags(flags)?, build).map(drop)
}

fn draw(form: Form, alerts: Shared<(u64, u64)>) {
    let keyed = alerts.key_by(|_| ());
    match form {
        Form::Entries => drop(keyed.compute(
            "set",
            ENTRIES,
            |(number, threshold), mut alerts, _: &mut Context<()>| {
                alerts.insert(number, (threshold, number));
            },
        )),
        Form::Whole => drop(keyed.compute(
            "set",
            WHOLE,
            |(number, threshold), mut alerts, _: &mut Context<()>| {
                alerts.insert(number, (threshold, number));
            },
        )),
        Form::EntriesTried => drop(keyed.try_compute(
            "set",
            ENTRIES,
            |(number, threshold), mut alerts, _: &mut Context<()>| {
                alerts.insert(*number, (*threshold, *number));
                Ok(())
            },
        )),
        Form::WholeTried => drop(keyed.try_compute(
            "set",
            WHOLE,
            |(number, threshold), mut alerts: Row<BTreeMap<u64, Alert>>, _: &mut Context<()>| {
                alerts.insert(*number, (*threshold, *number));
                Ok(())
            },
        )),
    }
}
