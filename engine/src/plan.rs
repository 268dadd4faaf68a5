//! The plan: what a user drew, before anything runs.
//!
//! Invariant: the builder function draws the same plan on every worker, so indices in it mean the
//! same everywhere. Mistakes are collected here and reported once, with the names in them.

mod letters;
mod views;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

pub(crate) use self::views::ViewPlan;
use crate::computation::SourceNames;
use crate::delivery::AnySink;
use crate::http::Said;
use crate::ingest::AnySource;
use crate::letters::{Posted, RETRIES};
use crate::lookup::AnyLookup;
use crate::metrics::Counters;
use crate::pipeline::{Hub, Outbox, Parcel, Placement, Tagged};
use crate::reprocess::Former;
use crate::state::{Port, Stores, TableUse};
use crate::stream::Named;
use crate::timer::Alarms;
use crate::view::Taps;
use crate::watermark::{Board, PortClock, SourceClock};
use crate::{Error, LANES_MAX, Order, PATH_LEVELS_MAX, Result};

/// Which timely operator runs a piece of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// The operator that reads the sources.
    Ingest,
    /// The operator of the group that the port belongs to.
    Port(usize),
    /// The operator of a merge.
    Relay(usize),
    /// The operator that gathers a view.
    View(usize),
    /// The operator of a look-up.
    Lookup(usize),
    /// The operator of a sink: what it refuses.
    Sink(usize),
}

/// Where an edge ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Port(usize),
    /// The port, where retries of dead letters enter.
    Retries(usize),
    Relay(usize),
    Lookup(usize),
    Sink(usize),
}

pub(crate) struct EdgePlan {
    pub(crate) from: Owner,
    pub(crate) to: Target,
    pub(crate) outbox: Outbox,
}

pub(crate) struct PortPlan {
    pub(crate) port: Box<dyn Port>,
    pub(crate) uses: Vec<TableUse>,
    pub(crate) computations: Vec<String>,
    pub(crate) clock: PortClock,
    pub(crate) trail: String,
}

pub(crate) struct SourcePlan {
    pub(crate) name: String,
    pub(crate) source: Box<dyn AnySource>,
    /// After which silence a partition is idle, if the source has event times.
    pub(crate) event_time: Option<Option<Duration>>,
}

pub(crate) struct SinkPlan {
    pub(crate) name: String,
    pub(crate) sink: Box<dyn AnySink>,
}

/// What a merge does with a parcel from its leg of that index.
pub(crate) type Relay = Box<dyn FnMut(usize, Parcel)>;

/// A node of the drawing, for `graph` and `check`.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) name: String,
    pub(crate) parents: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeKind {
    Source(usize),
    Step,
    Computation(Vec<TableUse>),
    View(Vec<TableUse>),
    Sink(usize),
}

/// What a user drew.
pub(crate) struct Plan {
    pub(crate) order: Order,
    pub(crate) placement: Placement,
    pub(crate) counters: Counters,
    pub(crate) sources: Vec<SourcePlan>,
    pub(crate) source_names: SourceNames,
    pub(crate) edges: Vec<EdgePlan>,
    /// In the order of their first computation; each is filled when its chain is complete.
    ports: Vec<Option<PortPlan>>,
    pub(crate) relays: Vec<Relay>,
    pub(crate) lookups: Vec<Box<dyn AnyLookup>>,
    /// How many there are, also when they are running.
    pub(crate) lookup_count: usize,
    pub(crate) sinks: Vec<SinkPlan>,
    pub(crate) stores: Stores,
    /// The names of views.
    pub(crate) views: Vec<String>,
    pub(crate) drawings: Vec<ViewPlan>,
    /// The tables that views look at.
    pub(crate) taps: Taps,
    /// What the sources that are read here have to tell of event times.
    pub(crate) board: Board,
    /// Whether a computation sets timers that are due by engine time.
    pub(crate) engine_timers: bool,
    /// Live, if something can be due by engine time: when it is.
    pub(crate) alarms: Option<Alarms>,
    /// What an earlier program has told, if it is computed anew.
    pub(crate) former: Option<Rc<Former>>,
    pub(crate) dead_letters: Rc<Hub<Posted>>,
    pub(crate) dead_letters_named: bool,
    /// What it says of the HTTP interface.
    pub(crate) http: Said,
    /// The sink of dead letters, if it is named.
    pub(crate) dead_letters_sink: Option<usize>,
    /// Whether all that is needed to try dead letters again is to be kept.
    pub(crate) keeps_letters: Rc<Cell<bool>>,
    /// The source that retries of dead letters enter by.
    pub(crate) retries: Option<usize>,
    /// What the application calls its version.
    pub(crate) version: Option<String>,
    /// Who may refuse records, with where they hand on their dead letters, and the names of their computations.
    refusing: BTreeMap<Owner, (Rc<Hub<Posted>>, BTreeSet<String>)>,
    /// The names of these computations.
    pub(crate) refusers: BTreeSet<String>,
    pub(crate) nodes: Vec<Node>,
    computations: BTreeSet<String>,
    pub(crate) named: Named,
    first_error: Option<Error>,
}

impl Plan {
    pub(crate) fn new(placement: Placement, counters: Counters) -> Self {
        Self {
            order: Order::default(),
            placement,
            counters,
            sources: Vec::new(),
            source_names: SourceNames::default(),
            edges: Vec::new(),
            ports: Vec::new(),
            relays: Vec::new(),
            lookups: Vec::new(),
            lookup_count: 0,
            sinks: Vec::new(),
            stores: Stores::default(),
            views: Vec::new(),
            drawings: Vec::new(),
            taps: Taps::default(),
            board: Board::default(),
            engine_timers: false,
            alarms: None,
            former: None,
            dead_letters: Hub::new(),
            dead_letters_named: false,
            http: Said::default(),
            dead_letters_sink: None,
            keeps_letters: Rc::default(),
            retries: None,
            version: None,
            refusing: BTreeMap::new(),
            refusers: BTreeSet::new(),
            nodes: Vec::new(),
            computations: BTreeSet::new(),
            named: Named::default(),
            first_error: None,
        }
    }

    /// Remembers the first mistake; the builder function goes on, so that users write no `?`
    /// between steps.
    pub(crate) fn mistake(&mut self, problem: impl Into<String>) {
        self.fail(Error::Application(problem.into()));
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.first_error.get_or_insert(error);
    }

    pub(crate) fn node(&mut self, kind: NodeKind, name: &str, parents: Vec<usize>) -> usize {
        self.nodes.push(Node { kind, name: name.to_string(), parents });
        self.nodes.len() - 1
    }

    pub(crate) fn edge(&mut self, from: Owner, to: Target) -> Outbox {
        let outbox = Outbox::default();
        self.edges.push(EdgePlan { from, to, outbox: Rc::clone(&outbox) });
        outbox
    }

    pub(crate) fn add_source(&mut self, name: &str, source: Box<dyn AnySource>) -> usize {
        self.check_name("source", name);
        if self.sources.iter().any(|known| known.name == name) {
            self.mistake(format!(
                "two sources are named `{name}`; offsets belong to names, so give one another name"
            ));
        }
        if self.sinks.iter().any(|known| known.name == name) {
            self.shared_name(name);
        }
        self.sources.push(SourcePlan { name: name.to_string(), source, event_time: None });
        self.sources.len() - 1
    }

    /// The clock of a source whose records say what their event time is.
    pub(crate) fn add_clock(
        &mut self,
        index: usize,
        idle_after: Option<Duration>,
        within: Option<Duration>,
    ) -> Rc<SourceClock> {
        let clock = Rc::new(SourceClock::default());
        let Some(source) = self.sources.get_mut(index) else { return clock };
        if source.event_time.replace(idle_after).is_some() {
            let twice = format!(
                "source `{}` is given event times twice; call `event_time` once, before the stream is \
                 split",
                source.name
            );
            self.mistake(twice);
        }
        self.board.alignment.add(index, idle_after, within);
        self.board.clocks.borrow_mut().insert(index, Rc::clone(&clock));
        clock
    }

    pub(crate) fn add_sink(&mut self, name: &str, sink: Box<dyn AnySink>) -> usize {
        self.check_name("sink", name);
        if self.sinks.iter().any(|known| known.name == name) {
            self.mistake(format!("two sinks are named `{name}`; give one another name"));
        }
        if self.sources.iter().any(|known| known.name == name) {
            self.shared_name(name);
        }
        self.sinks.push(SinkPlan { name: name.to_string(), sink });
        self.sinks.len() - 1
    }

    fn shared_name(&mut self, name: &str) {
        self.mistake(format!(
            "a source and a sink are both named `{name}`; counters (`{name}.records`) belong to \
             names, so give one of them another name"
        ));
    }

    pub(crate) fn add_computation(&mut self, name: &str, uses: &[TableUse], trail: &str) {
        self.check_name("computation", name);
        if !self.computations.insert(name.to_string()) {
            self.mistake(format!(
                "two computations are named `{name}`; state and dead letters belong to names, so \
                 give one of them another name"
            ));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = uses.iter().find(|used| !seen.insert(used.name)) {
            self.mistake(format!(
                "computation `{name}` of pipeline `{trail}` uses table `{}` twice; name it once, \
                 to write if it is written",
                twice.name
            ));
        }
    }

    /// The index of a port whose chain is still being drawn.
    pub(crate) fn reserve_port(&mut self) -> usize {
        self.ports.push(None);
        self.ports.len() - 1
    }

    pub(crate) fn fill_port(&mut self, index: usize, port: PortPlan) {
        if let Some(reserved) = self.ports.get_mut(index) {
            *reserved = Some(port);
        }
    }

    /// The ports, by index.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (usize, &PortPlan)> {
        self.ports.iter().enumerate().filter_map(|(index, port)| Some((index, port.as_ref()?)))
    }

    /// How many ports there are.
    pub(crate) fn port_count(&self) -> usize {
        self.ports.len()
    }

    pub(crate) fn port(&self, index: usize) -> Option<&PortPlan> {
        self.ports.get(index)?.as_ref()
    }

    pub(crate) fn take_port(&mut self, index: usize) -> Option<PortPlan> {
        self.ports.get_mut(index)?.take()
    }

    /// Reports a table name that stands for two types.
    pub(crate) fn check_tables(&mut self, computation: &str, trail: &str) {
        if let Some(conflict) = self.stores.take_conflict() {
            self.mistake(format!("computation `{computation}` of pipeline `{trail}`: {conflict}"));
        }
    }

    /// Reports a declaration of tables that cannot be meant.
    fn check_declarations(&mut self) {
        let mut used = BTreeSet::new();
        for node in &self.nodes {
            if let NodeKind::Computation(uses) = &node.kind {
                used.extend(uses.iter().map(|table| table.name));
            }
        }
        let declared = self.stores.check_declared(&used);
        if let Some(problem) = self.stores.take_conflict().or(declared) {
            self.mistake(problem);
        }
    }

    /// `depth` counts the levels of a record's path; its frame is the first.
    pub(crate) fn check_depth(&mut self, depth: usize, trail: &str) {
        if depth > PATH_LEVELS_MAX {
            let steps_max = PATH_LEVELS_MAX - 1;
            self.mistake(format!(
                "pipeline `{trail}` passes more than {steps_max} computations, `flat_map`s and \
                 merges that hand on to other operators; join some of them"
            ));
        }
    }

    fn check_name(&mut self, what: &str, name: &str) {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
            self.mistake(format!(
                "the {what} name `{}` will not do: use 1 to 64 ASCII letters, digits, `-`, `_`, `.`",
                name.escape_debug()
            ));
        }
    }

    /// The source names are complete; reports the first mistake.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let names = self.sources.iter().map(|source| source.name.clone());
        let names = names.chain([RETRIES.to_string()]).collect();
        let _ = self.source_names.set(names);
        self.check_declarations();
        self.check_views();
        self.collect_letters();
        if self.sources.is_empty() {
            self.mistake("it has no source; begin with `app.source(name, source)`");
        }
        if self.ports.iter().any(Option::is_none) {
            self.mistake("a keyed stream outlives the builder function; let it go there");
        }
        // The last three numbers are those of views and timers, and one is that of retries.
        if self.sources.len() > LANES_MAX - 4 {
            let most = LANES_MAX - 4;
            self.mistake(format!("it has more than {most} sources; merge some of them"));
        }
        self.first_error.take().map_or(Ok(()), Err)
    }

    /// Prepares what depends on whether all input is `recorded`: time passes by itself only if not.
    pub(crate) fn prepare_time(&mut self, recorded: bool) {
        let idles = self.sources.iter().any(|source| matches!(source.event_time, Some(Some(_))));
        let ticks = !recorded && (self.engine_timers || idles);
        self.alarms = ticks.then(Alarms::default);
        self.board.tells_all.set(self.engine_timers || ticks);
        // An epoch of live input is a time.
        self.board.tells_times.set(recorded && !self.views.is_empty());
    }

    /// Whether a source brings its own times.
    pub(crate) fn has_recorded_source(&self) -> bool {
        self.sources
            .iter()
            .any(|planned| planned.source.nature() == crate::source::Nature::Recorded)
    }

    /// The ports of each group of tables, groups in the order of their first port.
    ///
    /// A group is what some computation, or some fused chain of computations, uses together.
    pub(crate) fn groups(&self) -> Vec<Vec<usize>> {
        let mut group_of: Vec<usize> = (0..self.ports.len()).collect();
        let mut first_user: BTreeMap<&str, usize> = BTreeMap::new();
        for (port, plan) in self.ports() {
            for used in &plan.uses {
                let first = *first_user.entry(used.name).or_insert(port);
                let (a, b) = (find(&group_of, first), find(&group_of, port));
                if let Some(root) = group_of.get_mut(a.max(b)) {
                    *root = a.min(b);
                }
            }
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for port in 0..self.ports.len() {
            groups.entry(find(&group_of, port)).or_default().push(port);
        }
        groups.into_values().collect()
    }
}

fn find(group_of: &[usize], mut port: usize) -> usize {
    while let Some(&up) = group_of.get(port) {
        if up == port {
            break;
        }
        port = up;
    }
    port
}

/// A relay that tells the legs' records apart and hands them to `hub`; `depths` are the levels of
/// their paths. The shorter paths are filled up, so that none is the beginning of another: what
/// comes of a record would fall among what comes of the other one.
pub(crate) fn relay<T: crate::Record>(hub: Rc<Hub<T>>, depths: [usize; 2]) -> Relay {
    let deepest = depths.into_iter().max().unwrap_or_default();
    Box::new(move |leg, parcel| {
        let missing = depths.get(leg).map_or(0, |depth| deepest - depth);
        let mut records: Vec<Tagged<T>> = parcel.body.records();
        for record in &mut records {
            for _ in 0..missing {
                record.origin = record.origin.child(0);
            }
            record.origin = record.origin.child(leg as u32);
        }
        hub.dispatch(&mut records);
    })
}
