//! Mistakes on the command line, in variables, files and applications: each says what to do.

use super::*;

/// What is typed, and what the message must contain.
const REFUSED: &[(&str, &str)] = &[
    ("-w 0", "0 is not in 1..=256"),
    ("-w 257", "257 is not in 1..=256"),
    ("-w four", "invalid value 'four' for '--workers <N>'"),
    ("-w 1 -w 2", "cannot be used multiple times"),
    ("-n 0", "0 is not in 1..=64"),
    ("--partitions 0", "'--partitions <N>'"),
    ("--epoch 5", "it needs a unit, as in 250us, 1ms or 2s"),
    ("--epoch soon", "a duration is written 250us, 1ms or 2s"),
    ("--epoch 0us", "it must be from 1µs to 10s"),
    ("--epoch 11s", "it must be from 1µs to 10s"),
    ("--idle-spin 2s", "it must be from 0ns to 1s"),
    ("--in-flight-bytes 64", "a whole number with a unit, as in 4096B, 512KiB or 64MiB"),
    ("--in-flight-bytes 1.5MiB", "a whole number with a unit"),
    ("--in-flight-bytes 12B", "it must be from 1024B"),
    ("--in-flight-bytes 99999999999999GiB", "it must be from 1024B"),
    ("--in-flight-records 0", "'--in-flight-records <N>'"),
    ("--durability sync", "--durability says how to keep what survives this process"),
    ("--checkpoint-interval 10s", "--checkpoint-interval says how"),
    ("--store s3://b/p", "but not where; add --data-dir DIR"),
    ("--keep-journal 24h", "--keep-journal says how"),
    ("--data-dir d --durability on", "[possible values: off, async, sync]"),
    ("--data-dir d --checkpoint-interval 9ms", "it must be from 10ms to 86400s"),
    ("--data-dir d --checkpoint-interval 10", "it needs a unit"),
    (
        "--data-dir d --keep-journal 24",
        "needed, forever, a duration as in 24h or a size as in 10GB",
    ),
    ("--data-dir d --keep-journal 1B", "it must be from 1048576B"),
    ("--data-dir d --keep-journal 1ms", "it must be from 1s"),
    ("--data-dir d --keep-journal always", "a duration as in 24h or a size as in 10GB"),
    ("--data-dir=", "a value is required for '--data-dir <DIR>'"),
    ("--data-dir d --store=", "a value is required for '--store <URL>'"),
    (
        "--http nowhere",
        "an address and a port as in 127.0.0.1:8080, a port of this machine, or off",
    ),
    ("--http 127.0.0.1", "an address and a port"),
    ("--http 0.0.0.0:8080", "lets others than this machine ask"),
    ("--http-tokens t", "but not where; add --http ADDR"),
    ("--log inof", "it is off, error, warn, info, debug or trace"),
    ("--log 3", "it is off, error, warn, info, debug or trace"),
    ("--log info,=debug", "it is off, error, warn, info, debug or trace"),
    ("--wrokers 2", "--workers"),
    ("grahp", "'graph'"),
    ("run check", "unexpected argument 'check'"),
    ("run ls", "unexpected argument 'ls'"),
    ("--table x", "--table goes with the command `checkpoint export`"),
    ("--data-dir d checkpoint", "checkpoint is followed by ls, show, verify or export"),
    ("--data-dir d checkpoint list", "ls, show, verify or export, not by `list`"),
    ("--data-dir d checkpoint ls 5", "checkpoint ls lists all"),
    ("--data-dir d checkpoint show latest", "`latest` is no epoch"),
    ("--data-dir d checkpoint show --table x", "goes with the command `checkpoint export`"),
    ("checkpoint ls", "add --data-dir DIR or --store URL"),
    ("--restore latest --data-dir d", "--restore goes with the command `check`"),
    (
        "--from 1970-01-01T00:00:01Z",
        "--from and --to go with the commands `replay`, `verify` and `diff`",
    ),
    ("diff --data-dir d", "`diff` and --against go together"),
    ("verify --data-dir d --against x", "`diff` and --against go together"),
    ("verify", "add --data-dir DIR or --store URL"),
    ("replay --to yesterday --data-dir d", "invalid value 'yesterday' for '--to <TIME>'"),
    ("replay", "add --data-dir DIR or --store URL"),
    ("checkpoint ls --restore 7 --data-dir d", "--restore goes with the command `check`"),
    ("check --restore latest", "add --data-dir DIR or --store URL"),
    ("check --restore newest --data-dir d", "it is latest or an epoch"),
    ("--format dot", "--format goes with the command `graph`"),
    ("check --format dot", "--format goes with the command `graph`"),
    ("graph --format svg", "[possible values: mermaid, dot, json]"),
    ("-p 0", "add --hosts FILE with one host:port a line, or use --processes N"),
    ("-p 0 -n 2", "use one of the two"),
    ("-p 0 --hosts x -n 1", "use one of the two"),
    ("-p 0 --hosts x", "make one with `head -c 32 /dev/urandom > cluster.key`"),
    ("--hosts x", "add --process I"),
    ("--cluster-key-file k", "goes with --process and --hosts"),
    ("--config /nowhere/c", "cannot read the configuration file `/nowhere/c`"),
];

#[test]
fn mistakes_are_refused_with_what_to_do() {
    let trial = Trial::new("refused");
    for (line, wanted) in REFUSED {
        let message = trial.refused(line);
        assert!(message.starts_with("error: "), "`{line}`: {message}");
        assert!(message.contains(wanted), "`{line}` says: {message}");
        assert!(message.contains("try '--help'"), "`{line}` says: {message}");
    }
}

#[test]
fn a_files_mistakes_are_named_with_their_line() {
    let table = [
        (
            "\nworker = 2",
            "`worker` in ",
            "options.toml:2 is not an option; did you mean `workers`?",
        ),
        ("dead_letters = 'x'", "`dead_letters`", "did you mean `dead-letters`?"),
        ("zebra = 1", "`zebra`", "is not an option; --help lists the options"),
        ("config = 'x'", "`config`", "does not name another"),
        ("format = 'dot'", "`format`", "is not an option"),
        ("help = true", "`help`", "is not an option"),
        ("workers = [1]", "`workers`", "must be one value, but has an array in it"),
        ("workers = 1\nproduct = [[1]]", "options.toml:2", "must be a list of values"),
        ("quiet = 'yes'", "`quiet`", "must be true or false, but is a string"),
        ("verbose = 'x'", "`verbose`", "must be a number from 0 to 255, but is a string"),
        ("[prices]\nurl = 'x'", "`prices`", "must be one value, but has a table in it"),
        ("workers = 'four'", "invalid value 'four'", "--workers comes from `workers` in"),
        ("workers = 900", "900 is not in 1..=256", "options.toml:1"),
        ("epoch = 5", "it needs a unit", "--epoch comes from `epoch`"),
        ("workers = 1\nworkers = 2", "is not TOML", "line 2"),
        ("workers", "is not TOML", "line 1"),
    ];
    for (text, first, second) in table {
        let message = Trial::new("file-mistakes").toml(text).refused("");
        assert!(message.contains(first) && message.contains(second), "`{text}` says: {message}");
    }
}

#[test]
fn a_variables_mistake_names_the_variable() {
    let trial = Trial::new("env-mistake").env("ANABRANCH_WORKERS", "many");
    let message = trial.refused("");
    assert!(
        message.contains("tip: --workers comes from the variable ANABRANCH_WORKERS"),
        "{message}"
    );
    assert_eq!(trial.ok("-w 2").config.workers(), 2, "what is overridden is not looked at");
}

#[test]
fn passwords_in_urls_are_not_shown() {
    let trial = Trial::new("secret").env("BITCOIN_ALERTS_PORTS", "wss://me:hunter2@host/x");
    let exit = trial.parse::<Options>("").unwrap_err();
    for shown in [exit.to_string(), format!("{exit:?}")] {
        assert!(shown.contains("wss://***@host"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[derive(clap::Args, Debug)]
struct ClashLong {
    #[arg(long)]
    log: Option<String>,
}
#[derive(clap::Args, Debug)]
struct ClashShort {
    #[arg(short, long)]
    window: Option<String>,
}
#[derive(clap::Args, Debug)]
struct ClashId {
    #[arg(long = "speed")]
    workers: Option<String>,
}
#[derive(clap::Args, Debug)]
struct ClashHelp {
    #[arg(short = 'h', long)]
    height: Option<String>,
}
#[derive(clap::Args, Debug)]
struct Positional {
    text: Option<String>,
}
#[derive(clap::Subcommand, Debug)]
enum Sub {
    Other,
}
#[derive(clap::Args, Debug)]
struct WithSub {
    #[command(subcommand)]
    sub: Option<Sub>,
}

#[test]
fn an_application_whose_options_clash_with_the_engines_is_refused() {
    fn message<O: clap::Args + std::fmt::Debug>() -> String {
        let exit = Trial::new("clash").parse::<O>("").unwrap_err();
        assert_eq!(exit.code(), 2);
        exit.to_string()
    }
    let table = [
        (message::<ClashLong>(), "its option `log` is called --log, which is the engine's"),
        (message::<ClashShort>(), "its option `window` is called -w, which is the engine's"),
        (message::<ClashId>(), "its option `workers` is called --workers"),
        (message::<ClashHelp>(), "is called -h, which is the engine's"),
        (message::<Positional>(), "its option `text` is positional"),
        (message::<WithSub>(), "use an option instead"),
    ];
    for (message, wanted) in table {
        assert!(message.contains("the application cannot be built"), "{message}");
        assert!(message.contains(wanted), "{message}");
    }
}
