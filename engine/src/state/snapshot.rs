//! [`Snapshot`]: what the engine asks of a table, whatever its types, to keep and restore it.
//!
//! Invariant: what `encode` gives from one `begin` to its end is the state at that `begin` of all
//! rows that had changed since the one before, whatever changed meanwhile. All of it, applied in
//! order to nothing, is the table.

use super::Looked;
use crate::checkpoint::{Codec, RowBytes, Rows, TableSchema};
use crate::{Error, Result};

/// A table of one worker. Rows of a map table are its entries.
pub(crate) trait Snapshot: Looked {
    /// What the table is.
    fn schema(&self) -> TableSchema;
    /// Notes changes from now on; to be called before the first record. `partitions` are those that
    /// keys are placed in.
    fn track(&self, partitions: u32);
    /// Freezes what changed since the last call, in no time. Refused (false) if what was frozen
    /// before is not encoded yet, or if changes are not noted.
    fn begin(&self) -> bool;
    /// Encodes about `max_rows` of the frozen rows into `rows`; whether these were the last.
    ///
    /// # Errors
    /// When a value cannot be encoded, and then always: the application must change.
    fn encode(&self, max_rows: usize, rows: &mut Rows) -> Result<bool>;
    /// Makes the next `begin` freeze all rows, for a checkpoint that needs none before it: the first
    /// one, or after one that was given up half-way. It takes time in proportion to the table. Refused
    /// (false) when `begin` is.
    fn all(&self) -> bool;
    /// Makes room for about so many rows that will be loaded.
    fn expect(&self, _rows: usize) {}
    /// Restores a row that was stored like that, at the latest when the last one is
    /// [`loaded`](Self::loaded). It does not count as a change.
    ///
    /// # Errors
    /// When the row cannot be decoded; it names table and row.
    fn load(&self, stored: Stored, row: RowBytes<'_>) -> Result<()>;
    /// No further row is loaded.
    fn loaded(&self) {}
    /// A sum over the hashes of all rows (wrapping), by their content alone: of equal content it is
    /// equal, whatever order, history, codec and number of workers.
    ///
    /// # Errors
    /// When a value cannot be encoded.
    fn digest(&self) -> Result<u64>;
    /// Shows all rows to `row`, in no order.
    ///
    /// # Errors
    /// When a value cannot be encoded, and those of `row`.
    fn each(&self, row: &mut dyn FnMut(RowBytes<'_>) -> Result<()>) -> Result<()>;
    /// From now on `encode` and `each` give MessagePack, whatever the codec: bytes that can be compared
    /// and shown. For replays, which write no checkpoint.
    fn speak_message_pack(&self);
    /// The type of values that `app.migrated` reads for this table, if it was declared.
    fn migrates_from(&self) -> Option<String>;
}

/// How rows of a checkpoint are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// By which codec.
    pub(crate) codec: Codec,
    /// Whether values are of the type that the declared migration reads.
    pub(crate) migrate: bool,
}

/// Reads a value as an earlier version of the program wrote it, and makes today's of it.
pub(super) struct Migration<V> {
    /// The type of the old value.
    pub(super) from: String,
    pub(super) migrate: Migrate<V>,
}

/// Takes the codec and the bytes of the old value.
type Migrate<V> = Box<dyn Fn(Codec, &[u8]) -> Result<V, String>>;

pub(super) fn cannot_encode(table: &str, problem: &str) -> Error {
    Error::Data(format!(
        "a row of table `{table}` cannot be encoded: {problem}; change its types, or their serde \
         attributes, so that they can be"
    ))
}

pub(super) fn cannot_decode(table: &str, part: &str, row: RowBytes<'_>, problem: &str) -> Error {
    let hex: String = row.key.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    Error::Data(format!(
        "the {part} of a row of table `{table}` cannot be decoded (partition {}, key {hex} in hex): \
         {problem}; if its type changed, declare how by `app.migrated`",
        row.partition
    ))
}
