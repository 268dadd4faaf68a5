//! The listening socket while the cluster forms: strangers come here too.
//!
//! Invariant: a connection that says nothing is one of at most [`LOBBY_MAX`] sockets that one thread
//! looks at; one that speaks is one of at most [`PENDING_MAX`] that have a short-lived thread each.
//! When one more comes, the oldest is dropped for it; of those that speak first one without a
//! well-formed greeting, and then one that had [`GRACE`] to prove itself. A process greets as soon as
//! it is connected, so crowds of idle or babbling connections do not hold it up. Once the cluster
//! is formed the door is closed, and a later connection is refused by the machine. What a
//! connection must say and prove is not decided here.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::wire::Deadline;
use crate::metrics::Counter;
use crate::{Error, Result, clock};

/// The most connections that may be silent at a time.
const LOBBY_MAX: usize = 256;
/// The most connections that speak and may be undecided at a time.
const PENDING_MAX: usize = 64;
/// How long one that has greeted is left alone when others wait.
const GRACE: Duration = Duration::from_millis(20);
/// How often the listener is looked at: it does not block, so that it can be closed. Often enough
/// that a burst does not overflow the machine's queue, which would cost others a second.
const LOOK: Duration = Duration::from_millis(1);
/// The most threads started between two looks: meanwhile nobody is accepted.
const BATCH: usize = 16;
/// A handshake needs little stack.
const STACK: usize = 256 << 10;
/// At most one log line about refused connections in this time.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Counts refused connections, and logs at most one a second.
#[derive(Debug, Default)]
pub(super) struct Refused {
    pub(super) counter: Counter,
    logged: Mutex<Option<Instant>>,
}

impl Refused {
    pub(super) fn note(&self, from: SocketAddr, why: &str) {
        self.counter.add(1);
        if self.due(clock::instant()) {
            let all = self.counter.get();
            tracing::warn!("a connection from {from} was refused: {why} ({all} refused so far)");
        }
    }

    /// Whether the last line is long enough ago for another one.
    fn due(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let due = logged.is_none_or(|then| now.duration_since(then) >= LOG_EVERY);
        if due {
            *logged = Some(now);
        }
        due
    }
}

struct Entry {
    number: u64,
    since: Instant,
    greeted: bool,
    stream: TcpStream,
    from: SocketAddr,
}

#[derive(Default)]
struct Pending(Mutex<VecDeque<Entry>>);

impl Pending {
    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, number: u64) -> bool {
        let mut entries = self.entries();
        let found = entries.iter().position(|entry| entry.number == number);
        found.is_some_and(|at| entries.remove(at).is_some())
    }
}

/// The right of one connection to be decided about; it is lost when the door drops the connection.
pub(super) struct Ticket {
    number: u64,
    pending: Arc<Pending>,
}

impl Ticket {
    /// The connection has said something that makes sense: it is not the first to be dropped.
    pub(super) fn greeted(&self) {
        let mut entries = self.pending.entries();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.number == self.number) {
            entry.greeted = true;
        }
    }

    /// The connection is ours from now on: the door will not drop it. False if it already has.
    pub(super) fn admit(&self) -> bool {
        self.pending.remove(self.number)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pending.remove(self.number);
    }
}

/// An open door; closed by [`Door::close`] or when dropped.
pub(super) struct Door {
    open: Arc<AtomicBool>,
    pending: Arc<Pending>,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    /// Accepts connections and calls `decide` for each that says something within `limit`, on a
    /// thread of its own.
    pub(super) fn open<F>(
        listener: TcpListener,
        limit: Duration,
        refused: Arc<Refused>,
        decide: F,
    ) -> Result<Self>
    where
        F: Fn(&TcpStream, SocketAddr, &Ticket) + Send + Sync + 'static,
    {
        let failed = |e| Error::io("listening for the other processes", e);
        listener.set_nonblocking(true).map_err(failed)?;
        let open = Arc::new(AtomicBool::new(true));
        let pending = Arc::new(Pending::default());
        let accepting = Accepting {
            listener,
            limit,
            refused,
            decide: Arc::new(decide),
            open: Arc::clone(&open),
            pending: Arc::clone(&pending),
        };
        let thread = thread::Builder::new()
            .name("cluster:door".to_owned())
            .spawn(move || accepting.run())
            .map_err(failed)?;
        Ok(Self { open, pending, thread: Some(thread) })
    }

    /// Stops listening and drops who is undecided. When this returns, nothing listens any more.
    pub(super) fn close(&mut self) {
        self.open.store(false, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for entry in self.pending.entries().drain(..) {
            let _ = entry.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

/// A connection that has not said anything.
struct Waiting {
    stream: TcpStream,
    from: SocketAddr,
    by: Deadline,
}

enum Says {
    Nothing,
    Something,
    Goodbye,
}

impl Waiting {
    fn says(&self) -> Says {
        match self.stream.peek(&mut [0]) {
            Ok(1..) => Says::Something,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Says::Nothing
            }
            Ok(0) | Err(_) => Says::Goodbye,
        }
    }
}

struct Accepting<F> {
    listener: TcpListener,
    limit: Duration,
    refused: Arc<Refused>,
    decide: Arc<F>,
    open: Arc<AtomicBool>,
    pending: Arc<Pending>,
}

impl<F: Fn(&TcpStream, SocketAddr, &Ticket) + Send + Sync + 'static> Accepting<F> {
    fn run(&self) {
        let mut lobby = VecDeque::new();
        let mut number = 0;
        while self.open.load(Ordering::SeqCst) {
            self.admit_to(&mut lobby);
            let mut taken = 0;
            for waiting in std::mem::take(&mut lobby) {
                match waiting.says() {
                    Says::Nothing if waiting.by.passed() => {
                        self.refused.note(waiting.from, "it said nothing");
                    }
                    Says::Something if taken < BATCH && self.make_room() => {
                        taken += 1;
                        number += 1;
                        self.take(number, waiting);
                    }
                    Says::Nothing | Says::Something => lobby.push_back(waiting),
                    Says::Goodbye => self.refused.note(waiting.from, "it left without a word"),
                }
            }
            thread::sleep(LOOK);
        }
    }

    /// Accepts who waits outside; the oldest in the lobby have to leave for them.
    fn admit_to(&self, lobby: &mut VecDeque<Waiting>) {
        for _ in 0..LOBBY_MAX {
            // An error is nobody there; or no descriptor left, which the next look may change.
            let Ok((stream, from)) = self.listener.accept() else { return };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            lobby.push_back(Waiting { stream, from, by: Deadline::after(self.limit) });
            if lobby.len() > LOBBY_MAX
                && let Some(oldest) = lobby.pop_front()
            {
                self.refused.note(oldest.from, "it said nothing while others were waiting");
            }
        }
    }

    /// Whether one more connection may be undecided; drops another one for it if it has to.
    fn make_room(&self) -> bool {
        let mut entries = self.pending.entries();
        if entries.len() < PENDING_MAX {
            return true;
        }
        let silent = entries.iter().position(|entry| !entry.greeted);
        let now = clock::instant();
        let oldest = match silent {
            Some(at) => entries.remove(at),
            None => entries.pop_front_if(|oldest| now.duration_since(oldest.since) >= GRACE),
        };
        drop(entries);
        let Some(oldest) = oldest else { return false };
        let _ = oldest.stream.shutdown(Shutdown::Both);
        self.refused.note(oldest.from, "it proved nothing while others were waiting");
        true
    }

    /// Lets a thread of its own decide about one connection.
    fn take(&self, number: u64, Waiting { stream, from, .. }: Waiting) {
        let prepared = stream.set_nonblocking(false).and_then(|()| stream.try_clone());
        let Ok(clone) = prepared else { return };
        let since = clock::instant();
        let entry = Entry { number, since, greeted: false, stream: clone, from };
        self.pending.entries().push_back(entry);
        let ticket = Ticket { number, pending: Arc::clone(&self.pending) };
        let decide = Arc::clone(&self.decide);
        let deciding = move || decide(&stream, from, &ticket);
        let thread = thread::Builder::new().name("cluster:handshake".to_owned()).stack_size(STACK);
        if let Err(e) = thread.spawn(deciding) {
            self.refused.note(from, &format!("no thread for it: {e}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_connections_are_logged_once_a_second_however_many_they_are() {
        let (refused, start) = (Refused::default(), clock::instant());
        let lines = (0..5000).filter(|ms| refused.due(start + Duration::from_millis(*ms)));
        assert_eq!(lines.collect::<Vec<_>>(), [0, 1000, 2000, 3000, 4000]);
    }
}
