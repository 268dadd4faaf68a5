//! The control links: one authenticated connection to each other process, beside timely's.
//!
//! Invariant: a peer is heard from within the silence limit, has said goodbye, or is lost; a lost
//! peer, or one that says that something failed, becomes this process's first cause, and that is
//! what every other peer is told. Records never travel here.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::drain::Drain;
use super::failure::{ASIDE_MAX, CAUSE_MAX, Cause, Failures};
use super::mesh::Limits;
use super::wire::{Deadline, await_bytes, in_words, read_frame, write_frame};
use crate::{Error, Result};

/// No message is longer, in bytes: a cause and what stands around it.
const FRAME_MAX: usize = CAUSE_MAX + ASIDE_MAX + 64;
/// How often a wait looks at what nobody signals.
const LOOK: Duration = Duration::from_millis(50);
/// How long a failing process waits for the others to have read why, at most.
const HEARD: Duration = Duration::from_millis(500);

#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Heartbeat,
    /// This process has all its connections.
    Ready,
    Drain,
    /// This process ends, and all is well.
    Goodbye,
    Failed(Cause),
}

#[derive(Default)]
struct Peer {
    writer: Option<Arc<Mutex<TcpStream>>>,
    reading: bool,
    ready: bool,
    goodbye: bool,
}

struct State {
    peers: Vec<Peer>,
    /// Goodbye was said: the others no longer listen.
    leaving: bool,
    closed: bool,
}

struct Shared {
    process: usize,
    addresses: Vec<String>,
    limits: Limits,
    drain: Drain,
    failures: Failures,
    state: Mutex<State>,
    changed: Condvar,
}

/// The links of this process. Dropped without [`Links::goodbye`], the others lose this process.
pub struct Links(Arc<Shared>);

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("process", &self.0.process).finish_non_exhaustive()
    }
}

impl Links {
    /// Links to nobody yet; `addresses` are those of all processes.
    pub(super) fn new(
        process: usize,
        addresses: Vec<String>,
        limits: &Limits,
        drain: &Drain,
        failures: &Failures,
    ) -> Result<Self> {
        let peers = addresses.iter().map(|_| Peer::default()).collect();
        let shared = Arc::new(Shared {
            process,
            addresses,
            limits: limits.clone(),
            drain: drain.clone(),
            failures: failures.clone(),
            state: Mutex::new(State { peers, leaving: false, closed: false }),
            changed: Condvar::new(),
        });
        let weak = Arc::downgrade(&shared);
        drain.on_request(move || with(&weak, |shared| shared.broadcast(&Message::Drain)));
        let weak = Arc::downgrade(&shared);
        let cause_to_all = move |cause: &Cause| with(&weak, |shared| shared.tell(cause));
        failures.on_first(cause_to_all);
        let ticking = Arc::clone(&shared);
        spawn("cluster:heartbeat".to_owned(), move || ticking.tick())?;
        Ok(Self(shared))
    }

    /// Takes over the authenticated control connection to `process` and listens to it.
    pub(super) fn attach(&self, process: usize, stream: TcpStream) -> Result<()> {
        let failed = |e| Error::io(format!("the control link to process {process}"), e);
        let reading = stream.try_clone().map_err(failed)?;
        let writer = Arc::new(Mutex::new(stream));
        {
            let mut state = self.0.state();
            let Some(peer) = state.peers.get_mut(process) else { return Ok(()) };
            peer.writer = Some(Arc::clone(&writer));
            peer.reading = true;
        }
        let shared = Arc::clone(&self.0);
        spawn(format!("cluster:link-{process}"), move || {
            shared.read(process, &reading);
            shared.update(process, |peer| peer.reading = false);
        })?;
        // What was said to all before this link was one of them.
        if self.0.drain.requested() {
            self.0.send(process, &writer, &Message::Drain);
        }
        if let Some(cause) = self.0.failures.first() {
            self.0.send(process, &writer, &Message::Failed(cause));
        }
        Ok(())
    }

    /// Waits until every process has all its connections: nobody begins before. False if the
    /// cluster was asked to drain before it had begun.
    pub(super) fn all_ready(&self, by: Deadline) -> Result<bool> {
        self.0.broadcast(&Message::Ready);
        let mut state = self.0.state();
        loop {
            self.0.unfailed()?;
            if self.0.others(&state).all(|(_, peer)| peer.ready) {
                return Ok(true);
            }
            if self.0.others(&state).any(|(_, peer)| peer.goodbye) {
                return Ok(false);
            }
            if by.passed() {
                let missing: Vec<_> = self.0.others(&state).filter(|(_, p)| !p.ready).collect();
                let named: Vec<_> = missing.iter().map(|(i, _)| self.0.named(*i)).collect();
                return Err(Error::Cluster(format!(
                    "the cluster was not complete after {:?}: {} still waits for others",
                    self.0.limits.start,
                    named.join(" and ")
                )));
            }
            state = self.0.look_again(state);
        }
    }

    /// Says that this process ends and all is well, and waits for the same word of all others:
    /// a run has succeeded when it has in every process. A peer that still works is waited for.
    ///
    /// # Errors
    /// When anything has failed anywhere before all have said goodbye: its first cause.
    pub fn goodbye(self) -> Result<()> {
        self.0.unfailed()?;
        self.0.leave();
        let mut state = self.0.state();
        loop {
            if self.0.others(&state).all(|(_, peer)| peer.goodbye) {
                return Ok(());
            }
            self.0.unfailed()?;
            state = self.0.look_again(state);
        }
    }

    /// Leaves before the cluster has begun, on request.
    pub(super) fn abandon(self) {
        self.0.leave();
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let writers = {
            let mut state = self.0.state();
            state.closed = true;
            self.0.changed.notify_all();
            self.0.writers(&state)
        };
        for (_, writer) in writers {
            let stream = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_again<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0
    }

    fn named(&self, process: usize) -> String {
        let address = self.addresses.get(process).map_or("", String::as_str);
        format!("process {process} ({address})")
    }

    fn others<'a>(&self, state: &'a State) -> impl Iterator<Item = (usize, &'a Peer)> {
        let me = self.process;
        state.peers.iter().enumerate().filter(move |(process, _)| *process != me)
    }

    fn unfailed(&self) -> Result<()> {
        self.failures.first().map_or(Ok(()), |cause| Err(Error::Cluster(cause.text)))
    }

    fn update(&self, process: usize, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.state().peers.get_mut(process) {
            change(peer);
        }
        self.changed.notify_all();
    }

    fn lost(&self, process: usize, how: &str) {
        let address = self.addresses.get(process).map_or("", String::as_str);
        self.failures.learn(Cause::lost(process, address, how));
    }

    /// Reads until the peer's goodbye or its end.
    fn read(&self, process: usize, stream: &TcpStream) {
        let silence = self.limits.silence;
        loop {
            let frame = await_bytes(stream, Deadline::after(silence))
                .and_then(|()| read_frame(stream, FRAME_MAX, Deadline::after(silence)));
            let message = match frame.as_deref().map(postcard::from_bytes::<Message>) {
                Ok(Ok(message)) => message,
                Ok(Err(_)) => return self.lost(process, "its control link carries garbage"),
                Err(_) if self.state().closed => return,
                Err(e) if e.kind() == ErrorKind::TimedOut => {
                    return self.lost(process, &format!("silent for {silence:?}"));
                }
                Err(e) => return self.lost(process, &in_words(e)),
            };
            match message {
                Message::Heartbeat => {}
                Message::Ready => self.update(process, |peer| peer.ready = true),
                Message::Drain => self.drain.request(),
                Message::Goodbye => return self.update(process, |peer| peer.goodbye = true),
                Message::Failed(cause) => self.failures.learn(cause),
            }
        }
    }

    fn tick(&self) {
        let mut state = self.state();
        while !state.closed {
            let waited = self.changed.wait_timeout(state, self.limits.heartbeat);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() && !state.leaving {
                drop(state);
                self.broadcast(&Message::Heartbeat);
                state = self.state();
            }
        }
    }

    fn leave(&self) {
        self.broadcast(&Message::Goodbye);
        self.state().leaving = true;
    }

    fn writers(&self, state: &State) -> Vec<(usize, Arc<Mutex<TcpStream>>)> {
        let writer = |(process, peer): (usize, &Peer)| Some((process, peer.writer.clone()?));
        self.others(state).filter_map(writer).collect()
    }

    fn broadcast(&self, message: &Message) {
        let writers = self.writers(&self.state());
        for (process, writer) in writers {
            self.send(process, &writer, message);
        }
    }

    fn send(&self, process: usize, writer: &Mutex<TcpStream>, message: &Message) {
        // Our own messages always encode; their sizes are bounded.
        let Ok(bytes) = postcard::to_allocvec(message) else { return };
        let stream = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = write_frame(&stream, &bytes, Deadline::after(self.limits.heartbeat));
        // A connection that has ended is for its reader to judge: a goodbye may lie in it.
        if sent.is_err_and(|e| e.kind() == ErrorKind::TimedOut) {
            self.lost(process, "it does not read its control link");
        }
    }

    /// Tells all peers why this process is about to end, and lets them read it.
    fn tell(&self, cause: &Cause) {
        self.broadcast(&Message::Failed(cause.clone()));
        for (_, writer) in self.writers(&self.state()) {
            let stream = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = stream.shutdown(Shutdown::Write);
        }
        // They end for the same cause, so their ends of the links follow. One that hangs does not
        // keep this process. Ending with bytes unread would reset links that others still read.
        let by = Deadline::after(HEARD);
        let mut state = self.state();
        while !by.passed() && self.others(&state).any(|(_, peer)| peer.reading) {
            state = self.look_again(state);
        }
    }
}

fn with(shared: &Weak<Shared>, f: impl FnOnce(&Shared)) {
    if let Some(shared) = shared.upgrade() {
        f(&shared);
    }
}

/// Starts a thread that outlives nothing: it ends when its links are dropped.
pub(super) fn spawn(name: String, f: impl FnOnce() + Send + 'static) -> Result<()> {
    let failed = |e| Error::io("starting a thread for the cluster", e);
    thread::Builder::new().name(name).spawn(f).map(|_| ()).map_err(failed)
}
