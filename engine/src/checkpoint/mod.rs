//! Checkpoints: all tables, source positions and sink positions at one epoch boundary.
//!
//! ```text
//! manifests/   one JSON file for each checkpoint, written last
//! tables/      rows, in files that are written once
//! ```
//!
//! Invariant: a checkpoint exists when its manifest does, and then it is whole. Everything here
//! blocks: it is called on threads of its own, never by a worker that has records to apply.

mod commands;
mod compact;
mod file;
mod local;
mod manifest;
mod remote;
mod restore;
mod retention;
mod rows;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use crate::released::Released;
pub use commands::run;
pub(crate) use commands::{find, unpack};
pub use file::{BLOCK_BYTES, FILE_BYTES, FileHeader, FileKind, FileMeta, TableFile, TableWriter};
pub use manifest::{CheckpointId, HASH, Manifest, SinkPosition, SourcePosition, TableEntry};
pub use restore::{Restored, newest, verify};
pub(crate) use retention::Retention;
pub use rows::{Codec, RowBytes, Rows, TableSchema};
pub use store::{Entry, Store};
pub use writer::{Checkpointer, TablePart, WorkerPart, Writer};
