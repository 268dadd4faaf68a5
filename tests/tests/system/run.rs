//! A program, running.
//!
//! Invariant: no program outlives its test, and no wait is without a bound.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use crate::programs;
use crate::support::{Folder, until};

/// The program of that name with arguments, and with none of the test's own settings.
pub(crate) fn program<A: AsRef<OsStr>>(
    name: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(programs::path(name));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let known = ["ANABRANCH_", "WORD_COUNT_", "BITCOIN_ALERTS_", "RUST_BACKTRACE"];
        if known.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// What a program that has ended has said.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// Runs a program to its end.
#[track_caller]
pub(crate) fn ended(command: &mut Command) -> Ended {
    let mut running = Running::start(command);
    let output = running.collect();
    let code = running.code();
    let output = String::from_utf8(output.join().unwrap()).unwrap();
    Ended { code, output, errors: running.errors() }
}

/// A program; killed with the test.
pub(crate) struct Running {
    child: Child,
    folder: Folder,
}

impl Running {
    /// Starts it. Its standard error goes to a file: it is never blocked by a test that does not
    /// read it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let folder = Folder::new();
        let errors = File::create(folder.path("errors")).unwrap();
        Self { child: command.stderr(errors).spawn().unwrap(), folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    pub(crate) fn output(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// For [`Running::collect`], after a beginning was read.
    pub(crate) fn give_back(&mut self, output: ChildStdout) {
        self.child.stdout = Some(output);
    }

    /// Reads all of its standard output on a thread.
    pub(crate) fn collect(&mut self) -> JoinHandle<Vec<u8>> {
        let mut output = self.output();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            output.read_to_end(&mut bytes).unwrap();
            bytes
        })
    }

    /// What it has written to its standard error.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path("errors")).unwrap()).into_owned()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end; none if a signal ended it.
    #[track_caller]
    pub(crate) fn code(&mut self) -> Option<i32> {
        until("the program ends", || self.child.try_wait().unwrap()).code()
    }

    /// Waits for its end, which must be a success.
    #[track_caller]
    pub(crate) fn succeeds(&mut self) {
        let code = self.code();
        assert_eq!(code, Some(0), "{}", self.errors());
    }

    /// Waits for its end, which must be a failure of one line.
    #[track_caller]
    pub(crate) fn fails(&mut self) -> String {
        let code = self.code();
        let errors = self.errors();
        assert_eq!(code, Some(1), "{errors}");
        let lines: Vec<&str> = errors.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(lines.len(), 1, "not one line of error: {errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        lines[0].to_owned()
    }

    /// Waits until it has logged this text.
    #[track_caller]
    pub(crate) fn logs(&mut self, text: &str) {
        until(&format!("`{text}` is logged"), || {
            assert!(self.is_running() || self.errors().contains(text), "{}", self.errors());
            self.errors().contains(text).then_some(())
        });
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.pid());
    }

    /// The `count` processes that the supervisor has told of.
    #[track_caller]
    pub(crate) fn children(&self, count: usize) -> Vec<u32> {
        until("all processes are started", || {
            let errors = self.errors();
            let pids = errors.lines().filter_map(|line| {
                let (before, pid) = line.split_once(" is pid ")?;
                before.contains("process ").then(|| pid.parse().unwrap())
            });
            Some(pids.collect()).filter(|pids: &Vec<u32>| pids.len() == count)
        })
    }

    /// What its final lines count, all processes together.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        let errors = self.errors();
        let mut counts = BTreeMap::new();
        for line in errors.lines() {
            let Some((_, counted)) = line.split_once("INFO done: ") else { continue };
            for count in counted.split(", ").filter(|count| !count.is_empty()) {
                let (name, number) = count.rsplit_once(' ').unwrap();
                *counts.entry(name.to_owned()).or_default() += number.parse::<u64>().unwrap();
            }
        }
        counts
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal, by its name, to one process.
pub(crate) fn signal(name: &str, pid: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

/// Whether a process runs no more; one that nobody has waited for yet counts as gone.
pub(crate) fn is_gone(pid: u32) -> bool {
    stat(pid).is_none_or(|fields| fields[0] == "Z")
}

/// The process that has started this one; none if it runs no more.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid).filter(|fields| fields[0] != "Z")?[1].parse().ok()
}

/// The processor time that a process has used, in ticks of 10 ms.
pub(crate) fn ticks(pid: u32) -> u64 {
    let fields = stat(pid).expect("the process runs");
    // utime and stime; the first of `fields` is the third of proc(5).
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The most memory that a process has had, in bytes.
pub(crate) fn memory_most(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}
