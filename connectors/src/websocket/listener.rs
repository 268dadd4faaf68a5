//! The source `ws-listen://`: many producers connect, each message is a frame.
//!
//! Invariant: one partition, in the order of arrival; a producer that misbehaves (wrong path, slow
//! handshake, message too big, silence, acknowledgements that it does not read) loses its own
//! connection and nothing else. A frame is acknowledged when it is durable and not before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anabranch::Result;
use anabranch::metrics::{Counter, Counters};
use anabranch::source::{FrameReader, Inlet, Nature, OpenContext};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::listen::{Listen, count_and_tell};
use crate::queue::{Bounds, Gone, Inbound, Owed, can_acknowledge};
use crate::websocket::connection::{Connection, Interruption, Limits};

/// Small, as there may be a thousand connections.
const READ_BUFFER_BYTES: usize = 16 << 10;

/// What WebSocket listeners share: source and broadcast.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) listen: Listen,
    /// Any other path is answered 404.
    pub(crate) path: String,
    /// Web pages that may connect, by their origin; `*` is any.
    pub(crate) origins: Vec<String>,
    pub(crate) handshake: Duration,
    pub(crate) limits: Limits,
}

impl Endpoint {
    pub(crate) fn describe(&self) -> String {
        format!("ws-listen://{}{}", self.listen.address, self.path)
    }

    #[expect(clippy::result_large_err, reason = "the answer's type is tungstenite's")]
    /// Makes a WebSocket of `stream`, if the client asks for one on the right path in time.
    /// `welcome` is called, with the query of the request, before the client learns that it is
    /// connected; it may refuse.
    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        welcome: impl FnOnce(&str) -> Result<(), String> + Unpin,
    ) -> Result<Connection<TcpStream>, String> {
        let answer = |request: &Request, response: Response| {
            if request.uri().path() != self.path {
                let text = format!("no WebSocket here; try {}\n", self.path);
                return Err(refusal(StatusCode::NOT_FOUND, text));
            }
            if !self.admits(request.headers().get(header::ORIGIN)) {
                let text = "pages of this origin may not connect; the option `origin` allows it\n";
                return Err(refusal(StatusCode::FORBIDDEN, text.into()));
            }
            welcome(request.uri().query().unwrap_or_default())
                .map_err(|why| refusal(StatusCode::BAD_REQUEST, why))?;
            Ok(response)
        };
        let config = self.limits.config(READ_BUFFER_BYTES);
        let accepting = accept_hdr_async_with_config(stream, answer, Some(config));
        match timeout(self.handshake, accepting).await {
            Err(_) => Err(format!("no WebSocket handshake within {:?}", self.handshake)),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(socket)) => Ok(Connection::new(socket, self.limits)),
        }
    }

    /// Browsers say which page connects, and any page in the world can try a port of the machine
    /// that shows it: none is let in unless it is named. Programs say nothing.
    fn admits(&self, origin: Option<&HeaderValue>) -> bool {
        origin.is_none_or(|origin| {
            self.origins.iter().any(|named| named == "*" || named.as_bytes() == origin.as_bytes())
        })
    }
}

fn refusal(status: StatusCode, text: String) -> ErrorResponse {
    let mut answer = ErrorResponse::new(Some(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// A place for producers to connect to.
#[derive(Clone, Debug)]
pub(crate) struct WebSocketListener {
    pub(crate) endpoint: Endpoint,
    pub(crate) bounds: Bounds,
    /// Producers are told when their messages are durable.
    pub(crate) ack: bool,
}

impl Inlet for WebSocketListener {
    fn describe(&self) -> String {
        self.endpoint.describe()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        let (counts, name) = (Counts::of(&context.counters), Arc::clone(&context.name));
        let (endpoint, ack) = (self.endpoint.clone(), self.ack);
        if ack {
            can_acknowledge(context, &self.describe())?;
        }
        self.endpoint.listen.feed(context, self.bounds, move |queue, stream, peer, place| {
            let (endpoint, counts) = (endpoint.clone(), counts.clone());
            let owed = ack.then(|| queue.owed());
            let producer = Producer { endpoint, queue, owed, counts, name: Arc::clone(&name) };
            producer.serve(stream, peer, place)
        })
    }
}

#[derive(Clone)]
struct Counts {
    frames: Counter,
    bytes: Counter,
    oversized: Counter,
    handshake_failures: Counter,
    broken: Counter,
}

impl Counts {
    fn of(counters: &Counters) -> Self {
        Self {
            frames: counters.counter("frames"),
            bytes: counters.counter("bytes"),
            oversized: counters.counter("oversized"),
            handshake_failures: counters.counter("handshake_failures"),
            broken: counters.counter("broken_connections"),
        }
    }
}

struct Producer {
    endpoint: Endpoint,
    queue: Inbound,
    /// The acknowledgements that this producer is owed, if it gets any.
    owed: Option<Owed>,
    counts: Counts,
    name: Arc<str>,
}

impl Producer {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, _place: OwnedSemaphorePermit) {
        let mut connection = match self.endpoint.handshake(stream, |_| Ok(())).await {
            Ok(connection) => connection,
            Err(why) => {
                let failures = &self.counts.handshake_failures;
                if count_and_tell(failures) {
                    let so_far = failures.get();
                    tracing::warn!(source = %self.name, so_far, "{peer} is no producer: {why}");
                }
                return;
            }
        };
        tracing::debug!(source = %self.name, "{peer} connected");
        let read = match &self.owed {
            None => self.read(&mut connection).await,
            Some(owed) => self.read_and_acknowledge(&mut connection, owed).await,
        };
        let Err(why) = read else {
            return connection.close(1001, "the program ends").await;
        };
        match why {
            Interruption::Closed { .. } => {
                tracing::debug!(source = %self.name, "{peer} disconnected");
            }
            _ => {
                let oversized = matches!(why, Interruption::Oversized(_));
                self.counts.oversized.add(u64::from(oversized));
                if count_and_tell(&self.counts.broken) {
                    let so_far = self.counts.broken.get();
                    tracing::warn!(source = %self.name, so_far, "producer {peer}: {why}");
                }
            }
        }
    }

    /// `Ok` when the program ends.
    async fn read(&self, connection: &mut Connection<TcpStream>) -> Result<(), Interruption> {
        loop {
            let frame = self.count(connection.next().await?);
            if let Err(Gone) = self.queue.send(&frame).await {
                return Ok(());
            }
        }
    }

    /// As [`read`](Self::read). Acknowledgements go out also while the queue is full.
    async fn read_and_acknowledge(
        &self,
        connection: &mut Connection<TcpStream>,
        owed: &Owed,
    ) -> Result<(), Interruption> {
        loop {
            let frame = tokio::select! {
                due = owed.due() => {
                    let Some(count) = due else { return Ok(()) };
                    connection.send(acknowledgement(count)).await?;
                    continue;
                }
                message = connection.next(), if owed.has_room() => self.count(message?),
            };
            let mut sending = std::pin::pin!(self.queue.send(&frame));
            let offset = loop {
                tokio::select! {
                    sent = &mut sending => match sent {
                        Ok(offset) => break offset,
                        Err(Gone) => return Ok(()),
                    },
                    due = owed.due() => {
                        let Some(count) = due else { return Ok(()) };
                        connection.send(acknowledgement(count)).await?;
                    }
                }
            };
            owed.sent(offset);
        }
    }

    fn count(&self, message: Message) -> Bytes {
        let frame = message.into_data();
        self.counts.frames.add(1);
        self.counts.bytes.add(frame.len() as u64);
        frame
    }
}

/// The first `count` messages of a connection are durable.
fn acknowledgement(count: u64) -> String {
    format!("{{\"ack\":{count}}}")
}
