//! [`Manifest`]: what a checkpoint is made of. A checkpoint exists when its manifest does.
//!
//! Invariant: a manifest is written once, if absent, after everything that it names; its own
//! checksum is over its very text, so a manifest that is read is the one that was written. Later
//! generations go before earlier ones, whatever their epochs: an earlier one that writes late has
//! lost its place.
//!
//! ```text
//! manifests/<epoch, 20 digits>-<generation, 10 digits>.json
//! {"xxh3":"<16 hexadecimal digits>","manifest":{"version":1,...}}
//! ```
//!
//! The checksum is of the bytes of the value of `manifest`, from `{` to `}`.

use std::fmt;

use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::file::digest;
use super::{Entry, FileMeta, Store, TableSchema};
use crate::released::Released;
use crate::{Error, Result, Time};

/// The format of manifests that this program writes.
pub(super) const VERSION: u32 = 1;
/// The hash that gives a key its partition.
pub const HASH: &str = "xxh3";
/// The folder of manifests.
pub(super) const FOLDER: &str = "manifests";
/// Bytes of a manifest, at most.
const BYTES_MAX: u64 = 256 << 20;

/// The name of a checkpoint. A later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckpointId {
    /// The start of the program that wrote it.
    pub generation: u64,
    /// The boundary: all epochs before it are in, no other.
    pub epoch: u64,
}

impl CheckpointId {
    /// Where its manifest is.
    pub fn path(self) -> String {
        format!("{FOLDER}/{:020}-{:010}.json", self.epoch, self.generation)
    }

    /// The id of the manifest that is there.
    fn of_path(path: &str) -> Option<Self> {
        let name = path.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".json")?;
        let (epoch, generation) = name.split_once('-')?;
        let id = Self { generation: generation.parse().ok()?, epoch: epoch.parse().ok()? };
        (id.path() == path).then_some(id)
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint {} of generation {}", self.epoch, self.generation)
    }
}

/// What a checkpoint is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format: 1.
    pub version: u32,
    /// The boundary: all epochs before it are in, no other.
    pub epoch: u64,
    /// The start of the program that wrote it.
    pub generation: u64,
    /// The checkpoint that it was made from; none for the first.
    pub parent: Option<CheckpointId>,
    /// When it was written.
    pub time: Time,
    /// The program that wrote it.
    pub program: String,
    /// The version of the engine in it.
    pub engine: String,
    /// Slices of each table's keys.
    pub partitions: u32,
    /// The hash that gives a key its partition: [`HASH`].
    pub hash: String,
    /// The tables, by name.
    pub tables: Vec<TableEntry>,
    /// Where the sources were, by name and partition.
    pub sources: Vec<SourcePosition>,
    /// Where the sinks were, by name.
    pub sinks: Vec<SinkPosition>,
    /// What else the engine wants to remember.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub extra: Value,
}

/// A table in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    /// What it is.
    pub schema: TableSchema,
    /// Its rows: the last one of a key, in the order of the files, is what the row is.
    pub files: Vec<FileMeta>,
}

/// Where a partition of a source was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourcePosition {
    /// The source.
    pub source: String,
    /// Its partition.
    pub partition: u32,
    /// The offset of the first record that is not in.
    pub next_offset: u64,
    /// The ingest time of the last record that is in.
    pub last_time: Option<Time>,
    /// What the connector wants to be told when it goes on from here.
    #[serde(default, with = "base64_bytes")]
    pub state: Vec<u8>,
    /// The last epoch before the boundary that the journal has of it.
    pub journaled: Option<u64>,
    /// What else the engine wants to remember of it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub resume: Value,
}

/// Where a sink was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkPosition {
    /// The sink.
    pub name: String,
    /// What it wants to be told when it goes on from here.
    #[serde(default, with = "base64_bytes")]
    pub position: Vec<u8>,
    /// What it was given since the application's first start; none if a version of the engine wrote
    /// this that did not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Released>,
}

mod base64_bytes {
    use base64::Engine as _;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::BASE64_STANDARD;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        BASE64_STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    xxh3: String,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

impl Manifest {
    /// Its name.
    pub fn id(&self) -> CheckpointId {
        CheckpointId { generation: self.generation, epoch: self.epoch }
    }

    /// The table of that name.
    pub fn table(&self, name: &str) -> Option<&TableEntry> {
        self.tables.iter().find(|table| table.schema.name == name)
    }

    /// All table files that it names.
    pub fn files(&self) -> impl Iterator<Item = &FileMeta> {
        self.tables.iter().flat_map(|table| &table.files)
    }

    /// Its text, with its checksum.
    ///
    /// # Errors
    /// When it has no form as JSON.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let wrong = |e| Error::Data(format!("a manifest cannot be written: {e}"));
        let manifest = serde_json::value::to_raw_value(self).map_err(wrong)?;
        let xxh3 = digest(manifest.get().as_bytes());
        serde_json::to_vec(&Sealed { xxh3, manifest: &manifest }).map_err(wrong)
    }

    /// Reads the text of the manifest `name`.
    ///
    /// # Errors
    /// When it is not what was written, or was written by a newer program.
    pub fn decode(name: &str, text: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::Data(format!("{name} is damaged: {what}"));
        let sealed: Sealed<'_> =
            serde_json::from_slice(text).map_err(|e| damaged(&e.to_string()))?;
        if digest(sealed.manifest.get().as_bytes()) != sealed.xxh3 {
            return Err(damaged("its checksum is another"));
        }
        // Before anything else that a newer version may have changed.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let text = sealed.manifest.get();
        let Version { version } =
            serde_json::from_str(text).map_err(|e| damaged(&e.to_string()))?;
        if version != VERSION {
            return Err(Error::Data(format!(
                "{name} has version {version}, but this program reads version {VERSION}: start the \
                 program that wrote it, or a newer one"
            )));
        }
        serde_json::from_str(text).map_err(|e| damaged(&e.to_string()))
    }

    /// Reads the manifest of a checkpoint.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or is not what was written.
    pub fn load(store: &Store, id: CheckpointId) -> Result<Self> {
        let (path, name) = (id.path(), store.name(&id.path()));
        let text = store.get(&path, BYTES_MAX)?;
        let text = text.ok_or_else(|| Error::Data(format!("{name} is missing")))?;
        let manifest = Self::decode(&name, &text)?;
        if manifest.id() != id {
            let of = manifest.id();
            return Err(Error::Data(format!("{name} is damaged: it is that of {of}")));
        }
        Ok(manifest)
    }

    /// The checkpoints in a store by their manifests' names alone, the newest first.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn list(store: &Store) -> Result<Vec<CheckpointId>> {
        let entries = store.list(FOLDER)?;
        let ids = entries.iter().filter_map(|Entry { path, .. }| CheckpointId::of_path(path));
        let mut ids: Vec<CheckpointId> = ids.collect();
        ids.sort_by(|one, other| other.cmp(one));
        Ok(ids)
    }
}
