//! The workload of the durability benchmark: readings as JSON, each changes a row of a table, and
//! one of eight is released.

pub mod checkpoints;
pub mod kill;
pub mod lines;
pub mod steady;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anabranch::clock;
use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::sink::{Outgoing, Sink, Taken, Writer};
use anabranch::source::{Decoded, Frame, OpenContext, Source};
use anabranch::{Error, metrics::Counters};
use serde::{Deserialize, Serialize};

use crate::latency::{Latencies, latencies};
use crate::report::median;

/// What is measured of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reading {
    /// The key.
    pub key: u64,
    /// What was read.
    pub value: i64,
    /// A number that the sender knows it by: its place, or when it was due.
    pub sent: u64,
}

/// What a table keeps of a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    count: u64,
    sum: i64,
    last: i64,
    high: i64,
}

const STATES: Table<u64, State> = Table::new("states");
/// One of so many readings is released.
pub const RELEASED: u64 = 8;

/// A reading as JSON, in the place of what `line` has.
pub fn write_line(line: &mut String, key: u64, value: i64, sent: u64) {
    line.clear();
    let _ = write!(line, r#"{{"type":"reading","key":{key},"value":{value},"sent":{sent}}}"#);
}

/// Decodes a reading.
///
/// # Errors
/// When it is not one.
pub fn decode(frame: Frame<'_>, out: &mut Decoded<'_, Reading>) -> Result<()> {
    let reading = serde_json::from_slice(frame.bytes).map_err(|e| Error::Decode(e.to_string()))?;
    out.emit(reading);
    Ok(())
}

/// The application: readings change rows; those whose value is a multiple of [`RELEASED`] leave, by
/// their numbers.
pub fn readings(app: &App, source: impl Source<Item = Reading>, sink: impl Sink<Item = u64>) {
    app.source("readings", source)
        .key_by(|reading| reading.key)
        .compute("read", STATES, |reading, mut state, out| {
            state.count += 1;
            state.sum = state.sum.wrapping_add(reading.value);
            state.last = reading.value;
            state.high = state.high.max(reading.value);
            if (reading.value as u64).is_multiple_of(RELEASED) {
                out.emit(reading.sent);
            }
        })
        .sink("released", sink);
}

/// Flags, and their name in a table.
pub type Form = (&'static str, Vec<String>);

/// The forms of a run: off, and with the data directory `dir`.
pub fn forms(dir: &str) -> Vec<Form> {
    let kept = |more: &[&str]| {
        let flags = ["--data-dir", dir, "--keep-journal", "forever"];
        flags.iter().chain(more).map(|flag| (*flag).to_string()).collect()
    };
    vec![
        ("off", Vec::new()),
        ("async", kept(&["--durability", "async"])),
        ("sync", kept(&[])),
        ("sync, a checkpoint a second", kept(&["--checkpoint-interval", "1s"])),
    ]
}

/// Runs `build` in this process.
///
/// # Errors
/// What ended it.
pub fn run(
    flags: &[&str],
    build: impl Fn(&App) -> Result<()> + Send + Sync + 'static,
) -> Result<Counters> {
    anabranch::run(&Config::from_flags(flags.iter().copied())?, build)
}

/// What a sink has seen: how late readings came, and when the last one of all did.
#[derive(Clone)]
pub struct Seen {
    began: Instant,
    inner: Arc<Mutex<(Latencies, Option<Instant>)>>,
}

/// The number of a reading whose coming is only noted.
pub const LAST: u64 = u64::MAX;

impl Seen {
    /// Nothing yet; numbers of readings are nanoseconds after `began`, 0 if they are not counted.
    pub fn new(began: Instant) -> Self {
        Self { began, inner: Arc::new(Mutex::new((latencies(), None))) }
    }

    /// How late readings came.
    pub fn latencies(&self) -> Latencies {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// When the reading [`LAST`] came.
    pub fn last(&self) -> Option<Instant> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl Sink for Seen {
    type Item = u64;

    fn describe(&self) -> String {
        "seen".to_string()
    }

    fn open(&self, _: &OpenContext) -> Result<Box<dyn Writer<u64>>> {
        Ok(Box::new(self.clone()))
    }
}

impl Writer<u64> for Seen {
    fn write(&mut self, batch: &mut Outgoing<u64>) -> Result<Taken> {
        let now = clock::instant();
        let passed = (now - self.began).as_nanos() as u64;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sent) = batch.pop() {
            match sent {
                0 => {}
                LAST => inner.1 = Some(now),
                sent => inner.0.saturating_record(passed.saturating_sub(sent).max(1)),
            }
        }
        Ok(Taken::All)
    }
}

/// A folder of its own on a real disk, removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder in `base`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(base: &Path, name: &str) -> Result<Self> {
        let folder = base.join(format!("durability-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)
            .map_err(|e| Error::io(format!("making {}", folder.display()), e))?;
        Ok(Self(folder))
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the disk takes to sync 16 KiB at the end of a file.
///
/// # Errors
/// When it cannot.
pub fn syncs(base: &Path) -> Result<Latencies> {
    let scratch = Scratch::new(base, "syncs")?;
    let mut measured = latencies();
    let mut write = || {
        let mut file = std::fs::File::create(scratch.0.join("file"))?;
        for _ in 0..500 {
            let began = clock::instant();
            file.write_all(&[1; 16 << 10])?;
            file.sync_data()?;
            measured.saturating_record(began.elapsed().as_nanos() as u64);
        }
        Ok(())
    };
    write().map_err(|e| Error::io("syncing a file", e))?;
    Ok(measured)
}

/// The bytes of all files in a folder and below it.
pub fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_in(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// The medians of four quantiles over the rounds, in milliseconds, as cells of a table.
pub fn quantiles(rounds: &[Latencies]) -> String {
    let at = |quantile: f64| {
        let of = |latencies: &Latencies| latencies.value_at_quantile(quantile) as f64 / 1e6;
        median(&rounds.iter().map(of).collect::<Vec<_>>())
    };
    [0.5, 0.99, 0.999, 0.9999].map(|quantile| format!("{:.3}", at(quantile))).join(" | ")
}
