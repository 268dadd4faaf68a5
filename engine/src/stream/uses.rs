//! What the computations of a fused chain use, and what each of them asks for.
//!
//! Invariant: hidden tables are named after the computation that they belong to.

use std::hash::Hasher as _;
use std::rc::Rc;

use crate::computation::{Refusals, Surroundings, Values};
use crate::plan::Plan;
use crate::side_output::Sides;
use crate::state::{Stores, TableUse, Tables, hidden_name};
use crate::timer::{EngineTimers, OwnRows, TimerRows, Timers};
use crate::watermark::PortClock;
use crate::{Key, MapTable};

/// Finds the rows of a computation that say for when its timers are set.
pub(super) type FindOwnRows<K> = Box<dyn FnOnce(&mut Stores) -> Rc<dyn OwnRows<K>>>;

/// What the computations of one fused chain use.
pub(super) struct Uses {
    pub(super) tables: Vec<TableUse>,
    pub(super) computations: Vec<String>,
    pub(super) sides: Rc<Sides>,
    pub(super) clock: PortClock,
    /// Whether one of the computations sets timers.
    pub(super) timers: bool,
    pub(super) values: Rc<Values>,
}

/// What a computation asks for beside its tables.
pub(super) struct Asks<K> {
    /// Whether it sets timers of event time,
    pub(super) timers: bool,
    /// and of engine time.
    pub(super) engine_timers: bool,
    /// Whether it may refuse records.
    pub(super) tries: bool,
    /// Whether it asks for event time.
    pub(super) timed: bool,
    /// Finds those of its rows that say for when its timers of event time are set, if they do.
    pub(super) own_rows: Option<FindOwnRows<K>>,
}

impl<K> Asks<K> {
    /// What a computation on batches asks for.
    pub(super) fn of_batches() -> Self {
        Self { timers: false, engine_timers: false, tries: true, timed: false, own_rows: None }
    }
}

impl Uses {
    /// What the next computation can learn while it is applied.
    pub(super) fn surroundings<K>(
        &self,
        plan: &Plan,
        name: &str,
        asks: &Asks<K>,
        refusals: Option<Refusals>,
    ) -> Surroundings {
        let mut salt = xxhash_rust::xxh3::Xxh3::new();
        salt.write(name.as_bytes());
        Surroundings {
            sources: Rc::clone(&plan.source_names),
            salt: salt.finish(),
            sides: Rc::clone(&self.sides),
            watermark: Rc::clone(&self.clock.watermark),
            counters: plan.counters.scoped(name),
            timers: asks.timers,
            engine_timers: asks.engine_timers,
            refusals,
            values: Rc::clone(&self.values),
            level: self.computations.len() as u32,
        }
    }
}

/// The timers of the computation of that name and level of its chain: of event time, and of the engine's,
/// each if it asks for some. Their tables are added to those that it uses; if rows of its own say for when
/// those of event time are set, these have none.
pub(super) fn timers_of<K: Key>(
    plan: &mut Plan,
    (name, level): (&str, usize),
    (of_event, of_engine, own_rows): (bool, bool, Option<Rc<dyn OwnRows<K>>>),
    used: &mut Vec<TableUse>,
) -> (Option<Timers<K>>, Option<EngineTimers<K>>) {
    let partitions = plan.placement.partitions();
    plan.engine_timers |= of_engine;
    let event_timers = of_event.then(|| {
        let rows = match own_rows {
            Some(rows) => TimerRows::Own(rows),
            None => {
                let table = MapTable::new(hidden_name(name, "timers"));
                Tables::<K>::uses(table, used);
                TimerRows::Table(plan.stores.map_store(table))
            }
        };
        Timers::new(rows, partitions, level)
    });
    let engine_timers = of_engine.then(|| {
        let table = MapTable::new(hidden_name(name, "engine-timers"));
        Tables::<K>::uses(table, used);
        EngineTimers::new(plan.stores.map_store(table), partitions, level)
    });
    (event_timers, engine_timers)
}
