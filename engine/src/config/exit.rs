//! [`Exit`]: what a program prints and ends with instead of running.
//!
//! Invariant: help goes to standard output with code 0, mistakes to standard error with code 2; no
//! password of a URL is shown, wherever the URL came from.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

/// Help, a version, or a mistake in the options: print it and end.
#[derive(Debug)]
pub struct Exit {
    plain: String,
    coloured: String,
    mistake: bool,
}

impl Exit {
    pub(super) fn new(error: &clap::Error) -> Self {
        let styled = error.render();
        Self {
            plain: redact(&styled.to_string()),
            coloured: redact(&styled.ansi().to_string()),
            mistake: error.use_stderr(),
        }
    }

    /// Help, asked for by the word rather than the flag.
    pub(super) fn help(help: &clap::builder::StyledStr) -> Self {
        Self { plain: help.to_string(), coloured: help.ansi().to_string(), mistake: false }
    }

    /// The exit code: 0 after help, 2 after a mistake.
    pub fn code(&self) -> u8 {
        if self.mistake { 2 } else { 0 }
    }

    /// Prints it where it belongs, in colour on a terminal unless `NO_COLOR` is set, and gives the
    /// code to end with.
    #[must_use]
    pub fn print(&self) -> ExitCode {
        // A reader that went away (`--help | head -1`) is no reason to fail.
        let _ = if self.mistake {
            let text =
                if crate::log::colours(&std::io::stderr()) { &self.coloured } else { &self.plain };
            std::io::stderr().write_all(text.as_bytes())
        } else {
            let text =
                if crate::log::colours(&std::io::stdout()) { &self.coloured } else { &self.plain };
            std::io::stdout().write_all(text.as_bytes())
        };
        ExitCode::from(self.code())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain)
    }
}

impl std::error::Error for Exit {}

/// Replaces what stands before the `@` of each URL.
fn redact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(scheme) = rest.find("://") {
        let (before, after) = rest.split_at(scheme + 3);
        shown.push_str(before);
        let ends =
            |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '\'' | '"' | '\u{1b}');
        let authority = after.find(ends).unwrap_or(after.len());
        rest = match after.get(..authority).and_then(|authority| authority.rfind('@')) {
            Some(at) => {
                shown.push_str("***");
                after.get(at..).unwrap_or_default()
            }
            None => after,
        };
    }
    shown + rest
}
