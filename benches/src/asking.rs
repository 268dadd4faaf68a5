//! What it costs a program to be asked over HTTP while it works.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::source::{Intake, Nature, OpenContext, Progress, Reader, Source};
use anabranch::{clock, sink};

use crate::alerts::Random;

const SUMS: Table<u64, u64> = Table::new("sums");
/// How many records are read at once.
const PIECE: u64 = 1_024;

/// Who asks while the program works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Askers {
    /// Nobody can.
    NoInterface,
    /// Nobody does.
    Nobody,
    /// So many, each for one row after the other.
    Rows(usize),
    /// As many as have so many pages open: each watches how the program does, and a hundred rows.
    Pages(usize),
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How long the records took.
    pub took: Duration,
    /// How many answers, or events, came.
    pub answers: u64,
}

/// Keys that look like chance.
#[derive(Clone, Copy)]
struct Keys {
    count: u64,
    keys: u64,
}

impl Source for Keys {
    type Item = u64;

    fn describe(&self) -> String {
        format!("{} records of {} keys", self.count, self.keys)
    }

    fn nature(&self) -> Nature {
        Nature::Recorded
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, _: &OpenContext) -> Result<Box<dyn Reader<u64>>> {
        Ok(Box::new(KeyReader { of: *self, next: 0, random: Random(7) }))
    }
}

struct KeyReader {
    of: Keys,
    next: u64,
    random: Random,
}

impl Reader<u64> for KeyReader {
    fn read(&mut self, intake: &mut Intake<u64>) -> Result<Progress> {
        for _ in 0..PIECE {
            if self.next == self.of.count {
                return Ok(Progress::End);
            }
            if intake.is_full() {
                break;
            }
            let time = i64::try_from(self.next).unwrap_or(i64::MAX);
            intake.frame(self.next, Some(Time::from_nanos(time)), 8);
            intake.accept(self.random.next_u64() % self.of.keys);
            self.next += 1;
        }
        Ok(Progress::Ready)
    }
}

/// Sums `count` records of `keys` keys while it is asked.
///
/// # Errors
/// When the program fails.
pub fn run(count: u64, keys: u64, workers: usize, askers: Askers) -> Result<Outcome> {
    let address = free()?;
    let (workers, http) = (workers.to_string(), address.to_string());
    let mut flags = vec!["-w", &workers];
    if askers != Askers::NoInterface {
        flags.extend(["--http", &http]);
    }
    let config = Config::from_flags(flags)?;
    let answers = AtomicU64::new(0);
    let began = clock::instant();
    let took = std::thread::scope(|scope| {
        match askers {
            Askers::NoInterface | Askers::Nobody => {}
            Askers::Rows(threads) => (0..threads).for_each(|thread| {
                let answers = &answers;
                let seed = thread as u64 + 1;
                scope.spawn(move || rows(address, keys, seed, answers));
            }),
            Askers::Pages(pages) => (0..pages).for_each(|_| {
                for path in ["/api/v1/changes/status", "/api/v1/changes/tables/sums?limit=100"] {
                    let answers = &answers;
                    scope.spawn(move || watch(address, path, answers));
                }
            }),
        }
        let ran = anabranch::run(&config, move |app| {
            app.source("keys", Keys { count, keys })
                .key_by(|key| *key)
                .compute("sum", SUMS, |key, mut sum, out| {
                    *sum += key;
                    if key == u64::MAX {
                        out.emit(*sum);
                    }
                })
                .sink("out", sink::null());
            Ok(())
        });
        ran.map(|_| began.elapsed())
    })?;
    Ok(Outcome { took, answers: answers.load(Ordering::Relaxed) })
}

fn free() -> Result<SocketAddr> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.map_err(|error| anabranch::Error::io("finding a free port", error))
}

/// The program's connection, once it listens; none when it does not come.
fn connect(address: SocketAddr) -> Option<TcpStream> {
    let began: Instant = clock::instant();
    while began.elapsed() < Duration::from_secs(10) {
        if let Ok(stream) = TcpStream::connect(address) {
            stream.set_nodelay(true).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
            return Some(stream);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Asks for one row after the other, until the program has ended.
fn rows(address: SocketAddr, keys: u64, seed: u64, answers: &AtomicU64) {
    let Some(stream) = connect(address) else { return };
    let Ok(mut to) = stream.try_clone() else { return };
    let (mut from, mut random) = (BufReader::new(stream), Random(seed));
    let mut ask = || {
        let key = random.next_u64() % keys;
        let ask = format!("GET /api/v1/tables/sums/{key} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        to.write_all(ask.as_bytes()).ok()?;
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            if from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = bytes.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).ok()
    };
    while ask().is_some() {
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads events, until the program has ended.
fn watch(address: SocketAddr, path: &str, events: &AtomicU64) {
    let Some(mut stream) = connect(address) else { return };
    let ask = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    if stream.write_all(ask.as_bytes()).is_err() {
        return;
    }
    let lines = BufReader::new(stream).lines().map_while(std::result::Result::ok);
    for _ in lines.filter(|line| line.starts_with("event: ")) {
        events.fetch_add(1, Ordering::Relaxed);
    }
}
