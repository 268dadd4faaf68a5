//! Named, partitioned state: tables, their rows, and the one operator that applies records to
//! them.

mod differences;
mod engine_time;
mod expiring;
mod form;
mod group;
mod hot;
mod look;
mod map_row;
mod map_store;
mod restore;
mod row;
mod slot;
mod small_map;
mod snapshot;
mod store;
mod stores;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use differences::Differing;
pub(crate) use engine_time::{apply_in_time, apply_rest};
pub use expiring::Expiring;
pub(crate) use group::{AHEAD, ChainPort, Port, apply_open, fire_due};
pub(crate) use hot::Hot;
pub(crate) use look::{Found, Looked, Span, compare, json};
pub use map_row::{Entries, MapRow};
pub(crate) use map_store::{LockedMap, MapStore};
pub use restore::AnyTable;
pub(crate) use restore::Fate;
pub use row::{ReadRow, Row};
pub(crate) use snapshot::Snapshot;
pub(crate) use store::Store;
pub use stores::Stores;
pub(crate) use table::hidden_name;
pub use table::{MapTable, Read, Table, TableUse};
pub use tables::Tables;
pub(crate) use tables::Touch;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The hasher of tables: fast, and of no consequence, since no output depends on a table's order.
pub(crate) type Hasher = foldhash::fast::FixedState;

/// A table of so many rows is too large for the processor's caches: to find a row is to wait for memory, unless
/// several are found at once.
const LARGE: usize = 1 << 14;

/// What a table can hold in a row: a default for rows that were never written, and a form for
/// checkpoints.
pub trait Value: Default + Clone + Send + Serialize + DeserializeOwned + 'static {}

impl<T: Default + Clone + Send + Serialize + DeserializeOwned + 'static> Value for T {}

/// What can order the entries of a [`MapTable`]'s row.
pub trait SubKey: Ord + Clone + Send + Serialize + DeserializeOwned + 'static {}

impl<T: Ord + Clone + Send + Serialize + DeserializeOwned + 'static> SubKey for T {}
