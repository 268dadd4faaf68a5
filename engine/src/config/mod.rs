//! How a program is started: options as typed become a checked, immutable [`Config`].
//!
//! Invariant: what [`parse`] returns is consistent and within bounds, so nothing later asks again;
//! flags go before the environment, the environment before the file, the file before defaults.
//! Not the place where anything is started: this only reads.

mod args;
mod exit;
mod help;
mod hosts;
mod layers;
#[cfg(test)]
mod tests;
mod units;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::FromArgMatches as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use self::args::{Args, Word};
pub use self::exit::Exit;
use self::layers::Layers;
use crate::{Error, Result};

/// What a program was asked for.
#[derive(Debug)]
pub struct Parsed<O> {
    /// What to do.
    pub command: Command,
    /// How to do it.
    pub config: Config,
    /// The application's own options.
    pub options: O,
}

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Runs the application.
    Run,
    /// Prints the application as a graph.
    Graph {
        /// In which language.
        format: GraphFormat,
    },
    /// Builds the application and prints what it is made of.
    Check,
}

/// A language for graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GraphFormat {
    /// For Markdown pages
    Mermaid,
    /// For Graphviz
    Dot,
    /// For programs
    Json,
}

/// Where the processes of an application are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// On this machine, started and supervised by this process if there are several.
    Local {
        /// How many, at least one.
        processes: usize,
    },
    /// On several machines; this is one of them.
    Cluster {
        /// The index of this process in `hosts`.
        process: usize,
        /// The address of each process, `host:port`.
        hosts: Vec<String>,
        /// The file with the key that all of them share.
        key_file: PathBuf,
    },
}

impl Layout {
    /// How many processes there are in all.
    pub fn processes(&self) -> usize {
        match self {
            Self::Local { processes } => *processes,
            Self::Cluster { hosts, .. } => hosts.len(),
        }
    }
}

/// How an application runs: checked, and the same until it ends.
///
/// ```
/// use anabranch::config::Config;
/// let config = Config::from_flags(["-w", "4", "--epoch", "250us"])?;
/// assert_eq!(config.workers(), 4);
/// assert_eq!(config.epoch().as_micros(), 250);
/// assert_eq!(config.partitions(), Config::default().partitions());
/// # Ok::<(), anabranch::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    program: String,
    workers: usize,
    layout: Layout,
    epoch: Duration,
    partitions: u32,
    idle_spin: Duration,
    in_flight_records: usize,
    in_flight_bytes: usize,
    log: String,
    quiet: bool,
}

impl Config {
    /// From the engine's flags alone, without environment or program name: for programs that start
    /// an application themselves, and for tests.
    ///
    /// # Errors
    /// [`Error::Usage`] when a flag is unknown or its value is wrong.
    pub fn from_flags<T: Into<OsString>>(flags: impl IntoIterator<Item = T>) -> Result<Self> {
        let argv = std::iter::once("anabranch".into()).chain(flags.into_iter().map(Into::into));
        parse::<()>(argv, &|_| None)
            .map(|parsed| parsed.config)
            .map_err(|exit| Error::Usage(exit.to_string()))
    }

    /// The program's name, as it was called.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Worker threads of each process (`--workers`), from 1 to 256.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Where the processes are (`--processes`, or `--process` with `--hosts`).
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The longest that live input waits before its epoch closes (`--epoch`).
    pub fn epoch(&self) -> Duration {
        self.epoch
    }

    /// Slices that each table's keys are split into (`--partitions`), at least one.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// How long a worker with nothing to do spins before it sleeps (`--idle-spin`).
    pub fn idle_spin(&self) -> Duration {
        self.idle_spin
    }

    /// Records that a worker may have read and not finished (`--in-flight-records`), at least one.
    pub fn in_flight_records(&self) -> usize {
        self.in_flight_records
    }

    /// Bytes that a worker may have read and not finished (`--in-flight-bytes`), at least 1024.
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// What is logged (`--log`): `off`, a level, or `target=level` pairs, as
    /// [`log::start`](crate::log::start) takes it.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Whether to say nothing but warnings and errors (`--quiet`).
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// Checks what was typed.
    fn checked(program: &str, args: Args) -> Result<Self, String> {
        let default_log = if args.quiet { "warn" } else { "info" };
        Ok(Self {
            program: program.to_owned(),
            workers: usize::from(args.workers),
            epoch: args.epoch,
            partitions: args.partitions,
            idle_spin: args.idle_spin,
            in_flight_records: args.in_flight_records.try_into().unwrap_or(usize::MAX),
            in_flight_bytes: args.in_flight_bytes.try_into().unwrap_or(usize::MAX),
            log: args.log.unwrap_or_else(|| default_log.to_owned()),
            quiet: args.quiet,
            layout: layout(
                args.processes,
                args.process,
                args.hosts.as_deref(),
                args.cluster_key_file,
            )?,
        })
    }
}

/// What runs without any flag: one worker in one process.
impl Default for Config {
    fn default() -> Self {
        Self {
            program: "anabranch".into(),
            workers: 1,
            layout: Layout::Local { processes: 1 },
            epoch: Duration::from_millis(1),
            partitions: 1024,
            idle_spin: Duration::from_micros(10),
            in_flight_records: 65_536,
            in_flight_bytes: 64 << 20,
            log: "info".into(),
            quiet: false,
        }
    }
}

fn layout(
    processes: Option<u16>,
    process: Option<usize>,
    hosts: Option<&Path>,
    key_file: Option<PathBuf>,
) -> Result<Layout, String> {
    let Some(process) = process else {
        if hosts.is_some() {
            return Err(
                "--hosts lists the processes of a cluster, but nothing says which of them \
                        this is; add --process I, counted from 0"
                    .into(),
            );
        }
        if key_file.is_some() {
            return Err("--cluster-key-file goes with --process and --hosts; the processes that \
                        -n starts on this machine make a key of their own"
                .into());
        }
        return Ok(Layout::Local { processes: processes.map_or(1, usize::from) });
    };
    if processes.is_some() {
        return Err(
            "--processes starts processes on this machine, and --process says which one of \
                    a cluster this is; use one of the two"
                .into(),
        );
    }
    let Some(hosts) = hosts else {
        return Err("--process says which process of a cluster this is, but not where the others \
                    are; add --hosts FILE with one host:port a line, or use --processes N to start \
                    them all on this machine"
            .into());
    };
    let Some(key_file) = key_file else {
        return Err("a cluster needs a key that its processes share; make one with \
                    `head -c 32 /dev/urandom > cluster.key`, copy it to each machine and add \
                    --cluster-key-file cluster.key"
            .into());
    };
    let shown = hosts.display();
    let hosts = hosts::read(hosts)?;
    if process >= hosts.len() {
        let (count, last) = (hosts.len(), hosts.len() - 1);
        return Err(format!(
            "--process {process} is not in `{shown}`: it lists {count}, so this is from 0 to {last}"
        ));
    }
    Ok(Layout::Cluster { process, hosts, key_file })
}

/// Reads the options of a program whose own are `O`: from `argv`, which begins with the program's
/// name, from the environment as `env` looks it up, and from the file that `--config` names.
///
/// ```
/// #[derive(clap::Args, Debug)]
/// /// Counts words.
/// struct Options {
///     /// Where to read text
///     #[arg(long, value_name = "URL")]
///     text: String,
/// }
///
/// use anabranch::config::{self, Command};
/// let argv = ["word-count", "check", "--text", "file:a.txt", "-w", "2"].map(Into::into);
/// let parsed = config::parse::<Options>(argv, &|_| None)?;
/// assert_eq!(parsed.command, Command::Check);
/// assert_eq!(parsed.config.workers(), 2);
/// assert_eq!(parsed.options.text, "file:a.txt");
/// # Ok::<(), config::Exit>(())
/// ```
///
/// # Errors
/// An [`Exit`] to print when help or the version is asked for or an option is wrong, and when the
/// options of `O` clash with the engine's.
pub fn parse<O: clap::Args>(
    argv: impl IntoIterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Parsed<O>, Exit> {
    let mut argv: Vec<OsString> = argv.into_iter().collect();
    let program = program(argv.first());
    let mut command = args::command_line::<O>(&program).map_err(|wrong| {
        let message = Error::Application(wrong).to_string();
        Exit::new(&clap::Error::raw(ErrorKind::InvalidValue, message + "\n"))
    })?;

    // Once for what is on the command line, whose mistakes the second time reports.
    let typed = command.clone().ignore_errors(true).try_get_matches_from(&argv);
    let typed = typed.map_err(|error| Exit::new(&error))?;
    let layers = layers::gather(&command, &typed, env).map_err(|e| usage(&mut command, &e))?;
    let end = argv.len().min(1);
    argv.splice(end..end, layers.arguments.iter().cloned());

    let explained = |error| Exit::new(&with_origins(error, &layers));
    let mut matches = command.try_get_matches_from_mut(&argv).map_err(explained)?;
    let word = matches.remove_one::<Word>(args::COMMAND).unwrap_or(Word::Run);
    let format = matches.remove_one::<GraphFormat>(args::FORMAT);
    let command_asked = match (word, format) {
        (Word::Help, _) => return Err(Exit::help(&command.render_long_help())),
        (Word::Graph, format) => Command::Graph { format: format.unwrap_or(GraphFormat::Mermaid) },
        (_, Some(_)) => {
            return Err(usage(&mut command, "--format goes with the command `graph`"));
        }
        (Word::Run, None) => Command::Run,
        (Word::Check, None) => Command::Check,
    };
    let args = Args::from_arg_matches(&matches).map_err(|e| explained(e.format(&mut command)))?;
    let options = O::from_arg_matches(&matches).map_err(|e| explained(e.format(&mut command)))?;
    let config = Config::checked(&program, args).map_err(|e| usage(&mut command, &e))?;
    Ok(Parsed { command: command_asked, config, options })
}

fn program(argv0: Option<&OsString>) -> String {
    argv0
        .and_then(|path| Path::new(path).file_stem())
        .map_or_else(|| "anabranch".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn usage(command: &mut clap::Command, wrong: &str) -> Exit {
    Exit::new(&command.error(ErrorKind::ValueValidation, wrong))
}

/// Adds where a refused value came from, if it was not typed.
fn with_origins(mut error: clap::Error, layers: &Layers) -> clap::Error {
    let context = [ContextKind::InvalidArg, ContextKind::PriorArg];
    let mut tips = Vec::new();
    for argument in context.into_iter().filter_map(|kind| error.get(kind)) {
        let arguments = match argument {
            ContextValue::String(one) => std::slice::from_ref(one),
            ContextValue::Strings(several) => several.as_slice(),
            _ => &[],
        };
        for argument in arguments {
            let name = argument.trim_start_matches('-');
            let name = name.split([' ', '=', '[']).next().unwrap_or_default();
            if let Some(origin) = layers.origins.get(name) {
                tips.push(format!("--{name} comes from {origin}").into());
            }
        }
    }
    if !tips.is_empty() {
        if let Some(ContextValue::StyledStrs(given)) = error.remove(ContextKind::Suggested) {
            tips.extend(given);
        }
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}
