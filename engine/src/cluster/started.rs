//! One child of the supervisor: its process, its two pipes, and what it has come to.
//!
//! Invariant: it holds the only write end of its orders, so that the end of the supervisor is the
//! end of the pipe; and a child that is dropped here runs no more.

use std::io::{self, BufReader, PipeReader, PipeWriter, pipe};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::SyncSender;

use command_fds::{CommandFdExt, FdMapping};
use signal_hook::low_level::signal_name;

use super::link::spawn;
use super::member::CHILD;
use super::pipe::{ORDERS, REPORTS, Report, Scale, read_line};
use super::wire::Deadline;
use crate::{Error, Result};

/// One child of one start: what an earlier one has said late is not taken for a word of this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which {
    pub(super) start: u64,
    pub(super) process: usize,
}

/// What the supervisor waits for.
#[derive(Debug)]
pub(super) enum Event {
    Drain,
    /// A child may have ended.
    Ended,
    /// All that this child has reported was handed on.
    Heard(Which),
    Report(Which, Report),
}

/// One child. Dropped, it is told to end, killed if it does not, and waited for.
pub(super) struct Started {
    pub(super) process: usize,
    pub(super) child: Child,
    /// None once it was told to end.
    pub(super) orders: Option<PipeWriter>,
    pub(super) listening: Option<String>,
    /// It is part of a cluster that is complete.
    pub(super) formed: bool,
    /// Heartbeats since it has answered the last ping; none is on its way at 0.
    pub(super) unanswered: u32,
    pub(super) ended: Option<ExitStatus>,
    /// When its end is judged even if someone else, started by it, keeps its pipe open.
    pub(super) since_ended: Option<Deadline>,
    /// Its last word was read, so that its end can be judged.
    pub(super) heard: bool,
    pub(super) judged: bool,
    pub(super) killed: bool,
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Starts one child with its two pipes and a thread that reads its reports.
pub(super) fn start_child(which: Which, scale: Scale, tell: &SyncSender<Event>) -> Result<Started> {
    let (process, processes) = (which.process, scale.processes);
    let failed = |e| Error::io(format!("starting process {process} of {processes}"), e);
    let (child_orders, orders) = pipe().map_err(failed)?;
    let (reports, child_reports) = pipe().map_err(failed)?;
    let mut command = Command::new(this_program().map_err(failed)?);
    let mut arguments = std::env::args_os();
    // Under the name it was called by: a data directory remembers it.
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let workers = scale.workers.map_or(String::new(), |workers| format!("/{workers}"));
    command.args(arguments).env(CHILD, format!("{process}/{processes}{workers}"));
    // Every other descriptor of ours is closed in the child: no child holds another's pipe open.
    command
        .fd_mappings(vec![
            FdMapping { parent_fd: child_orders.into(), child_fd: ORDERS },
            FdMapping { parent_fd: child_reports.into(), child_fd: REPORTS },
        ])
        .map_err(|e| Error::Cluster(format!("starting process {process}: {e}")))?;
    let child = command.spawn().map_err(failed)?;
    // The command holds the child's ends of the pipes.
    drop(command);
    let started = Started {
        process,
        child,
        orders: Some(orders),
        listening: None,
        formed: false,
        unanswered: 0,
        ended: None,
        since_ended: None,
        heard: false,
        judged: false,
        killed: false,
    };
    let tell = tell.clone();
    spawn(format!("cluster:child-{process}"), move || hear(which, reports, &tell))?;
    Ok(started)
}

/// The file of this program; of the one that runs, also if another has taken its place since.
fn this_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(if program.exists() { program } else { PathBuf::from("/proc/self/exe") })
}

/// Hands the reports of one child on, until its pipe ends.
fn hear(which: Which, reports: PipeReader, tell: &SyncSender<Event>) {
    let mut reports = BufReader::new(reports);
    while let Ok(Some(report)) = read_line(&mut reports) {
        if tell.send(Event::Report(which, report)).is_err() {
            return;
        }
    }
    let _ = tell.send(Event::Heard(which));
}

/// How a process has ended, in words.
pub(super) fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = signal_name(signal).unwrap_or("a signal");
            format!("killed by {name} ({signal})")
        }
        (None, Some(0)) => "it ended before the cluster was formed".to_owned(),
        (None, Some(code)) => format!("exit code {code}, without a reason"),
        (None, None) => "it ended".to_owned(),
    }
}
