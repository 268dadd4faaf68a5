//! Anabranch: a distributed, stateful, deterministic stream processor.
//!
//! Several pipelines flow through computations that read and change shared, partitioned tables, one
//! record at a time, on worker threads and processes. The same input gives the same output, byte for
//! byte, whatever the number of workers and processes.
//!
//! # Price alerts on a generated feed
//!
//! Two pipelines share tables: prices move an average and fire alerts, updates add alerts. Each alert
//! fires once, when the average of its product reaches its threshold.
//!
//! ```
//! use anabranch::prelude::*;
//! use anabranch::{TestDriver, sink, source};
//!
//! type Product = String;
//! /// Of each product how many prices there were, and their sum in cents.
//! const PRICES: Table<Product, (u64, u64)> = Table::new("prices");
//! /// Of each product who waits for which average, lowest first.
//! const ALERTS: MapTable<Product, u64, String> = MapTable::new("alerts");
//!
//! fn price_alerts(app: &App) -> Result<()> {
//!     app.source("prices", source::empty::<(Product, u64)>())
//!         .key_by(|(product, _)| product.clone())
//!         .compute("evaluate", (PRICES, ALERTS), |(product, cents), rows, out| {
//!             let (mut price, mut alerts) = rows;
//!             let (count, sum) = (price.0 + 1, price.1 + cents);
//!             *price = (count, sum);
//!             while alerts.first().is_some_and(|(threshold, _)| threshold * count <= sum) {
//!                 if let Some((threshold, user)) = alerts.pop_first() {
//!                     out.emit(format!("{} {product} reached {threshold}: {user}", out.id()));
//!                 }
//!             }
//!         })
//!         .sink("notifications", sink::null());
//!     app.source("updates", source::empty::<(Product, u64, String)>())
//!         .key_by(|(product, _, _)| product.clone())
//!         .compute("update", ALERTS, |update, mut alerts, _: &mut Context<'_, ()>| {
//!             let (_, threshold, user) = update;
//!             alerts.insert(threshold, user);
//!         });
//!     Ok(())
//! }
//!
//! /// Runs it on so many workers, in memory, over a feed that is made here.
//! fn notifications(workers: usize) -> Result<Vec<String>> {
//!     let mut driver = TestDriver::new(price_alerts).workers(workers).start()?;
//!     let alerts = [("BTC", 110, "ann"), ("BTC", 105, "bob"), ("ETH", 52_u64, "cyd")];
//!     for (product, threshold, user) in alerts {
//!         driver.send("updates", (product.to_string(), threshold, user.to_string()))?;
//!     }
//!     driver.run()?;
//!     for step in 0..100_u64 {
//!         driver.send("prices", ("BTC".to_string(), 100 + step % 30))?;
//!         driver.send("prices", ("ETH".to_string(), 50 + step % 7))?;
//!     }
//!     driver.run()?;
//!     Ok(driver.outputs("notifications"))
//! }
//!
//! let fired = notifications(1)?;
//! assert_eq!(
//!     fired,
//!     [
//!         "prices-0-9 ETH reached 52: cyd",
//!         "prices-0-20 BTC reached 105: bob",
//!         "prices-0-40 BTC reached 110: ann",
//!     ]
//! );
//! assert_eq!(notifications(3)?, fired, "the same on any number of workers");
//! # Ok::<(), anabranch::Error>(())
//! ```
//!
//! A program gives the function that draws it to [`main`], which adds the command line (`-w`, `-n`,
//! `graph`, `check`, ...), and takes its sources and sinks from `anabranch-connectors`; [`run`] embeds
//! it in another program.
//!
//! # Words
//!
//! A *source* brings records, a *sink* takes them; a *pipeline* is the path between. A *computation* is
//! user code applied to one record: rows in, records out. A *table* is named state, of which a
//! *partition* is a fixed slice of keys, owned by one *worker* (a thread). Tables that are used together
//! are a *group*: one key, one thread, one order. An *epoch* is the engine's tick; within it records are
//! applied in the order of their *origins* (ingest time, source, partition, offset, places among the
//! outputs of their parents). Live input is stamped when it is read; *recorded* input brings its time. A
//! *frame* is the bytes of one record before it is decoded; what cannot be decoded is a *dead letter*.
//!
//! # The map
//!
//! | to | see |
//! |---|---|
//! | draw an application | [`App`], [`Stream`], [`Keyed`], [`Computation`], [`Context`], [`SideOutput`] |
//! | keep state | [`Table`], [`MapTable`], [`Row`], [`MapRow`], [`ReadRow`], [`Key`], [`Value`] |
//! | query it, incrementally | [`App::view`], [`View`], [`Collection`], [`Arranged`], [`ViewTables`], [`Views`] |
//! | make one value of many | [`aggregate`], [`window`]: windows, rolling values, joins, time frames |
//! | ask outside services, and try again | [`Stream::map_async`], [`Lookups`], [`Retry`], [`sink::retrying`] |
//! | bring records in and out | [`source`], [`sink`], [`DeadLetter`], [`Time`], [`Origin`], [`RecordId`] |
//! | start it | [`main`], [`run`], [`run_until`], [`Drain`], [`config`] |
//! | test it | [`TestDriver`] |
//! | look at it | [`graph`], [`metrics`], [`log`] |
//! | keep it deterministic | [`clock`], [`decimal`], [`Order`] |
//!
//! How it works inside, with its invariants, is in `ARCHITECTURE.md`.

pub mod aggregate;
mod app;
mod aside;
mod background;
pub mod checkpoint;
pub mod clock;
#[doc(hidden)]
pub mod cluster;
mod compare;
mod computation;
pub mod config;
mod control;
#[doc(hidden)]
pub mod data_dir;
mod dataflow;
mod dead_letter;
pub mod decimal;
mod delivery;
mod durable;
mod epoch;
mod error;
#[doc(hidden)]
pub mod failpoint;
mod fault;
mod frame_log;
pub mod graph;
pub mod http;
mod ingest;
pub mod journal;
mod keeper;
mod key;
mod letters;
pub mod log;
mod looking;
mod lookup;
pub mod metrics;
mod opener;
mod origin;
mod pauses;
mod pipeline;
mod plan;
mod program;
mod reading;
mod record;
mod released;
mod reprocess;
mod restorable;
mod retry;
mod scribe;
mod side_output;
pub mod sink;
mod snapshots;
pub mod source;
mod state;
mod stream;
mod test_driver;
mod time;
mod timer;
mod trace;
mod undo;
mod upsert;
mod view;
mod watermark;
pub mod window;
mod worker;

pub use crate::app::{App, Order};
pub use crate::cluster::Drain;
pub use crate::compare::{Difference, Verified};
pub use crate::computation::{
    BATCH_ITEMS_MAX, Computation, Context, Correction, OnFailure, OnIgnore, Random, ResultKey,
    Scoped, TryBatch, TryComputation,
};
pub use crate::dead_letter::DeadLetter;
pub use crate::durable::Span;
pub use crate::error::{Error, Result};
pub use crate::key::Key;
pub use crate::letters::run as dead_letters;
pub use crate::lookup::Lookups;
pub use crate::origin::{LANES_MAX, Origin, PATH_LEVELS_MAX, Path, RecordId};
pub use crate::pipeline::{Chain, Identity};
pub use crate::program::{main, replay, reprocess, run, run_until, verify};
pub use crate::record::Record;
pub use crate::retry::Retry;
pub use crate::side_output::SideOutput;
pub use crate::state::{
    AnyTable, Entries, Expiring, MapRow, MapTable, Read, ReadRow, Row, Stores, SubKey, Table,
    TableUse, Tables, Value,
};
pub use crate::stream::{Identified, Keyed, Shared, Stream, ToBeKeyed};
pub use crate::test_driver::{TestDriver, TestDriverBuilder};
pub use crate::time::Time;
pub use crate::timer::{Clock, Timer};
pub use crate::undo::{Failure, Undo};
pub use crate::upsert::{Op, Upsert};
pub use crate::view::{
    Arrange, Arranged, Change, Collection, Page, Round, Selected, Tick, View, ViewData, ViewTables,
    Viewed, Views,
};
pub use crate::watermark::Watermarks;

/// What a program needs: `use anabranch::prelude::*;`.
pub mod prelude {
    pub use crate::{
        App, Computation, Context, DeadLetter, Key, MapRow, MapTable, Order, ReadRow, Record,
        Result, Row, SideOutput, Table, Time, View,
    };
}
