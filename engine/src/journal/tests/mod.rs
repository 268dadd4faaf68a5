//! What the journal's tests share: a folder of their own, frames made of numbers, a plain list of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};

use super::frame::PAYLOAD_MAX;
use super::writer::Health;
use super::*;
use crate::Time;

mod damage;
#[cfg(feature = "failpoints")]
mod faults;
mod fixture;
mod generations;
mod model;

/// Faults are of the whole process: a test with some has the journal to itself.
static FAULTS: RwLock<()> = RwLock::new(());

enum Turn {
    Shared {
        _turn: RwLockReadGuard<'static, ()>,
    },
    #[cfg_attr(not(feature = "failpoints"), allow(dead_code))]
    Alone {
        _turn: RwLockWriteGuard<'static, ()>,
    },
}

/// A folder that goes with its test.
struct Folder {
    path: PathBuf,
    _turn: Turn,
}

impl Folder {
    fn new() -> Self {
        Self::with(Turn::Shared { _turn: FAULTS.read().unwrap_or_else(PoisonError::into_inner) })
    }

    #[cfg(feature = "failpoints")]
    fn alone() -> Self {
        Self::with(Turn::Alone { _turn: FAULTS.write().unwrap_or_else(PoisonError::into_inner) })
    }

    fn with(turn: Turn) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("anabranch-journal-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self { path, _turn: turn }
    }

    fn segments(&self, lane: &LaneName) -> Vec<PathBuf> {
        let folder = lane.folder(&self.path);
        let found = segment::list(&folder).unwrap();
        found.into_iter().map(|(name, _)| folder.join(name.file())).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn lane(partition: u32) -> LaneName {
    LaneName { source: "prices.eu".to_owned(), partition }
}

/// A frame as the tests remember it.
#[derive(Clone, PartialEq)]
struct Kept {
    head: FrameHead,
    position: Option<Vec<u8>>,
    payload: Vec<u8>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FrameHead { epoch, first, next, .. } = self.head;
        write!(f, "epoch {epoch}: {first}..{next}, {} bytes", self.payload.len())
    }
}

/// A frame of `count` records that follow `first`; the rest of it comes of these numbers too.
fn frame(epoch: u64, first: u64, count: u32, bytes: usize) -> Kept {
    let byte = u8::try_from((first * 31 + epoch * 7) % 251).unwrap();
    let head = FrameHead {
        epoch,
        time: Time::from_nanos(i64::try_from(epoch * 1_000 + first % 3).unwrap()),
        first,
        next: first + u64::from(count),
        frames: count,
        kind: if bytes == 0 { Kind::Range } else { Kind::Bytes },
        fence: epoch + 1,
    };
    let position = first.is_multiple_of(3).then(|| vec![byte; usize::from(byte % 5)]);
    Kept { head, position, payload: vec![byte; bytes] }
}

fn append(journal: &mut Journal, lane: usize, kept: &Kept) {
    journal.append(lane, kept.head, kept.position.as_deref(), &kept.payload).unwrap();
}

fn open(root: &Path, lane: &LaneName, from: u64) -> Result<LaneReader, Error> {
    LaneReader::open(root, lane, from, None, Access::Recover)
}

fn rest(reader: &mut LaneReader) -> Result<Vec<Kept>, Error> {
    let mut read = Vec::new();
    while let Some(entry) = reader.next()? {
        let (position, payload) = (entry.position.map(<[u8]>::to_vec), entry.payload.to_vec());
        read.push(Kept { head: entry.head, position, payload });
    }
    Ok(read)
}

/// Reads a lane by looking only; no frames if it is refused.
fn look(root: &Path, lane: &LaneName, from: u64) -> Result<Vec<Kept>, Error> {
    rest(&mut LaneReader::open(root, lane, from, None, Access::Look)?)
}

/// A journal of one lane that goes on with what is there, and its waker's other end.
fn start(root: &Path, generation: u64) -> (Journal, mpsc::Receiver<()>) {
    let end = open(root, &lane(0), 0).unwrap().end().clone();
    start_with(root, generation, Durability::Sync, vec![(lane(0), end)]).unwrap()
}

fn start_with(
    root: &Path,
    generation: u64,
    durability: Durability,
    lanes: Vec<(LaneName, LaneEnd)>,
) -> Result<(Journal, mpsc::Receiver<()>), Error> {
    let (wake, woken) = mpsc::channel();
    let wake = move || wake.send(()).unwrap_or_default();
    Ok((Journal::start(root, generation, durability, wake, lanes)?, woken))
}

/// Waits until everything before that epoch is durable.
fn until_durable(journal: &Journal, woken: &mpsc::Receiver<()>, before: u64) {
    while journal.durable() < before {
        woken.recv().unwrap();
        journal.health().unwrap();
    }
}
