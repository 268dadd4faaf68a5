//! Anabranch: a distributed, stateful, deterministic stream processor.

pub mod clock;
#[doc(hidden)]
pub mod cluster;
mod dead_letter;
mod error;
mod key;
pub mod metrics;
mod origin;
mod record;
pub mod sink;
pub mod source;
mod stage;
mod state;
mod time;

pub use crate::dead_letter::DeadLetter;
pub use crate::error::{Error, Result};
pub use crate::key::Key;
pub use crate::origin::{LANES_MAX, Origin, PATH_LEVELS_MAX, Path, RecordId};
pub use crate::record::Record;
pub use crate::state::{
    Entries, MapRow, MapTable, Read, ReadRow, Row, Stores, SubKey, Table, TableUse, Tables, Value,
};
pub use crate::time::Time;
