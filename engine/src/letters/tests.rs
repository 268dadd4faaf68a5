//! The log and the requests: what was given is there once, whatever was cut; and damage is named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::entry::{Action, Again, Answer, Entry, Kept, Outcome, Request};
use super::known::{Known, Status};
use super::log::{Log, Taken, files};
use super::requests;
use crate::config::{DeadLettersFull, LettersBound};
use crate::{DeadLetter, Failure, Time, clock};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let mut number = [0; 8];
        clock::entropy(&mut number).unwrap();
        let name = format!("anabranch-letters-{:016x}", u64::from_le_bytes(number));
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self, position: u64, roll_bytes: u64) -> crate::Result<Log> {
        Log::rolling(&self.0, position, bound(1 << 20), roll_bytes)
    }

    fn last(&self) -> PathBuf {
        files(&self.0).unwrap().pop().unwrap().1
    }

    fn known(&self) -> Known {
        Known::read(&self.0, &requests::all(&self.0).unwrap()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn bound(open: usize) -> LettersBound {
    LettersBound { open, full: DeadLettersFull::Stop }
}

fn letter(number: u64) -> Entry {
    let failure = Failure { kind: "failed".into(), chain: vec!["no".into()], place: None };
    let letter = DeadLetter {
        source: "s".into(),
        partition: 0,
        offset: number,
        time: Time::from_nanos(number as i64),
        pipeline: "s".into(),
        computation: Some("c".into()),
        failure,
        bytes: b"[1,2]".repeat(number as usize % 9),
    };
    let version = "1".into();
    let again = Again::Computation { key: vec![7], hash: number, record: vec![1, 2] };
    Entry::Letter(Box::new(Kept { id: format!("s-0-{number}/c"), version, letter, again }))
}

fn answer(request: u64, number: u64, outcome: Outcome) -> Entry {
    let letter = format!("s-0-{number}/c");
    Entry::Answer(Box::new(Answer { request, letter, time: Time::ZERO, outcome }))
}

#[test]
fn a_torn_end_is_cut_and_comes_again() {
    let folder = Folder::new();
    let give = |log: &mut Log, from: u64| {
        (from..8).for_each(|n| assert_eq!(log.take(&letter(n)).unwrap(), Taken::Written));
    };
    let mut log = folder.open(0, 1 << 20).unwrap();
    give(&mut log, 0);
    drop(log);
    let whole = std::fs::read(folder.last()).unwrap();
    // Two of them are known to a checkpoint, which come first.
    let mut two = folder.open(2, 1 << 20).unwrap();
    two.sync().unwrap();
    drop(two);
    let least = std::fs::metadata(folder.last()).unwrap().len() as usize;
    for cut in least..whole.len() {
        for garbage in [0, 5] {
            let mut torn = whole[..cut].to_vec();
            torn.resize(cut + garbage, 0);
            std::fs::write(folder.last(), torn).unwrap();
            assert!(folder.known().letters.len() >= 2, "{cut}");
            let mut log = folder.open(2, 1 << 20).unwrap();
            give(&mut log, 2);
            drop(log);
            assert!(std::fs::read(folder.last()).unwrap() == whole, "{cut} {garbage}");
        }
    }
    // Less than a checkpoint knows of is no torn end.
    std::fs::write(folder.last(), &whole[..least - 1]).unwrap();
    let lacks = folder.open(2, 1 << 20).err().unwrap().to_string();
    assert!(lacks.contains("ends with entry 1, and a checkpoint knows of 2"), "{lacks}");
}

#[test]
fn damage_is_named_by_who_writes_and_who_looks() {
    let folder = Folder::new();
    let mut log = folder.open(0, 1 << 20).unwrap();
    (0..8).for_each(|n| assert_eq!(log.take(&letter(n)).unwrap(), Taken::Written));
    drop(log);
    let whole = std::fs::read(folder.last()).unwrap();
    for at in (0..whole.len() * 3 / 4).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        std::fs::write(folder.last(), bytes).unwrap();
        let told = [folder.open(8, 1 << 20).err(), Known::read(&folder.0, &[]).err()];
        for told in told {
            let told = told.map(|error| error.to_string()).unwrap_or_default();
            let named = told.contains("is damaged at byte") || told.contains("does not begin as");
            assert!(named && told.contains(".log"), "byte {at}: {told}");
        }
    }
}

/// A sequence that is the same in every run.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }
}

/// What a plain map makes of entries: the open letters with how often they were tried.
fn model(entries: &[Entry]) -> BTreeMap<String, u32> {
    let mut open = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Letter(kept) => drop(open.insert(kept.id.clone(), 0)),
            Entry::Answer(answer) if answer.outcome == Outcome::Closed => {
                open.remove(&answer.letter);
            }
            Entry::Answer(answer) => *open.get_mut(&answer.letter).unwrap() += 1,
            _ => {}
        }
    }
    open
}

#[test]
fn written_anew_and_opened_at_either_checkpoint_it_has_what_is_open() {
    for seed in 0..40 {
        let mut sequence = Sequence(seed);
        let mut entries: Vec<Entry> = Vec::new();
        let mut open: Vec<u64> = Vec::new();
        for number in 0..600 {
            match sequence.below(5) {
                0 | 1 if !open.is_empty() => {
                    let place = sequence.below(open.len() as u64) as usize;
                    let outcome = match sequence.below(4) {
                        0 => Outcome::Failed("again".into()),
                        _ => Outcome::Closed,
                    };
                    let of = open[place];
                    if outcome == Outcome::Closed {
                        open.swap_remove(place);
                    }
                    entries.push(answer(number, of, outcome));
                }
                _ => {
                    open.push(number);
                    entries.push(letter(number));
                }
            }
        }
        let folder = Folder::new();
        let (mut positions, mut at, mut rolled) = (vec![0, 0], 0, 0);
        let mut log = folder.open(0, 2_000).unwrap();
        while at < entries.len() {
            log.take(&entries[at]).unwrap();
            at += 1;
            match sequence.below(40) {
                0 | 1 => {
                    assert_eq!(log.sync().unwrap(), at as u64);
                    positions.push(at);
                }
                2 => {
                    drop(log);
                    at = positions[positions.len() - 1 - sequence.below(2) as usize];
                    positions.retain(|position| *position <= at);
                    positions.insert(0, 0);
                    log = folder.open(at as u64, 2_000).unwrap();
                }
                _ => {}
            }
            rolled = rolled.max(files(&folder.0).unwrap().pop().unwrap().0);
        }
        assert!(rolled > 0, "seed {seed}: written anew {rolled}");
        assert_eq!(files(&folder.0).unwrap().len(), 1);
        let expected = model(&entries);
        assert_eq!(log.open_count(), expected.len());
        let known = folder.known().letters.into_iter();
        let known = known.filter(|letter| letter.status == Status::Open);
        let known: BTreeMap<_, _> = known.map(|it| (it.kept.id, it.tries.count)).collect();
        assert_eq!(known, expected, "seed {seed}");
    }
}

fn asking(letter: u64, action: Action) -> Request {
    Request { time: Time::ZERO, letter: format!("s-0-{letter}/c"), action }
}

#[test]
fn requests_of_several_at_once_are_all_there_and_a_torn_one_is_cut() {
    let folder = Folder::new();
    std::thread::scope(|scope| {
        for one in 0..4 {
            let path: &Path = &folder.0;
            scope.spawn(move || {
                for n in 0..25 {
                    let wanted = vec![asking(one * 100 + n, Action::Ignore)];
                    requests::append(path, |_| Ok((wanted, ()))).unwrap();
                }
            });
        }
    });
    let mut all: Vec<String> =
        requests::all(&folder.0).unwrap().into_iter().map(|it| it.letter).collect();
    let ids = requests::ignored(&folder.0).unwrap();
    all.sort();
    assert_eq!((all.len(), ids.len()), (100, 100));
    assert!(all.iter().eq(ids.iter()));
    let path = folder.0.join("requests");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    assert_eq!(requests::all(&folder.0).unwrap().len(), 99);
    let wanted = vec![asking(7, Action::Ignore), asking(8, Action::Ignore)];
    let seen = requests::append(&folder.0, |there| Ok((wanted, there.len()))).unwrap();
    assert_eq!((seen, requests::all(&folder.0).unwrap().len()), (99, 101));
    let mut bytes = whole;
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let told = requests::all(&folder.0).unwrap_err().to_string();
    assert!(told.contains("requests is damaged at byte 25"), "{told}");
}

#[test]
fn what_is_ignored_is_carried_no_further_and_makes_room() {
    let folder = Folder::new();
    let mut log = Log::open(&folder.0, 0, bound(3)).unwrap();
    (0..3).for_each(|n| assert_eq!(log.take(&letter(n)).unwrap(), Taken::Written));
    assert_eq!(log.take(&letter(3)).unwrap_err().exit_code(), 3);
    requests::append(&folder.0, |_| Ok((vec![asking(1, Action::Ignore)], ()))).unwrap();
    log.take(&letter(3)).unwrap();
    assert_eq!(log.open_count(), 3);
    assert!(log.take(&letter(4)).is_err());
    let status: Vec<Status> = folder.known().letters.iter().map(|it| it.status).collect();
    assert_eq!(status, [Status::Open, Status::Ignored, Status::Open, Status::Open]);
}
