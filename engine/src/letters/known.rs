//! [`Known`]: what the log and the requests together say of each letter.
//!
//! Invariant: nothing is changed by looking, also while a program writes. A letter has at most one request
//! that is not answered, so it is tried once for each time it was asked for.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::entry::{Action, Again, Entry, Kept, Outcome, Request, Tries};
use super::frames::{Frames, decode};
use super::log::files;
use super::retry::{Content, Retry, To};
use crate::{DeadLetter, Result};

/// What is true of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    /// Nobody has done anything about it, or a retry has failed.
    Open,
    /// A retry was asked for, and the program has not come to it.
    Retrying,
    /// A retry has succeeded.
    Closed,
    /// Somebody said that it does not matter.
    Ignored,
    /// It went for a newer one.
    Dropped,
}

/// A letter.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// Its place among all entries.
    pub(super) number: u64,
    pub(super) kept: Kept,
    pub(super) tries: Tries,
    pub(super) status: Status,
    /// What somebody put in the place of its record.
    pub(super) edited: Option<Content>,
    asked: Option<u64>,
}

/// What letters that are of one kind have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Group {
    pub(crate) pipeline: String,
    pub(crate) computation: Option<String>,
    pub(crate) kind: String,
    pub(crate) place: Option<String>,
}

impl Group {
    fn of(letter: &DeadLetter) -> Self {
        Self {
            pipeline: letter.pipeline.clone(),
            computation: letter.computation.clone(),
            kind: letter.failure.kind.clone(),
            place: letter.failure.place.clone(),
        }
    }

    /// A short name of it, the same wherever it is made.
    pub(super) fn name(&self) -> String {
        let Self { pipeline, computation, kind, place } = self;
        let text = format!("{:?}", (pipeline, computation, kind, place));
        format!("{:08x}", xxh3_64(text.as_bytes()) >> 32)
    }
}

impl Letter {
    pub(super) fn group(&self) -> Group {
        Group::of(&self.kept.letter)
    }

    /// How it is tried again.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) fn retry(&self) -> Result<Retry, &'static str> {
        let Kept { id, letter, again, .. } = &self.kept;
        let edited = self.edited.clone();
        let source = To::Source(letter.source.clone());
        let frame = || Content::Frame(letter.bytes.clone());
        let (to, content) = match (again, edited) {
            (Again::Never, _) => return Err("what failed was a timer, or has no form"),
            (Again::Cut, None) => {
                return Err("only its beginning is kept: edit it, then try it again");
            }
            (Again::Frame, None) => (source, frame()),
            (Again::Frame | Again::Cut, Some(edited)) => (source, edited),
            (Again::Record, edited) => {
                let text = || Content::Json(String::from_utf8_lossy(&letter.bytes).into_owned());
                (source, edited.unwrap_or_else(text))
            }
            (Again::Computation { key, hash, record }, edited) => {
                let name = letter.computation.clone().unwrap_or_default();
                let to = To::Computation { name, key: key.clone(), hash: *hash };
                (to, edited.unwrap_or_else(|| Content::Packed(record.clone())))
            }
        };
        Ok(Retry { letter: id.clone(), to, content })
    }

    /// What an editor is shown, and what would be tried again.
    pub(super) fn text(&self) -> Vec<u8> {
        match &self.edited {
            Some(Content::Frame(bytes) | Content::Packed(bytes)) => bytes.clone(),
            Some(Content::Json(text)) => text.clone().into_bytes(),
            None => self.kept.letter.bytes.clone(),
        }
    }
}

/// The letters of a data directory, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) letters: Vec<Letter>,
}

impl Known {
    /// What the log in `folder` has, with what `requests` ask of it.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub(super) fn read(folder: &Path, requests: &[Request]) -> Result<Self> {
        // A program that writes the log anew removes the file that was the last one a moment ago.
        let mut letters = None;
        for _ in 0..5 {
            letters = read(folder)?;
            if letters.is_some() {
                break;
            }
        }
        let mut known = Self { letters: letters.unwrap_or_default().into_values().collect() };
        known.ask(requests);
        Ok(known)
    }

    fn ask(&mut self, requests: &[Request]) {
        let ids: BTreeMap<String, usize> =
            self.letters.iter().enumerate().map(|(at, it)| (it.kept.id.clone(), at)).collect();
        for (number, request) in (0_u64..).zip(requests) {
            let at = ids.get(&request.letter).and_then(|at| self.letters.get_mut(*at));
            let Some(letter) = at else { continue };
            match &request.action {
                Action::Retry(_) => letter.asked = Some(number),
                Action::Edit(content) => letter.edited = Some(content.clone()),
                Action::Ignore if letter.status == Status::Open => letter.status = Status::Ignored,
                Action::Ignore => {}
            }
        }
        for letter in &mut self.letters {
            if letter.status == Status::Open && letter.asked > letter.tries.answered {
                letter.status = Status::Retrying;
            }
        }
    }
}

/// The letters of the last file by their numbers; none if it went meanwhile.
fn read(folder: &Path) -> Result<Option<BTreeMap<u64, Letter>>> {
    let Some((first, path)) = files(folder)?.pop() else { return Ok(Some(BTreeMap::new())) };
    let Some(mut frames) = Frames::open(&path)? else { return Ok(None) };
    let mut letters: BTreeMap<u64, Letter> = BTreeMap::new();
    let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
    let mut next = first;
    loop {
        let at = frames.at();
        let Some(payload) = frames.next()? else { return Ok(Some(letters)) };
        let entry: Entry = decode(&path, at, payload)?;
        let given = entry.is_given();
        match entry {
            Entry::Letter(kept) => {
                numbers.insert(kept.id.clone(), next);
                letters.insert(next, opened(next, Tries::default(), *kept));
            }
            Entry::Carried { number, tries, kept } => {
                numbers.insert(kept.id.clone(), number);
                letters.insert(number, opened(number, tries, *kept));
            }
            Entry::Answer(answer) => {
                let known = numbers.get(&answer.letter).and_then(|it| letters.get_mut(it));
                match (known, answer.outcome) {
                    (None, _) => {}
                    (Some(letter), Outcome::Closed) => {
                        letter.status = Status::Closed;
                        letter.tries.answered = Some(answer.request);
                    }
                    (Some(letter), Outcome::Failed(why)) => {
                        letter.tries.again(answer.request, &why);
                    }
                }
            }
            Entry::Evicted(id) => {
                if let Some(letter) = numbers.get(&id).and_then(|it| letters.get_mut(it)) {
                    letter.status = Status::Dropped;
                }
            }
            Entry::Dropped(_) => {}
        }
        next += u64::from(given);
    }
}

fn opened(number: u64, tries: Tries, kept: Kept) -> Letter {
    Letter { number, kept, tries, status: Status::Open, edited: None, asked: None }
}
