//! [`Args`]: the engine's options as typed, and the command line that they form with an
//! application's own.
//!
//! Invariant: nothing here is believed yet; [`Config`](super::Config) is what was checked. Every
//! option has a long name, because that name is also its key in a configuration file and, in
//! capitals, its environment variable.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::EnumValueParser;
use clap::{Arg, ArgAction, Args as _, ValueEnum};

use super::{DeadLettersFull, Durability, GraphFormat, KeepJournal, Restore, help, http, units};
use crate::Time;

/// Workers of one process, at most.
pub(crate) const WORKERS_MAX: u16 = 256;
/// Processes that one machine is asked to run, at most.
pub(crate) const PROCESSES_MAX: u16 = 64;
/// Ids of the arguments that are not configuration: what to do rather than how.
pub(super) const COMMAND: &str = "anabranch::command";
pub(super) const FORMAT: &str = "anabranch::format";
pub(super) const ACTION: &str = "anabranch::action";
pub(super) const EPOCH: &str = "anabranch::epoch";
pub(super) const TABLE: &str = "anabranch::table";
pub(super) const RESTORE: &str = "anabranch::restore";
pub(super) const FROM: &str = "anabranch::from";
pub(super) const TO: &str = "anabranch::to";
pub(super) const AGAINST: &str = "anabranch::against";
/// Ids of the arguments of the command `dead-letters` alone.
pub(super) const OF_LETTERS: &str = "anabranch::letters::";
pub(super) const GROUP: &str = "anabranch::letters::group";
pub(super) const PIPELINE: &str = "anabranch::letters::pipeline";
pub(super) const COMPUTATION: &str = "anabranch::letters::computation";
pub(super) const KIND: &str = "anabranch::letters::kind";
pub(super) const ALL: &str = "anabranch::letters::all";
pub(super) const RECORD: &str = "anabranch::letters::record";
pub(super) const CONFIG: &str = "config";
const HELP: &str = "anabranch::help";
const VERSION: &str = "anabranch::version";

/// The word that says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Word {
    Run,
    Graph,
    Check,
    Checkpoint,
    DeadLetters,
    Reprocess,
    Replay,
    Verify,
    Diff,
    #[value(hide = true)]
    Trace,
    #[value(hide = true)]
    Help,
}

// Comments for readers of the code: doc comments here are the text of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Worker threads of each process
    ///
    /// From 1 to 256. The results are the same for any number; more than the machine has cores
    /// makes it slower.
    #[arg(short, long, value_name = "N", default_value = "1", help_heading = "Engine")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(WORKERS_MAX)))]
    pub(super) workers: u16,

    /// The longest that live input waits before its epoch closes, as in 250us, 1ms or 2s
    ///
    /// From 1us to 10s. An epoch closes earlier when the sources have nothing more to read.
    #[arg(long, value_name = "DURATION", default_value = "1ms", help_heading = "Engine")]
    #[arg(value_parser = epoch)]
    pub(super) epoch: Duration,

    /// Slices that each table's keys are split into
    ///
    /// From 1 to 65536; workers own contiguous ranges of them. The results are the same for any
    /// number.
    #[arg(long, value_name = "N", default_value = "1024", help_heading = "Engine")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) partitions: u32,

    /// How long a worker with nothing to do spins before it sleeps, as in 0us, 10us or 1ms
    ///
    /// Up to 1s. Longer takes microseconds off the latency at low rates and costs processor time.
    #[arg(long, value_name = "DURATION", default_value = "10us", help_heading = "Engine")]
    #[arg(value_parser = idle_spin)]
    pub(super) idle_spin: Duration,

    /// Records that a worker may have read and not finished; then its sources wait
    #[arg(long, value_name = "N", default_value = "65536", help_heading = "Engine")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(super) in_flight_records: u32,

    /// Bytes that a worker may have read and not finished, as in 512KiB, 64MiB or 1GiB; then its
    /// sources wait
    #[arg(long, value_name = "SIZE", default_value = "64MiB", help_heading = "Engine")]
    #[arg(value_parser = in_flight_bytes)]
    pub(super) in_flight_bytes: u64,

    /// Processes to start and supervise on this machine [default: 1]
    ///
    /// From 1 to 64, of --workers threads each. If one dies, all end with the first cause.
    #[arg(short = 'n', long, value_name = "N", help_heading = "Cluster")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(PROCESSES_MAX)))]
    pub(super) processes: Option<u16>,

    /// Which line of --hosts this process is, counted from 0
    ///
    /// For a cluster on several machines: start one process for each line, all with the same
    /// options but this one.
    #[arg(short, long, value_name = "I", help_heading = "Cluster")]
    pub(super) process: Option<usize>,

    /// File with one host:port a line, one line a process of the cluster; # begins a comment
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub(super) hosts: Option<PathBuf>,

    /// File with the secret that all processes of the cluster share
    ///
    /// Any file of 32 bytes or more that is the same on all machines and that only you can read:
    /// head -c 32 /dev/urandom > cluster.key
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub(super) cluster_key_file: Option<PathBuf>,

    /// Directory for what survives this process: journal, checkpoints and connectors' notes
    ///
    /// Without it nothing is kept. With it the program goes on where it was when it is started again
    /// with the same options. It belongs to one program, which may have another number of workers
    /// and processes at every start.
    #[arg(long, value_name = "DIR", help_heading = "Durability")]
    #[arg(value_parser = clap::builder::PathBufValueParser::new())]
    pub(super) data_dir: Option<PathBuf>,

    /// What output waits for: off, async or sync [default: sync, with --data-dir]
    ///
    /// off keeps nothing. async keeps without waiting: after a power cut some output may be repeated.
    /// sync releases output when its input is on the disk.
    #[arg(long, value_name = "WHAT", help_heading = "Durability", hide_possible_values = true)]
    pub(super) durability: Option<Durability>,

    /// Time from one checkpoint to the next, as in 500ms, 10s or 5m [default: 10s]
    ///
    /// From 10ms to 24h. Longer means more of the journal to replay after a crash.
    #[arg(long, value_name = "DURATION", help_heading = "Durability")]
    #[arg(value_parser = checkpoint_interval)]
    pub(super) checkpoint_interval: Option<Duration>,

    /// Where checkpoints are kept, as in s3://bucket/prefix [default: checkpoints in --data-dir]
    ///
    /// A directory, or the URL of an object store that this program was built for.
    #[arg(long, value_name = "URL", help_heading = "Durability")]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) store: Option<String>,

    /// What is kept of the journal, as in 24h, 10GB or forever [default: needed]
    ///
    /// needed keeps what the two newest checkpoints need. What is kept beyond can be replayed: some older
    /// checkpoints are kept with it, at most 20. A size is that of the whole program.
    #[arg(long, value_name = "LIMIT", help_heading = "Durability", value_parser = keep_journal)]
    pub(super) keep_journal: Option<KeepJournal>,

    /// Dead letters that may be open in --data-dir [default: 100000]
    #[arg(long, value_name = "N", help_heading = "Durability")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) dead_letters_max: Option<u32>,

    /// What happens when there are so many: stop, drop-oldest or drop-newest [default: stop]
    ///
    /// stop ends the program with an error that says what to do. What is dropped is counted and logged.
    #[arg(long, value_name = "WHAT", help_heading = "Durability", hide_possible_values = true)]
    pub(super) dead_letters_full: Option<DeadLettersFull>,

    /// Where the program answers over HTTP, as in 127.0.0.1:8080, 8080 or off [default: off]
    ///
    /// See /api/v1/health, /metrics, and /api/v1/openapi.json for the rest. A port alone is one of this
    /// machine. Process 0 answers.
    #[arg(long, value_name = "ADDR", help_heading = "HTTP", value_parser = http::place)]
    pub(super) http: Option<http::Place>,

    /// File of those who may ask over HTTP: a role (read, write or admin) and a token a line
    ///
    /// Without it whoever is on this machine may ask, and nobody else. Only you may be able to read it.
    #[arg(long, value_name = "FILE", help_heading = "HTTP")]
    pub(super) http_tokens: Option<PathBuf>,

    /// PEM file of a certificate (and of those that it follows from): the program answers by HTTPS alone
    #[arg(long, value_name = "FILE", help_heading = "HTTP")]
    pub(super) http_cert: Option<PathBuf>,

    /// PEM file of its key; only you may be able to read it
    #[arg(long, value_name = "FILE", help_heading = "HTTP")]
    pub(super) http_key: Option<PathBuf>,

    /// Sources that are not read until they are resumed over HTTP, by name
    ///
    /// Several are separated by commas. What was paused or resumed last is kept in --data-dir, and comes before this.
    #[arg(long, value_name = "SOURCES", help_heading = "Engine", value_delimiter = ',')]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) paused: Vec<String>,

    /// TOML file with options, named as here without the dashes
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) config: Option<PathBuf>,

    /// What to log to standard error [default: info, or warn with --quiet]
    ///
    /// off, error, warn, info, debug or trace; or a level for each part, as in
    /// warn,anabranch=debug.
    #[arg(long, value_name = "LEVEL", help_heading = "Output", value_parser = units::log_filter)]
    pub(super) log: Option<String>,

    /// Say nothing but warnings and errors
    #[arg(short, long, help_heading = "Output")]
    pub(super) quiet: bool,
}

fn epoch(text: &str) -> Result<Duration, String> {
    units::duration(text, &(Duration::from_micros(1)..=Duration::from_secs(10)))
}

fn idle_spin(text: &str) -> Result<Duration, String> {
    units::duration(text, &(Duration::ZERO..=Duration::from_secs(1)))
}

fn in_flight_bytes(text: &str) -> Result<u64, String> {
    units::bytes(text, &(1 << 10..=1 << 40))
}

fn checkpoint_interval(text: &str) -> Result<Duration, String> {
    units::duration(text, &(Duration::from_millis(10)..=Duration::from_hours(24)))
}

fn keep_journal(text: &str) -> Result<KeepJournal, String> {
    match text.trim() {
        "needed" => return Ok(KeepJournal::Needed),
        "forever" => return Ok(KeepJournal::Forever),
        _ => {}
    }
    let hours = Duration::from_secs(1)..=Duration::from_hours(24 * 365 * 10);
    let size = 1 << 20..=1 << 60;
    // A size's units end with `b`, and no duration's does.
    if text.trim().ends_with(['b', 'B']) {
        return units::bytes(text, &size).map(KeepJournal::Size);
    }
    match units::duration(text, &hours) {
        Err(wrong) if wrong.contains("from") => Err(wrong),
        Err(_) => Err("it is needed, forever, a duration as in 24h or a size as in 10GB".into()),
        Ok(age) => Ok(KeepJournal::Age(age)),
    }
}

fn restore(text: &str) -> Result<Restore, String> {
    if text == "latest" {
        return Ok(Restore::Latest);
    }
    let epoch = text.parse().map(Restore::Epoch);
    epoch.map_err(|_| "it is latest or an epoch; `checkpoint ls` lists those there are".into())
}

/// The engine's own command line.
pub(super) fn engine(program: &str) -> clap::Command {
    let command = clap::Command::new(program.to_owned())
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(
            Arg::new(COMMAND)
                .value_name("COMMAND")
                .value_parser(EnumValueParser::<Word>::new())
                .hide(true),
        )
        .arg(Arg::new(ACTION).value_name("ACTION").hide(true))
        .arg(Arg::new(EPOCH).value_name("EPOCH").num_args(0..).hide(true));
    Args::augment_args(command)
        .arg(
            Arg::new(FORMAT)
                .long("format")
                .value_name("FORMAT")
                .value_parser(EnumValueParser::<GraphFormat>::new())
                .help_heading("Output")
                .help("How graph prints [default: mermaid]"),
        )
        .arg(
            Arg::new(TABLE)
                .long("table")
                .value_name("NAME")
                .help_heading("Output")
                .help("Which table checkpoint export prints [default: all]"),
        )
        .arg(
            Arg::new(RESTORE)
                .long("restore")
                .value_name("EPOCH")
                .value_parser(restore)
                .help_heading("Durability")
                .help("Which checkpoint check compares the program with: latest or an epoch"),
        )
        .arg(
            Arg::new(FROM)
                .long("from")
                .value_name("TIME")
                .value_parser(clap::value_parser!(Time))
                .help_heading("Durability")
                .help("Where a replay begins, as in 2026-05-01T09:00:00Z [default: all there is]"),
        )
        .arg(
            Arg::new(TO)
                .long("to")
                .value_name("TIME")
                .value_parser(clap::value_parser!(Time))
                .help_heading("Durability")
                .help("Before which moment a replay ends [default: all there is]"),
        )
        .arg(
            Arg::new(AGAINST)
                .long("against")
                .value_name("PROGRAM")
                .value_parser(clap::builder::PathBufValueParser::new())
                .help_heading("Durability")
                .help("The program that diff compares this one with, as built before an edit"),
        )
        .arg(switch(HELP, 'h', "help", ArgAction::Help, "Explain the options (--help: at length)"))
        .arg(switch(VERSION, 'V', "version", ArgAction::Version, "Print the version"))
}

fn switch(id: &'static str, short: char, long: &'static str, action: ArgAction, say: &str) -> Arg {
    Arg::new(id).short(short).long(long).action(action).help_heading("Output").help(say.to_owned())
}

/// The command line of a program: the application's options, then the engine's.
///
/// # Errors
/// When the application's options cannot stand beside the engine's; says which and why.
pub(super) fn command_line<O: clap::Args>(program: &str) -> Result<clap::Command, String> {
    let engine = engine(program);
    let bare = clap::Command::new(program.to_owned())
        .disable_help_flag(true)
        .disable_version_flag(true)
        .next_help_heading("Application");
    let own = O::augment_args(bare);
    refuse_clashes(&own, &engine)?;
    let wide = own.args(engine.get_arguments().cloned());
    Ok(help::explain(wide, program))
}

/// The command line with the options of `dead-letters`, which needs none of the application's: those of the same
/// name are left out.
pub(super) fn with_letters(command: &clap::Command) -> clap::Command {
    let option = |id: &'static str, name: &'static str, help: &'static str| {
        let (_, long) = id.rsplit_once(':').unwrap_or(("", id));
        Arg::new(id).long(long).value_name(name).help_heading("Dead letters").help(help)
    };
    let own = [
        option(GROUP, "GROUP", "ls: list groups; else: only those of this group")
            .num_args(0..=1)
            .default_missing_value(""),
        option(PIPELINE, "NAMES", "Only those of this pipeline"),
        option(COMPUTATION, "NAME", "Only those of this computation"),
        option(KIND, "KIND", "Only those with a failure of this kind"),
        option(RECORD, "TEXT", "edit: what the record is to be"),
        Arg::new(ALL)
            .long("all")
            .action(ArgAction::SetTrue)
            .help_heading("Dead letters")
            .help("ls: closed ones too; retry, ignore: all that are open"),
    ];
    let clashes = |arg: &&Arg| own.iter().any(|it| it.get_long() == arg.get_long());
    let known = command.get_arguments().filter(|arg| !clashes(arg)).cloned();
    let bare = clap::Command::new(command.get_name().to_owned())
        .disable_help_flag(true)
        .disable_version_flag(true);
    let bare = match command.get_version() {
        Some(version) => bare.version(version.to_owned()),
        None => bare,
    };
    bare.args(known.map(|arg| arg.required(false)).collect::<Vec<_>>()).args(own)
}

fn refuse_clashes(own: &clap::Command, engine: &clap::Command) -> Result<(), String> {
    if own.has_subcommands() {
        return Err("its options have subcommands, but the commands of every program are run, \
                    graph, check and checkpoint; use an option instead"
            .into());
    }
    let ids: BTreeSet<&str> = engine.get_arguments().map(|arg| arg.get_id().as_str()).collect();
    let shorts: BTreeSet<char> = engine.get_arguments().filter_map(Arg::get_short).collect();
    let longs: BTreeSet<&str> = engine.get_arguments().filter_map(Arg::get_long).collect();
    for arg in own.get_arguments() {
        let id = arg.get_id().as_str();
        if arg.is_positional() {
            return Err(format!(
                "its option `{id}` is positional, which could be taken for one of the commands \
                 run, graph, check and checkpoint; give it a name with #[arg(long)]"
            ));
        }
        let short = arg.get_short_and_visible_aliases().unwrap_or_default();
        if let Some(short) = short.iter().find(|short| shorts.contains(short)) {
            return Err(format!("its option `{id}` is called -{short}, which is the engine's"));
        }
        let long = arg.get_long_and_visible_aliases().unwrap_or_default();
        if let Some(name) = long.iter().chain([&id]).find(|name| longs.contains(*name)) {
            return Err(format!("its option `{id}` is called --{name}, which is the engine's"));
        }
        if ids.contains(id) {
            return Err(format!("its option `{id}` has the name of a field of the engine's"));
        }
    }
    Ok(())
}
