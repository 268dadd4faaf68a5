//! [`Log`]: the log of dead letters, as the one who writes it sees it.
//!
//! Invariant: what was given is in the log once, in order. A start cuts what came after its checkpoint, and is
//! given it again. The log has at most so many open letters, and of what is closed no more than of what is
//! open, beyond a number of bytes that is fixed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::entry::{Answer, Entry, Kept, Outcome, Tries};
use super::frames::{Frames, HEADER, decode, encode};
use super::requests;
use crate::config::{DeadLettersFull, LettersBound};
use crate::journal::sync_folder;
use crate::{Error, Result, Time};

/// A file is written anew when it has so many bytes, and as many again as when it was begun.
pub(super) const ROLL_BYTES: u64 = 16 << 20;
/// The open letters have at most so many bytes.
pub(super) const BYTES_MAX: u64 = 1 << 30;

/// An open letter.
struct Open {
    id: String,
    bytes: u64,
}

/// What was done with an entry that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The log has it.
    Written,
    /// It was there already.
    Known,
    /// There was no room for it.
    Dropped,
    /// There was room for it once the oldest had gone.
    Evicted,
}

/// The log, to be written.
pub(super) struct Log {
    folder: PathBuf,
    bound: LettersBound,
    roll_bytes: u64,
    file: File,
    path: PathBuf,
    bytes: u64,
    /// The bytes that the file began with.
    began: u64,
    /// How many entries were given, those that were given again counted once.
    given: u64,
    /// The number of the next entry of the log.
    next: u64,
    /// Open letters by number.
    open: BTreeMap<u64, Open>,
    numbers: BTreeMap<String, u64>,
    open_bytes: u64,
    /// Letters that people have closed.
    ignored: BTreeSet<String>,
    /// How long the file of requests was that says so.
    asked: u64,
    /// The last positions that were given; a start goes on from one of them.
    positions: VecDeque<u64>,
    encoded: Vec<u8>,
    _lock: File,
}

/// The files of the log with the numbers that they begin with, in order.
pub(super) fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let failed = |e| Error::io(format!("reading {}", folder.display()), e);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if let Some(first) = stem.and_then(|stem| stem.parse().ok()).filter(|_| is_log) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

fn named(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.log"))
}

impl Log {
    /// Opens the log in `folder`. A checkpoint knows of `position` entries; what comes after them is cut.
    ///
    /// # Errors
    /// When it cannot be read and written, is damaged, or lacks what the checkpoint knows of.
    pub(super) fn open(folder: &Path, position: u64, bound: LettersBound) -> Result<Self> {
        Self::rolling(folder, position, bound, ROLL_BYTES)
    }

    pub(super) fn rolling(
        folder: &Path,
        position: u64,
        bound: LettersBound,
        roll_bytes: u64,
    ) -> Result<Self> {
        let failed = |e| Error::io(format!("opening the dead letters in {}", folder.display()), e);
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = requests::lock(&folder.join("log.lock"))?;
        let mut found = files(folder)?;
        let (first, path) = match found.pop() {
            Some(last) => last,
            None => (position, named(folder, position)),
        };
        // An end of writing anew that was interrupted.
        for (_, obsolete) in found {
            fs::remove_file(&obsolete).map_err(failed)?;
        }
        let mut options = File::options();
        let file = options.create(true).append(true).open(&path).map_err(failed)?;
        let mut log = Self {
            folder: folder.to_owned(),
            bound,
            roll_bytes,
            file,
            path,
            bytes: 0,
            began: 0,
            given: position,
            next: first,
            open: BTreeMap::new(),
            numbers: BTreeMap::new(),
            open_bytes: 0,
            asked: requests::length(folder),
            ignored: requests::ignored(folder)?,
            positions: VecDeque::from([position]),
            encoded: Vec::new(),
            _lock: lock,
        };
        log.recover(first, position)?;
        Ok(log)
    }

    /// Reads what is there, and cuts what comes after `position` entries.
    fn recover(&mut self, first: u64, position: u64) -> Result<()> {
        let path = self.path.clone();
        let failed = |e| Error::io(format!("repairing {}", path.display()), e);
        let keep = position.max(first);
        if let Some(mut frames) = Frames::open(&path)? {
            self.bytes = frames.at();
            while let Some(payload) = frames.next()? {
                let bytes = payload.len() as u64;
                let entry: Entry = decode(&path, self.bytes, payload)?;
                if self.next >= keep && !matches!(entry, Entry::Carried { .. }) {
                    break;
                }
                self.note(&entry, bytes);
                self.next += u64::from(entry.is_given());
                self.bytes = frames.at();
            }
        } else {
            self.file.set_len(0).map_err(failed)?;
            self.file.write_all(HEADER).map_err(failed)?;
            self.bytes = HEADER.len() as u64;
        }
        if self.next < position {
            return Err(Error::Data(format!(
                "{} ends with entry {}, and a checkpoint knows of {position}: bring the folder back as \
                 it was, or remove it, and with it all dead letters",
                path.display(),
                self.next
            )));
        }
        self.began = self.open_bytes;
        self.file.set_len(self.bytes).map_err(failed)?;
        self.file.sync_all().and_then(|()| sync_folder(&self.folder)).map_err(failed)
    }

    /// What an entry says of open letters.
    fn note(&mut self, entry: &Entry, bytes: u64) {
        match entry {
            Entry::Letter(kept) => self.note_open(self.next, kept, bytes),
            Entry::Carried { number, kept, .. } => self.note_open(*number, kept, bytes),
            Entry::Answer(answer) if answer.outcome == Outcome::Closed => {
                self.close(&answer.letter);
            }
            Entry::Evicted(id) => self.close(id),
            Entry::Answer(_) | Entry::Dropped(_) => {}
        }
    }

    fn note_open(&mut self, number: u64, kept: &Kept, bytes: u64) {
        if !self.ignored.contains(&kept.id) {
            self.numbers.insert(kept.id.clone(), number);
            self.open.insert(number, Open { id: kept.id.clone(), bytes });
            self.open_bytes += bytes;
        }
    }

    fn close(&mut self, id: &str) {
        let number = self.numbers.remove(id);
        if let Some(open) = number.and_then(|number| self.open.remove(&number)) {
            self.open_bytes -= open.bytes;
        }
    }

    /// Closes the letters that are open from entry `number` on: their records are computed anew, and are letters
    /// again if that fails.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub(super) fn close_since(&mut self, number: u64) -> Result<()> {
        let open: Vec<String> = self.open.range(number..).map(|(_, it)| it.id.clone()).collect();
        for letter in open {
            let (request, time, outcome) = (u64::MAX, Time::ZERO, Outcome::Closed);
            let answer = Answer { request, letter, time, outcome };
            self.take(&Entry::Answer(Box::new(answer)))?;
        }
        Ok(())
    }

    /// How many letters are open.
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// When it cannot be written; when there is no room, and that is to end the program.
    pub(super) fn take(&mut self, entry: &Entry) -> Result<Taken> {
        if self.given < self.next {
            self.given += 1;
            return Ok(Taken::Known);
        }
        let mut taken = Taken::Written;
        let mut dropped = None;
        if let Entry::Letter(kept) = entry {
            self.encoded.clear();
            encode(entry, &mut self.encoded)?;
            taken = self.make_room(self.encoded.len() as u64)?;
            dropped = (taken == Taken::Dropped).then(|| Entry::Dropped(kept.id.clone()));
        }
        let entry = dropped.as_ref().unwrap_or(entry);
        let bytes = self.append(entry)?;
        self.note(entry, bytes);
        self.next += 1;
        self.given = self.next;
        if self.bytes >= self.roll_bytes.max(2 * self.began) {
            match self.write_anew() {
                // There is room for this entry; when there is more, it is tried again.
                Err(Error::Io { source, .. }) if is_full(&source) => self.began = self.bytes,
                written => written?,
            }
        }
        Ok(taken)
    }

    fn is_full(&self, bytes: u64) -> bool {
        self.open.len() >= self.bound.open || self.open_bytes + bytes > BYTES_MAX
    }

    /// Sees that there is room for a letter of so many bytes.
    fn make_room(&mut self, bytes: u64) -> Result<Taken> {
        if !self.is_full(bytes) {
            return Ok(Taken::Written);
        }
        let asked = requests::length(&self.folder);
        if std::mem::replace(&mut self.asked, asked) != asked {
            let ignored = requests::ignored(&self.folder)?;
            ignored.difference(&self.ignored.clone()).for_each(|id| self.close(id));
            self.ignored = ignored;
        }
        if !self.is_full(bytes) {
            return Ok(Taken::Written);
        }
        match self.bound.full {
            DeadLettersFull::Stop => Err(Error::Data(format!(
                "{} dead letters are open, which is all there is room for: see what they are by \
                 `dead-letters ls --group`, close those that do not matter by `dead-letters ignore`, and \
                 start again; or allow more by --dead-letters-max; or choose by --dead-letters-full \
                 which ones are dropped",
                self.open.len()
            ))),
            DeadLettersFull::DropNewest => Ok(Taken::Dropped),
            DeadLettersFull::DropOldest => {
                while self.is_full(bytes)
                    && let Some((_, oldest)) = self.open.first_key_value()
                {
                    let id = oldest.id.clone();
                    self.append(&Entry::Evicted(id.clone()))?;
                    self.close(&id);
                }
                Ok(Taken::Evicted)
            }
        }
    }

    /// Appends an entry; gives its bytes.
    fn append(&mut self, entry: &Entry) -> Result<u64> {
        self.encoded.clear();
        encode(entry, &mut self.encoded)?;
        let path = self.path.clone();
        let failed = |e| Error::io(format!("writing {}", path.display()), e);
        if let Err(error) = self.file.write_all(&self.encoded) {
            // A part of it may be there; whoever tries again begins where it began.
            let _ = self.file.set_len(self.bytes);
            return Err(failed(error));
        }
        let bytes = self.encoded.len() as u64;
        self.bytes += bytes;
        Ok(bytes)
    }

    /// Makes durable what was taken, and says how many entries that is.
    ///
    /// # Errors
    /// When the disk failed.
    pub(super) fn sync(&mut self) -> Result<u64> {
        self.file
            .sync_data()
            .map_err(|e| Error::io(format!("writing {}", self.path.display()), e))?;
        self.positions.push_back(self.given);
        while self.positions.len() > 2 {
            self.positions.pop_front();
        }
        Ok(self.given)
    }

    /// Writes a file that has of all before the last checkpoints but one only what is open.
    fn write_anew(&mut self) -> Result<()> {
        let settled = self.positions.front().copied().unwrap_or(0);
        let begins = files(&self.folder)?.last().map_or(0, |(first, _)| *first);
        if settled <= begins {
            self.began = self.bytes;
            return Ok(());
        }
        let path = named(&self.folder, settled);
        let failed = |e| Error::io(format!("writing {}", path.display()), e);
        let partial = path.with_extension("partial");
        let mut file = std::io::BufWriter::new(File::create(&partial).map_err(failed)?);
        file.write_all(HEADER).map_err(failed)?;
        let open = self.open_at(settled)?;
        let mut bytes = HEADER.len() as u64;
        let mut write = |entry: &Entry| {
            let mut encoded = Vec::new();
            encode(entry, &mut encoded)?;
            bytes += encoded.len() as u64;
            file.write_all(&encoded).map_err(failed)
        };
        self.each(|number, entry| match entry {
            Entry::Letter(kept) if number < settled => match open.get(&number) {
                Some(tries) => write(&Entry::Carried { number, tries: tries.clone(), kept }),
                None => Ok(()),
            },
            Entry::Carried { number, kept, .. } => match open.get(&number) {
                Some(tries) => write(&Entry::Carried { number, tries: tries.clone(), kept }),
                None => Ok(()),
            },
            entry if number >= settled => write(&entry),
            _ => Ok(()),
        })?;
        let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().map_err(failed)?;
        fs::rename(&partial, &path).and_then(|()| sync_folder(&self.folder)).map_err(failed)?;
        let old = std::mem::replace(&mut self.path, path.clone());
        self.file = File::options().append(true).open(&path).map_err(failed)?;
        (self.bytes, self.began) = (bytes, bytes);
        fs::remove_file(&old).map_err(failed)
    }

    /// The letters that were open before entry `settled` and are not ignored, with how often they were tried.
    fn open_at(&self, settled: u64) -> Result<BTreeMap<u64, Tries>> {
        let mut open: BTreeMap<u64, Tries> = BTreeMap::new();
        let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
        self.each(|number, entry| {
            if number >= settled && !matches!(entry, Entry::Carried { .. }) {
                return Ok(());
            }
            match entry {
                Entry::Letter(kept) => {
                    numbers.insert(kept.id, number);
                    open.insert(number, Tries::default());
                }
                Entry::Carried { number, tries, kept } => {
                    numbers.insert(kept.id, number);
                    open.insert(number, tries);
                }
                Entry::Answer(answer) => {
                    let Some(known) = numbers.get(&answer.letter) else { return Ok(()) };
                    match &answer.outcome {
                        Outcome::Closed => drop(open.remove(known)),
                        Outcome::Failed(why) => {
                            if let Some(tries) = open.get_mut(known) {
                                tries.again(answer.request, why);
                            }
                        }
                    }
                }
                Entry::Evicted(id) => drop(numbers.get(&id).and_then(|known| open.remove(known))),
                Entry::Dropped(_) => {}
            }
            Ok(())
        })?;
        for id in &self.ignored {
            numbers.get(id).and_then(|known| open.remove(known));
        }
        Ok(open)
    }

    /// Calls `each` with all entries of the file; those that were noted have the number of the next.
    fn each(&self, mut each: impl FnMut(u64, Entry) -> Result<()>) -> Result<()> {
        let first = files(&self.folder)?.last().map_or(0, |(first, _)| *first);
        let mut number = first;
        let Some(mut frames) = Frames::open(&self.path)? else { return Ok(()) };
        loop {
            let at = frames.at();
            let Some(payload) = frames.next()? else { return Ok(()) };
            let entry: Entry = decode(&self.path, at, payload)?;
            let given = entry.is_given();
            each(number, entry)?;
            number += u64::from(given);
        }
    }
}

/// Whether there is no room on the disk.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
