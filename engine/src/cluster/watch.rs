//! One start of the processes on this machine, from the first child to the end of the last.
//!
//! Invariant: when it is over, none of its children lives, and the first cause is known. A child is
//! judged by its last word, then by how it ended; one that says nothing is killed. Whether there is
//! another start is not decided here.

use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::failure::Cause;
use super::mesh::Limits;
use super::pipe::{Order, Report, Scale, write_line};
use super::restarts::Went;
use super::secret::Secret;
use super::started::{Event, Started, Which, how, start_child};
use super::wire::Deadline;
use crate::{Result, Time, clock};

/// How often the children are looked at when nothing happens: a signal can be missed, a child not.
const LOOK: Duration = Duration::from_secs(1);

/// What one start is made of.
pub(super) struct Plan<'a> {
    /// Which start of this supervisor it is.
    pub(super) start: u64,
    pub(super) generation: u64,
    /// Whether the processes are lines of a hosts file, and have its key.
    pub(super) listed: bool,
    /// Whether children that do not answer are given up.
    pub(super) pings: bool,
    /// When an earlier start was asked to make place for this one.
    pub(super) rescaled_at: Option<Time>,
    pub(super) limits: &'a Limits,
}

/// How one start ended.
pub(super) struct Ended {
    /// None if all is well.
    pub(super) cause: Option<Cause>,
    pub(super) drained: bool,
    /// Whether all processes here had found all others.
    pub(super) formed: bool,
    pub(super) went: Went,
    /// What the next start shall be, and since when it is waited for, if that is why this one ended.
    pub(super) rescale: Option<(Scale, Time)>,
}

/// What the supervisor knows of one start.
pub(super) struct Watch<'a> {
    plan: Plan<'a>,
    children: Vec<Started>,
    started: bool,
    draining: bool,
    rescale: Option<(Scale, Time)>,
    first: Option<Cause>,
    formed: Option<Instant>,
    went: Went,
    /// When the children that are left are killed.
    kill: Option<Deadline>,
    /// When all must listen.
    listen: Deadline,
    /// When the next ping is due.
    ping: Deadline,
}

impl<'a> Watch<'a> {
    pub(super) fn new(plan: Plan<'a>) -> Self {
        Self {
            children: Vec::new(),
            started: false,
            draining: false,
            rescale: None,
            first: None,
            formed: None,
            went: Went::default(),
            kill: None,
            listen: Deadline::after(plan.limits.start),
            ping: Deadline::after(plan.limits.heartbeat),
            plan,
        }
    }

    /// Starts one process of a cluster of that size.
    pub(super) fn start(
        &mut self,
        process: usize,
        scale: Scale,
        tell: &SyncSender<Event>,
    ) -> Result<()> {
        let which = Which { start: self.plan.start, process };
        let started = start_child(which, scale, tell)?;
        tracing::info!("process {process} is pid {}", started.child.id());
        self.children.push(started);
        Ok(())
    }

    pub(super) fn until_all_ended(mut self, events: &Receiver<Event>) -> Result<Ended> {
        loop {
            self.look_at_children();
            if self.children.iter().all(|child| child.judged) {
                break;
            }
            self.keep_limits();
            match events.recv_timeout(self.wait()) {
                Ok(Event::Drain) => self.drain(),
                Ok(Event::Report(which, report)) if which.start == self.plan.start => {
                    self.reported(which.process, report)?;
                }
                Ok(Event::Heard(which)) if which.start == self.plan.start => {
                    if let Some(child) = self.child(which.process) {
                        child.heard = true;
                    }
                }
                Ok(Event::Report(..) | Event::Heard(_) | Event::Ended)
                | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let cause = self.first.take().map(|cause| self.in_full(cause));
        let formed = self.formed.is_some();
        let (drained, went, rescale) = (self.draining, self.went, self.rescale);
        Ok(Ended { cause, drained, formed, went, rescale })
    }

    /// How long nothing needs to be done if nothing happens.
    fn wait(&self) -> Duration {
        let kill = self.kill.and_then(|kill| kill.left().ok());
        let ping = self.ping.left().ok().filter(|_| self.plan.pings);
        [kill, ping].into_iter().flatten().fold(LOOK, Duration::min)
    }

    fn child(&mut self, process: usize) -> Option<&mut Started> {
        self.children.iter_mut().find(|child| child.process == process)
    }

    fn reported(&mut self, process: usize, report: Report) -> Result<()> {
        match report {
            Report::Listening(address) => {
                if let Some(child) = self.child(process) {
                    child.listening = Some(address);
                }
                self.start_when_all_listen()?;
            }
            Report::Formed => {
                if let Some(child) = self.child(process) {
                    child.formed = true;
                }
                if self.children.iter().all(|child| child.formed) {
                    self.formed.get_or_insert_with(clock::instant);
                }
            }
            Report::Alive => {
                if let Some(child) = self.child(process) {
                    child.unanswered = 0;
                }
            }
            Report::Progress => self.went.progressed = true,
            Report::Rescale(scale) => {
                tracing::info!("asked for {scale}: this start ends in order, and the next begins");
                self.rescale.get_or_insert_with(|| (scale, clock::now()));
                self.order(&Order::Drain);
            }
            Report::Failed(cause) => self.fail(cause),
        }
        Ok(())
    }

    fn start_when_all_listen(&mut self) -> Result<()> {
        let hosts: Option<Vec<String>> =
            self.children.iter().map(|child| child.listening.clone()).collect();
        let Some(hosts) = hosts.filter(|_| !self.started) else { return Ok(()) };
        self.started = true;
        let generation = self.plan.generation;
        let (secret, hosts) = match self.plan.listed {
            true => (None, Vec::new()),
            false => (Some(Secret::random()?.reveal()), hosts),
        };
        let rescaled_at = self.plan.rescaled_at;
        self.order(&Order::Start { generation, secret, hosts, rescaled_at });
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
        self.kill.get_or_insert_with(|| Deadline::after(self.plan.limits.ending));
    }

    /// Remembers the first cause; the others hear of it by themselves, once they are connected.
    fn fail(&mut self, cause: Cause) {
        if self.first.is_none() {
            self.went.healthy = self.formed.map_or(Duration::ZERO, |formed| formed.elapsed());
        }
        self.first.get_or_insert(cause);
        self.kill.get_or_insert_with(|| Deadline::after(self.plan.limits.ending));
        if !self.started {
            self.end_children();
        }
    }

    /// Notices which children have ended. How is judged when their last word was read: it is the
    /// cause, and "exit code 1" is not.
    fn look_at_children(&mut self) {
        let mut died = Vec::new();
        let leaving = self.draining && !self.started;
        for child in &mut self.children {
            if child.ended.is_none() {
                child.ended = child.child.try_wait().unwrap_or_default();
                child.since_ended = child.ended.map(|_| Deadline::after(LOOK));
            }
            let heard = child.heard || child.since_ended.is_some_and(Deadline::passed);
            let Some(status) = child.ended.filter(|_| heard && !child.judged) else { continue };
            child.judged = true;
            let early = child.orders.is_some() && child.listening.is_none();
            if !child.killed && !leaving && (!status.success() || early) {
                died.push((child.process, status));
            }
        }
        for (process, status) in died {
            // A child that could not even report ends with the code of its error.
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            let code = code.filter(|code| matches!(code, 2 | 3)).unwrap_or(1);
            self.fail(Cause { code, ..lost(process, &how(status)) });
        }
    }

    fn keep_limits(&mut self) {
        if !self.started && self.first.is_none() && self.listen.passed() && !self.draining {
            let late = self.children.iter().find(|child| child.listening.is_none());
            let late = late.map_or(0, |child| child.process);
            let text = format!("process {late} was not ready after {:?}", self.plan.limits.start);
            self.fail(Cause { text, ..lost(late, "") });
        }
        if self.kill.is_some_and(|kill| kill.passed()) {
            for child in self.children.iter_mut().filter(|child| child.ended.is_none()) {
                child.killed = true;
                let _ = child.child.kill();
            }
        }
        if self.plan.pings && self.ping.passed() {
            self.ping = Deadline::after(self.plan.limits.heartbeat);
            self.ping_children();
        }
    }

    /// Asks each child whether it is alive, and gives up one that has not answered for too many
    /// heartbeats. They are counted, not timed: a supervisor that was stopped itself finds on its
    /// return only one more of them passed.
    fn ping_children(&mut self) {
        let (silence, heartbeat) = (self.plan.limits.silence, self.plan.limits.heartbeat);
        let most = silence.as_nanos().div_ceil(heartbeat.as_nanos().max(1));
        let mut silent = Vec::new();
        for child in &mut self.children {
            // Before it listens there is another limit.
            if child.ended.is_some() || child.killed || child.listening.is_none() {
                continue;
            }
            let Some(orders) = &child.orders else { continue };
            if child.unanswered == 0 {
                let _ = write_line(orders, &Order::Ping);
            }
            child.unanswered = child.unanswered.saturating_add(1);
            if u128::from(child.unanswered) > most {
                silent.push(child.process);
            }
        }
        for process in silent {
            self.fail(lost(process, &format!("silent for {silence:?}")));
            // It would not hear that it should end.
            if let Some(child) = self.child(process) {
                child.killed = true;
                let _ = child.child.kill();
            }
        }
    }

    /// The cause, and by which signal the process of which it tells was ended, if others told.
    fn in_full(&mut self, cause: Cause) -> Cause {
        let child = cause.process.and_then(|process| self.child(process));
        let signal = child
            .filter(|child| cause.lost && !child.killed)
            .and_then(|child| child.ended)
            .filter(|status| status.signal().is_some())
            .map(how);
        match signal {
            Some(signal) if !cause.text.ends_with(&signal) => {
                Cause { text: format!("{cause} ({signal})"), ..cause }
            }
            _ => cause,
        }
    }
}

/// The loss of a child of ours.
fn lost(process: usize, how: &str) -> Cause {
    let text = format!("process {process} was lost: {how}");
    Cause { process: Some(process), lost: true, text, code: 1, aside: None }
}
