//! The promises of the command line: layers, checks, commands, help and messages.

mod help;
mod refused;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::Time;

/// Price alerts on a live or recorded feed.
#[derive(clap::Args, Debug, Default, PartialEq)]
#[command(version = "7.1")]
struct Options {
    /// Where prices come from
    #[arg(long, value_name = "URL", default_value = "gen:")]
    prices: String,
    /// Also here
    #[arg(long, value_name = "URL")]
    dead_letters: Option<String>,
    /// Products to watch
    #[arg(long)]
    product: Vec<String>,
    /// Ports
    #[arg(long, value_delimiter = ',')]
    ports: Vec<u16>,
    /// Demonstrate
    #[arg(short, long)]
    demo: bool,
    /// Say more
    #[arg(short, action = clap::ArgAction::Count, long)]
    verbose: u8,
}

#[derive(clap::Args, Debug)]
struct Needy {
    /// What to read
    #[arg(long, value_name = "URL")]
    text: String,
}

struct Trial {
    env: BTreeMap<&'static str, String>,
    folder: PathBuf,
}

impl Trial {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("anabranch-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { env: BTreeMap::new(), folder }
    }

    fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.insert(name, value.to_owned());
        self
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn toml(self, text: &str) -> Self {
        let path = self.file("options.toml", text);
        self.env("ANABRANCH_CONFIG", &path)
    }

    fn parse<O: clap::Args>(&self, line: &str) -> Result<Parsed<O>, Exit> {
        let argv = std::iter::once("/opt/bitcoin-alerts").chain(line.split_whitespace());
        parse(argv.map(Into::into), &|name| self.env.get(name).map(Into::into))
    }

    fn ok(&self, line: &str) -> Parsed<Options> {
        self.parse(line).unwrap_or_else(|exit| panic!("`{line}`: {exit}"))
    }

    fn refused(&self, line: &str) -> String {
        let exit = self.parse::<Options>(line).expect_err(line);
        assert_eq!(exit.code(), 2, "`{line}`: {exit}");
        // As one line, however it was wrapped.
        exit.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_url_of_standard_input_takes_a_query_and_no_option_is_taken_for_a_value() {
    let trial = Trial::new("standard");
    let typed = |line: &str| trial.parse::<Options>(line).map(|parsed| parsed.options.prices);
    assert_eq!(typed("--prices - --demo").unwrap(), "-");
    for line in ["--prices -?line_max=9 --demo", "--demo --prices=-?line_max=9"] {
        assert_eq!(typed(line).unwrap(), "-?line_max=9", "{line}");
    }
    for line in ["--prices --demo", "-?line_max=9", "--demo -?line_max=9", "check -?x"] {
        assert!(typed(line).is_err(), "{line}");
    }
}

#[test]
fn without_any_option_the_defaults_hold() {
    let parsed = Trial::new("defaults").ok("");
    assert_eq!(parsed.command, Command::Run);
    assert_eq!(parsed.options, Options { prices: "gen:".into(), ..Options::default() });
    let expected = Config { program: "bitcoin-alerts".into(), ..Config::default() };
    assert_eq!(parsed.config, expected);
}

#[test]
fn the_three_commands_take_flags_before_and_after() {
    let dot = Command::Graph { format: GraphFormat::Dot };
    let table = [
        ("-w 4 --prices file:x", Command::Run),
        ("run -w 4 --prices file:x", Command::Run),
        ("-w 4 run --prices file:x", Command::Run),
        ("--prices file:x graph -w 4", Command::Graph { format: GraphFormat::Mermaid }),
        ("graph --format dot -w 4 --prices file:x", dot.clone()),
        ("-w 4 --format dot --prices file:x graph", dot),
        ("graph --format json -w4 --prices=file:x", Command::Graph { format: GraphFormat::Json }),
        ("check --prices file:x -w 4", Command::Check { restore: None }),
        (
            "check --prices file:x --restore latest --data-dir d -w 4",
            Command::Check { restore: Some(Restore::Latest) },
        ),
        (
            "check --prices file:x --restore 7 --store s3://b/p -w 4",
            Command::Check { restore: Some(Restore::Epoch(7)) },
        ),
        ("--workers 4 check --prices file:x", Command::Check { restore: None }),
        (
            "replay --prices file:x --data-dir d -w 4 --from 1970-01-01T00:00:01Z",
            Command::Replay { span: Span { from: Some(Time::from_millis(1000)), to: None } },
        ),
        ("verify --prices file:x --data-dir d -w 4", Command::Verify { span: Span::default() }),
        (
            "diff --prices file:x --data-dir d --against old/x -w 4",
            Command::Diff { span: Span::default(), against: "old/x".into() },
        ),
    ];
    let trial = Trial::new("commands");
    for (line, command) in table {
        let parsed = trial.ok(line);
        assert_eq!(parsed.command, command, "{line}");
        assert_eq!(parsed.config.workers(), 4, "{line}");
        assert_eq!(parsed.options.prices, "file:x", "{line}");
    }
}

#[test]
fn a_value_that_looks_like_a_command_is_a_value() {
    let parsed = Trial::new("values").ok("--prices run --dead-letters graph check");
    assert_eq!(parsed.command, Command::Check { restore: None });
    assert_eq!(parsed.options.dead_letters.as_deref(), Some("graph"));
}

#[test]
fn every_engine_flag_reaches_the_configuration() {
    let line = "-w 256 --epoch 250us --partitions 7 --idle-spin 0us --in-flight-records 9 \
                --in-flight-bytes 2MiB --log warn,anabranch=debug -q -n 3";
    let config = Trial::new("flags").ok(line).config;
    assert_eq!(config.workers(), 256);
    assert_eq!(config.epoch(), Duration::from_micros(250));
    assert_eq!(config.partitions(), 7);
    assert_eq!(config.idle_spin(), Duration::ZERO);
    assert_eq!(config.in_flight_records(), 9);
    assert_eq!(config.in_flight_bytes(), 2 << 20);
    assert_eq!(config.log(), "warn,anabranch=debug");
    assert!(config.quiet());
    assert_eq!(*config.layout(), Layout::Local { processes: 3 });
    assert_eq!(config.program(), "bitcoin-alerts");
}

#[test]
fn every_durability_flag_reaches_the_configuration() {
    let trial = Trial::new("durability");
    let line = "--data-dir ./d --durability async --checkpoint-interval 250ms \
                --store s3://bucket/prefix --keep-journal 24h";
    let config = trial.ok(line).config;
    assert_eq!(config.data_dir(), Some(Path::new("./d")));
    assert_eq!(config.durability(), Durability::Async);
    assert_eq!(config.checkpoint_interval(), Duration::from_millis(250));
    assert_eq!(config.store(), Some("s3://bucket/prefix"));
    assert_eq!(config.keep_journal(), KeepJournal::Age(Duration::from_hours(24)));
    let table = [
        ("10GB", KeepJournal::Size(10_000_000_000)),
        ("1 MiB", KeepJournal::Size(1 << 20)),
        ("forever", KeepJournal::Forever),
        ("needed", KeepJournal::Needed),
        ("1h30m", KeepJournal::Age(Duration::from_mins(90))),
    ];
    for (text, kept) in table {
        let trial = Trial::new("keep").env("ANABRANCH_KEEP_JOURNAL", text);
        assert_eq!(trial.ok("--data-dir d").config.keep_journal(), kept, "{text}");
    }
}

#[test]
fn checkpoints_are_looked_at_without_what_the_application_requires() {
    let trial = Trial::new("look").env("ANABRANCH_DATA_DIR", "d");
    let asked = |trial: &Trial, line: &str| {
        let argv = std::iter::once("bitcoin-alerts").chain(line.split_whitespace());
        let env = |name: &str| trial.env.get(name).map(Into::into);
        match parse_any::<Needy>(argv.map(Into::into), &env) {
            Ok(Asked::Checkpoint { command, config }) => (command, config),
            other => panic!("`{line}`: {other:?}"),
        }
    };
    use CheckpointCommand as C;
    let alerts = Some("alerts".to_owned());
    let table = [
        ("checkpoint ls", C::List),
        ("checkpoint show", C::Show { epoch: None }),
        ("-q checkpoint show 7", C::Show { epoch: Some(7) }),
        ("checkpoint verify", C::Verify { epoch: None }),
        ("checkpoint export 7 --table alerts", C::Export { epoch: Some(7), table: alerts }),
    ];
    for (line, command) in table {
        let (found, config) = asked(&trial, line);
        assert_eq!((found, config.data_dir()), (command, Some(Path::new("d"))), "{line}");
    }
    let (_, config) = asked(&Trial::new("look-store"), "checkpoint ls --store s3://b/p");
    assert_eq!((config.data_dir(), config.store()), (None, Some("s3://b/p")));
    assert!(trial.parse::<Needy>("run").is_err(), "to run, it is required");
    assert!(trial.parse::<Options>("checkpoint ls").is_err(), "`parse` is for the application");
}

#[test]
fn dead_letters_are_looked_at_without_what_the_application_requires() {
    let trial = Trial::new("letters").env("ANABRANCH_DATA_DIR", "d");
    let asked = |line: &str| {
        let argv = std::iter::once("bitcoin-alerts").chain(line.split_whitespace());
        let env = |name: &str| trial.env.get(name).map(Into::into);
        match parse_any::<Needy>(argv.map(Into::into), &env) {
            Ok(Asked::DeadLetters { command, config }) => Ok((command, config)),
            Ok(other) => panic!("`{line}`: {other:?}"),
            Err(exit) => Err(exit.to_string()),
        }
    };
    use LettersAction as A;
    let ids = |ids: &[&str]| LettersSelection {
        ids: ids.iter().map(|id| (*id).to_string()).collect(),
        ..LettersSelection::default()
    };
    let (any, all) = (LettersSelection::default(), LettersSelection { all: true, ..ids(&[]) });
    let group = LettersSelection { group: Some("0a1b".into()), ..ids(&[]) };
    let narrow =
        LettersSelection { kind: Some("panic".into()), pipeline: Some("a".into()), ..ids(&[]) };
    let record = |record: &str| A::Edit { record: Some(record.into()) };
    let table = [
        ("dead-letters ls", A::List { groups: false }, any.clone()),
        ("-q dead-letters ls --group", A::List { groups: true }, any),
        ("dead-letters ls --all", A::List { groups: false }, all.clone()),
        ("dead-letters show a-0-1/add", A::Show, ids(&["a-0-1/add"])),
        ("dead-letters retry a-0-1 a-0-2", A::Retry, ids(&["a-0-1", "a-0-2"])),
        ("dead-letters retry --group 0a1b", A::Retry, group),
        ("dead-letters ignore --all", A::Ignore, all),
        ("dead-letters export --kind panic --pipeline a", A::Export, narrow),
        ("dead-letters edit a-0-1 --record 7", record("7"), ids(&["a-0-1"])),
        ("dead-letters edit a-0-1", A::Edit { record: None }, ids(&["a-0-1"])),
    ];
    for (line, action, which) in table {
        let (command, config) = asked(line).unwrap();
        assert_eq!(command, LettersCommand { action, which }, "{line}");
        assert_eq!(config.data_dir(), Some(Path::new("d")));
    }
    for (line, wrong) in [
        ("dead-letters", "is followed by ls, show, retry, edit, ignore or export"),
        ("dead-letters list", "not by `list`"),
        ("dead-letters show", "show takes the name of a letter"),
        ("dead-letters edit a b", "edit takes the name of a letter"),
        ("dead-letters retry", "or --all"),
        ("dead-letters ignore", "or --all"),
        ("dead-letters retry --group", "takes the name of one"),
        ("dead-letters retry --all --record 7", "--record goes with"),
        ("run --all", "--all"),
    ] {
        let told = asked(line).unwrap_err();
        assert!(told.contains(wrong), "`{line}`: {told}");
    }
    let config = trial.ok("--dead-letters-max 7 --dead-letters-full drop-oldest").config;
    let full = DeadLettersFull::DropOldest;
    assert_eq!(config.dead_letters(), LettersBound { open: 7, full });
    assert_eq!(trial.ok("").config.dead_letters().open, 100_000);
}

#[test]
fn a_data_directory_makes_output_durable_unless_it_is_turned_off() {
    let trial = Trial::new("durable");
    let table = [
        ("", Durability::Off),
        ("--durability off", Durability::Off),
        ("--data-dir d", Durability::Sync),
        ("--data-dir d --durability async", Durability::Async),
        ("--data-dir d --durability off", Durability::Off),
    ];
    for (line, durability) in table {
        let config = trial.ok(line).config;
        assert_eq!(config.durability(), durability, "{line}");
        assert_eq!(config.checkpoint_interval(), Duration::from_secs(10), "{line}");
        assert_eq!((config.store(), config.keep_journal()), (None, KeepJournal::Needed), "{line}");
    }
    let file = "data-dir = 'from-file'\ncheckpoint-interval = '5s'\ndurability = 'async'\n";
    let layered = Trial::new("durable-file").toml(file).env("ANABRANCH_DURABILITY", "sync");
    let config = layered.ok("--checkpoint-interval 1s").config;
    assert_eq!(config.data_dir(), Some(Path::new("from-file")));
    assert_eq!(config.durability(), Durability::Sync);
    assert_eq!(config.checkpoint_interval(), Duration::from_secs(1));
}

#[test]
fn quiet_lowers_the_log_unless_it_is_set() {
    let trial = Trial::new("quiet");
    for (line, log) in
        [("", "info"), ("-q", "warn"), ("-q --log debug", "debug"), ("--log off", "off")]
    {
        assert_eq!(trial.ok(line).config.log(), log, "{line}");
    }
}

#[test]
fn flags_go_before_environment_before_file_before_default() {
    let file = "workers = 2\nepoch = \"2ms\"\npartitions = 20\nprices = \"file:file\"\n\
                dead-letters = 'file:d'\n";
    let trial = Trial::new("layers")
        .toml(file)
        .env("ANABRANCH_WORKERS", "3")
        .env("ANABRANCH_EPOCH", "3ms")
        .env("ANABRANCH_LOG", "error")
        .env("ANABRANCH_IDLE_SPIN", "")
        .env("BITCOIN_ALERTS_PRICES", "file:env");
    let parsed = trial.ok("-w 4 --dead-letters file:flag");
    assert_eq!(parsed.config.workers(), 4);
    assert_eq!(parsed.config.epoch(), Duration::from_millis(3));
    assert_eq!(parsed.config.partitions(), 20);
    assert_eq!(parsed.config.log(), "error");
    assert_eq!(parsed.config.idle_spin(), Config::default().idle_spin());
    assert_eq!(parsed.options.prices, "file:env");
    assert_eq!(parsed.options.dead_letters.as_deref(), Some("file:flag"));
}

#[test]
fn the_engines_variables_and_the_applications_are_apart() {
    let trial = Trial::new("apart")
        .env("BITCOIN_ALERTS_WORKERS", "9")
        .env("ANABRANCH_PRICES", "file:wrong");
    let parsed = trial.ok("");
    assert_eq!((parsed.config.workers(), parsed.options.prices.as_str()), (1, "gen:"));
}

#[test]
fn a_file_sets_switches_lists_and_counts() {
    let file = "product = [\"BTC-USD\", \"ETH-USD\"]\nports = [1, 2]\ndemo = true\nverbose = 2\n\
                quiet = false\n";
    let options = Trial::new("kinds").toml(file).ok("").options;
    assert_eq!(options.product, ["BTC-USD", "ETH-USD"]);
    assert_eq!(options.ports, [1, 2]);
    assert!(options.demo);
    assert_eq!(options.verbose, 2);
    let typed = Trial::new("kinds-typed").toml(file).ok("--product SOL-USD -v").options;
    assert_eq!(typed.product, ["SOL-USD"], "a typed list replaces the file's");
    assert_eq!(typed.verbose, 1);
}

#[test]
fn the_environment_sets_switches_lists_and_counts() {
    let trial = |demo| {
        Trial::new("env-kinds")
            .env("BITCOIN_ALERTS_DEMO", demo)
            .env("BITCOIN_ALERTS_PORTS", "5,6")
            .env("BITCOIN_ALERTS_VERBOSE", "3")
    };
    for (text, demo) in [("1", true), ("true", true), ("On", true), ("0", false), ("no", false)] {
        let options = trial(text).ok("").options;
        assert_eq!((options.demo, options.verbose), (demo, 3), "{text}");
        assert_eq!(options.ports, [5, 6]);
    }
    let off = Trial::new("env-off").toml("demo = true").env("BITCOIN_ALERTS_DEMO", "false");
    assert!(!off.ok("").options.demo, "the environment goes before the file");
    let refused = trial("perhaps").refused("");
    assert!(refused.contains("BITCOIN_ALERTS_DEMO must be true or false"), "{refused}");
}

#[test]
fn a_required_option_may_come_from_anywhere() {
    let missing = Trial::new("required").parse::<Needy>("-w 2").unwrap_err().to_string();
    assert!(missing.contains("required") && missing.contains("--text <URL>"), "{missing}");
    for trial in [
        Trial::new("required-env").env("BITCOIN_ALERTS_TEXT", "file:t"),
        Trial::new("required-file").toml("text = 'file:t'"),
    ] {
        assert_eq!(trial.parse::<Needy>("check").unwrap().options.text, "file:t");
    }
    let typed = Trial::new("required-flag").parse::<Needy>("check --text file:t").unwrap();
    assert_eq!(typed.options.text, "file:t");
}

#[test]
fn a_program_without_options_of_its_own_is_fine() {
    assert_eq!(Trial::new("none").parse::<()>("-w 2").unwrap().config.workers(), 2);
}

#[test]
fn a_configuration_file_is_bounded() {
    let text = format!("# {}\n", "x".repeat(layers::FILE_BYTES_MAX as usize));
    assert!(Trial::new("large").toml(&text).refused("").contains("larger than 1 MiB"));
}

#[test]
fn the_flag_names_the_file_before_the_environment() {
    let trial = Trial::new("which").toml("workers = 2");
    let other = trial.file("other.toml", "workers = 5");
    assert_eq!(trial.ok(&format!("--config {other}")).config.workers(), 5);
    assert_eq!(trial.ok("").config.workers(), 2);
}

#[test]
fn the_cluster_is_told_what_was_typed() {
    let trial = Trial::new("cluster");
    let several = trial.ok("-p 1 --hosts h --cluster-key-file k -w 3").config;
    let (process, hosts, key_file) = (1, "h".into(), "k".into());
    assert_eq!(*several.layout(), Layout::Cluster { process, hosts, key_file });
    let placement = several.placement(7);
    assert_eq!((placement.workers, placement.process, placement.processes), (3, Some(1), None));
    assert_eq!(placement.hosts.as_deref(), Some(Path::new("h")));
    assert_eq!(placement.key_file.as_deref(), Some(Path::new("k")));
    assert_eq!(placement.fingerprint, 7);
    let local = trial.ok("-n 2").config.placement(0);
    assert_eq!((local.process, local.processes, local.hosts), (None, Some(2), None));
    let drain = crate::cluster::Drain::default();
    let failures = crate::cluster::Failures::default();
    let alone = crate::cluster::role(&trial.ok("").config.placement(0), &drain, &failures).unwrap();
    assert!(matches!(alone, crate::cluster::Role::Alone));
}

#[test]
fn the_version_names_program_and_engine() {
    let exit = Trial::new("version").parse::<Options>("-V").unwrap_err();
    let engine = env!("CARGO_PKG_VERSION");
    assert_eq!(exit.to_string(), format!("bitcoin-alerts 7.1 (anabranch {engine})\n"));
    assert_eq!(exit.code(), 0);
}

#[test]
fn the_default_configuration_is_the_one_without_flags() {
    assert_eq!(Config::from_flags([""; 0]).unwrap(), Config::default());
    let error = Config::from_flags(["--nope"]).unwrap_err();
    assert!(error.to_string().contains("--nope") && error.exit_code() == 2);
}
