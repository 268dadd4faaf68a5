//! Anabranch: a distributed, stateful, deterministic stream processor.

mod app;
pub mod clock;
#[doc(hidden)]
pub mod cluster;
mod computation;
pub mod config;
mod dataflow;
mod dead_letter;
pub mod decimal;
mod delivery;
mod epoch;
mod error;
mod fault;
pub mod graph;
mod ingest;
mod key;
pub mod log;
pub mod metrics;
mod opener;
mod origin;
mod pipeline;
mod plan;
mod program;
mod reading;
mod record;
pub mod sink;
pub mod source;
mod state;
mod stream;
mod test_driver;
mod time;
mod worker;

pub use crate::app::{App, Order};
pub use crate::cluster::Drain;
pub use crate::computation::{Computation, Context, Random, SideOutput};
pub use crate::dead_letter::DeadLetter;
pub use crate::error::{Error, Result};
pub use crate::key::Key;
pub use crate::origin::{LANES_MAX, Origin, PATH_LEVELS_MAX, Path, RecordId};
pub use crate::pipeline::{Chain, Identity};
pub use crate::program::{main, run, run_until};
pub use crate::record::Record;
pub use crate::state::{
    Entries, MapRow, MapTable, Read, ReadRow, Row, Stores, SubKey, Table, TableUse, Tables, Value,
};
pub use crate::stream::{Keyed, Shared, Stream, ToBeKeyed};
pub use crate::test_driver::{TestDriver, TestDriverBuilder};
pub use crate::time::Time;

/// What a program needs: `use anabranch::prelude::*;`.
pub mod prelude {
    pub use crate::{
        App, Computation, Context, DeadLetter, Key, MapRow, MapTable, Order, ReadRow, Record,
        Result, Row, SideOutput, Table, Time,
    };
}
