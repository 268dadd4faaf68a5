//! The commands of a program that do not run it: they look at what it is, or at what it has left.
//!
//! Invariant: a reader of standard output that went away (`graph | head`) is no failure.

use std::io::{BufWriter, ErrorKind, Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use super::embedded::{replay_build, reprocess_build};
use super::setup::{drawing, plan};
use super::{failed, summarize};
use crate::checkpoint::{self, Store};
use crate::config::{CheckpointCommand, Config, GraphFormat, LettersCommand, Restore};
use crate::durable::Span;
use crate::graph::Graph;
use crate::worker::Build;
use crate::{Error, Result, Time, compare, letters, log, restorable};

/// Looks at checkpoints, without the application.
pub(super) fn look(command: &CheckpointCommand, config: &Config) -> ExitCode {
    printing(config, |out| match Store::of_config(config)? {
        Some(store) => checkpoint::run(&store, command, out),
        None => Ok(()),
    })
}

/// Looks at dead letters, or asks for something to be done with them, without the application.
pub(super) fn letters(command: &LettersCommand, config: &Config) -> ExitCode {
    printing(config, |out| letters::run(config, command, out))
}

/// Prints the application as a graph.
pub(super) fn graph(config: &Config, build: &Build, format: GraphFormat) -> ExitCode {
    printing(config, |out| {
        let graph = drawing(config, build)?;
        let text = match format {
            GraphFormat::Mermaid => graph.to_mermaid(),
            GraphFormat::Dot => graph.to_dot(),
            GraphFormat::Json => graph.to_json(),
        };
        print(out, &text)
    })
}

/// Says what the application is made of, and what it would do to a checkpoint.
pub(super) fn check(config: &Config, build: &Build, restore: Option<Restore>) -> ExitCode {
    printing(config, |out| {
        let plan = plan(build, config.workers(), config.partitions() as usize)?;
        print(out, &Graph::of_plan(config.program(), &plan).to_text())?;
        restore.map_or(Ok(()), |which| restorable::check(config, &plan, which, out))
    })
}

/// Orders that the next start computes anew.
pub(super) fn reprocess(config: &Config, build: &Build, from: Option<Time>) -> ExitCode {
    printing(config, |out| {
        let told = reprocess_build(config, build, from)?;
        print(out, &format!("{told}\n"))
    })
}

/// Replays what was journaled.
pub(super) fn replay(config: &Config, span: Span, build: Build) -> ExitCode {
    let replayed = log::start(config.log(), None).and_then(|()| replay_build(config, span, build));
    ended(replayed.map(|counters| {
        summarize(&counters);
        true
    }))
}

/// Prints whether the application is a pure function of its journal.
pub(super) fn verify(config: &Config, span: Span, build: Build) -> ExitCode {
    let verified =
        log::start(config.log(), None).and_then(|()| compare::verify_build(config, span, build));
    ended(verified.map(|verified| {
        // A reader that went away changes nothing about what was found.
        let _ = writeln!(stdout(), "{verified}");
        verified.difference.is_none()
    }))
}

/// Prints what this program would release and another would not, and the other way round.
pub(super) fn diff(config: &Config, span: Span, build: Build, against: &Path) -> ExitCode {
    let mut out = BufWriter::new(stdout());
    let against = (against, compare::arguments(std::env::args_os()));
    let compared = log::start(config.log(), None)
        .and_then(|()| compare::diff(config, span, build, against, &mut out));
    ended(unread(compared, true))
}

/// Tells another program, which compares itself with this one, what is released.
pub(super) fn trace(config: &Config, span: Span, build: Build) -> ExitCode {
    printing(config, |_| compare::trace(config, span, build, stdout()))
}

/// Writes to standard output.
fn printing(config: &Config, work: impl FnOnce(&mut dyn Write) -> Result<()>) -> ExitCode {
    let mut out = BufWriter::new(stdout());
    let printed = log::start(config.log(), None).and_then(|()| {
        work(&mut out)?;
        out.flush().map_err(not_printed)
    });
    ended(unread(printed, ()).map(|()| true))
}

fn print(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(not_printed)
}

fn not_printed(error: std::io::Error) -> Error {
    Error::io("standard output", error)
}

/// What was written, or `otherwise` if the reader went away.
fn unread<T>(written: Result<T>, otherwise: T) -> Result<T> {
    match written {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(otherwise),
        written => written,
    }
}

/// As `diff` and `cmp` end: 1 if there are differences.
fn ended(same: Result<bool>) -> ExitCode {
    match same {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}
