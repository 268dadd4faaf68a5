//! `-n N`: N copies of this program on this machine, and one process that watches them.
//!
//! Invariant: no child outlives the supervisor (its control pipe ends with it), and the supervisor
//! does not outlive its children. It computes nothing: records never pass through it. What it
//! prints of a failure is one line with the first cause.

use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use signal_hook::consts::SIGCHLD;

use super::failure::Cause;
use super::mesh::Limits;
use super::pipe::{Order, Report, write_line};
use super::secret::Secret;
use super::signals;
use super::started::{Event, Started, how, start_child};
use super::wire::Deadline;
use crate::{Error, Result};

/// How often the children are looked at when nothing happens: a signal can be missed, a child not.
const LOOK: Duration = Duration::from_secs(1);

/// Starts and watches the processes of a cluster on this machine.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) processes: usize,
    pub(super) limits: Limits,
}

impl Supervisor {
    /// Starts this program again, once for each process and with the same arguments, and waits
    /// until all of them have ended. The first SIGINT or SIGTERM is handed on as a drain; the
    /// second ends this process at once, and with it its children.
    ///
    /// # Errors
    /// When a child cannot be started, or one has failed: the first cause, in one line. By then
    /// all children have ended.
    pub fn run(self) -> Result<()> {
        let (tell, events) = sync_channel(1024);
        let signalled = tell.clone();
        signals::on_signals(&[SIGCHLD], move |signal| {
            let event = if signal == SIGCHLD { Event::Ended } else { Event::Drain };
            let _ = signalled.send(event);
        })?;
        let mut watch = Watch::new(&self.limits);
        for process in 0..self.processes {
            let started = start_child(process, self.processes, &tell)?;
            tracing::info!("process {process} is pid {}", started.child.id());
            watch.children.push(started);
        }
        watch.until_all_ended(&events)
    }
}

/// What the supervisor knows.
struct Watch<'a> {
    children: Vec<Started>,
    limits: &'a Limits,
    started: bool,
    draining: bool,
    first: Option<Cause>,
    /// When the children that are left are killed.
    kill: Option<Deadline>,
    /// When all must listen.
    listen: Deadline,
}

impl<'a> Watch<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            children: Vec::new(),
            limits,
            started: false,
            draining: false,
            first: None,
            kill: None,
            listen: Deadline::after(limits.start),
        }
    }

    fn until_all_ended(mut self, events: &Receiver<Event>) -> Result<()> {
        loop {
            self.look_at_children();
            if self.children.iter().all(|child| child.judged) {
                break;
            }
            self.keep_limits();
            let wait = self.kill.and_then(|kill| kill.left().ok()).unwrap_or(LOOK).min(LOOK);
            match events.recv_timeout(wait) {
                Ok(Event::Drain) => self.drain(),
                Ok(Event::Report(process, report)) => self.reported(process, report)?,
                Ok(Event::Heard(process)) => {
                    if let Some(child) = self.children.get_mut(process) {
                        child.heard = true;
                    }
                }
                Ok(Event::Ended) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        match self.first.take() {
            None => Ok(()),
            Some(cause) => Err(Error::Cluster(self.in_full(&cause))),
        }
    }

    fn reported(&mut self, process: usize, report: Report) -> Result<()> {
        match report {
            Report::Listening(address) => {
                if let Some(child) = self.children.get_mut(process) {
                    child.listening = Some(address);
                }
                self.start_when_all_listen()
            }
            Report::Failed(cause) => {
                self.fail(cause);
                Ok(())
            }
        }
    }

    fn start_when_all_listen(&mut self) -> Result<()> {
        let hosts: Option<Vec<String>> =
            self.children.iter().map(|child| child.listening.clone()).collect();
        let Some(hosts) = hosts.filter(|_| !self.started) else { return Ok(()) };
        self.started = true;
        self.order(&Order::Start { secret: Secret::random()?.reveal(), hosts });
        Ok(())
    }

    fn drain(&mut self) {
        self.draining = true;
        if self.started {
            self.order(&Order::Drain);
        } else {
            // Nothing was read yet, so there is nothing to finish.
            self.end_children();
        }
    }

    fn order(&mut self, order: &Order) {
        for orders in self.children.iter().filter_map(|child| child.orders.as_ref()) {
            // One that has ended is noticed by its end.
            let _ = write_line(orders, order);
        }
    }

    fn end_children(&mut self) {
        for child in &mut self.children {
            child.orders = None;
        }
        self.kill.get_or_insert_with(|| Deadline::after(self.limits.ending));
    }

    /// Remembers the first cause; the others hear of it by themselves, once they are connected.
    fn fail(&mut self, cause: Cause) {
        self.first.get_or_insert(cause);
        self.kill.get_or_insert_with(|| Deadline::after(self.limits.ending));
        if !self.started {
            self.end_children();
        }
    }

    /// Notices which children have ended. How is judged when their last word was read: it is the
    /// cause, and "exit code 1" is not.
    fn look_at_children(&mut self) {
        let mut died = Vec::new();
        let leaving = self.draining && !self.started;
        for (process, child) in self.children.iter_mut().enumerate() {
            if child.ended.is_none() {
                child.ended = child.child.try_wait().unwrap_or_default();
                child.since_ended = child.ended.map(|_| Deadline::after(LOOK));
            }
            let heard = child.heard || child.since_ended.is_some_and(Deadline::passed);
            let Some(status) = child.ended.filter(|_| heard && !child.judged) else { continue };
            child.judged = true;
            let early = child.orders.is_some() && child.listening.is_none();
            if !child.killed && !leaving && (!status.success() || early) {
                died.push((process, how(status)));
            }
        }
        for (process, how) in died {
            let text = format!("process {process} was lost: {how}");
            self.fail(Cause { process: Some(process), lost: true, text });
        }
    }

    fn keep_limits(&mut self) {
        if !self.started && self.first.is_none() && self.listen.passed() && !self.draining {
            let late = self.children.iter().position(|child| child.listening.is_none());
            let text = format!(
                "process {} was not ready after {:?}",
                late.unwrap_or_default(),
                self.limits.start
            );
            self.fail(Cause { process: late, lost: true, text });
        }
        if self.kill.is_some_and(|kill| kill.passed()) {
            for child in self.children.iter_mut().filter(|child| child.ended.is_none()) {
                child.killed = true;
                let _ = child.child.kill();
            }
        }
    }

    /// The cause, and by which signal the process of which it tells was ended, if others told.
    fn in_full(&self, cause: &Cause) -> String {
        let child = cause.process.and_then(|process| self.children.get(process));
        let signal = child
            .filter(|child| cause.lost && !child.killed)
            .and_then(|child| child.ended)
            .filter(|status| status.signal().is_some())
            .map(how);
        match signal {
            Some(signal) if !cause.text.ends_with(&signal) => format!("{cause} ({signal})"),
            _ => cause.text.clone(),
        }
    }
}
