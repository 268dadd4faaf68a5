//! The sink `ws-listen://`: many subscribers connect, each frame goes to all of them.
//!
//! Invariant: nobody is waited for. A subscriber whose own queue is full is disconnected with close
//! code 1008; without subscribers frames are counted and dropped. At-most-once for each subscriber,
//! from the moment it connects; no frame is kept for later ones.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch::metrics::{Counter, Counters};
use anabranch::sink::{FrameWriter, Outlet, Taken};
use anabranch::source::OpenContext;
use anabranch::{RecordId, Result};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use crate::listen::count_and_tell;
use crate::queue::{Batch, Bounds, Outbound, OutboundReceiver, outbound};
use crate::runtime::runtime;
use crate::websocket::connection::{Connection, Interruption};
use crate::websocket::listener::Endpoint;

/// Messages written before the subscriber's own pings are answered again.
const BURST: usize = 256;

/// A place for subscribers to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Broadcast {
    pub(crate) endpoint: Endpoint,
    /// Between the worker and the sockets.
    pub(crate) bounds: Bounds,
    /// Of each subscriber.
    pub(crate) subscriber: Bounds,
    /// How long subscribers may take to receive what is queued at the end.
    pub(crate) drain: Duration,
}

impl Outlet for Broadcast {
    fn describe(&self) -> String {
        self.endpoint.describe()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn FrameWriter>> {
        let listener = self.endpoint.listen.bind(context, "the sink")?;
        let (queue, frames) = outbound(self.bounds, context.waker.clone());
        let audience = Arc::new(Audience::new(self.subscriber, &context.counters));
        let (shared, endpoint) = (Arc::clone(&audience), self.endpoint.clone());
        let accept_context = context.clone();
        let accepting = runtime()?.spawn(async move {
            let listen = endpoint.listen.clone();
            let name = accept_context.name.to_string();
            let serve = |stream, peer, place| {
                serve(endpoint.clone(), Arc::clone(&shared), name.clone(), stream, peer, place)
            };
            listen.accept(listener, accept_context.clone(), serve).await;
        });
        let drain = self.drain;
        runtime()?.spawn(async move {
            let accepting = EndWith(accepting);
            distribute(&frames, &audience).await;
            audience.end();
            let _ = tokio::time::timeout(drain, audience.empty()).await;
            drop(accepting);
            frames.finish(Ok(()));
        });
        Ok(Box::new(BroadcastWriter { queue }))
    }
}

struct EndWith(JoinHandle<()>);

impl Drop for EndWith {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct BroadcastWriter {
    queue: Outbound,
}

impl FrameWriter for BroadcastWriter {
    fn write(&mut self, _: RecordId<'_>, frame: &[u8]) -> Result<Taken> {
        self.queue.offer(&[frame])
    }

    fn close(&mut self) -> Result<Taken> {
        self.queue.close()
    }
}

async fn distribute(frames: &OutboundReceiver, audience: &Audience) {
    let mut batch = Batch::default();
    while frames.take(&mut batch).await {
        for frame in batch.iter() {
            audience.tell(frame);
        }
        // So that subscribers on this thread write before the next burst.
        tokio::task::yield_now().await;
    }
}

/// All subscribers.
struct Audience {
    roster: Mutex<Roster>,
    left: Notify,
    bounds: Bounds,
    counts: Counts,
}

#[derive(Default)]
struct Roster {
    subscribers: Vec<Arc<Subscriber>>,
    ended: bool,
}

struct Counts {
    frames: Counter,
    bytes: Counter,
    unheard: Counter,
    slow: Counter,
    subscribers: Counter,
    handshake_failures: Counter,
}

impl Audience {
    fn new(bounds: Bounds, counters: &Counters) -> Self {
        let counts = Counts {
            frames: counters.counter("frames"),
            bytes: counters.counter("bytes"),
            unheard: counters.counter("frames_without_subscriber"),
            slow: counters.counter("slow_disconnected"),
            subscribers: counters.counter("subscribers"),
            handshake_failures: counters.counter("handshake_failures"),
        };
        Self { roster: Mutex::default(), left: Notify::new(), bounds, counts }
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, subscriber: Arc<Subscriber>) {
        let mut roster = self.lock();
        subscriber.lock().ended = roster.ended;
        roster.subscribers.push(subscriber);
        self.counts.subscribers.set(roster.subscribers.len() as u64);
    }

    fn leave(&self, subscriber: &Arc<Subscriber>) {
        let mut roster = self.lock();
        roster.subscribers.retain(|other| !Arc::ptr_eq(other, subscriber));
        self.counts.subscribers.set(roster.subscribers.len() as u64);
        self.left.notify_one();
    }

    fn tell(&self, frame: &[u8]) {
        self.counts.frames.add(1);
        self.counts.bytes.add(frame.len() as u64);
        let roster = self.lock();
        if roster.subscribers.is_empty() {
            return self.counts.unheard.add(1);
        }
        let bytes = Bytes::copy_from_slice(frame);
        let message = match Utf8Bytes::try_from(bytes.clone()) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(bytes),
        };
        for subscriber in &roster.subscribers {
            if !subscriber.push(&message, self.bounds) {
                self.counts.slow.add(1);
            }
        }
    }

    /// Nothing more comes: subscribers get what is queued and a goodbye.
    fn end(&self) {
        let mut roster = self.lock();
        roster.ended = true;
        for subscriber in &roster.subscribers {
            subscriber.lock().ended = true;
            subscriber.news.notify_one();
        }
    }

    async fn empty(&self) {
        while !self.lock().subscribers.is_empty() {
            self.left.notified().await;
        }
    }
}

/// What waits for one subscriber.
#[derive(Default)]
struct Subscriber {
    waiting: Mutex<Waiting>,
    news: Notify,
    overrun: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
    slow: bool,
    ended: bool,
}

impl Subscriber {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False when this message was the one too many.
    fn push(&self, message: &Message, bounds: Bounds) -> bool {
        let mut waiting = self.lock();
        if waiting.slow {
            return true;
        }
        let full = waiting.messages.len() >= bounds.frames
            || waiting.bytes + message.len() > bounds.bytes && !waiting.messages.is_empty();
        if full {
            waiting.slow = true;
            waiting.messages = VecDeque::new();
            waiting.bytes = 0;
            drop(waiting);
            self.overrun.notify_one();
            return false;
        }
        waiting.bytes += message.len();
        waiting.messages.push_back(message.clone());
        drop(waiting);
        self.news.notify_one();
        true
    }

    /// Waits for a message; `None` when there will be none any more.
    async fn next(&self) -> Option<Message> {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.news.notified().await;
        }
    }

    fn try_next(&self) -> Option<Option<Message>> {
        let mut waiting = self.lock();
        match waiting.messages.pop_front() {
            Some(message) => {
                waiting.bytes -= message.len();
                Some(Some(message))
            }
            None => waiting.ended.then_some(None),
        }
    }
}

async fn serve(
    endpoint: Endpoint,
    audience: Arc<Audience>,
    name: String,
    stream: TcpStream,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
) {
    let subscriber = Arc::new(Subscriber::default());
    // Before the client learns that it is connected: it misses nothing from then on.
    let welcome = |_: &str| audience.join(Arc::clone(&subscriber));
    let connected = endpoint.handshake(stream, welcome).await;
    match connected {
        Err(why) => {
            let failures = &audience.counts.handshake_failures;
            if count_and_tell(failures) {
                let so_far = failures.get();
                tracing::warn!(sink = %name, so_far, "{peer} is no subscriber: {why}");
            }
        }
        Ok(mut connection) => {
            let (code, why) = tokio::select! {
                () = subscriber.overrun.notified() => (1008, "too slow: the queue is full".into()),
                ended = converse(&mut connection, &subscriber) => match ended {
                    Ok(()) => (1000, "the program has ended".to_owned()),
                    Err(why) => {
                        audience.leave(&subscriber);
                        return tracing::debug!(sink = %name, "subscriber {peer}: {why}");
                    }
                },
            };
            if code == 1008 {
                tracing::warn!(sink = %name, "subscriber {peer} is disconnected: {why}");
            }
            connection.close(code, &why).await;
        }
    }
    audience.leave(&subscriber);
}

/// Writes what waits, reads what nobody asked for. `Ok` at the end of the messages.
async fn converse(
    connection: &mut Connection<TcpStream>,
    subscriber: &Subscriber,
) -> Result<(), Interruption> {
    loop {
        tokio::select! {
            next = subscriber.next() => {
                let Some(message) = next else { return Ok(()) };
                let more = std::iter::from_fn(|| subscriber.try_next().flatten());
                connection.send_all(std::iter::once(message).chain(more).take(BURST)).await?;
            }
            said = connection.next() => drop(said?),
        }
    }
}
