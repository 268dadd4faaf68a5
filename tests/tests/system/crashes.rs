//! SIGKILL at any moment, of one process, of all, of the supervisor: nothing is lost, nothing twice.
//!
//! Invariant: a small dose by default; the full one is
//! `ANABRANCH_CRASHES=1000 cargo test -p anabranch-system-tests --test system crashes -- --nocapture`.
//! `ANABRANCH_SEED=N` makes other choices; which moment a choice hits is up to the machine.

use std::path::{Path, PathBuf};

use crate::ledger::{Boundaries, Ledger, check_live};
use crate::lives::{Dose, Start, Victim};
use crate::oracle::{files, python};
use crate::producer::{Producers, Transport};
use crate::run::{Running, program};
use crate::support::{Dice, Folder, Words, assert_same, free_ports, until};

const LINES: usize = 300_000;
/// How often a program with live input is killed, before another begins with nothing.
const FAULTS_OF_A_LIFE: u64 = 100;

/// Kills the program until the dose is over, and from its beginning when it has come to its end;
/// lets the last one come to its end. `start` says how, and what must come to be,
/// in a folder; `within` milliseconds after a checkpoint it dies.
pub(crate) fn storm(
    what: &str,
    dose: &mut Dose,
    layout: &[&str],
    within: u64,
    start: impl Fn(&Folder) -> (Start<'static>, Vec<Ledger>),
) {
    while !dose.is_over() {
        let folder = Folder::new();
        let (start, mut ledgers) = start(&folder);
        let (mut boundaries, mut life) = (Boundaries::default(), start.begin(layout));
        while !dose.is_over() && life.moment(&start, within, &mut dose.dice) {
            let victim = dose.victim();
            if !life.kill(victim, &mut dose.dice) {
                continue;
            }
            dose.made(what);
            let after = format!("{what} {layout:?}, after {victim:?}\n{}", life.running.errors());
            for ledger in &mut ledgers {
                ledger.check(&after);
            }
            boundaries.check(&start, &after);
            if matches!(victim, Victim::Supervisor | Victim::All) {
                boundaries.verify(&start);
                life = start.begin(layout);
            }
        }
        life.succeeds();
        ledgers.iter_mut().for_each(|ledger| ledger.complete(what));
        boundaries.check(&start, what);
        boundaries.verify(&start);
    }
    println!("{what} {layout:?}: done");
}

fn words_storm(layout: &[&str], output: &str) {
    let mut dice = Dice(41);
    let texts: Vec<Vec<String>> =
        (0..2).map(|_| (0..LINES / 2).map(|_| dice.line()).collect()).collect();
    let wanted = Words::of(texts.iter().flatten().map(String::as_str));
    let texts: Vec<String> = texts.iter().map(|lines| lines.join("\n") + "\n").collect();
    let mut dose = Dose::new("word-count", 10);
    storm("word-count", &mut dose, layout, 150, |folder| {
        let names = [0, 1].map(|n| folder.write(&format!("text-{n}"), &texts[n]));
        let (text, counts) =
            (format!("file:{}", names.join(",")), format!("file:{}", folder.name(output)));
        let arguments = ["--text", &text, "--counts", &counts];
        let start = Start::new("word-count", folder, &arguments, "20ms");
        (start, vec![Ledger::new(folder.path(output), wanted.as_str())])
    });
}

/// MBF-1: what was read when a process died, and not yet written, is read again.
#[test]
fn mbf_1_recorded_input_with_one_worker() {
    words_storm(&["-w", "1"], "counts");
}

#[test]
fn mbf_1_recorded_input_with_two_workers() {
    words_storm(&["-w", "2"], "counts");
}

#[test]
fn mbf_1_recorded_input_with_two_processes() {
    words_storm(&["-n", "2"], "counts");
}

#[test]
fn mbf_1_recorded_input_with_compressed_output() {
    words_storm(&["-w", "2"], "counts.gz");
    words_storm(&["-w", "1"], "counts.zst");
}

/// Also not after more failures than are allowed without progress.
#[test]
fn a_program_that_gets_on_is_not_given_up() {
    let folder = Folder::new();
    let mut dice = Dice(42);
    let lines: Vec<String> = (0..4 * LINES).map(|_| dice.line()).collect();
    let text = format!("file:{}", folder.write("text", lines.join("\n")));
    let counts = format!("file:{}", folder.name("counts"));
    let start = Start::new("word-count", &folder, &["--text", &text, "--counts", &counts], "10ms");
    let mut life = start.begin(&["-w", "1"]);
    for kill in 0..12 {
        assert!(life.checkpoint(&start), "kill {kill}: {}", life.running.errors());
        assert!(life.kill(Victim::Child, &mut dice), "kill {kill}");
    }
    life.succeeds();
    let wanted = Words::of(lines.iter().map(String::as_str));
    Ledger::new(folder.path("counts"), wanted).complete("twelve kills");
}

/// WB-12: an alert that has fired when the process dies before it is written is sent, once.
#[test]
fn wb_12_alerts_of_two_sources_and_refused_lines() {
    let recordings = Folder::new();
    let out = recordings.name("recordings");
    let size = ["--frames", "6000", "--price-files", "3", "--update-files", "2"];
    let flags = ["--seed".to_owned(), "300".to_owned(), "--out".to_owned(), out.clone()];
    python("generate.py", &[&flags[..], &size.map(str::to_owned)].concat());
    let names = |prefix: &str| -> Vec<String> {
        let found: Vec<PathBuf> = files(Path::new(&out), prefix);
        found.iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    };
    let (prices, updates) = (names("prices-"), names("updates-"));
    let urls = [&prices, &updates].map(|names| format!("file:{}", names.join(",")));
    let sources = ["--prices", &urls[0], "--updates", &urls[1]];
    // Why a line is refused is for people: as a run without faults says it.
    let letters = format!("file:{}", recordings.name("letters"));
    let calm = [&sources[..], &["--notify", "null:", "--dead-letters", &letters]].concat();
    Running::start(&mut program("bitcoin-alerts", calm)).succeeds();
    let letters = std::fs::read(recordings.path("letters")).unwrap();
    // Over ten minutes, the default, there is the most to be lost; and some prices are too late.
    for (layout, average) in [
        (["-w", "2"], ["--average=10m", "--lateness=1s"]),
        (["-n", "2"], ["--average=10m", "--lateness=1s"]),
        (["-w", "1"], ["--average=last:50", "--lateness=1m"]),
        (["-w", "4"], ["--average=running", "--lateness=1m"]),
    ] {
        let flags = average.into_iter().chain(["--prices"]).map(str::to_owned);
        let flags = flags.chain(prices.iter().cloned()).chain(["--updates".to_owned()]);
        let flags: Vec<String> = flags.chain(updates.iter().cloned()).collect();
        let wanted = python("oracle.py", &flags);
        let mut dose = Dose::new("bitcoin-alerts", 6);
        storm("bitcoin-alerts", &mut dose, &layout, 40, |folder| {
            let outputs = ["notify", "letters"].map(|name| format!("file:{}", folder.name(name)));
            let sinks = ["--notify", &outputs[0], "--dead-letters", &outputs[1]];
            let arguments = [&sources[..], &sinks, &average].concat();
            let start = Start::new("bitcoin-alerts", folder, &arguments, "10ms");
            let ledgers = [("notify", wanted.clone()), ("letters", letters.clone())]
                .map(|(name, wanted)| Ledger::new(folder.path(name), wanted));
            (start, ledgers.into())
        });
    }
}

/// MBF-10: what a producer was told to be durable is not lost when the process then dies. With the whole
/// journal kept, what was released is what a replay of it gives.
fn live_storm(layout: &[&str], keep: &[&str]) {
    let mut dose = Dose::new("live", 8);
    while !dose.is_over() {
        // Each record has a word of its own, so the table grows with the time that it takes.
        live(layout, keep, &mut dose, FAULTS_OF_A_LIFE);
    }
}

fn live(layout: &[&str], keep: &[&str], dose: &mut Dose, faults: u64) {
    let mut left = faults;
    let folder = Folder::new();
    let [port] = free_ports();
    let text = format!("tcp-listen://127.0.0.1:{port}?ack=true");
    let counts = format!("file:{}", folder.name("counts"));
    let arguments = [&["--text", &text, "--counts", &counts], keep].concat();
    let start = Start::new("word-count", &folder, &arguments, "50ms");
    let (mut boundaries, mut life) = (Boundaries::default(), start.begin(layout));
    let producers = Producers::start(2, Transport::Tcp, port);
    let (mut seen, mut log) = (Vec::new(), String::new());
    loop {
        let before = producers.acknowledged();
        until("progress resumes", || {
            assert!(life.running.is_running(), "{log}{}", life.running.errors());
            (producers.acknowledged() > before + 100).then_some(())
        });
        if dose.is_over() || left == 0 {
            break;
        }
        left -= 1;
        assert!(life.moment(&start, 150, &mut dose.dice), "{log}{}", life.running.errors());
        let victim = dose.victim();
        assert!(life.kill(victim, &mut dose.dice));
        dose.made("live");
        let released = std::fs::read(folder.path("counts")).unwrap_or_default();
        let after = format!("live {layout:?}, after {victim:?}");
        assert!(released.starts_with(&seen), "{after}: what was released has changed");
        seen = released;
        boundaries.check(&start, &after);
        if matches!(victim, Victim::Supervisor | Victim::All) {
            log += &life.running.errors();
            boundaries.verify(&start);
            life = start.begin(layout);
        }
    }
    let producers = producers.finish();
    life.running.signal("TERM");
    life.succeeds();
    let output = std::fs::read(folder.path("counts")).unwrap();
    assert!(output.starts_with(&seen), "{layout:?}: what was released has changed");
    check_live(&output, &producers);
    boundaries.check(&start, "the end");
    if !keep.is_empty() {
        let again = format!("file:{}", folder.name("again"));
        let replay = ["replay", "--text", &text, "--counts", &again, "--data-dir", &start.dir];
        Running::start(&mut program("word-count", replay)).succeeds();
        assert_same("replayed", &std::fs::read(folder.path("again")).unwrap(), &output);
    }
    let acknowledged =
        producers.iter().flatten().map(|connection| connection.acknowledged).sum::<u64>();
    println!("live {layout:?}: {acknowledged} records acknowledged");
}

#[test]
fn mbf_10_acknowledged_input_with_one_worker() {
    live_storm(&["-w", "1"], &[]);
}

#[test]
fn mbf_10_acknowledged_input_with_two_workers() {
    live_storm(&["-w", "2"], &["--keep-journal", "forever"]);
}

#[test]
fn mbf_10_acknowledged_input_with_two_processes() {
    live_storm(&["-n", "2"], &["--keep-journal", "forever"]);
}
