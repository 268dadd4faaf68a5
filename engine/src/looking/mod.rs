//! Looking: what is asked of workers while they run, and what they answer.
//!
//! Who asks ([`Board`]) may be on any thread of process 0; worker 0 takes what is asked, and sends it to the workers
//! that know ([`Looking`]). What is asked of tables travels with the records, as a mark at a boundary: so all
//! workers answer as of the same epoch, without waiting for each other.
//!
//! Invariant: looking changes nothing and decides no output. What waits for an answer is bounded, and all of it is
//! answered, at the latest when the program ends.

mod board;
mod worker;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use self::board::{Board, Refused};
pub(crate) use self::worker::{About, Look, Looking};
use crate::control;
use crate::metrics::{Durations, Kind};
use crate::state::{Found, Span};
use crate::view::Page;

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// A row of a table.
    Row { table: String, key: String, entries: Span },
    /// Some rows of a table.
    Rows { table: String, rows: Span },
    /// Some rows of a view, by their numbers.
    View { view: String, from: usize, most: usize },
    /// How each process does.
    Processes,
    /// How many rows each table has, on each worker.
    Sizes,
    /// Which keys of a table come most often.
    Hot { table: String },
}

/// What one worker, or all of them together, answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// There is no such row, or another worker has the view.
    Nothing,
    /// As at the end of the epoch before this one.
    Found { before: u64, found: Found },
    /// Some rows of a view.
    View(Page),
    /// By the number of each.
    Processes(BTreeMap<usize, Process>),
    /// By computation.
    Hot(BTreeMap<String, HotKeys>),
    /// By table and worker.
    Sizes(BTreeMap<String, BTreeMap<usize, usize>>),
}

/// The keys that come most often to a computation.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct HotKeys {
    /// Of how many records, which are a sample, that is known.
    pub(crate) sampled: u64,
    /// The most frequent first, each with how often it came in the sample, or a little less.
    #[schema(value_type = Vec<(serde_json::Value, u64)>)]
    pub(crate) keys: Vec<(serde_json::Value, u64)>,
}

/// How a process does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Process {
    /// What it has counted, by name.
    pub(crate) counters: Vec<(String, Kind, u64)>,
    /// Its workers, by index.
    pub(crate) workers: Vec<control::Worker>,
    /// The views that it gathers.
    pub(crate) views: Vec<String>,
    /// How long records took until a sink had them.
    pub(crate) latencies: BTreeMap<String, Durations>,
}

/// A table, as those see it who look at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct TableInfo {
    pub(crate) name: String,
    /// The type of its keys.
    pub(crate) key: String,
    /// The type of the keys of a row's entries, if it is a map table.
    pub(crate) sub_key: Option<String>,
    /// The type of its values.
    pub(crate) value: String,
}
