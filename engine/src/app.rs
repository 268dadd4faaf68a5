//! [`App`]: what a user draws an application on.
//!
//! Invariant: drawing touches nothing outside; the same function is run on every worker, and once
//! more to check the application and to draw its graph.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use serde::de::DeserializeOwned;

use crate::delivery::TypedSink;
use crate::ingest::TypedSource;
use crate::metrics::Counters;
use crate::pipeline::{Identity, Placement};
use crate::plan::{NodeKind, Plan};
use crate::sink::Sink;
use crate::source::Source;
use crate::stream::Stream;
use crate::view::Views;
use crate::{AnyTable, DeadLetter, Error, Result};

/// In which order records are applied to state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Records of an epoch in the order of their origins: the same output on any number of
    /// workers.
    #[default]
    Deterministic,
    /// Records as they arrive, at once: a little faster, and the output depends on the timing of
    /// workers. With a data directory it is [`Deterministic`](Self::Deterministic) all the same, which
    /// the log says: what is replayed after a crash must give what it gave before.
    Arrival,
}

/// What a user draws an application on: sources, and from them pipelines.
pub struct App {
    pub(crate) plan: Rc<RefCell<Plan>>,
    pub(crate) counters: Counters,
    pub(crate) views: Views,
}

impl App {
    pub(crate) fn new(placement: Placement, counters: Counters, views: Views) -> Self {
        let plan = Rc::new(RefCell::new(Plan::new(placement, counters.clone())));
        Self { plan, counters, views }
    }

    /// Adds a source. Pipelines are applied in the order in which their sources are declared,
    /// where ingest times are equal.
    pub fn source<S: Source>(&self, name: &str, source: S) -> Stream<Identity<(), S::Item>> {
        let source = TypedSource::new(source);
        let hub = source.hub();
        let mut plan = self.plan.borrow_mut();
        let index = plan.add_source(name, Box::new(source));
        let node = plan.node(NodeKind::Source(index), name, Vec::new());
        Stream::of_source(&self.plan, index, hub, node, name)
    }

    /// Names the sink that receives dead letters: records that a decoder refused, or a computation that
    /// [tries](crate::Keyed::try_compute). Without it they are only counted and logged.
    pub fn dead_letters(&self, sink: impl Sink<Item = DeadLetter>) {
        let mut plan = self.plan.borrow_mut();
        if std::mem::replace(&mut plan.dead_letters_named, true) {
            plan.mistake("the sink of dead letters is named twice; name it once");
        }
        let name = "dead-letters";
        let index = plan.add_sink(name, Box::new(TypedSink::new(sink)));
        plan.node(NodeKind::Sink(index), name, Vec::new());
        plan.dead_letters_sink = Some(index);
    }

    /// Says which version of the program this is, usually `env!("CARGO_PKG_VERSION")`: dead letters that are
    /// kept bear it. Without it they bear a digest of the drawn graph.
    pub fn version(&self, version: &str) {
        self.plan.borrow_mut().version = Some(version.to_string());
    }

    /// Where the program answers over HTTP if no option (`--http`) says it: for programs that people look at, such as
    /// demos. If the place is taken, the program goes on without.
    pub fn http(&self, address: SocketAddr) {
        self.plan.borrow_mut().http.address = Some(address);
    }

    /// Chooses the order in which records are applied; deterministic if it is not called.
    pub fn order(&self, order: Order) {
        self.plan.borrow_mut().order = order;
    }

    /// Declares that `table` had the name `old` in an earlier version of the program: checkpoints
    /// that hold `old` are restored as `table`.
    ///
    /// ```
    /// use anabranch::prelude::*;
    ///
    /// const AVERAGES: Table<String, (u64, u64)> = Table::new("averages");
    ///
    /// fn declare(app: &App) {
    ///     app.renamed("prices", AVERAGES);
    ///     app.dropped("prices-of-yesterday");
    ///     // It held the last price alone.
    ///     app.migrated(AVERAGES, |last: u64| (1, last));
    /// }
    /// ```
    pub fn renamed(&self, old: &str, table: impl AnyTable) {
        self.plan.borrow_mut().stores.rename(old, table.table_name());
    }

    /// Declares that the table `old` of an earlier version is not needed any more: its rows are
    /// left out when a checkpoint is restored.
    pub fn dropped(&self, old: &str) {
        self.plan.borrow_mut().stores.drop_table(old);
    }

    /// Declares that values of `table` (of a map table: of its entries) were of type `Old` in an
    /// earlier version, and what becomes of them. Added, removed and reordered fields need no
    /// declaration where the codec is MessagePack.
    ///
    /// A checkpoint remembers the types' names, and by these rows are told apart: the old type and
    /// the new one must have different names.
    pub fn migrated<T: AnyTable, Old: DeserializeOwned + 'static>(
        &self,
        table: T,
        migrate: impl Fn(Old) -> T::Value + 'static,
    ) {
        table.migrate(&mut self.plan.borrow_mut().stores, migrate);
    }

    /// The finished drawing.
    pub(crate) fn into_plan(self) -> Result<Plan> {
        let plan = Rc::try_unwrap(self.plan).map_err(|_| {
            Error::Application("a stream outlives the builder function; let it go there".into())
        })?;
        Ok(plan.into_inner())
    }

    /// Counters of sources, sinks and connectors, by name (`prices.records`), for live displays.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The rows of views, by name, for live displays.
    pub fn views(&self) -> &Views {
        &self.views
    }
}

/// Draws an application by `build` and reports the first mistake.
pub(crate) fn draw(
    placement: Placement,
    counters: Counters,
    build: impl FnOnce(&App) -> Result<()>,
) -> Result<App> {
    draw_to_run(placement, counters, Views::default(), build)
}

/// The same of one that will run, so that its views are seen.
pub(crate) fn draw_to_run(
    placement: Placement,
    counters: Counters,
    views: Views,
    build: impl FnOnce(&App) -> Result<()>,
) -> Result<App> {
    let app = App::new(placement, counters, views);
    build(&app)?;
    // The streams that they are look at the plan when they go.
    let named = app.plan.borrow_mut().named.take();
    drop(named);
    app.plan.borrow_mut().finish()?;
    crate::dataflow::Topology::of(&app.plan.borrow())?;
    Ok(app)
}
