//! Options come from flags, environment and a file, in that order; mistakes say what to do next.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::run::{Ended, Running, ended, program};
use crate::support::{Folder, key_file};

fn succeeded(command: &mut Command) -> String {
    let Ended { code, output, errors } = ended(command);
    assert_eq!(code, Some(0), "{errors}");
    output
}

/// A mistake in the options: exit code 2, nothing on standard output, one error, no panic.
fn refused(command: &mut Command) -> String {
    let Ended { code, output, errors } = ended(command);
    assert_eq!(code, Some(2), "{errors}");
    assert_eq!(output, "");
    assert!(errors.starts_with("error: "), "{errors}");
    assert_eq!(errors.matches("error: ").count(), 1, "{errors}");
    assert!(!errors.contains("panicked") && !errors.contains('\u{1b}'), "{errors}");
    errors
}

/// How many workers a program runs, by its threads: nothing else tells.
fn workers(command: &mut Command) -> usize {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let (input, output) = (running.input(), running.output());
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap();
        let names =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("timely:work")).count()
    };
    let count = crate::support::until("its workers run", || {
        let before = threads();
        std::thread::sleep(std::time::Duration::from_millis(50));
        Some(before).filter(|before| *before > 0 && threads() == *before)
    });
    drop(input);
    running.succeeds();
    drop(output);
    count
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let folder = Folder::new();
    let text = |name: &str, words: &str| format!("file:{}", folder.write(name, words));
    let (flag, variable, file) =
        (text("flag", "a flag"), text("variable", "a variable"), text("file", "the file"));
    let config = folder.write("word-count.toml", format!("text = \"{file}\"\nworkers = 3\n"));
    let counted = |flags: &[&str], variables: &[(&str, &str)]| {
        succeeded(program("word-count", flags).envs(variables.iter().copied()))
    };
    let from_config = ["--config", &config];
    let from_flag = ["--config", &config, "--text", &flag];
    let set = ("WORD_COUNT_TEXT", variable.as_str());
    assert_eq!(counted(&[], &[]), "");
    assert_eq!(counted(&from_config, &[]), "the 1\nfile 1\n");
    assert_eq!(counted(&[], &[("ANABRANCH_CONFIG", &config)]), "the 1\nfile 1\n");
    assert_eq!(counted(&from_config, &[set]), "a 1\nvariable 1\n");
    assert_eq!(counted(&from_config, &[("WORD_COUNT_TEXT", "")]), "the 1\nfile 1\n");
    assert_eq!(counted(&from_flag, &[set]), "a 1\nflag 1\n");

    let count = |flags: &[&str], variables: &[(&str, &str)]| {
        workers(program("word-count", flags).envs(variables.iter().copied()))
    };
    let live = folder.write("live.toml", "workers = 3");
    assert_eq!(count(&["--config", &live], &[]), 3);
    assert_eq!(count(&["--config", &live], &[("ANABRANCH_WORKERS", "2")]), 2);
    assert_eq!(count(&["--config", &live, "-w", "4"], &[("ANABRANCH_WORKERS", "2")]), 4);
    assert_eq!(count(&[], &[]), 1);
}

#[test]
fn mistakes_in_a_file_or_a_variable_are_named_with_their_place() {
    let folder = Folder::new();
    let mut number = 0;
    let mut with = |text: &str| {
        number += 1;
        let path = folder.write(&format!("{number}.toml"), text);
        let error = refused(&mut program("word-count", ["--config", &path]));
        assert!(error.contains(&path), "{error}");
        error
    };
    let error = with("workers = 2\nwokers = 4\n");
    assert!(error.contains(":2 ") && error.contains("did you mean `workers`"), "{error}");
    let error = with("workers = \"many\"");
    assert!(error.contains("many") && error.contains("--workers"), "{error}");
    assert!(with("workers = [1, 2]").contains("must be"), "an array");
    assert!(with("text = ").contains("is not TOML"), "no TOML");
    assert!(with("config = \"x\"").contains("does not name another"), "a file in a file");

    let missing = folder.name("missing.toml");
    let error = refused(&mut program("word-count", ["--config", &missing]));
    assert!(error.contains(&missing), "{error}");
    let error = refused(program("word-count", [""; 0]).env("ANABRANCH_WORKERS", "zero"));
    assert!(error.contains("ANABRANCH_WORKERS"), "{error}");
}

#[test]
fn usage_errors_say_what_to_do() {
    let folder = Folder::new();
    let (hosts, key) =
        (folder.write("hosts", "127.0.0.1:1\n"), key_file(&folder, "key", &"k".repeat(32)));
    let two = folder.write("two", "a\nb\n");
    let no_such = format!("file:{}", folder.name("no-such"));
    let no_match = format!("file:{}", folder.name("no-such-*"));
    let no_folder = format!("file:{}/x", folder.name("no-such"));
    let word_count: &[(&[&str], &[&str])] = &[
        (&["--text", &no_such], &["no-such", "No such file"]),
        (&["--text", &no_match], &["no-such-*"]),
        (&["--text", "carrier-pigeon://home"], &["carrier-pigeon", "ws-listen://", "file:"]),
        (&["--text", "null:"], &["null:", "source"]),
        (&["--counts", "coinbase:"], &["coinbase:", "sink"]),
        (&["--text", "ws-listen://:0?port=1"], &["port"]),
        (&["--text", "ws-listen://nowhere"], &["nowhere"]),
        (&["-p", "0"], &["--hosts"]),
        (&["-p", "0", "--hosts", &hosts], &["--cluster-key-file"]),
        (&["--hosts", &hosts], &["--process"]),
        (&["--cluster-key-file", &key], &["--process", "--hosts"]),
        (&["-p", "1", "--hosts", &hosts, "--cluster-key-file", &key], &["0 to 0"]),
        (&["-p", "0", "--hosts", &two, "--cluster-key-file", &key], &["line 1", "host:port"]),
        (&["-p", "0", "-n", "2"], &["--processes", "--process"]),
        (&["-w", "0"], &["--workers", "1..=256"]),
        (&["-n", "65"], &["--processes", "1..=64"]),
        (&["--epoch", "1"], &["--epoch", "1ms"]),
        (&["--worker", "2"], &["--workers"]),
        (&["grahp"], &["graph"]),
        (&["--format", "dot"], &["graph"]),
        (&["graph", "--format", "pdf"], &["mermaid, dot, json"]),
        (&["--log", "anabranch=loud"], &["--log"]),
    ];
    for (flags, wanted) in word_count {
        let error = refused(&mut program("word-count", *flags));
        for wanted in *wanted {
            assert!(error.contains(wanted), "{flags:?}: {error}");
        }
    }
    // What cannot be written is found when it is opened.
    let ended = ended(&mut program("word-count", ["--counts", &no_folder]));
    assert_ne!(ended.code, Some(0));
    assert!(ended.errors.contains("no-such/x"), "{}", ended.errors);
    let flags = ["--prices", "-", "--updates", "ws-listen://:0", "--notify", "smtp://x"];
    let error = refused(&mut program("bitcoin-alerts", flags));
    assert!(error.contains("smtp") && error.contains("tcp://"), "{error}");
}

#[test]
fn standard_input_and_output_take_options() {
    let folder = Folder::new();
    let text = format!("file:{}", folder.write("text", "one"));
    let flags = ["--text", &text, "--counts", "-?queue_records=100"];
    assert_eq!(succeeded(&mut program("word-count", flags)), "one 1\n");
    let flags = ["--text", "-?line_max=1KiB", "--counts", "-"];
    assert_eq!(succeeded(&mut program("word-count", flags)), "");
    let flags = ["check", "--prices", "-", "--updates", &text, "--notify", "-?queue_bytes=1MiB"];
    assert!(succeeded(&mut program("bitcoin-alerts", flags)).contains("live"));
    let error = refused(&mut program("word-count", ["--text", "--counts", "-"]));
    assert!(error.contains("--text"), "{error}");
}

#[test]
fn help_teaches() {
    for name in ["word-count", "bitcoin-alerts"] {
        let long = succeeded(&mut program(name, ["--help"]));
        for wanted in [
            &format!("Usage: {name} [COMMAND] [OPTIONS]"),
            "Application:",
            "Engine:",
            "Cluster:",
            "Output:",
            "Examples:",
            "Environment:",
            "Configuration file:",
            "-w, --workers <N>",
            "--processes",
            "--cluster-key-file",
            "ANABRANCH_WORKERS",
            "NO_COLOR",
            &format!("{}_", name.to_uppercase().replace('-', "_")),
        ] {
            assert!(long.contains(wanted), "{name}: no `{wanted}` in {long}");
        }
        assert_eq!(long, succeeded(&mut program(name, ["help"])));
        let short = succeeded(&mut program(name, ["-h"]));
        assert!(short.len() < long.len() && short.contains("--workers"));
        assert!(short.lines().chain(long.lines()).all(|line| line.chars().count() <= 100));
        let version = succeeded(&mut program(name, ["--version"]));
        assert!(version.contains(&format!("anabranch {}", env!("CARGO_PKG_VERSION"))), "{version}");
    }
    let help = succeeded(&mut program("bitcoin-alerts", ["--help"]));
    for option in ["--prices <URL>", "--updates <URL>", "--notify <URL>", "--dead-letters <URL>"] {
        assert!(help.contains(option), "no {option} in {help}");
    }
}

/// Flags of `bitcoin-alerts` for everything that runs nothing.
const LISTENING: [&str; 8] = [
    "--prices",
    "ws-listen://127.0.0.1:9/prices",
    "--updates",
    "-",
    "--notify",
    "tcp://127.0.0.1:9",
    "--dead-letters",
    "null:",
];

fn alerts(more: &[&str]) -> Command {
    program("bitcoin-alerts", [more, &LISTENING[..]].concat())
}

#[test]
fn check_tells_what_an_application_is_made_of_and_runs_nothing() {
    let check = succeeded(&mut program("word-count", ["check"]));
    for wanted in ["1 source, 1 computation, 1 table, 1 sink", "counts  String -> u64"] {
        assert!(check.contains(wanted), "{check}");
    }
    // Nothing listens, connects or reads: the ports are not ours to have.
    let check = succeeded(&mut alerts(&["check"]));
    for wanted in [
        "2 sources, 5 computations, 9 tables, 1 sink",
        "Tables",
        "Pipelines",
        "Connectors",
        "written by evaluate-alerts, update-alerts",
        "prices -> event_time -> key_by -> count-prices -> average-10m -> meet-alerts -> evaluate-alerts",
        "updates -> key_by -> update-alerts",
        "ws-listen://127.0.0.1:9/prices",
        "tcp://127.0.0.1:9",
        "live",
        "dead letters",
    ] {
        assert!(check.contains(wanted), "no `{wanted}` in {check}");
    }
    let check = succeeded(&mut alerts(&["check", "--average", "running"]));
    for wanted in [
        "2 sources, 3 computations, 7 tables, 1 sink",
        "prices -> key_by -> count-prices -> evaluate-alerts",
    ] {
        assert!(check.contains(wanted), "no `{wanted}` in {check}");
    }
    // Check finds the mistakes that a run would.
    refused(&mut program("word-count", ["check", "--text", "nonsense"]));
}

#[test]
fn graph_draws_in_three_languages() {
    for (mut command, nodes) in [
        (program("word-count", ["graph"]), vec!["text", "count", "counts"]),
        (
            alerts(&["graph"]),
            vec!["prices", "updates", "evaluate-alerts", "update-alerts", "alerts", "notify"],
        ),
    ] {
        let mermaid = succeeded(&mut command);
        assert!(mermaid.starts_with("flowchart LR\n"), "{mermaid}");
        command.args(["--format", "dot"]);
        let dot = succeeded(&mut command);
        assert!(dot.starts_with("digraph ") && dot.trim_end().ends_with('}'), "{dot}");
        for node in &nodes {
            assert!(mermaid.contains(node) && dot.contains(node), "{node}");
        }
        is_drawn(&dot);
    }
    let graph = succeeded(&mut alerts(&["graph", "--format", "json"]));
    let graph: Value = graph.parse().unwrap();
    let nodes = graph["nodes"].as_array().unwrap();
    let of = |kind: &str| -> Vec<&str> {
        let of_kind = nodes.iter().filter(|node| node["kind"] == kind);
        let mut names: Vec<_> = of_kind.map(|node| node["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(of("source"), ["prices", "updates"]);
    let computations =
        ["average-10m", "count-prices", "evaluate-alerts", "meet-alerts", "update-alerts"];
    assert_eq!(of("computation"), computations);
    let tables = [
        "alert-ids",
        "alerts",
        "average-10m.timers",
        "average-10m.values",
        "books",
        "due-alerts",
        "fired-alerts",
        "markets",
        "recent-prices",
    ];
    assert_eq!(of("table"), tables);
    assert_eq!(of("sink"), ["notify"]);
    let letters = nodes.iter().find(|node| node["kind"] == "dead-letters").unwrap();
    assert_eq!(letters["connector"], "null:");
    // Every edge is between nodes that are there, and from each source a path leads on.
    let ids: Vec<_> = nodes.iter().map(|node| &node["id"]).collect();
    let edges = graph["edges"].as_array().unwrap();
    assert!(edges.iter().all(|edge| ids.contains(&&edge["from"]) && ids.contains(&&edge["to"])));
    for node in nodes.iter().filter(|node| node["kind"] == "source") {
        assert!(edges.iter().any(|edge| edge["from"] == node["id"]), "{node}");
    }
}

/// What one average has left behind is not taken for another's; to write the same in another way is no
/// difference, and no more is another lateness.
#[test]
fn a_data_directory_belongs_to_its_average() {
    let folder = Folder::new();
    let updates = format!("file:{}", folder.write("updates", r#"{"price":"3","user_id":1}"#));
    let flags = |average: &str, more: &[&str]| -> Vec<String> {
        let data = folder.name(average);
        let flags = ["--prices", "-", "--updates", &updates, "--notify", "null:"];
        let kept = ["--data-dir", &data, "--checkpoint-interval", "10ms"];
        [&flags[..], &kept, more].concat().into_iter().map(str::to_owned).collect()
    };
    let all = ["10m", "5m", "last:9", "running"];
    for average in all {
        let flags = flags(average, &["--average", average]);
        let mut running = Running::start(program("bitcoin-alerts", flags).stdin(Stdio::piped()));
        let mut input = running.input();
        let manifests = folder.path(average).join("checkpoints/manifests");
        crate::support::until("there is a checkpoint", || {
            input.write_all(b"{\"type\":\"x\",\"price\":\"2\"}\n").unwrap();
            let mut made = std::fs::read_dir(&manifests).ok()?.map(|made| made.unwrap().path());
            made.any(|path| path.extension().is_some_and(|it| it == "json")).then_some(())
        });
        drop(input);
        running.succeeds();
    }
    for (of, other) in all.into_iter().flat_map(|of| all.map(|other| (of, other))) {
        let other = ["--average", other];
        let ended = ended(&mut program("bitcoin-alerts", flags(of, &other)));
        if of == other[1] {
            assert_eq!(ended.code, Some(0), "{}", ended.errors);
            continue;
        }
        assert_eq!(ended.code, Some(3), "{of} {other:?}: {}", ended.errors);
        let table = match of {
            "running" => "`prices`".to_owned(),
            _ => format!("`average-{}.", of.replace(':', "-")),
        };
        assert!(ended.errors.contains(&table), "{of} {other:?}: {}", ended.errors);
    }
    let same = ["--average", "600s", "--lateness", "3s"];
    succeeded(&mut program("bitcoin-alerts", flags("10m", &same)));
}

/// Graphviz can draw it, where it is installed.
fn is_drawn(dot: &str) {
    let graphviz =
        Command::new("dot").arg("-Tsvg").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut graphviz) = graphviz else {
        println!("skipped: `dot` is not installed");
        return;
    };
    graphviz.stdin.take().unwrap().write_all(dot.as_bytes()).unwrap();
    let drawn = graphviz.wait_with_output().unwrap();
    assert!(drawn.status.success() && drawn.stdout.windows(4).any(|w| w == b"<svg"));
}

/// Not on a terminal, nothing is coloured; `quiet` leaves no line; a level is a level.
#[test]
fn the_log_is_plain_and_as_loud_as_asked() {
    let folder = Folder::new();
    let text = format!("file:{}", folder.write("text", "one"));
    let errors = |flags: &[&str]| {
        ended(&mut program("word-count", [&["--text", &text], flags].concat())).errors
    };
    assert!(errors(&[]).contains("INFO done: "), "the last line counts");
    assert!(!errors(&[]).contains('\u{1b}'));
    assert_eq!(errors(&["--quiet"]), "");
    assert_eq!(errors(&["--log", "off"]), "");
    assert!(errors(&["--quiet", "--log", "info"]).contains("INFO"));
}

/// On a terminal the log is coloured, unless `NO_COLOR` is set.
#[test]
fn no_color_is_obeyed_on_a_terminal() {
    let folder = Folder::new();
    let text = format!("file:{}", folder.write("text", "one"));
    let shown = |no_color: &str| {
        // `script` gives the program a terminal.
        let program = crate::programs::path("word-count");
        let line = format!("{} --text {text}", program.display());
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env("NO_COLOR", no_color)
            .stdin(Stdio::null())
            .output();
        output.ok().map(|output| String::from_utf8(output.stdout).unwrap())
    };
    let (Some(coloured), Some(plain)) = (shown(""), shown("1")) else {
        println!("skipped: `script` is not installed");
        return;
    };
    assert!(coloured.contains("\u{1b}[32m"), "{coloured:?}");
    // Erasing what is redrawn on the line is no colour.
    let plain = plain.replace("\r\u{1b}[J", "");
    assert!(!plain.contains('\u{1b}') && plain.contains("INFO"), "{plain:?}");
}

#[test]
fn check_says_whether_a_program_can_go_on_from_a_checkpoint() {
    use std::io::Write as _;

    let folder = Folder::new();
    let (data, counts) = (folder.name("data"), format!("file:{}", folder.name("counts")));
    let flags = ["--counts", &counts, "--data-dir", &data, "--checkpoint-interval", "10ms"];
    let mut running = Running::start(program("word-count", flags).stdin(Stdio::piped()));
    let mut input = running.input();
    writeln!(input, "to be or not to be").unwrap();
    let store = folder.name("data/checkpoints");
    crate::support::until("there is a checkpoint", || {
        let mut manifests = std::fs::read_dir(format!("{store}/manifests")).ok()?;
        // What is not there yet has another name.
        let is_there = |path: std::path::PathBuf| path.extension().is_some_and(|it| it == "json");
        manifests.any(|entry| is_there(entry.unwrap().path())).then_some(())
    });
    drop(input);
    running.succeeds();

    let check = ["check", "--restore", "latest", "--data-dir", &data];
    let said = succeeded(&mut program("word-count", check));
    for wanted in [
        "\nRestore: checkpoint ",
        " by word-count (anabranch ",
        "\n  table counts: loads as it is\n",
        "\n  source text, partition 0: goes on at offset ",
        "\n  sink counts: goes on where it was\n",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let check = ["check", "--restore", "latest", "--store", &store];
    let Ended { code, output, errors } = ended(&mut program("bitcoin-alerts", check));
    assert_eq!(code, Some(3), "{errors}");
    assert!(output.contains("table counts: cannot be loaded"), "{output}");
    assert!(errors.contains("app.dropped(\"counts\")"), "{errors}");
}
