//! A program: an application with its command line, from start to end.
//!
//! Invariant: an application is drawn and checked once before anything is opened; whatever goes
//! wrong ends the program with one error that says what to do, and an exit code.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use timely::WorkerConfig;
use timely::communication::Hooks;
use xxhash_rust::xxh3::xxh3_64;

use crate::app::draw;
use crate::checkpoint::{self, Restored, Store};
use crate::cluster::{self, Drain, Failures, Progress, Role};
use crate::compare::{self, Verified};
use crate::config::{
    self, Asked, CheckpointCommand, Command, Config, Durability, GraphFormat, Layout, Parsed,
    Restore,
};
use crate::data_dir::{DataDir, Seat};
use crate::durable::{Durable, Span};
use crate::epoch::FlowLimits;
use crate::graph::Graph;
use crate::metrics::Counters;
use crate::pipeline::Placement;
use crate::plan::Plan;
use crate::worker::{self, Build, Setup};
use crate::{App, Error, Result, log, restorable, sink};

/// How long an embedded program waits for its data directory.
const SEAT_WAIT: Duration = Duration::from_secs(10);
/// The most epochs in flight from one worker's sources.
const EPOCHS_IN_FLIGHT: usize = 256;

/// The main function of a program: reads its options, and runs, draws or checks the application
/// that `build` draws.
///
/// ```no_run
/// use anabranch::prelude::*;
/// use anabranch::{sink, source};
///
/// /// Passes words on.
/// #[derive(clap::Args, Clone)]
/// struct Options {
///     /// Do nothing else.
///     #[arg(long)]
///     only: bool,
/// }
///
/// fn pass(app: &App, _: &Options) -> Result<()> {
///     app.source("words", source::empty::<String>()).sink("out", sink::null());
///     Ok(())
/// }
///
/// fn main() -> std::process::ExitCode {
///     anabranch::main(pass)
/// }
/// ```
pub fn main<O>(build: impl Fn(&App, &O) -> Result<()> + Send + Sync + 'static) -> ExitCode
where
    O: clap::Args + Send + Sync + 'static,
{
    let environment = |name: &str| std::env::var_os(name);
    let parsed = match config::parse_any::<O>(std::env::args_os(), &environment) {
        Ok(Asked::Program(parsed)) => parsed,
        Ok(Asked::Checkpoint { command, config }) => return look(&command, &config),
        Err(exit) => return exit.print(),
    };
    let Parsed { command, config, options } = parsed;
    let build: Build = Arc::new(move |app| build(app, &options));
    let ended = match command {
        Command::Run => return run_program(&config, build),
        Command::Replay { span } => return run_replay(&config, span, build),
        Command::Verify { span } => return run_verify(&config, span, build),
        Command::Diff { span, against } => return run_diff(&config, span, build, &against),
        Command::Trace { span } => return run_trace(&config, span, build),
        Command::Check { restore: Some(which) } => return check_restore(&config, &build, which),
        Command::Check { restore: None } => drawing(&config, &build).map(|graph| graph.to_text()),
        Command::Graph { format } => drawing(&config, &build).map(|graph| match format {
            GraphFormat::Mermaid => graph.to_mermaid(),
            GraphFormat::Dot => graph.to_dot(),
            GraphFormat::Json => graph.to_json(),
        }),
    };
    match ended {
        Ok(text) => {
            // A reader that went away (`graph | head`) is no reason to fail.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// Looks at checkpoints, without the application.
fn look(command: &CheckpointCommand, config: &Config) -> ExitCode {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let looked = log::start(config.log(), None)
        .and_then(|()| Store::of_config(config))
        .and_then(|store| store.map_or(Ok(()), |it| checkpoint::run(&it, command, &mut out)));
    looked_at(looked)
}

/// Says what the application is made of, and what it would do to a checkpoint.
fn check_restore(config: &Config, build: &Build, which: Restore) -> ExitCode {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let checked = log::start(config.log(), None)
        .and_then(|()| plan(build, config.workers(), config.partitions() as usize))
        .and_then(|plan| {
            let graph = Graph::of_plan(config.program(), &plan).to_text();
            let text = graph.as_bytes();
            out.write_all(text).map_err(|e| Error::io("standard output", e))?;
            restorable::check(config, &plan, which, &mut out)
        });
    drop(out);
    looked_at(checked)
}

fn looked_at(looked: Result<()>) -> ExitCode {
    match looked {
        // A reader that went away (`export | head`) is no reason to fail.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
        Ok(()) => ExitCode::SUCCESS,
    }
}

#[allow(clippy::print_stderr)]
fn failed(error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(error.exit_code())
}

/// Draws the application once, without running anything.
fn drawing(config: &Config, build: &Build) -> Result<Graph> {
    let plan = plan(build, config.workers(), config.partitions() as usize)?;
    Ok(Graph::of_plan(config.program(), &plan))
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

/// Runs the application that `build` draws in this process, until its sources end: for programs
/// and measurements that embed the engine. No signal is handled and no cluster formed.
///
/// # Errors
/// [`Error::Application`] if the drawing has a mistake, [`Error::Usage`] if `config` asks for more
/// than one process, else the first fault of a source, a sink or user code.
///
/// ```
/// use anabranch::config::Config;
/// use anabranch::{Time, sink, source};
///
/// let config = Config::from_flags(["-w", "2"])?;
/// let counters = anabranch::run(&config, |app| {
///     let words = vec![vec![(Time::ZERO, "hello".to_string())]];
///     app.source("words", source::memory(words.into())).sink("out", sink::null());
///     Ok(())
/// })?;
/// assert_eq!(counters.snapshot()["out.records"], 1);
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn run(
    config: &Config,
    build: impl Fn(&App) -> Result<()> + Send + Sync + 'static,
) -> Result<Counters> {
    run_until(config, build, &Drain::default())
}

/// As [`run`], until the sources end or `drain` is requested, by any thread: then no more input is
/// taken, and what was accepted is completed.
///
/// # Errors
/// As [`run`].
///
/// ```
/// use anabranch::config::Config;
/// use anabranch::{Drain, sink, source};
///
/// let drain = Drain::default();
/// drain.request();
/// let build = |app: &anabranch::App| {
///     app.source("words", source::empty::<String>()).sink("out", sink::null());
///     Ok(())
/// };
/// anabranch::run_until(&Config::default(), build, &drain)?;
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn run_until(
    config: &Config,
    build: impl Fn(&App) -> Result<()> + Send + Sync + 'static,
    drain: &Drain,
) -> Result<Counters> {
    if !matches!(config.layout(), Layout::Local { processes: 1 }) {
        return Err(Error::Usage(
            "an embedded application runs in one process; leave out -n and -p, or start the \
             application by `anabranch::main`"
                .to_string(),
        ));
    }
    let build: Build = Arc::new(build);
    drawing(config, &build)?;
    let counters = Counters::default();
    let mut setup = setup(config, build, &counters);
    if let Some(data) = data_dir(config)? {
        data.take(Seat::Program, SEAT_WAIT)?;
        let generation = data.claim()?;
        let progress = Progress::default();
        keep(config, data, (generation, config.workers()), progress, &mut setup)?;
    }
    let control = Arc::clone(&setup.control);
    drain.on_request(move || control.stop());
    run_alone(setup, worker_config(config))?;
    Ok(counters)
}

/// Replays what an earlier start of the application has journaled in the data directory of `config`
/// and what came of it, for the records of `span`, at full speed: a pure function of the journal. It
/// begins at a checkpoint at or before the span, or where the journal begins. Live sources are not
/// touched, and nothing in the data directory changes, which may be in use. Recorded sources are read
/// again. Sinks begin anew: point them elsewhere. The counters that are returned have a digest of each
/// table's content at the end (`digest.prices`): that of two replays is the same, on any number of
/// workers, unless a computation is not deterministic.
///
/// # Errors
/// As [`run`]; [`Error::Usage`] without a data directory, [`Error::Data`] if what is there is damaged.
pub fn replay(
    config: &Config,
    span: Span,
    build: impl Fn(&App) -> Result<()> + Send + Sync + 'static,
) -> Result<Counters> {
    replay_build(config, span, Arc::new(build))
}

/// Whether the application is a pure function of what an earlier start of it has journaled in the
/// data directory of `config`: replays it on 1, 2 and 4 workers at once, and compares every row that
/// changed and every record that a sink was given with each other, and at the boundaries of checkpoints
/// with what the program had when it ran. As [`replay`], it touches nothing that is live.
///
/// ```
/// use anabranch::config::Config;
/// use anabranch::prelude::*;
/// use anabranch::{Span, sink, source};
///
/// const COUNTS: Table<u8, u64> = Table::new("counts");
///
/// fn count(app: &App) -> Result<()> {
///     let numbers = (0..1000).map(|i| (Time::from_nanos(i), i)).collect();
///     app.source("numbers", source::memory(vec![numbers].into()))
///         .key_by(|number| (number % 7) as u8)
///         .compute("count", COUNTS, |_, mut count, out| {
///             *count += 1;
///             out.emit(*count);
///         })
///         .sink("counts", sink::null());
///     Ok(())
/// }
///
/// let path = std::env::temp_dir().join(format!("anabranch-verify-{}", std::process::id()));
/// let config = Config::from_flags(["--data-dir", &path.to_string_lossy()])?;
/// anabranch::run(&config, count)?;
/// let verified = anabranch::verify(&config, Span::default(), count)?;
/// assert_eq!((verified.outputs, verified.difference), (1000, None));
/// # std::fs::remove_dir_all(&path).unwrap();
/// # Ok::<(), anabranch::Error>(())
/// ```
///
/// # Errors
/// As [`replay`].
pub fn verify(
    config: &Config,
    span: Span,
    build: impl Fn(&App) -> Result<()> + Send + Sync + 'static,
) -> Result<Verified> {
    compare::verify_build(config, span, Arc::new(build))
}

fn run_replay(config: &Config, span: Span, build: Build) -> ExitCode {
    let replayed = log::start(config.log(), None).and_then(|()| replay_build(config, span, build));
    match replayed {
        Ok(counters) => {
            summarize(&counters);
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// Prints whether the application is a pure function of its journal.
fn run_verify(config: &Config, span: Span, build: Build) -> ExitCode {
    let verified =
        log::start(config.log(), None).and_then(|()| compare::verify_build(config, span, build));
    match verified {
        Ok(verified) => {
            // A reader that went away changes nothing about what was found.
            let _ = writeln!(std::io::stdout(), "{verified}");
            same_or_not(verified.difference.is_none())
        }
        Err(error) => failed(&error),
    }
}

/// Prints what this program would release and another would not, and the other way round.
fn run_diff(config: &Config, span: Span, build: Build, against: &Path) -> ExitCode {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let against = (against, compare::arguments(std::env::args_os()));
    let compared = log::start(config.log(), None)
        .and_then(|()| compare::diff(config, span, build, against, &mut out));
    match compared {
        Ok(same) => same_or_not(same),
        Err(error) => looked_at(Err(error)),
    }
}

/// Tells another program, which compares itself with this one, what is released.
fn run_trace(config: &Config, span: Span, build: Build) -> ExitCode {
    let traced = log::start(config.log(), None)
        .and_then(|()| compare::trace(config, span, build, std::io::stdout()));
    looked_at(traced)
}

/// As `diff` and `cmp` end: 1 if there are differences.
fn same_or_not(same: bool) -> ExitCode {
    if same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay_build(config: &Config, span: Span, build: Build) -> Result<Counters> {
    let data = left_data(config)?;
    drawing(config, &build)?;
    let start = (Durable::beginning(config, &data, span)?, span);
    let setup = looking(config, build, &data, start)?;
    let counters = setup.counters.clone();
    run_alone(setup, worker_config(config))?;
    Ok(counters)
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
    setup.durable = Some(Durable::look(config, data.clone(), start, &counters)?);
    Ok(setup)
}

fn setup(config: &Config, build: Build, counters: &Counters) -> Setup {
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
        control: Arc::default(),
        durable: None,
        trace: None,
        test: None,
    }
}

/// The data directory, if there is one and it is used.
fn data_dir(config: &Config) -> Result<Option<DataDir>> {
    let used = config.durability() != Durability::Off;
    let path = config.data_dir().filter(|_| used);
    path.map(|path| DataDir::open(path, config.program(), config.partitions())).transpose()
}

/// Lets a process keep what enters in `data`, and go on from what an earlier start has left there.
fn keep(
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
    setup.durable = Some(Durable::open(config, data, start, &stores, counters, progress, wake)?);
    Ok(())
}

pub(crate) fn worker_config(config: &Config) -> WorkerConfig {
    WorkerConfig::default().idle_spin(config.idle_spin())
}

fn run_program(config: &Config, build: Build) -> ExitCode {
    let (drain, failures) = (Drain::default(), Failures::default());
    let graph = match drawing(config, &build) {
        Ok(graph) => graph,
        Err(error) => return failed(&error),
    };
    cluster::install_panic_hook(&failures);
    failures.exit_on_first();
    match run_role(config, build, &graph, &drain, &failures) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failures.exit(&error),
    }
}

fn run_role(
    config: &Config,
    build: Build,
    graph: &Graph,
    drain: &Drain,
    failures: &Failures,
) -> Result<()> {
    let counters = Counters::default();
    let mut setup = setup(config, build, &counters);
    let control = Arc::clone(&setup.control);
    let worker_config = worker_config(config);
    let data = data_dir(config)?;
    let shared = (graph.to_json(), config.partitions(), env!("CARGO_PKG_VERSION"));
    let placement = cluster::Placement {
        data: data.clone(),
        ..config.placement(xxh3_64(format!("{shared:?}").as_bytes()))
    };
    match cluster::role(&placement, drain, failures)? {
        Role::Supervisor(supervisor) => {
            log::start(config.log(), None)?;
            return supervisor.run();
        }
        Role::Alone => {
            log::start(config.log(), None)?;
            cluster::watch_signals(drain)?;
            drain.on_request(move || control.stop());
            run_alone(setup, worker_config)?;
        }
        Role::Member(member) => {
            let several = (member.processes() > 1).then(|| member.process());
            log::start(config.log(), several)?;
            let Some(mesh) = member.connect()? else { return Ok(()) };
            if let Some(data) = data {
                let workers = member.processes() * config.workers();
                let start = (mesh.generation, workers);
                keep(config, data, start, member.progress()?, &mut setup)?;
            }
            drain.on_request(move || control.stop());
            let reported = failures.clone();
            mesh.execute(worker_config, failures, move |worker| {
                if worker::run(worker, &setup).is_err() {
                    match setup.control.first_fault() {
                        // More likely the consequence of something elsewhere.
                        Some(Error::Cluster(echo)) => reported.echo(echo),
                        Some(Error::SetAside { what, origin }) => {
                            reported.report_aside(what, origin);
                        }
                        Some(fault) => reported.report_error(&fault),
                        None => {}
                    }
                }
            })?;
        }
    }
    summarize(&counters);
    Ok(())
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

/// Tells what sources and sinks of this process have counted, if it had any.
fn summarize(counters: &Counters) {
    let counted: Vec<String> = counters
        .snapshot()
        .into_iter()
        .filter(|(_, number)| *number > 0)
        .map(|(name, number)| format!("{name} {number}"))
        .collect();
    if counted.is_empty() {
        tracing::info!("done");
    } else {
        tracing::info!("done: {}", counted.join(", "));
    }
}
