//! Looks at the checkpoints of a program while it makes them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anabranch::checkpoint::{CheckpointId, FileKind, Manifest, Store};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// A checkpoint that was made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Its boundary: of live input the time, in nanoseconds.
    pub boundary: u64,
    /// From the boundary until all of it was written, in seconds.
    pub took: f64,
    /// The rows that it has and the one before has not, and their bytes.
    pub rows: u64,
    /// Those of the rows.
    pub bytes: u64,
    /// The next offset of the first source.
    pub reached: u64,
}

/// The checkpoints of one data directory.
pub struct Watch {
    store: Store,
    known: BTreeSet<CheckpointId>,
    files: BTreeSet<String>,
    /// Those that were seen, in their order.
    pub made: Vec<Made>,
}

impl Watch {
    /// Of the data directory `dir`.
    pub fn new(dir: &str) -> Self {
        let store = Store::directory(&Path::new(dir).join("checkpoints"));
        Self { store, known: BTreeSet::new(), files: BTreeSet::new(), made: Vec::new() }
    }

    /// Sees what is new.
    pub fn look(&mut self) {
        let mut ids = Manifest::list(&self.store).unwrap_or_default();
        ids.sort_unstable();
        for id in ids {
            // One that was removed meanwhile was too short-lived to count.
            let Ok(manifest) = Manifest::load(&self.store, id) else { continue };
            if !self.known.insert(id) {
                continue;
            }
            let (mut rows, mut bytes) = (0, 0);
            // Later ones have compacted files of rows that they had before.
            let first = self.files.is_empty();
            for file in manifest.files() {
                if self.files.insert(file.path.clone()) && (first || file.kind == FileKind::Delta) {
                    rows += file.rows;
                    bytes += file.bytes;
                }
            }
            let written = u64::try_from(manifest.time.as_nanos()).unwrap_or(0);
            let took = written.saturating_sub(manifest.epoch) as f64 / 1e9;
            let reached = manifest.sources.first().map_or(0, |source| source.next_offset);
            self.made.push(Made { boundary: manifest.epoch, took, rows, bytes, reached });
        }
    }

    /// Looks until `enough`.
    pub fn until(&mut self, enough: impl Fn(&[Made]) -> bool) {
        while !enough(&self.made) {
            std::thread::sleep(LOOK);
            self.look();
        }
    }
}
