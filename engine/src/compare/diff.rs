//! `diff`: the same journal through two programs, and which outputs appear, disappear or change.
//!
//! Invariant: outputs are told apart by their sink and the record's name; both programs replay the same
//! records from the same beginning.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::Common;
use super::replaying::{Replaying, next_epoch};
use super::stream::Incoming;
use crate::config::Config;
use crate::durable::Span;
use crate::trace::{Output, Step};
use crate::worker::Build;
use crate::{Error, Result};

/// How many outputs are the same, and how many are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    same: u64,
    appear: u64,
    disappear: u64,
    change: u64,
}

/// Prints to `out` what this program would release and the one at `against` would not, and the other
/// way round; gives whether that is nothing. `arguments` are for the other program, which replays the
/// same span.
///
/// # Errors
/// Those of the replays; when the other program cannot be started, or begins elsewhere.
pub(crate) fn diff(
    config: &Config,
    span: Span,
    build: Build,
    (against, arguments): (&Path, Vec<OsString>),
    out: &mut dyn Write,
) -> Result<bool> {
    let common = Common::of(config, span, build)?;
    let (other, sinks) = other(&common, against, arguments)?;
    let this = Replaying::here(&common, "this program".into(), config.workers(), false)?;
    let mut replays = [other, this];
    let mut counts = Counts::default();
    while let Some(epoch) = next_epoch(&mut replays)? {
        let [before, after] = replays.each_mut().map(|replay| replay.take(epoch));
        let before = by_sink(before, &sinks);
        let mut after = by_sink(after, &common.sinks);
        for (sink, before) in before {
            let after = after.remove(&sink).unwrap_or_default();
            compare(&common, &sink, &before, &after, &mut counts, out)?;
        }
        for (sink, after) in after {
            compare(&common, &sink, &[], &after, &mut counts, out)?;
        }
    }
    let Counts { same, appear, disappear, change } = counts;
    let sum = format!(
        "{same} outputs are the same, {appear} appear, {disappear} disappear, {change} change"
    );
    writeln!(out, "{sum}").and_then(|()| out.flush()).map_err(wrote)?;
    Ok(appear + disappear + change == 0)
}

fn wrote(error: std::io::Error) -> Error {
    Error::io("standard output", error)
}

fn by_sink(step: Step, sinks: &[String]) -> BTreeMap<String, Vec<Output>> {
    let name = |sink: u16| sinks.get(usize::from(sink)).cloned().unwrap_or_default();
    step.outputs.into_iter().map(|(sink, outputs)| (name(sink), outputs)).collect()
}

/// Prints what differs of a sink in one epoch, in the order in which it would be released.
fn compare(
    common: &Common,
    sink: &str,
    before: &[Output],
    after: &[Output],
    counts: &mut Counts,
    out: &mut dyn Write,
) -> Result<()> {
    let within = |output: &&Output| common.span.from.is_none_or(|from| output.time >= from);
    let mut known: BTreeMap<&str, VecDeque<&Output>> = BTreeMap::new();
    for output in before.iter().filter(within) {
        known.entry(&output.id).or_default().push_back(output);
    }
    let mut line =
        |sign: char, output: &Output| writeln!(out, "{sign} {sink}  {output}").map_err(wrote);
    for new in after.iter().filter(within) {
        match known.get_mut(new.id.as_str()).and_then(VecDeque::pop_front) {
            Some(old) if old.frame == new.frame => counts.same += 1,
            Some(old) => {
                counts.change += 1;
                line('<', old)?;
                line('>', new)?;
            }
            None => {
                counts.appear += 1;
                line('+', new)?;
            }
        }
    }
    // In their order, not in that of their names.
    for old in before.iter().filter(within) {
        let left = known.get_mut(old.id.as_str());
        if left.and_then(|left| left.pop_front_if(|left| std::ptr::eq(*left, old))).is_some() {
            counts.disappear += 1;
            line('-', old)?;
        }
    }
    Ok(())
}

/// The other program's replay, and the names of its sinks.
fn other(
    common: &Common,
    against: &Path,
    arguments: Vec<OsString>,
) -> Result<(Replaying, Vec<String>)> {
    let name = format!("`{}`", against.display());
    // A name without a folder is one here before it is one on the PATH.
    let path = if against.is_file() { Path::new(".").join(against) } else { against.to_owned() };
    let mut command = Command::new(path);
    command.arg("trace").args(arguments);
    for (option, time) in [("--from", common.span.from), ("--to", common.span.to)] {
        if let Some(time) = time {
            command.arg(option).arg(time.to_string());
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| {
        let what = format!("{name}, with which this program is to be compared, does not start");
        Error::io(what, e)
    })?;
    let piped = child.stdout.take();
    let child = Arc::new(Mutex::new(child));
    let ended = Ended(Arc::clone(&child));
    let Some(piped) = piped else { return Err(Error::Cluster(format!("{name} has no output"))) };
    let (mut incoming, header) =
        Incoming::open(piped).map_err(|error| Error::Usage(format!("{name}: {error}")))?;
    if header.from != common.from() {
        return Err(Error::Cluster(format!(
            "{name} begins at epoch {} and this program at {}: a checkpoint was made meanwhile; try \
             again",
            header.from,
            common.from()
        )));
    }
    let stop = move || ended.now();
    let replay = Replaying::start(name, stop, move |mut give| {
        while let Some(step) = incoming.step()? {
            give(step)?;
        }
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        let status = child.wait().map_err(|e| Error::io("waiting for its end", e))?;
        if status.success() {
            Ok(())
        } else {
            Err(Error::Cluster(format!("it ended with {status}")))
        }
    });
    Ok((replay, header.sinks))
}

/// Ends a program when it is let go of.
struct Ended(Arc<Mutex<Child>>);

impl Ended {
    fn now(&self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.now();
    }
}

/// The arguments of `diff` that the other program is started with, of all that this one was.
pub(crate) fn arguments(argv: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut left = Vec::new();
    let mut argv = argv.into_iter().skip(1);
    let mut word = true;
    let own = |name: &OsStr| ["--against", "--from", "--to"].iter().any(|own| *own == name);
    while let Some(argument) = argv.next() {
        if word && argument == "diff" {
            word = false;
            continue;
        }
        if own(&argument) {
            argv.next();
            continue;
        }
        let text = argument.to_string_lossy();
        let joined = text.split_once('=').is_some_and(|(name, _)| own(OsStr::new(name)));
        if !joined {
            left.push(argument);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_program_gets_what_is_not_of_diff() {
        let argv = [
            "bin/alerts",
            "diff",
            "--against",
            "old/alerts",
            "-w",
            "2",
            "--from=1",
            "--to",
            "2",
            "--prices",
            "file:diff",
            "--average",
            "diff",
        ];
        let left = arguments(argv.map(Into::into));
        assert_eq!(left, ["-w", "2", "--prices", "file:diff", "--average", "diff"]);
    }
}
