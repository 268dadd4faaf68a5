//! What the log of dead letters is made of.
//!
//! Invariant: an entry that was given by the dataflow has a number, by its place among all that were ever
//! given; what the log notes by itself has none.

use serde::{Deserialize, Serialize};

use super::retry::Content;
use crate::{DeadLetter, Key, Time};

/// What travels to the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Posted {
    /// A record was refused.
    Letter(Box<(DeadLetter, Again)>),
    /// A request was dealt with.
    Answer(Box<Answer>),
}

/// How a letter is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Again {
    /// Its source decodes the frame.
    Frame,
    /// Its transport refused the frame, of which this is the beginning: it must be edited first.
    Cut,
    /// It is a record of its source, as JSON.
    Record,
    /// Its computation is applied to the record, for the key.
    Computation {
        /// In MessagePack.
        key: Vec<u8>,
        /// The key's hash, by which it is placed.
        hash: u64,
        /// In MessagePack.
        record: Vec<u8>,
    },
    /// Not at all: nothing of the letter has a form.
    Never,
}

impl Again {
    /// A record of a computation; never, if key or record have no form.
    pub(crate) fn of(key: &impl Key, record: &impl Serialize) -> Self {
        let (packed, record) = (rmp_serde::to_vec_named(key), rmp_serde::to_vec_named(record));
        match (packed, record) {
            (Ok(packed), Ok(record)) => {
                Self::Computation { key: packed, hash: key.placement_hash(), record }
            }
            _ => Self::Never,
        }
    }
}

/// What a source tells of a letter. One of the source of requests is no letter, but an answer.
pub(crate) fn posted(letter: DeadLetter, again: Again) -> Posted {
    if letter.source == super::RETRIES {
        // Set aside, as user code that does not try panicked on it.
        let retry = serde_json::from_slice::<super::Retry>(&letter.bytes);
        return Posted::Answer(Box::new(Answer {
            request: letter.offset,
            letter: retry.map(|retry| retry.letter).unwrap_or_default(),
            time: letter.time,
            outcome: Outcome::Failed(letter.reason()),
        }));
    }
    Posted::Letter(Box::new((letter, again)))
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The number of the request.
    pub(crate) request: u64,
    /// The letter that it was about.
    pub(crate) letter: String,
    pub(crate) time: Time,
    pub(crate) outcome: Outcome,
}

/// How a retry ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The letter is closed.
    Closed,
    /// It stays open, for this reason.
    Failed(String),
}

/// A letter as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The record's name, and its computation's.
    pub(crate) id: String,
    /// Of the program that refused it.
    pub(crate) version: String,
    pub(crate) letter: DeadLetter,
    pub(crate) again: Again,
}

/// How often a letter was tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tries {
    pub(crate) count: u32,
    /// The last request that was answered.
    pub(crate) answered: Option<u64>,
    /// How it failed the last time.
    pub(crate) failed: Option<String>,
}

impl Tries {
    /// It was tried again, in vain.
    pub(super) fn again(&mut self, request: u64, failed: &str) {
        self.count += 1;
        self.answered = Some(request);
        self.failed = Some(failed.to_string());
    }
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// Given: a letter.
    Letter(Box<Kept>),
    /// Given: an answer.
    Answer(Box<Answer>),
    /// Given: a letter for which there was no room.
    Dropped(String),
    /// Noted: an open letter that an earlier file had.
    Carried { number: u64, tries: Tries, kept: Box<Kept> },
    /// Noted: an open letter that was dropped for a newer one.
    Evicted(String),
}

impl Entry {
    /// Whether it was given, and so has a number.
    pub(super) fn is_given(&self) -> bool {
        matches!(self, Self::Letter(_) | Self::Answer(_) | Self::Dropped(_))
    }
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// When.
    pub(crate) time: Time,
    /// The letter.
    pub(crate) letter: String,
    pub(crate) action: Action,
}

/// What is to be done with a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// It is tried again.
    Retry(super::Retry),
    /// It has another record, from now on.
    Edit(Content),
    /// It is closed as it is.
    Ignore,
}
