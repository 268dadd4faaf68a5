//! What workers of a program need to know before they run, and how they run in one process.

use std::sync::Arc;

use timely::WorkerConfig;
use timely::communication::Hooks;

use crate::app::draw;
use crate::checkpoint::Restored;
use crate::cluster::{self, Progress};
use crate::config::{Config, Durability};
use crate::data_dir::DataDir;
use crate::durable::{Durable, Span};
use crate::epoch::FlowLimits;
use crate::graph::Graph;
use crate::http::Said;
use crate::looking::Board;
use crate::metrics::Counters;
use crate::pipeline::Placement;
use crate::plan::Plan;
use crate::worker::{self, Build, Setup};
use crate::{Error, Result, Views, sink};

/// The most epochs in flight from one worker's sources.
const EPOCHS_IN_FLIGHT: usize = 256;

/// Draws the application once, without running anything.
pub(super) fn drawing(config: &Config, build: &Build) -> Result<Graph> {
    drawing_to_run(config, build).map(|(graph, _)| graph)
}

/// The same, and what the application says of the HTTP interface.
pub(super) fn drawing_to_run(config: &Config, build: &Build) -> Result<(Graph, Said)> {
    let plan = plan(build, config.workers(), config.partitions() as usize)?;
    Ok((Graph::of_plan(config.program(), &plan), plan.http))
}

pub(crate) fn plan(build: &Build, workers: usize, partitions: usize) -> Result<Plan> {
    let placement = Placement::new(partitions, workers, 0, 0..workers);
    draw(placement, Counters::default(), |app| build(app))?.into_plan()
}

/// Draws the application once, without running anything, and reports mistakes.
pub(crate) fn check(build: &Build, workers: usize, partitions: usize) -> Result<()> {
    plan(build, workers, partitions).map(drop)
}

/// `build`, and a sink for dead letters if it names none.
pub(crate) fn with_dead_letters(build: Build) -> Build {
    Arc::new(move |app| {
        build(app)?;
        if !app.plan.borrow().dead_letters_named {
            app.dead_letters(sink::null());
        }
        Ok(())
    })
}

/// The data directory that a run has left.
pub(crate) fn left_data(config: &Config) -> Result<DataDir> {
    let Some(path) = config.data_dir() else {
        return Err(Error::Usage(
            "add --data-dir with a directory that a run of this program has left".to_string(),
        ));
    };
    DataDir::left(path, config.program(), config.partitions())
}

/// What the workers of a replay need to know, which begins at `restored` and looks at what was left in
/// `data`.
pub(crate) fn looking(
    config: &Config,
    build: Build,
    data: &DataDir,
    start: (Option<Restored>, Span),
) -> Result<Setup> {
    let counters = Counters::default();
    let mut setup = setup(config, build, &counters);
    setup.board = None;
    setup.durable = Some(Durable::look(config, data.clone(), start, &counters)?);
    Ok(setup)
}

pub(super) fn setup(config: &Config, build: Build, counters: &Counters) -> Setup {
    Setup {
        build,
        partitions: config.partitions() as usize,
        workers_per_process: config.workers(),
        epoch_max: config.epoch(),
        limits: FlowLimits {
            records: config.in_flight_records(),
            bytes: config.in_flight_bytes(),
            epochs: EPOCHS_IN_FLIGHT,
        },
        counters: counters.clone(),
        views: Views::default(),
        control: Arc::default(),
        board: config.http().map(|_| Board::default()),
        rescaled_at: None,
        durable: None,
        trace: None,
        test: None,
    }
}

/// The data directory, if there is one and it is used.
pub(super) fn data_dir(config: &Config) -> Result<Option<DataDir>> {
    let used = config.durability() != Durability::Off;
    let path = config.data_dir().filter(|_| used);
    path.map(|path| DataDir::open(path, config.program(), config.partitions())).transpose()
}

/// Lets a process keep what enters in `data`, and go on from what an earlier start has left there.
pub(super) fn keep(
    config: &Config,
    data: DataDir,
    (generation, workers): (u64, usize),
    progress: Progress,
    setup: &mut Setup,
) -> Result<()> {
    let stores = plan(&setup.build, workers, setup.partitions)?.stores;
    let control = Arc::clone(&setup.control);
    let wake = move || control.wake();
    let counters = &setup.counters;
    let start = (generation, workers);
    setup.control.pauses().begin(config.paused(), Some(&data))?;
    setup.durable = Some(Durable::open(config, data, start, &stores, counters, progress, wake)?);
    Ok(())
}

pub(crate) fn worker_config(config: &Config) -> WorkerConfig {
    WorkerConfig::default().idle_spin(config.idle_spin())
}

/// Runs the workers of a program that is one process.
pub(crate) fn run_alone(setup: Setup, config: WorkerConfig) -> Result<()> {
    let workers = setup.workers_per_process;
    let builders = cluster::allocators_within(workers, Hooks::default());
    let control = Arc::clone(&setup.control);
    let guards = timely::execute::execute_from(builders, Box::new(()), config, move |worker| {
        worker::run(worker, &setup)
    })
    .map_err(Error::Cluster)?;
    let results: Vec<Result<()>> =
        guards.join().into_iter().map(|r| r.unwrap_or_else(|e| Err(Error::Panic(e)))).collect();
    match control.first_fault() {
        Some(error) => Err(error),
        None => results.into_iter().collect(),
    }
}
