//! A disk that fails: a sync says EIO, a write is cut short. The program ends or waits, says of which
//! file, and is started again; nothing is lost.
//!
//! Invariant: the errors are the system's own: `strace` answers in the place of the disk, `prlimit` cuts
//! the write. Where those cannot be had, the tests say that they are skipped. The supervisor is
//! never touched, so the process that it starts next has a good disk again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::ledger::{Boundaries, Ledger, check_live};
use crate::lives::{Life, Start};
use crate::producer::{Producers, Transport};
use crate::run::is_gone;
use crate::support::{Dice, Folder, Words, free_ports, until};

const LINES: usize = 300_000;

/// `strace`, which answers for the disk; the process goes on without it when this is dropped.
struct Tracer(Child);

impl Tracer {
    /// Attaches to a process. None if that is not possible here.
    fn attach(pid: u32, arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null", "-p", &pid.to_string()]).args(arguments);
        let mut child = match command.stderr(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => {
                println!("skipped: strace cannot be started: {error}");
                return None;
            }
        };
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let tracer = Self(child);
        if !line.contains(" attached") {
            // The process may have come to its end; else there is no leave to do this.
            println!("skipped: strace cannot attach: {line}");
            return None;
        }
        // What it says of each thread has to go somewhere.
        std::thread::spawn(move || said.lines().map_while(Result::ok).for_each(drop));
        Some(tracer)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // By a signal that it can see, so that it lets go of the process first.
        crate::run::signal("TERM", self.0.id());
        let _ = self.0.wait();
    }
}

/// The only child of the last generation.
#[track_caller]
fn child(life: &mut Life) -> u32 {
    let (_, children) = life.generation().expect("the program runs");
    children[0]
}

/// Producers that are told what is durable, and the program that tells them.
struct Live {
    folder: Folder,
    start: Start<'static>,
    life: Life,
    producers: Producers,
}

impl Live {
    fn begin(interval: &str) -> Self {
        let folder = Folder::new();
        let [port] = free_ports();
        let text = format!("tcp-listen://127.0.0.1:{port}?ack=true");
        let counts = format!("file:{}", folder.name("counts"));
        let arguments = ["--text", &text, "--counts", &counts];
        let start = Start::new("word-count", &folder, &arguments, interval);
        let life = start.begin(&["-w", "2"]);
        let producers = Producers::start(2, Transport::Tcp, port);
        Self { folder, start, life, producers }
    }

    #[track_caller]
    fn progress(&mut self) {
        let before = self.producers.acknowledged();
        until("progress", || {
            assert!(self.life.running.is_running(), "{}", self.life.running.errors());
            (self.producers.acknowledged() > before + 1_000).then_some(())
        });
    }

    /// Lets it come to its end; gives what it has said.
    #[track_caller]
    fn end(mut self) -> String {
        let producers = self.producers.finish();
        self.life.running.signal("TERM");
        self.life.succeeds();
        check_live(&std::fs::read(self.folder.path("counts")).unwrap(), &producers);
        self.life.running.errors()
    }
}

/// A sync of the journal that fails is not tried again: nothing that waits for it is acknowledged or
/// released, the process ends, and the next one has what was.
#[test]
fn a_journal_that_cannot_be_synced_ends_the_process_by_name() {
    // No checkpoint syncs the output meanwhile: only the journal does.
    let mut live = Live::begin("1h");
    for failure in 0..3 {
        live.progress();
        let process = child(&mut live.life);
        let told = live.life.running.errors().len();
        let when = format!("inject=fdatasync:error=EIO:when={}+", 1 + 5 * failure);
        let Some(_tracer) = Tracer::attach(process, &["-e", "trace=fdatasync", "-e", &when]) else {
            return;
        };
        until("the process ends", || is_gone(process).then_some(()));
        let acknowledged = live.producers.acknowledged();
        let errors = until("it starts again", || {
            let errors = live.life.running.errors()[told..].to_owned();
            errors.contains(" starts\n").then_some(errors)
        });
        assert!(errors.contains("syncing ") && errors.contains(".seg"), "{errors}");
        assert!(errors.contains("Input/output error"), "{errors}");
        until("progress resumes", || (live.producers.acknowledged() > acknowledged).then_some(()));
    }
    live.progress();
    live.end();
}

/// The same of an output: what it may not have is cut off, and written again by the next process.
#[test]
fn an_output_that_cannot_be_synced_ends_the_process_by_name() {
    let folder = Folder::new();
    let mut dice = Dice(50);
    let lines: Vec<String> = (0..2 * LINES).map(|_| dice.line()).collect();
    let text = format!("file:{}", folder.write("text", lines.join("\n")));
    let counts = folder.name("counts");
    let url = format!("file:{counts}");
    let wanted = Words::of(lines.iter().map(String::as_str));
    let mut ledger = Ledger::new(folder.path("counts"), wanted);
    let start = Start::new("word-count", &folder, &["--text", &text, "--counts", &url], "50ms");
    let (mut boundaries, mut life) = (Boundaries::default(), start.begin(&["-w", "2"]));
    assert!(life.checkpoint(&start), "{}", life.running.errors());
    let process = child(&mut life);
    let fault = ["-P", &counts, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"];
    let Some(tracer) = Tracer::attach(process, &fault) else { return };
    life.running.logs("generation 2 starts");
    drop(tracer);
    let errors = life.running.errors();
    assert!(errors.contains(&format!("cannot write {counts}")), "{errors}");
    ledger.check("after EIO");
    boundaries.check(&start, "after EIO");
    life.succeeds();
    ledger.complete("EIO");
    boundaries.check(&start, "the end");
    boundaries.verify(&start);
}

/// A checkpoint that cannot be synced is none, which is said; the program goes on, and the next one has all.
#[test]
fn a_checkpoint_that_cannot_be_synced_costs_nothing() {
    let mut live = Live::begin("50ms");
    live.progress();
    assert!(live.life.checkpoint(&live.start), "{}", live.life.running.errors());
    let process = child(&mut live.life);
    let fault = ["-e", "trace=fsync", "-e", "inject=fsync:error=EIO"];
    let Some(tracer) = Tracer::attach(process, &fault) else { return };
    live.life.running.logs("Input/output error");
    live.progress();
    // One whose last sync fails may have its name already; more of them come only with a good disk.
    let failed = live.start.checkpoints().last().copied();
    drop(tracer);
    until("there is a checkpoint again", || {
        (live.start.checkpoints().last().copied() > failed).then_some(())
    });
    let mut boundaries = Boundaries::default();
    boundaries.check(&live.start, "again");
    boundaries.verify(&live.start);
    let errors = live.end();
    assert!(errors.contains("checkpoints/"), "it says of which file: {errors}");
}

/// No file may be longer than so many bytes: a write that goes beyond is cut short there, and the next
/// one ends the process (SIGXFSZ).
fn cut_short(process: u32, at: u64) -> bool {
    let limit = format!("--fsize={at}");
    let set = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).output();
    match set {
        Ok(output) if output.status.success() => true,
        other => {
            println!("skipped: no limit can be set: {other:?}");
            false
        }
    }
}

/// The longest file below a folder.
fn longest(folder: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => longest(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.map_while(Result::ok).map(of).max().unwrap_or(0)
}

/// Journal or output, whichever is longer: of its last write a part is there.
#[test]
fn a_write_that_is_cut_short_is_taken_up() {
    let mut live = Live::begin("1h");
    let mut torn = 0;
    for cut in 0..6 {
        live.progress();
        let process = child(&mut live.life);
        let at = longest(&live.folder.path("")) + 1_001 + 977 * cut;
        if !cut_short(process, at) {
            return;
        }
        until("the process ends", || is_gone(process).then_some(()));
        let (data, counts) = (live.folder.path("data"), live.folder.path("counts"));
        // What the next process has not repaired yet.
        torn += u64::from(longest(&data) == at || std::fs::metadata(counts).unwrap().len() == at);
    }
    live.progress();
    let errors = live.end();
    assert!(errors.contains("SIGXFSZ"), "{errors}");
    println!("{torn} of 6 were seen torn");
}
