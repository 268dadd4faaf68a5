//! [`Failure`]: why the command did not do what it was asked to, and what to do.
//!
//! Invariant: exit codes are those of programs: 2 if the invocation is wrong, 3 if what is kept is damaged, 1 for
//! all else. When nobody reads what is printed, that is no failure.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

/// Why nothing came of it.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    /// What to do next, if `what` does not say so.
    next: Option<String>,
    code: u8,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None, code: 1 }
    }

    /// The invocation is wrong.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(what) }
    }

    pub(crate) fn or(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    /// Nobody reads what is printed: there is nothing to be said.
    pub(crate) fn unread() -> Self {
        Self { what: String::new(), next: None, code: 0 }
    }

    /// Says it, and gives the exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        if !self.what.is_empty() {
            let mut out = std::io::stderr().lock();
            let plain = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
            let (on, off) = match !plain && out.is_terminal() {
                true => ("\x1b[1;31m", "\x1b[0m"),
                false => ("", ""),
            };
            let what = crate::print::harmless(&self.what);
            let _ = writeln!(out, "{on}error:{off} {what}");
            if let Some(next) = &self.next {
                let _ = writeln!(out, "  next: {next}");
            }
        }
        ExitCode::from(self.code)
    }
}

impl From<anabranch::Error> for Failure {
    fn from(error: anabranch::Error) -> Self {
        Self { code: error.exit_code(), ..Self::new(error.to_string()) }
    }
}
