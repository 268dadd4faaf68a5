//! The forming of one mesh, from an open door to taken seats.
//!
//! Invariant: it ends by [`Limits::start`](super::Limits::start), with all seats taken or with the
//! names of those that are not. Until then a failed attempt costs nothing but time.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::door::{Door, Refused, Ticket};
use super::drain::Drain;
use super::failure::Failures;
use super::handshake::{self, Identity, Purpose, Refusal, VERSION};
use super::link::{Links, spawn};
use super::mesh::{ClusterConfig, Mesh};
use super::seats::{Seat, Seats};
use super::wire::{Deadline, in_words};
use crate::{Error, Result, clock};

/// How often the wait looks at what nobody signals: a drain, a failure.
const LOOK: Duration = Duration::from_millis(50);
/// Between two lines that say who is missing.
const PROGRESS: Duration = Duration::from_secs(5);
/// How long a process that is configured differently than another one waits for the rest.
const LINGER: Duration = Duration::from_secs(1);
/// The shortest and the longest pause between two attempts to dial.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

struct Shared {
    config: ClusterConfig,
    me: Identity,
    failures: Failures,
    refused: Arc<Refused>,
    state: Mutex<Seats>,
    changed: Condvar,
}

pub(super) struct Forming(Arc<Shared>);

impl Forming {
    pub(super) fn new(config: &ClusterConfig, drain: &Drain, failures: &Failures) -> Result<Self> {
        let mut incarnation = [0; 8];
        clock::entropy(&mut incarnation)?;
        let number = |n: usize| {
            u32::try_from(n).map_err(|_| Error::Usage(format!("{n} is too large for a cluster")))
        };
        let me = Identity {
            version: VERSION,
            process: number(config.process)?,
            processes: number(config.hosts.len())?,
            workers: number(config.workers)?,
            generation: config.generation,
            fingerprint: config.fingerprint,
            incarnation: u64::from_be_bytes(incarnation),
        };
        let hosts = config.hosts.clone();
        let links = Links::new(config.process, hosts, &config.limits, drain, failures)?;
        let note = || Seat { note: "it has not called".to_owned(), ..Seat::default() };
        let seats = config.hosts.iter().map(|_| note()).collect();
        Ok(Self(Arc::new(Shared {
            config: config.clone(),
            me,
            failures: failures.clone(),
            refused: Arc::default(),
            state: Mutex::new(Seats { seats, links: Some(links), differs: None, closed: false }),
            changed: Condvar::new(),
        })))
    }

    pub(super) fn run(self, listener: TcpListener, drain: &Drain) -> Result<Option<Mesh>> {
        let shared = &self.0;
        let by = Deadline::after(shared.config.limits.start);
        let deciding = Arc::clone(shared);
        let decide =
            move |stream: &TcpStream, from, ticket: &Ticket| deciding.decide(stream, from, ticket);
        let limit = shared.config.limits.handshake;
        let mut door = Door::open(listener, limit, Arc::clone(&shared.refused), decide)?;
        for to in 0..shared.config.process {
            let dialling = Arc::clone(shared);
            spawn(format!("cluster:dial-{to}"), move || dialling.dial(to, by))?;
        }
        let complete = shared.wait(drain, by);
        door.close();
        let (links, data) = shared.close();
        let Some(links) = links else {
            return Err(Error::Cluster("the cluster was formed twice".to_owned()));
        };
        let ready = complete.and_then(|complete| Ok(complete && links.all_ready(by)?));
        // Before the links go: whoever has one hears why.
        if !ready.map_err(|e| shared.failures.fatal(e))? {
            links.abandon();
            return Ok(None);
        }
        for stream in data.iter().flatten() {
            handed_over(stream).map_err(|e| Error::io("preparing a data connection", e))?;
        }
        if data.len() > 1 {
            tracing::info!("the cluster is formed: {} processes", data.len());
        }
        Ok(Some(Mesh {
            rescaled_at: None,
            process: shared.config.process,
            workers: shared.config.workers,
            generation: shared.config.generation,
            data,
            links,
            refused: shared.refused.counter.clone(),
        }))
    }
}

impl Drop for Forming {
    fn drop(&mut self) {
        // Threads that still dial or shake hands find this and end.
        self.0.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Seats> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all seats are taken. False if a drain is requested before.
    fn wait(&self, drain: &Drain, by: Deadline) -> Result<bool> {
        let mut progress = Deadline::after(PROGRESS);
        let mut linger = None;
        let mut state = self.state();
        loop {
            // Not at once: whoever comes a little later is seated, and then told why it ends.
            if let Some(differs) = &state.differs
                && linger.get_or_insert_with(|| Deadline::after(LINGER)).passed()
            {
                return Err(Error::Cluster(differs.clone()));
            }
            if let Some(cause) = self.failures.first() {
                return Err(Error::Cluster(cause.text));
            }
            if drain.requested() {
                return Ok(false);
            }
            let missing = self.missing(&state);
            if missing.is_empty() && state.differs.is_none() {
                return Ok(true);
            }
            let missing = missing.join("; ");
            if by.passed() {
                return Err(Error::Cluster(format!(
                    "the cluster was not complete after {:?}, missing: {missing}",
                    self.config.limits.start
                )));
            }
            if progress.passed() {
                progress = Deadline::after(PROGRESS);
                tracing::info!("waiting for the cluster, missing: {missing}");
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn missing(&self, state: &Seats) -> Vec<String> {
        let seats = state.seats.iter().zip(&self.config.hosts).enumerate();
        seats
            .filter(|(process, (seat, _))| *process != self.config.process && !seat.taken)
            .map(|(process, (seat, host))| format!("process {process} ({host}): {}", seat.note))
            .collect()
    }

    fn close(&self) -> (Option<Links>, Vec<Option<TcpStream>>) {
        let mut state = self.state();
        state.closed = true;
        let data = state.seats.iter_mut().map(|seat| seat.data.take()).collect();
        let links = state.links.take();
        self.changed.notify_all();
        (links, data)
    }

    fn note(&self, process: usize, note: String) {
        if let Some(seat) = self.state().seats.get_mut(process) {
            seat.note = note;
        }
    }

    fn differs(&self, named: &str, what: &str) {
        self.state().differs.get_or_insert_with(|| format!("{named} {what}"));
        self.changed.notify_all();
    }

    // ---- those of higher index come to the door ------------------------------------------------

    /// Decides about one connection that came to the door.
    fn decide(&self, stream: &TcpStream, from: SocketAddr, ticket: &Ticket) {
        let by = Deadline::after(self.config.limits.handshake);
        let secret = &self.config.secret;
        // Two small frames in a row must not wait for an acknowledgement between them.
        let _ = stream.set_nodelay(true);
        let decided = match handshake::accept(stream, secret, &self.me, by, || ticket.greeted()) {
            Ok(knock) => {
                let seated = self.welcome(&knock, ticket, from, stream);
                drop(knock);
                seated
            }
            Err(refusal) => Err(refusal),
        };
        match decided {
            Ok(()) => {}
            Err(Refusal::Differs(process, what)) => {
                let process = process.and_then(|process| usize::try_from(process).ok());
                let host = process.and_then(|p| Some((p, self.config.hosts.get(p)?)));
                let named = match host {
                    Some((process, host)) => format!("process {process} ({host})"),
                    None => format!("the process at {from}"),
                };
                self.differs(&named, &what);
            }
            Err(Refusal::Dropped(why) | Refusal::Refused(why)) => self.refused.note(from, &why),
        }
    }

    fn welcome(
        &self,
        knock: &handshake::Knock<'_>,
        ticket: &Ticket,
        from: SocketAddr,
        stream: &TcpStream,
    ) -> Result<(), Refusal> {
        if !ticket.admit() {
            return Err(Refusal::Dropped("it took too long".to_owned()));
        }
        let kept = stream.try_clone()?;
        // Under the lock, so that who is welcomed is seated: the few bytes of a verdict do not block.
        let mut state = self.state();
        match state.vacant(&knock.peer) {
            Ok(()) => {
                knock.welcome()?;
                state.seat(&knock.peer, knock.purpose, kept);
                drop(state);
                self.changed.notify_all();
                Ok(())
            }
            Err(why) => {
                drop(state);
                let why = format!("{why} (this one is at {from})");
                knock.refuse(&why)?;
                Err(Refusal::Dropped(why))
            }
        }
    }

    // ---- those of lower index are dialled ------------------------------------------------------

    /// Dials process `to` until it has taken its seat.
    fn dial(&self, to: usize, by: Deadline) {
        let mut pause = PAUSE.0;
        while let Some(purpose) = self.wanted(to) {
            match self.dial_once(to, purpose, by) {
                Ok(()) => pause = PAUSE.0,
                Err(Refusal::Dropped(why)) => {
                    self.note(to, why);
                    let state = self.state();
                    let waiting =
                        self.changed.wait_timeout_while(state, pause, |state| !state.closed);
                    drop(waiting);
                    pause = (pause * 2).min(PAUSE.1);
                }
                Err(Refusal::Differs(_, what) | Refusal::Refused(what)) => {
                    let host = self.config.hosts.get(to).map_or("", String::as_str);
                    return self.differs(&format!("process {to} ({host})"), &what);
                }
            }
        }
    }

    /// Which connection to a process is still to be made; none when all are, or all is over.
    fn wanted(&self, process: usize) -> Option<Purpose> {
        let state = self.state();
        let seat = state.seats.get(process).filter(|seat| !state.closed && !seat.taken)?;
        Some(if seat.control.is_none() { Purpose::Control } else { Purpose::Data })
    }

    fn dial_once(&self, to: usize, purpose: Purpose, by: Deadline) -> Result<(), Refusal> {
        let host = self.config.hosts.get(to).map_or("", String::as_str);
        let stream = connect(host, self.config.limits.handshake.min(by.left()?))?;
        let by = Deadline::after(self.config.limits.handshake);
        let index = u32::try_from(to).unwrap_or(u32::MAX);
        let secret = &self.config.secret;
        let peer = handshake::initiate(&stream, secret, &self.me, index, purpose, by)?;
        let mut state = self.state();
        // Whoever answers at that address now is the process; an earlier start of it is gone.
        if let Some(seat) = state.seats.get_mut(to)
            && seat.incarnation != peer.incarnation
        {
            (seat.control, seat.data) = (None, None);
        }
        state.seat(&peer, purpose, stream);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }
}

fn connect(host: &str, limit: Duration) -> Result<TcpStream, Refusal> {
    let addresses =
        host.to_socket_addrs().map_err(|e| Refusal::Dropped(format!("its name: {e}")))?;
    let mut failed = "its name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => failed = in_words(&e),
        }
    }
    Err(Refusal::Dropped(failed))
}

/// Makes a data connection what timely expects: no timeouts, no delay, blocking.
fn handed_over(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(false)
}
