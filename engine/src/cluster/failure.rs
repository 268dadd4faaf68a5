//! The first cause of a failure, and the one place that ends the process for it.
//!
//! Invariant: the first cause that this process learns is the only one it ever names. A process
//! that dies makes noise everywhere (sockets close, threads of timely panic); such an echo is
//! believed only if no cause has arrived [`Failures::ECHO_MS`] later.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire::Deadline;
use crate::{Error, log};

/// The longest text of a cause, in bytes: it must fit in one frame of a control link.
pub(super) const CAUSE_MAX: usize = 2000;
/// The longest origin of a record in a cause, in bytes.
pub(super) const ASIDE_MAX: usize = 200;
/// How long the other processes are told of the cause before this one ends, at most.
const TELLING: Duration = Duration::from_millis(1000);

/// Why the cluster ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The process that failed; none if this process is alone.
    pub process: Option<usize>,
    /// Whether that process is gone, as told by others, rather than its own words.
    pub lost: bool,
    /// One line for the user that names the process.
    pub text: String,
    /// The exit code of that process's error: 1, or more if starting again cannot mend it.
    pub code: u8,
    /// The origin of the record on which user code panicked, if it was set aside: the next start
    /// leaves it out.
    pub aside: Option<String>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Cause {
    /// A process that is gone, named as `process 1 (host:port)`.
    pub(super) fn lost(process: usize, address: &str, how: &str) -> Self {
        let text = format!("process {process} ({address}) was lost: {how}");
        Self { process: Some(process), lost: true, text: shortened(&text), code: 1, aside: None }
    }
}

/// One line that fits in a frame.
fn shortened(text: &str) -> String {
    let mut text = text.replace(['\n', '\r'], " ");
    text.truncate(text.floor_char_boundary(CAUSE_MAX));
    text
}

type Teller = Box<dyn FnOnce(&Cause) + Send>;

#[derive(Default)]
struct State {
    process: Option<usize>,
    first: Option<Cause>,
    exit_code: u8,
    tellers: Vec<Teller>,
    told: bool,
    echoed: bool,
    silent: bool,
    exits: bool,
    ending: bool,
}

/// The causes of one process: everything that fails reports here.
///
/// ```
/// let failures = anabranch::cluster::Failures::default();
/// failures.report("the disk is full");
/// failures.report("a sink could not write");
/// assert_eq!(failures.first().unwrap().text, "the disk is full");
/// ```
#[derive(Clone, Default)]
pub struct Failures(Arc<(Mutex<State>, Condvar)>);

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures").field("first", &self.first()).finish_non_exhaustive()
    }
}

impl Failures {
    /// How long an echo waits for its cause, in milliseconds.
    pub const ECHO_MS: u64 = 2000;

    /// This process fails, and this is why, in one line that needs no process in front of it.
    pub fn report(&self, what: impl Into<String>) {
        self.report_with_code(what.into(), 1, None);
    }

    /// As [`Failures::report`], with the exit code of `error`: a supervisor sees whether starting
    /// again can help.
    pub fn report_error(&self, error: &Error) {
        self.report_with_code(error.to_string(), error.exit_code(), None);
    }

    /// As [`Failures::report`], of user code that panicked on the record of that origin, which was
    /// set aside: a supervisor starts again at once, as long as each such record is another one.
    pub fn report_aside(&self, what: impl Into<String>, origin: impl Into<String>) {
        self.report_with_code(what.into(), 1, Some(origin.into()));
    }

    /// The first cause, if anything has failed.
    pub fn first(&self) -> Option<Cause> {
        self.state().first.clone()
    }

    /// Something that is more likely a consequence than a cause: it is the cause if
    /// [`Failures::ECHO_MS`] later there is no other.
    pub fn echo(&self, what: impl Into<String>) {
        {
            let mut state = self.state();
            if state.first.is_some() || state.echoed {
                return;
            }
            state.echoed = true;
        }
        let what = what.into();
        let (failures, text) = (self.clone(), what.clone());
        let waiting = move || {
            if failures.wait(Duration::from_millis(Self::ECHO_MS), |s| s.first.is_some()) {
                return;
            }
            failures.report(text);
        };
        if thread::Builder::new().name("cluster:echo".to_owned()).spawn(waiting).is_err() {
            self.report(what);
        }
    }

    /// Calls `teller` with the first cause, once, on a thread of its own, or now if there is one.
    pub fn on_first(&self, teller: impl FnOnce(&Cause) + Send + 'static) {
        let first = {
            let mut state = self.state();
            match state.first.clone() {
                Some(first) => first,
                None => return state.tellers.push(Box::new(teller)),
            }
        };
        teller(&first);
    }

    /// From now on the first cause ends this process within about a second, even if its workers
    /// hang: see [`Failures::exit`]. For programs, not for tests in one process.
    pub fn exit_on_first(&self) {
        self.state().exits = true;
        let failures = self.clone();
        self.on_first(move |_| {
            // Told by another thread before this was asked for: that thread did not end the process.
            if failures.state().told {
                failures.end();
            }
        });
    }

    /// Ends the process because of `error`: **the one place from where a failed run exits.** The
    /// first cause wins: if there is one already, or if one arrives for the echo that `error` may
    /// be, it is printed instead (`error: ...`, one line on standard error; a child of the
    /// supervisor hands it up and prints nothing). The exit code is the error's, or 1.
    pub fn exit(&self, error: &Error) -> ! {
        let _ = self.fatal_ref(error);
        self.end()
    }

    /// Makes `error` the first cause if there is none, waits until everyone is told, and returns
    /// the first cause.
    pub(super) fn fatal(&self, error: Error) -> Error {
        match self.fatal_ref(&error) {
            Some(cause) => Error::Cluster(cause.text),
            None => error,
        }
    }

    fn fatal_ref(&self, error: &Error) -> Option<Cause> {
        if self.state().echoed {
            // A little more than the echo's own wait, so that it can become the cause.
            let limit = Duration::from_millis(Self::ECHO_MS) + TELLING;
            self.wait(limit, |state| state.first.is_some());
        }
        self.report_with_code(error.to_string(), error.exit_code(), None);
        self.wait(TELLING, |state| state.told);
        self.first()
    }

    pub(super) fn set_process(&self, process: usize) {
        self.state().process = Some(process);
    }

    /// Someone else prints the cause.
    pub(super) fn set_silent(&self) {
        self.state().silent = true;
    }

    /// Takes over a cause that another process has named, or that a control link has found.
    pub(super) fn learn(&self, cause: Cause) {
        self.settle(cause, 1);
    }

    /// Waits until `done`, at most for `limit`; says whether it is.
    fn wait(&self, limit: Duration, done: impl Fn(&State) -> bool) -> bool {
        let by = Deadline::after(limit);
        let mut state = self.state();
        while !done(&state) {
            let Ok(left) = by.left() else { return false };
            let waited = self.0.1.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn report_with_code(&self, what: String, code: u8, aside: Option<String>) {
        let process = self.state().process;
        let text = match process {
            Some(process) => format!("process {process}: {what}"),
            None => what,
        };
        let aside = aside.map(|mut origin| {
            origin.truncate(origin.floor_char_boundary(ASIDE_MAX));
            origin
        });
        self.settle(Cause { process, lost: false, text: shortened(&text), code, aside }, code);
    }

    fn settle(&self, cause: Cause, exit_code: u8) {
        let tellers = {
            let mut state = self.state();
            if state.first.is_some() {
                return;
            }
            state.first = Some(cause.clone());
            state.exit_code = exit_code;
            self.0.1.notify_all();
            std::mem::take(&mut state.tellers)
        };
        let failures = self.clone();
        // On a thread of its own: the reporter may be a panicking worker, or a link's reader.
        let telling = move || {
            for teller in tellers {
                teller(&cause);
            }
            let exits = {
                let mut state = failures.state();
                state.told = true;
                failures.0.1.notify_all();
                state.exits
            };
            if exits {
                failures.end();
            }
        };
        if thread::Builder::new().name("cluster:failure".to_owned()).spawn(telling).is_err() {
            let exits = {
                let mut state = self.state();
                state.told = true;
                state.exits
            };
            if exits {
                self.end();
            }
        }
    }

    /// Prints the first cause, unless someone else does, and exits; whoever comes second waits.
    fn end(&self) -> ! {
        self.wait(TELLING, |state| state.told);
        let mut state = self.state();
        if std::mem::replace(&mut state.ending, true) {
            drop(state);
            loop {
                thread::park();
            }
        }
        if let (false, Some(first)) = (state.silent, &state.first) {
            // Standard error may be gone, which must not change the exit code.
            let mut out = std::io::stderr();
            let erase = if log::is_screen(&out) { log::ERASE } else { "" };
            let _ = writeln!(out, "{erase}error: {first}");
        }
        let code = i32::from(state.exit_code);
        drop(state);
        std::process::exit(code)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_first_cause_wins_and_is_told_once() {
        let failures = Failures::default();
        failures.set_process(3);
        let (tell, told) = channel();
        let again = tell.clone();
        failures.on_first(move |cause| tell.send(cause.clone()).unwrap());
        failures.echo("timely communication error");
        failures.learn(Cause::lost(1, "host:1", "connection closed"));
        failures.report("a consequence");
        failures.on_first(move |cause| again.send(cause.clone()).unwrap());
        let first = failures.first().unwrap();
        assert_eq!(first.text, "process 1 (host:1) was lost: connection closed");
        assert_eq!(told.recv().unwrap(), first);
        assert_eq!(told.recv().unwrap(), first);
        assert!(told.recv().is_err(), "told more than once");
    }

    #[test]
    fn an_echo_without_a_cause_becomes_the_cause() {
        let failures = Failures::default();
        failures.set_process(0);
        failures.echo("lost the connection to process 1");
        assert!(failures.first().is_none());
        let error = failures.fatal(Error::Cluster("a worker panicked".to_owned()));
        assert_eq!(error.to_string(), "process 0: lost the connection to process 1");
    }

    #[test]
    fn a_cause_is_one_line_that_a_frame_holds() {
        let failures = Failures::default();
        failures.report(format!("first\nsecond{}", "ä".repeat(CAUSE_MAX)));
        let text = failures.first().unwrap().text;
        assert!(text.len() <= CAUSE_MAX && text.starts_with("first second"), "{text}");
    }
}
