//! The listening socket while the cluster forms: strangers come here too.
//!
//! Invariant: at most [`PENDING_MAX`] connections are undecided at a time, each on a short-lived
//! thread. When one more comes, the oldest is dropped, but not before it had [`GRACE`] to prove
//! itself: so a crowd of idle connections costs the real peers milliseconds, and nothing else. Once
//! the cluster is formed the door is closed, and a later connection is refused by the machine.
//! What a connection must prove is not decided here.

use std::collections::VecDeque;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::metrics::Counter;
use crate::{Error, Result, clock};

/// The most connections that may be undecided at a time.
pub(super) const PENDING_MAX: usize = 64;
/// How long the oldest of them is left alone when others wait.
const GRACE: Duration = Duration::from_millis(25);
/// How often the listener is looked at. It is not blocking, so that it can be closed.
const LOOK: Duration = Duration::from_millis(5);
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
        let now = clock::instant();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|then| now.duration_since(then) >= LOG_EVERY) {
            *logged = Some(now);
            let all = self.counter.get();
            tracing::warn!("a connection from {from} was refused: {why} ({all} refused so far)");
        }
    }
}

struct Entry {
    number: u64,
    since: Instant,
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
    /// Accepts connections and calls `decide` for each, on a thread of its own.
    pub(super) fn open<F>(listener: TcpListener, refused: Arc<Refused>, decide: F) -> Result<Self>
    where
        F: Fn(&TcpStream, SocketAddr, &Ticket) + Send + Sync + 'static,
    {
        let failed = |e| Error::io("listening for the other processes", e);
        listener.set_nonblocking(true).map_err(failed)?;
        let open = Arc::new(AtomicBool::new(true));
        let pending = Arc::new(Pending::default());
        let accepting = Accepting {
            listener,
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

struct Accepting<F> {
    listener: TcpListener,
    refused: Arc<Refused>,
    decide: Arc<F>,
    open: Arc<AtomicBool>,
    pending: Arc<Pending>,
}

impl<F: Fn(&TcpStream, SocketAddr, &Ticket) + Send + Sync + 'static> Accepting<F> {
    fn run(&self) {
        let mut number = 0;
        while self.open.load(Ordering::SeqCst) {
            if !self.make_room() {
                thread::sleep(LOOK);
                continue;
            }
            match self.listener.accept() {
                Ok((stream, from)) => {
                    number += 1;
                    self.take(number, stream, from);
                }
                // Nobody there; or no descriptor left, which the drops above may change.
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    /// Whether one more connection may be undecided; drops the oldest for it if it had its time.
    fn make_room(&self) -> bool {
        let mut entries = self.pending.entries();
        if entries.len() < PENDING_MAX {
            return true;
        }
        let now = clock::instant();
        let oldest = entries.pop_front_if(|oldest| now.duration_since(oldest.since) >= GRACE);
        drop(entries);
        let Some(oldest) = oldest else { return false };
        let _ = oldest.stream.shutdown(Shutdown::Both);
        self.refused.note(oldest.from, "it proved nothing while others were waiting");
        true
    }

    fn take(&self, number: u64, stream: TcpStream, from: SocketAddr) {
        // Some systems hand the listener's mode on to what it accepts.
        let prepared = stream.set_nonblocking(false).and_then(|()| stream.try_clone());
        let Ok(clone) = prepared else { return };
        let entry = Entry { number, since: clock::instant(), stream: clone, from };
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
