//! The sink `ws-listen://`: many subscribers connect, each frame goes to all of them.
//!
//! Invariant: nobody is waited for. A subscriber whose own queue is full is disconnected with close
//! code 1008; without subscribers frames are counted and dropped. Without a data directory a
//! subscriber gets each frame at most once, from the moment it connects. With one, a frame goes out
//! when it is in the [`Log`], and a subscriber that comes back with the name of the last record it
//! got misses nothing that the log still has, and is told if something is gone.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anabranch::sink::{FrameWriter, Guarantee, Outlet, Taken};
use anabranch::source::OpenContext;
use anabranch::{Error, RecordId, Result};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::listen::count_and_tell;
use crate::options::decode;
use crate::queue::{Batch, Bounds, Outbound, OutboundReceiver, outbound};
use crate::runtime::runtime;
use crate::websocket::audience::{Audience, Subscriber, message};
use crate::websocket::connection::{Connection, Interruption};
use crate::websocket::listener::Endpoint;
use crate::websocket::log::{Chunk, Log, LogReader, Segments};

/// Messages written before the subscriber's own pings are answered again.
const BURST: usize = 256;
/// Read of the log at once.
const CHUNK_BYTES: usize = 256 << 10;

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
    /// How much is kept for subscribers that come back, if there is a place for it.
    pub(crate) log_bytes: usize,
}

impl Outlet for Broadcast {
    fn describe(&self) -> String {
        self.endpoint.describe()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn FrameWriter>> {
        let (queue, frames) = outbound(self.bounds, context.waker.clone());
        let log = self.open_log(context, &frames)?;
        let listener = self.endpoint.listen.bind(context, "the sink")?;
        let told = log.as_ref().map_or(0, Log::next);
        let audience = Arc::new(Audience::new(self.subscriber, &context.counters, told));
        let host = Host {
            endpoint: self.endpoint.clone(),
            audience: Arc::clone(&audience),
            segments: log.as_ref().map(Log::segments),
            name: Arc::clone(&context.name),
        };
        let accept_context = context.clone();
        let accepting = EndWith(runtime()?.spawn(async move {
            let listen = host.endpoint.listen.clone();
            let serve = |stream, peer, place| host.clone().serve(stream, peer, place);
            listen.accept(listener, accept_context.clone(), serve).await;
        }));
        let drain = self.drain;
        let farewell = async move |audience: &Audience| {
            audience.end();
            let _ = tokio::time::timeout(drain, audience.empty()).await;
            drop(accepting);
        };
        match log {
            None => {
                runtime()?.spawn(async move {
                    distribute(&frames, &audience).await;
                    farewell(&audience).await;
                    frames.finish(Ok(()));
                });
            }
            Some(log) => {
                let runtime = runtime()?.handle();
                std::thread::Builder::new()
                    .name(format!("sink {}", context.name))
                    .spawn(move || {
                        // The worker learns of a failure at once, of the end when it is over.
                        match release(log, &frames, &audience) {
                            Ok(()) => {
                                runtime.block_on(farewell(&audience));
                                frames.finish(Ok(()));
                            }
                            Err(error) => {
                                frames.finish(Err(error));
                                runtime.block_on(farewell(&audience));
                            }
                        }
                    })
                    .map_err(|e| Error::io("cannot start the thread of a sink", e))?;
            }
        }
        Ok(Box::new(BroadcastWriter { queue, id: Vec::new() }))
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Idempotent
    }
}

impl Broadcast {
    fn open_log(&self, context: &OpenContext, frames: &OutboundReceiver) -> Result<Option<Log>> {
        let Some(folder) = &context.resume.folder else { return Ok(None) };
        let position = &context.resume.position[..];
        let position = match position.is_empty() {
            true => Some(0),
            false => position.try_into().ok().map(u64::from_le_bytes),
        };
        let position = position.ok_or_else(|| {
            Error::Connector(format!(
                "the position of sink `{}` in the data directory is not that of a broadcast: give \
                 the sink its former URL, or start with a new data directory",
                context.name
            ))
        })?;
        let (folder, bytes) = (folder.join("log"), self.log_bytes as u64);
        Log::open(&folder, bytes, position, &context.name, frames.patience()).map(Some)
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
    /// The record's name, behind its length.
    id: Vec<u8>,
}

impl FrameWriter for BroadcastWriter {
    fn write(&mut self, id: RecordId<'_>, frame: &[u8]) -> Result<Taken> {
        self.id.clear();
        self.id.extend_from_slice(&[0; 2]);
        // Memory takes everything.
        let _ = write!(self.id, "{id}");
        let length = u16::try_from(self.id.len() - 2).map_err(|_| {
            Error::Connector("the name of a source is too long for the log of a broadcast".into())
        })?;
        if let Some((first, _)) = self.id.split_first_chunk_mut::<2>() {
            *first = length.to_le_bytes();
        }
        self.queue.offer(&[&self.id, frame])
    }

    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        self.queue.position()
    }

    fn close(&mut self) -> Result<Taken> {
        self.queue.close()
    }
}

/// Without a log.
async fn distribute(frames: &OutboundReceiver, audience: &Audience) {
    let mut batch = Batch::default();
    while frames.take(&mut batch).await {
        for payload in batch.iter() {
            audience.tell(payload);
        }
        if batch.mark().is_some() {
            frames.reached(Vec::new());
        }
        // So that subscribers on this thread write before the next burst.
        tokio::task::yield_now().await;
    }
}

/// With a log: what is queued goes into it together, is synced, and goes out.
fn release(mut log: Log, frames: &OutboundReceiver, audience: &Audience) -> Result<()> {
    let mut batch = Batch::default();
    while frames.take_blocking(&mut batch) {
        let mut new = Vec::new();
        let mut given = log.given();
        for (at, payload) in batch.iter().enumerate() {
            if log.take(payload)? {
                new.push(at);
            }
            if batch.mark() == Some(at + 1) {
                given = log.given();
            }
        }
        if !new.is_empty() {
            log.sync()?;
        }
        for payload in new.into_iter().filter_map(|at| batch.get(at)) {
            audience.tell(payload);
        }
        if batch.mark().is_some() {
            frames.reached(given.to_le_bytes().to_vec());
        }
    }
    Ok(())
}

/// What each connection needs.
#[derive(Clone)]
struct Host {
    endpoint: Endpoint,
    audience: Arc<Audience>,
    segments: Option<Arc<Segments>>,
    name: Arc<str>,
}

/// What a subscriber asks for in its request's query.
#[derive(Debug, Default)]
struct Wishes {
    /// It has everything up to this record.
    after: Option<String>,
    /// Each message is to begin with the record's name.
    ids: bool,
}

impl Wishes {
    fn parse(query: &str) -> Result<Self, String> {
        let mut wishes = Self::default();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some((name @ "after", id)) => {
                    let id = decode("ws-listen://", name, id).map_err(|e| format!("{e}\n"))?;
                    wishes.after = Some(id);
                }
                Some(("ids", "true")) => wishes.ids = true,
                Some(("ids", "false")) => wishes.ids = false,
                Some(("ids", _)) => return Err("`ids` takes `true` or `false`\n".into()),
                _ => {}
            }
        }
        Ok(wishes)
    }
}

impl Host {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, _place: OwnedSemaphorePermit) {
        let Self { endpoint, audience, segments, name } = &self;
        let subscriber = Arc::new(Subscriber::default());
        let mut wishes = Wishes::default();
        // Before the client learns that it is connected: it misses nothing from then on.
        let welcome = |query: &str| {
            wishes = Wishes::parse(query)?;
            if wishes.ids {
                subscriber.name_records();
            }
            match &wishes.after {
                Some(_) if segments.is_some() => {}
                Some(after) => {
                    audience.counts.gaps.add(1);
                    subscriber.begin_with(gap(after.as_bytes(), None));
                    audience.join(Arc::clone(&subscriber));
                }
                None => audience.join(Arc::clone(&subscriber)),
            }
            Ok(())
        };
        match endpoint.handshake(stream, welcome).await {
            Err(why) => {
                let failures = &audience.counts.handshake_failures;
                if count_and_tell(failures) {
                    let so_far = failures.get();
                    tracing::warn!(sink = %name, so_far, "{peer} is no subscriber: {why}");
                }
            }
            Ok(mut connection) => {
                let conversation = async {
                    if let (Some(after), Some(segments)) = (&wishes.after, segments) {
                        let reader = LogReader::new(Arc::clone(segments));
                        let after = after.clone().into_bytes();
                        let wishes = (after, wishes.ids);
                        catch_up(&mut connection, reader, wishes, audience, &subscriber).await?;
                    }
                    converse(&mut connection, &subscriber).await
                };
                let (code, why) = tokio::select! {
                    () = subscriber.overrun.notified() => {
                        (1008, "too slow: the queue is full".into())
                    }
                    ended = conversation => match ended {
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
}

/// Says that records between these two are not there.
fn gap(after: &[u8], first: Option<&[u8]>) -> Message {
    let text = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
    let (after, first) = (text(after), first.map(text));
    Message::text(serde_json::json!({ "gap": { "after": after, "first": first } }).to_string())
}

/// Sends what the log has after the record that the subscriber has, until it can join the others.
async fn catch_up(
    connection: &mut Connection<TcpStream>,
    mut reader: LogReader,
    (mut last, named): (Vec<u8>, bool),
    audience: &Audience,
    subscriber: &Arc<Subscriber>,
) -> Result<(), Interruption> {
    let mut sought = false;
    while !(sought && audience.join_after(subscriber, reader.cursor())) {
        let until = audience.told();
        let seek = (!std::mem::replace(&mut sought, true)).then(|| last.clone());
        let read = spawn_blocking(move || -> (LogReader, io::Result<Chunk>) {
            let chunk = match seek {
                Some(id) => reader.seek(&id, until),
                None => reader.read(until, CHUNK_BYTES),
            };
            (reader, chunk)
        });
        let broken = |e: String| Interruption::Broken(format!("the log cannot be read: {e}"));
        let (back, chunk) = read.await.map_err(|e| broken(e.to_string()))?;
        reader = back;
        match chunk.map_err(|e| broken(e.to_string()))? {
            Chunk::Gone(first) => {
                audience.counts.gaps.add(1);
                let message = gap(&last, first.as_deref());
                connection.send_all(std::iter::once(message)).await?;
            }
            Chunk::Records(records) => {
                if let Some(record) = records.last() {
                    last = super::log::parts(record).0.to_vec();
                }
                audience.counts.again.add(records.len() as u64);
                let messages = records.iter().map(|record| message(record, named));
                connection.send_all(messages).await?;
            }
        }
    }
    Ok(())
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
