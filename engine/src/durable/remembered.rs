//! What the manifests of checkpoints remember of sources and of time, and what follows from it.
//!
//! Invariant: what is not there was not known when the manifest was written.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Manifest, SourcePosition};
use crate::ingest::Point;
use crate::origin::Entry;
use crate::watermark::EventTimes;

/// What checkpoints remember of a partition, beside its offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// Recorded: everything up to here was applied.
    pub(crate) applied: Option<Entry>,
}

/// What checkpoints remember beside tables, sources and sinks.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Extra {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event_times: Option<EventTimes>,
}

impl Extra {
    /// What is in a manifest.
    pub(super) fn of(value: &serde_json::Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    /// As it is in a manifest: nothing, if there is nothing to remember.
    pub(crate) fn to_value(&self) -> serde_json::Value {
        match &self.event_times {
            Some(_) => serde_json::to_value(self).unwrap_or_default(),
            None => serde_json::Value::Null,
        }
    }
}

/// Where a partition was at the boundary of a checkpoint; its beginning, if the checkpoint has none.
pub(super) fn at_boundary(known: Option<&SourcePosition>) -> Point {
    known.map_or_else(Point::default, |known| Point {
        next: known.next_offset,
        last_time: known.last_time,
        position: known.state.clone(),
    })
}

/// Where recorded input had come to at the boundary of a checkpoint; none of live input.
pub(crate) fn applied(manifest: &Manifest) -> Option<Entry> {
    manifest.sources.iter().find_map(applied_of)
}

/// Where the recorded input of a partition had come to; none of live input.
pub(super) fn applied_of(known: &SourcePosition) -> Option<Entry> {
    Applied::deserialize(&known.resume).ok()?.applied
}

/// Whether the input of a checkpoint brings its times.
pub(super) fn is_recorded(manifest: &Manifest) -> bool {
    applied(manifest).is_some()
}
