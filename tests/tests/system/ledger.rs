//! The one checker: what was released is what a run without faults releases, whatever died.
//!
//! Invariant: it knows nothing of how the engine keeps what it promises. Bytes are compared with what
//! a loop that shares no code with the engine makes of the input; a record is accounted for from the
//! moment when its producer was told that it is durable.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

use crate::lives::Start;
use crate::support::{Words, assert_same};

/// A file that a program writes, and what must come to be in it.
pub(crate) struct Ledger {
    file: PathBuf,
    wanted: Vec<u8>,
    released: usize,
}

impl Ledger {
    pub(crate) fn new(file: PathBuf, wanted: impl Into<Vec<u8>>) -> Self {
        Self { file, wanted: wanted.into(), released: 0 }
    }

    /// What is in the file, decompressed as far as it goes.
    fn read(&self) -> Vec<u8> {
        // Before the first start has come to it, there is none.
        let bytes = std::fs::read(&self.file).unwrap_or_default();
        let mut plain = Vec::new();
        let mut decompress = |mut from: Box<dyn Read + '_>| {
            // Its last member may be half-way.
            let _ = from.read_to_end(&mut plain);
        };
        match self.file.extension().and_then(OsStr::to_str) {
            Some("gz") => decompress(Box::new(MultiGzDecoder::new(bytes.as_slice()))),
            Some("zst") => decompress(Box::new(zstd::Decoder::new(bytes.as_slice()).unwrap())),
            _ => return bytes,
        }
        plain
    }

    /// At any moment: a prefix, and no line that was there is gone. Gives how much it is.
    #[track_caller]
    pub(crate) fn check(&mut self, after: &str) -> usize {
        let is = self.read();
        let wanted = &self.wanted[..is.len().min(self.wanted.len())];
        assert_same(after, &is, wanted);
        let released = is.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let before = std::mem::replace(&mut self.released, released);
        assert!(released >= before, "{after}: {released} bytes are left of {before}");
        released
    }

    /// At the end.
    #[track_caller]
    pub(crate) fn complete(&mut self, what: &str) {
        assert_same(what, &self.read(), &self.wanted);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.released == self.wanted.len()
    }
}

/// The checkpoints of a data directory, over time.
#[derive(Default)]
pub(crate) struct Boundaries {
    newest: Option<(u64, u64)>,
}

impl Boundaries {
    /// What was committed never goes back: the newest checkpoint is of no earlier generation and no
    /// earlier epoch than the newest before.
    #[track_caller]
    pub(crate) fn check(&mut self, start: &Start<'_>, after: &str) {
        let newest = start.checkpoints().last().copied();
        if let Some((generation, epoch)) = self.newest {
            let (now_of, now) = newest.unwrap_or_else(|| panic!("{after}: no checkpoint is left"));
            assert!(
                now_of >= generation && now >= epoch,
                "{after}: from epoch {epoch} of generation {generation} to {now} of {now_of}"
            );
        }
        self.newest = newest;
    }

    /// Nobody runs: all that there are can be loaded.
    #[track_caller]
    pub(crate) fn verify(&self, start: &Start<'_>) {
        if self.newest.is_some() {
            let verified = start.checkpoint(&["verify"]);
            assert!(verified.lines().all(|line| line.ends_with(": whole")), "{verified}");
        }
    }
}

/// One connection of a producer: it has sent the records from `first` on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Connection {
    pub(crate) first: u64,
    pub(crate) sent: u64,
    /// So many of them are durable, the producer was told.
    pub(crate) acknowledged: u64,
}

/// The text of a record: its name, and words that repeat. The name says the connection too, as a
/// record that was not acknowledged is sent again on the next.
pub(crate) fn text(producer: usize, connection: usize, record: u64) -> String {
    format!("p{producer}c{connection}r{record} to be or not w{} w{}", record % 7, record % 311)
}

/// The output of `word-count` over live input, against what its producers know.
///
/// A program may take a record and die before it says so: its producer sends it again, so it can be
/// there twice, once for each connection that it was sent on. Nothing else can: of each
/// connection a prefix is there, in order, with at least what was acknowledged on it. What the counts
/// are then follows from the order, which the output itself tells, as each record has a word of its own.
#[track_caller]
pub(crate) fn check_live(output: &[u8], producers: &[Vec<Connection>]) {
    let output_text = std::str::from_utf8(output).unwrap();
    let names = output_text.lines().filter_map(|line| line.split(' ').next().and_then(name_of));
    let mut next: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let (mut words, mut wanted) = (Words::default(), String::new());
    let mut latest = vec![0; producers.len()];
    for (producer, connection, record) in names {
        let known = producers[producer][connection];
        let at = next.entry((producer, connection)).or_default();
        assert_eq!(record, known.first + *at, "p{producer}c{connection}: out of order");
        *at += 1;
        assert!(*at <= known.sent, "p{producer}c{connection}r{record} was never sent");
        assert!(connection >= latest[producer], "p{producer}c{connection} after a later one");
        latest[producer] = connection;
        words.count(&text(producer, connection, record), &mut wanted);
    }
    for (producer, connections) in producers.iter().enumerate() {
        for (connection, known) in connections.iter().enumerate() {
            let is = next.get(&(producer, connection)).copied().unwrap_or(0);
            assert!(
                is >= known.acknowledged,
                "p{producer}c{connection}: {is} records are there of {} acknowledged",
                known.acknowledged
            );
        }
    }
    assert_same("live", output, wanted.as_bytes());
}

fn name_of(word: &str) -> Option<(usize, usize, u64)> {
    let (producer, rest) = word.strip_prefix('p')?.split_once('c')?;
    let (connection, record) = rest.split_once('r')?;
    Some((producer.parse().ok()?, connection.parse().ok()?, record.parse().ok()?))
}

/// The checker itself can fail.
#[test]
fn what_is_missing_or_twice_or_out_of_order_is_found() {
    let first = Connection { first: 0, sent: 5, acknowledged: 2 };
    let second = Connection { first: 2, sent: 2, acknowledged: 2 };
    let producers = [vec![first, second]];
    let of = |records: &[(usize, u64)]| {
        let lines = records.iter().map(|(connection, record)| text(0, *connection, *record));
        let lines: Vec<String> = lines.collect();
        Words::of(lines.iter().map(String::as_str)).into_bytes()
    };
    let found = |output: Vec<u8>| {
        let producers = producers.clone();
        std::panic::catch_unwind(move || check_live(&output, &producers)).is_err()
    };
    assert!(!found(of(&[(0, 0), (0, 1), (1, 2), (1, 3)])));
    assert!(!found(of(&[(0, 0), (0, 1), (0, 2), (1, 2), (1, 3)])), "not acknowledged, so repeated");
    assert!(found(of(&[(0, 0), (1, 2), (1, 3)])), "missing");
    assert!(found(of(&[(0, 0), (0, 1), (1, 2)])), "missing at the end");
    assert!(found(of(&[(0, 0), (0, 1), (0, 1), (1, 2), (1, 3)])), "twice");
    assert!(found(of(&[(0, 1), (0, 0), (1, 2), (1, 3)])), "out of order");
    assert!(found(of(&[(0, 0), (1, 2), (0, 1), (1, 3)])), "connections out of order");
    let mut counts = of(&[(0, 0), (0, 1), (1, 2), (1, 3)]);
    *counts.iter_mut().rev().nth(1).unwrap() += 1;
    assert!(found(counts), "a count");

    let folder = crate::support::Folder::new();
    let mut ledger = Ledger::new(folder.path("out"), "a 1\nb 1\n");
    assert_eq!(ledger.check("no file"), 0);
    folder.write("out", "a 1\nb");
    assert_eq!(ledger.check("half a line"), 4);
    for wrong in ["a", "a 1\na 1\n", "a 1\nb 1\nb 1\n", "b 1\n"] {
        folder.write("out", wrong);
        let mut ledger =
            Ledger { file: folder.path("out"), wanted: ledger.wanted.clone(), released: 4 };
        let check = std::panic::AssertUnwindSafe(|| ledger.check("wrong"));
        assert!(std::panic::catch_unwind(check).is_err(), "{wrong}");
    }
}
