//! How a program is started: options as typed become a checked, immutable [`Config`].
//!
//! Invariant: what [`parse`] returns is consistent and within bounds, so nothing later asks again;
//! flags go before the environment, the environment before the file, the file before defaults.
//! Not the place where anything is started: this only reads.

mod args;
mod exit;
mod help;
mod http;
mod layers;
mod letters;
mod parse;
#[cfg(test)]
mod tests;
mod units;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::args::Args;
pub(crate) use self::args::{PROCESSES_MAX, WORKERS_MAX};
pub use self::exit::Exit;
pub use self::http::Http;
pub use self::letters::{
    DeadLettersFull, LettersAction, LettersBound, LettersCommand, LettersSelection,
};
pub use self::parse::{parse, parse_any};
use crate::cluster::Placement;
use crate::{Error, Result, Span, Time};

/// Time from one checkpoint to the next unless an option says otherwise.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

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

/// What was typed, of all that every program can do.
#[derive(Debug)]
pub enum Asked<O> {
    /// Something with the application.
    Program(Parsed<O>),
    /// Something with checkpoints alone.
    Checkpoint {
        /// What to do.
        command: CheckpointCommand,
        /// Where they are.
        config: Config,
    },
    /// Something with dead letters alone.
    DeadLetters {
        /// What to do.
        command: LettersCommand,
        /// Where they are.
        config: Config,
    },
}

/// What is done with checkpoints, without the application that made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointCommand {
    /// Lists them.
    List,
    /// Prints what one is made of, the newest if no epoch says which.
    Show {
        /// Its boundary.
        epoch: Option<u64>,
    },
    /// Reads one, or all, and compares them with what was written.
    Verify {
        /// Its boundary.
        epoch: Option<u64>,
    },
    /// Prints the rows of one, the newest if no epoch says which, as JSON lines.
    Export {
        /// Its boundary.
        epoch: Option<u64>,
        /// One table alone.
        table: Option<String>,
    },
}

/// What a program does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Runs the application.
    Run,
    /// Prints the application as a graph.
    Graph {
        /// In which language.
        format: GraphFormat,
    },
    /// Builds the application and prints what it is made of.
    Check {
        /// And what it would do to this checkpoint (`--restore`).
        restore: Option<Restore>,
    },
    /// Orders that the next start computes anew what was computed before, and corrects what was told.
    Reprocess {
        /// Since when (`--from`).
        from: Option<Time>,
    },
    /// Replays what was journaled, touching nothing that is live: see [`replay`](crate::replay).
    Replay {
        /// What of it (`--from`, `--to`).
        span: Span,
    },
    /// Replays on several numbers of workers and compares: see [`verify`](crate::verify).
    Verify {
        /// What of the journal (`--from`, `--to`).
        span: Span,
    },
    /// Replays through this program and another, and prints which outputs differ.
    Diff {
        /// What of the journal (`--from`, `--to`).
        span: Span,
        /// The other program (`--against`).
        against: PathBuf,
    },
    /// Replays, and tells a program that compares itself with this one what is released.
    #[doc(hidden)]
    Trace {
        /// What of the journal (`--from`, `--to`).
        span: Span,
    },
}

/// A checkpoint to compare a program with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// The one that a start would go on from.
    Latest,
    /// The one at this boundary.
    Epoch(u64),
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

/// What output waits for before it is released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Durability {
    /// Nothing is kept.
    Off,
    /// What enters is kept without waiting for it: after a power cut output may be repeated.
    Async,
    /// Output is released when the input that it comes from is durable.
    #[default]
    Sync,
}

/// What is kept of the journal, and with it the checkpoints from which it can be replayed: one at or
/// before its begin, and so many after it that the begin can move on in steps of a 16th of the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepJournal {
    /// What the two newest checkpoints need.
    #[default]
    Needed,
    /// At least what entered in the last so much time.
    Age(Duration),
    /// The newest, at most so many bytes of the whole program, on all workers of all processes; unless the
    /// two newest checkpoints need more.
    Size(u64),
    /// All of it.
    Forever,
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
        /// Which line of `hosts` this process is, counted from 0.
        process: usize,
        /// The file with the address of each process.
        hosts: PathBuf,
        /// The file with the key that all of them share.
        key_file: PathBuf,
    },
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
    kept: Kept,
    http: Option<Http>,
    paused: Vec<String>,
    log: String,
    quiet: bool,
}

/// What survives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    data_dir: Option<PathBuf>,
    durability: Durability,
    checkpoint_interval: Duration,
    store: Option<String>,
    journal: KeepJournal,
    letters: LettersBound,
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

    /// The directory of what survives the process (`--data-dir`); none if nothing does.
    pub fn data_dir(&self) -> Option<&Path> {
        self.kept.data_dir.as_deref()
    }

    /// How many partitions the data directory at `path` has, if they were not said.
    pub(crate) fn partitions_of(&self, path: &Path) -> Result<u32> {
        Ok(crate::data_dir::DataDir::partitions_of(path)?.unwrap_or(self.partitions))
    }

    /// What output waits for (`--durability`); [`Durability::Off`] without a data directory.
    pub fn durability(&self) -> Durability {
        self.kept.durability
    }

    /// Time from one checkpoint to the next (`--checkpoint-interval`), from 10 ms to 24 hours.
    pub fn checkpoint_interval(&self) -> Duration {
        self.kept.checkpoint_interval
    }

    /// Where checkpoints are kept (`--store`): a directory or a URL; none for `checkpoints` in the
    /// data directory.
    pub fn store(&self) -> Option<&str> {
        self.kept.store.as_deref()
    }

    /// What is kept of the journal (`--keep-journal`).
    pub fn keep_journal(&self) -> KeepJournal {
        self.kept.journal
    }

    /// How many dead letters are kept (`--dead-letters-max`, `--dead-letters-full`).
    pub fn dead_letters(&self) -> LettersBound {
        self.kept.letters
    }

    /// The sources that are not read until they are resumed (`--paused`).
    pub fn paused(&self) -> &[String] {
        &self.paused
    }

    /// What is logged (`--log`): `off`, a level, or `target=level` pairs, as
    /// [`log::start`](crate::log::start) takes it.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The same with another number of workers in each process.
    pub(crate) fn with_workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Whether to say nothing but warnings and errors (`--quiet`).
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// What the cluster needs to know; `fingerprint` is a hash of what must be the same in all
    /// processes.
    pub fn placement(&self, fingerprint: u64) -> Placement {
        let alone = Placement { workers: self.workers, fingerprint, ..Placement::default() };
        match &self.layout {
            Layout::Local { processes } => Placement { processes: Some(*processes), ..alone },
            Layout::Cluster { process, hosts, key_file } => Placement {
                process: Some(*process),
                hosts: Some(hosts.clone()),
                key_file: Some(key_file.clone()),
                ..alone
            },
        }
    }

    /// Checks what was typed. `looks` is the command, if it looks at what is kept and keeps nothing.
    fn checked(program: &str, args: Args, looks: Option<&str>) -> Result<Self, String> {
        let default_log = if args.quiet { "warn" } else { "info" };
        Ok(Self {
            program: program.to_owned(),
            workers: usize::from(args.workers),
            epoch: args.epoch,
            partitions: args.partitions,
            idle_spin: args.idle_spin,
            in_flight_records: args.in_flight_records.try_into().unwrap_or(usize::MAX),
            in_flight_bytes: args.in_flight_bytes.try_into().unwrap_or(usize::MAX),
            log: args.log.clone().unwrap_or_else(|| default_log.to_owned()),
            quiet: args.quiet,
            kept: Kept::checked(&args, looks)?,
            http: Http::checked(&args)?,
            paused: args.paused,
            layout: layout(args.processes, args.process, args.hosts, args.cluster_key_file)?,
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
            kept: Kept::default(),
            http: None,
            paused: Vec::new(),
            log: "info".into(),
            quiet: false,
        }
    }
}

impl Kept {
    fn checked(args: &Args, looks: Option<&str>) -> Result<Self, String> {
        let Some(data_dir) = &args.data_dir else {
            if looks == Some("reprocess") {
                let what = "reprocess orders what the next start on a data directory does, but nothing \
                            says which; add --data-dir DIR, that of the program";
                return Err(what.into());
            }
            if let Some(looks) = looks {
                let store = args.store.clone().ok_or_else(|| {
                    format!(
                        "{looks} looks at what a program kept, but nothing says where; add \
                         --data-dir DIR or --store URL"
                    )
                })?;
                return Ok(Self { store: Some(store), ..Self::default() });
            }
            let given = [
                (args.durability.is_some_and(|kept| kept != Durability::Off), "--durability"),
                (args.checkpoint_interval.is_some(), "--checkpoint-interval"),
                (args.store.is_some(), "--store"),
                (args.keep_journal.is_some(), "--keep-journal"),
                (args.dead_letters_max.is_some(), "--dead-letters-max"),
                (args.dead_letters_full.is_some(), "--dead-letters-full"),
            ];
            return match given.iter().find(|(given, _)| *given) {
                Some((_, option)) => Err(format!(
                    "{option} says how to keep what survives this process, but not where; add \
                     --data-dir DIR"
                )),
                None => Ok(Self::default()),
            };
        };
        if data_dir.as_os_str().is_empty() {
            return Err("--data-dir names no directory; add one, as in --data-dir ./data".into());
        }
        Ok(Self {
            data_dir: Some(data_dir.clone()),
            durability: args.durability.unwrap_or_default(),
            checkpoint_interval: args.checkpoint_interval.unwrap_or(CHECKPOINT_INTERVAL),
            store: args.store.clone(),
            journal: args.keep_journal.unwrap_or_default(),
            letters: LettersBound {
                open: args
                    .dead_letters_max
                    .map_or(LettersBound::default().open, |max| max as usize),
                full: args.dead_letters_full.unwrap_or_default(),
            },
        })
    }
}

/// Nothing survives.
impl Default for Kept {
    fn default() -> Self {
        Self {
            data_dir: None,
            durability: Durability::Off,
            checkpoint_interval: CHECKPOINT_INTERVAL,
            store: None,
            journal: KeepJournal::Needed,
            letters: LettersBound::default(),
        }
    }
}

fn layout(
    processes: Option<u16>,
    process: Option<usize>,
    hosts: Option<PathBuf>,
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
    Ok(Layout::Cluster { process, hosts, key_file })
}
