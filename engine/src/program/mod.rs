//! A program: an application with its command line, from start to end.
//!
//! Invariant: an application is drawn and checked once before anything is opened; whatever goes
//! wrong ends the program with one error that says what to do, and an exit code.

mod commands;
mod embedded;
mod setup;

use std::process::ExitCode;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

pub use self::embedded::{replay, reprocess, run, run_until, verify};
pub(crate) use self::setup::{
    check, left_data, looking, plan, run_alone, with_dead_letters, worker_config,
};
use self::setup::{data_dir, drawing_to_run, keep, setup};
use crate::cluster::{self, Drain, Failures, Role};
use crate::config::{self, Asked, Command, Config, Parsed};
use crate::control;
use crate::graph::Graph;
use crate::http::Said;
use crate::metrics::Counters;
use crate::worker::{self, Build};
use crate::{App, Error, Result, log};

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
        Ok(Asked::Checkpoint { command, config }) => return commands::look(&command, &config),
        Ok(Asked::DeadLetters { command, config }) => return commands::letters(&command, &config),
        Err(exit) => return exit.print(),
    };
    let Parsed { command, config, options } = parsed;
    let build: Build = Arc::new(move |app| build(app, &options));
    match command {
        Command::Run => run_program(config, build),
        Command::Graph { format } => commands::graph(&config, &build, format),
        Command::Check { restore } => commands::check(&config, &build, restore),
        Command::Reprocess { from } => commands::reprocess(&config, &build, from),
        Command::Replay { span } => commands::replay(&config, span, build),
        Command::Verify { span } => commands::verify(&config, span, build),
        Command::Diff { span, against } => commands::diff(&config, span, build, &against),
        Command::Trace { span } => commands::trace(&config, span, build),
    }
}

#[allow(clippy::print_stderr)]
fn failed(error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(error.exit_code())
}

fn run_program(config: Config, build: Build) -> ExitCode {
    let config = match cluster::rescaled_workers() {
        Some(workers) => config.with_workers(workers),
        None => config,
    };
    let (drain, failures) = (Drain::default(), Failures::default());
    let (graph, said) = match drawing_to_run(&config, &build) {
        Ok(drawn) => drawn,
        Err(error) => return failed(&error),
    };
    let config = &config.or_http(said.address);
    cluster::install_panic_hook(&failures);
    failures.exit_on_first();
    match run_role(config, build, (&graph, said), &drain, &failures) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failures.exit(&error),
    }
}

fn run_role(
    config: &Config,
    build: Build,
    (graph, said): (&Graph, Said),
    drain: &Drain,
    failures: &Failures,
) -> Result<()> {
    let counters = Counters::default();
    let mut setup = setup(config, build, &counters);
    setup.control.pauses().begin(config.paused(), None)?;
    let control = Arc::clone(&setup.control);
    let worker_config = worker_config(config);
    let data = data_dir(config)?;
    let is_asked = config.http().is_some();
    let shared = (graph.to_json(), config.partitions(), is_asked, env!("CARGO_PKG_VERSION"));
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
            let _serving = control::serve(config, graph, &setup, None, said)?;
            run_alone(setup, worker_config)?;
        }
        Role::Member(member) => {
            let several = (member.processes() > 1).then(|| member.process());
            let is_first = member.process() == 0;
            log::start(config.log(), several)?;
            let Some(mesh) = member.connect()? else { return Ok(()) };
            if let Some(data) = data {
                let workers = member.processes() * config.workers();
                let start = (mesh.generation, workers);
                keep(config, data, start, member.progress()?, &mut setup)?;
            }
            drain.on_request(move || control.stop());
            setup.rescaled_at = mesh.rescaled_at;
            let rescaler = member.rescaler()?;
            let _serving = match is_first {
                true => control::serve(config, graph, &setup, rescaler, said)?,
                false => None,
            };
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
