//! A process that ends at any step of journal, checkpoint, restore and sink: nothing is lost, nothing
//! twice.
//!
//! Invariant: every place of [`PLACES`] is passed, and the process that passes it first ends there. A
//! place that no case comes to fails the test, so a new one is not forgotten. Only in a build with
//! faults on request: `cargo test --workspace --features failpoints --test system steps`.

use std::sync::atomic::{AtomicUsize, Ordering};

use anabranch::failpoint::PLACES;

use crate::ledger::{Boundaries, Ledger, check_live};
use crate::lives::{Life, Start};
use crate::producer::{Producers, Transport};
use crate::rescale::check_table;
use crate::subscriber::Subscription;
use crate::support::{Dice, Folder, Words, free_ports, until};

const LINES: usize = 40_000;
/// How many programs run at a time.
const AT_ONCE: usize = 3;
/// How often a place is tried at most that a program has to pass.
const ATTEMPTS: usize = 5;
/// How many lines `word-count` writes of a record of a producer.
const LINES_OF_A_RECORD: usize = 7;

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// Files of text to a file of this name.
    Recorded(&'static str),
    /// Producers that are told what is durable, to a file.
    Live,
    /// The same to a subscriber; the log may have so much.
    Broadcast(&'static str),
}

/// A fault on the way to another: where, how often that place is passed before, and what happens.
type Step = (&'static str, usize, &'static str);

/// Faults that make a program come to a place, in the order in which they happen.
fn way_to(place: &str) -> (Scene, &'static [Step]) {
    const FILE: Scene = Scene::Recorded("counts");
    const LOG: Scene = Scene::Broadcast("16MiB");
    // The end of a process that has made checkpoints, so that another goes on from them.
    const AGAIN: Step = ("checkpoint::manifest-written", 2, "abort");
    match place {
        "journal::half-written" => (FILE, &[("journal::short-write", 2, "EIO")]),
        "journal::remove-torn" => (FILE, &[("journal::created", 0, "abort")]),
        "journal::cut" | "journal::cut-done" => {
            (FILE, &[("journal::short-write", 2, "EIO"), ("journal::half-written", 0, "abort")])
        }
        "journal::drop" | "journal::dropped" => (FILE, &[AGAIN]),
        "restore::frame" => (Scene::Live, &[("journal::synced", 8, "abort")]),
        "file-sink::half-written" => (FILE, &[("file-sink::short-write", 2, "EIO")]),
        "file-sink::repaired" | "file-sink::renamed" => {
            (Scene::Recorded("counts.gz"), &[("file-sink::write", 8, "abort")])
        }
        "broadcast::half-written" => (LOG, &[("broadcast::short-write", 2, "EIO")]),
        "broadcast::drop" => (Scene::Broadcast("256KiB"), &[]),
        _ if place.starts_with("restore::") => (FILE, &[AGAIN]),
        _ if place.starts_with("broadcast::") => (LOG, &[]),
        _ if place.starts_with("journal::") => (Scene::Live, &[]),
        _ => (FILE, &[]),
    }
}

/// How often a place is passed before a process ends there.
fn passed(place: &str) -> &'static [usize] {
    // A process comes there once.
    const ONCE: [&str; 13] = [
        "data-dir::",
        "generation::",
        "file-sink::claim",
        "file-sink::re",
        "broadcast::beg",
        "journal::cre",
        "journal::header",
        "journal::folder",
        "journal::cut",
        "journal::remove",
        "journal::drop",
        "restore::chosen",
        "restore::rows",
    ];
    match ONCE.iter().any(|it| place.starts_with(it)) || place.ends_with("half-written") {
        true => &[0],
        false => &[0, 4],
    }
}

/// A text in several files, and what comes of it.
struct Text {
    lines: Vec<Vec<String>>,
    files: Vec<String>,
    counts: String,
}

impl Text {
    fn new() -> Self {
        let mut dice = Dice(47);
        let lines: Vec<Vec<String>> =
            (0..2).map(|_| (0..LINES).map(|_| dice.line()).collect()).collect();
        let counts = Words::of(lines.iter().flatten().map(String::as_str));
        let files = lines.iter().map(|lines| lines.join("\n") + "\n").collect();
        Self { lines, files, counts }
    }
}

/// One program that ends at one place.
struct Case<'a> {
    place: &'a str,
    passed: usize,
    text: &'a Text,
    folder: Folder,
}

impl Case<'_> {
    fn what(&self) -> String {
        format!("{}, passed {} times", self.place, self.passed)
    }

    /// Whether the process has ended at the place.
    fn is_done(&self) -> bool {
        self.folder.path("done").exists()
    }

    fn faults(&self, way: &[Step]) -> String {
        // That a write is cut short is what an error does, and not the end.
        let action = if self.place.ends_with("short-write") { "EIO" } else { "abort" };
        let last = [(self.place, self.passed, action)];
        let steps = way.iter().chain(&last).enumerate();
        let mut faults: Vec<String> = steps
            .map(|(step, (place, passed, action))| {
                let marker = if step == way.len() { "done" } else { &format!("step-{step}") };
                let marker = self.folder.name(marker);
                let off = if *passed == 0 { String::new() } else { format!("{passed}*off->") };
                format!("{place}={off}return({action} once {marker})")
            })
            .collect();
        // So that there is time for many checkpoints.
        if faults.iter().all(|fault| !fault.starts_with("file-sink::write")) {
            faults.push("file-sink::write=sleep(3)".to_owned());
        }
        faults.join(";")
    }

    fn start(&self, arguments: &[&str], interval: &str, way: &[Step]) -> Start<'static> {
        let mut start = Start::new("word-count", &self.folder, arguments, interval);
        start.environment.push(("FAILPOINTS", self.faults(way)));
        start
    }

    fn layout(&self) -> [&'static str; 2] {
        if self.passed == 0 { ["-w", "2"] } else { ["-n", "2"] }
    }

    /// Gives whether the process has ended at the place.
    fn run(&self) -> bool {
        let (scene, way) = way_to(self.place);
        match scene {
            Scene::Recorded(output) => self.recorded(output, way),
            Scene::Live | Scene::Broadcast(_) => self.live(scene, way),
        }
        self.is_done()
    }

    fn recorded(&self, output: &str, way: &[Step]) {
        let what = self.what();
        let names = [0, 1].map(|n| self.folder.write(&format!("text-{n}"), &self.text.files[n]));
        let (text, counts) =
            (format!("file:{}", names.join(",")), format!("file:{}", self.folder.name(output)));
        // A member that is torn has to be a long one.
        let interval = if output.ends_with(".gz") { "10s" } else { "10ms" };
        let arguments = ["--text", &text, "--counts", &counts, "--in-flight-records", "1000"];
        let start = self.start(&arguments, interval, way);
        let mut ledger = Ledger::new(self.folder.path(output), self.text.counts.as_str());
        let mut boundaries = Boundaries::default();
        // A generation is claimed by the supervisor: after its end it is started again.
        for _ in 0..4 {
            let mut life = start.begin(&self.layout());
            let code = life.running.code();
            life.all_gone();
            let after = format!("{what}\n{}", life.running.errors());
            ledger.check(&after);
            boundaries.check(&start, &after);
            boundaries.verify(&start);
            if code == Some(0) {
                break;
            }
            assert_eq!(code, None, "{after}");
        }
        ledger.complete(&what);
        check_table(&start, &self.text.lines);
    }

    fn live(&self, scene: Scene, way: &[Step]) {
        let what = self.what();
        let [port, out] = free_ports();
        let text = format!("tcp-listen://127.0.0.1:{port}?ack=true");
        let counts = match scene {
            Scene::Broadcast(log) => format!("ws-listen://127.0.0.1:{out}/?log={log}"),
            _ => format!("file:{}", self.folder.name("counts")),
        };
        let start = self.start(&["--text", &text, "--counts", &counts], "50ms", way);
        let mut boundaries = Boundaries::default();
        let mut life = start.begin(&self.layout());
        let producers = Producers::start(2, Transport::Tcp, port);
        let subscription = matches!(scene, Scene::Broadcast(_)).then(|| Subscription::start(out));
        let mut wait = |life: &mut Life, what: &str, done: &mut dyn FnMut() -> bool| {
            until(what, || {
                assert!(life.running.is_running(), "{what}\n{}", life.running.errors());
                boundaries.check(&start, what);
                done().then_some(())
            });
        };
        let must = self.passed == 0;
        wait(&mut life, &what, &mut || {
            producers.acknowledged() > 2_000 && (self.is_done() || !must)
        });
        let before = producers.acknowledged();
        wait(&mut life, &what, &mut || producers.acknowledged() > before + 2_000);
        let producers = producers.finish();
        if let Some(subscription) = &subscription {
            // A subscriber is no reason for a program not to end: it has to be there by then.
            let known: u64 = producers.iter().flatten().map(|one| one.acknowledged).sum();
            let lines = usize::try_from(known).unwrap() * LINES_OF_A_RECORD;
            wait(&mut life, &what, &mut || {
                subscription.look(|got| got.gaps > 0 || got.text.lines().count() >= lines)
            });
        }
        life.running.signal("TERM");
        life.succeeds();
        match subscription.map(Subscription::finish) {
            None => {
                let output = std::fs::read(self.folder.path("counts")).unwrap();
                check_live(&output, &producers);
            }
            // Of a log that is too small for who was away it is said.
            Some(got) if got.gaps > 0 => assert_eq!(self.place, "broadcast::drop", "{what}: a gap"),
            Some(got) => check_live(got.text.as_bytes(), &producers),
        }
        boundaries.check(&start, &what);
        boundaries.verify(&start);
    }
}

#[test]
fn an_end_at_any_step_of_a_program_changes_nothing() {
    let text = Text::new();
    let only = std::env::var("ANABRANCH_PLACE").unwrap_or_default();
    let chosen = PLACES.iter().filter(|place| place.starts_with(&only));
    let cases: Vec<(&str, usize)> =
        chosen.flat_map(|place| passed(place).iter().map(|passed| (*place, *passed))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut missed = Vec::new();
        while let Some((place, passed)) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
            // Whether a place is passed may depend on what the disk had of a file at an earlier step.
            for attempt in 1..=ATTEMPTS {
                let begun = anabranch::clock::instant();
                let case = Case { place, passed: *passed, text: &text, folder: Folder::new() };
                // All that fail are told of.
                let run = std::panic::AssertUnwindSafe(|| case.run());
                let Ok(done) = std::panic::catch_unwind(run) else {
                    missed.push(format!("failed: {}", case.what()));
                    break;
                };
                println!(
                    "{}: {}, {:?}",
                    case.what(),
                    if done { "ended there" } else { "not passed" },
                    begun.elapsed()
                );
                if done || *passed > 0 {
                    break;
                }
                if attempt == ATTEMPTS {
                    missed.push(format!("never passed: {place}"));
                }
            }
        }
        missed
    };
    let missed: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(missed.is_empty(), "{missed:#?}");
}
