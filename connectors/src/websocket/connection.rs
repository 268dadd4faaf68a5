//! [`Connection`]: reads and writes one open WebSocket.
//!
//! Invariant: everything has a deadline. A peer that goes silent without closing or stops reading
//! is an [`Interruption`] after a bounded time; a message is never larger than the cap.

use std::pin::Pin;
use std::time::{Duration, Instant};

use anabranch::{Result, clock};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Sleep, timeout};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as Broken, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Bounds on one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Name lookup, TCP, TLS and upgrade together; also the longest that a write may take.
    pub connect: Duration,
    /// A ping is sent this often.
    pub ping: Duration,
    /// Without any frame for this long (data, ping or pong) the connection is dead.
    pub idle: Duration,
    /// The largest message, and the largest frame.
    pub frame_bytes_max: usize,
}

impl Default for Limits {
    /// 10 s to connect, a ping every 15 s, dead after 60 s, messages up to 16 MiB.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            ping: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            frame_bytes_max: 16 << 20,
        }
    }
}

impl Limits {
    pub(crate) fn config(self, read_buffer_bytes: usize) -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(read_buffer_bytes)
            .write_buffer_size(16 << 10)
            .max_message_size(Some(self.frame_bytes_max))
            .max_frame_size(Some(self.frame_bytes_max))
    }
}

/// Why there is no connection, or no longer one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Interruption {
    /// Name lookup, TCP or TLS failed.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// Connecting took longer than [`Limits::connect`].
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// The server answered the upgrade with another HTTP status.
    #[error("the server answered HTTP {status} instead of a WebSocket")]
    Refused {
        /// The HTTP status: 429, 503.
        status: u16,
        /// The pause that the server asked for, at most five minutes.
        retry_after: Option<Duration>,
    },
    /// The peer closed the connection.
    #[error("closed by the peer: code {}, `{reason}`", .code.map_or("none".into(), |c| c.to_string()))]
    Closed {
        /// The close code, if it gave one.
        code: Option<u16>,
        /// The reason it gave.
        reason: String,
    },
    /// The connection broke without a close, or the peer broke the protocol.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing came for [`Limits::idle`].
    #[error("silent for {0:?}")]
    Idle(Duration),
    /// A message was larger than [`Limits::frame_bytes_max`].
    #[error("a message of more than {0} bytes")]
    Oversized(usize),
    /// The protocol on top gave the connection up, with its reason.
    #[error("{0}")]
    GivenUp(String),
}

/// An open connection: to a server, or (inside this crate) to a client.
pub struct Connection<S = MaybeTlsStream<TcpStream>> {
    socket: WebSocketStream<S>,
    limits: Limits,
    /// When the last frame of any kind came.
    heard: Instant,
    next_ping: Instant,
    timer: Pin<Box<Sleep>>,
    /// The last call gave a message: time until the next call is the caller's, not the peer's.
    away: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(socket: WebSocketStream<S>, limits: Limits) -> Self {
        let heard = clock::instant();
        let next_ping = heard + limits.ping;
        let timer = Box::pin(tokio::time::sleep(limits.ping.min(limits.idle)));
        Self { socket, limits, heard, next_ping, timer, away: false }
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// When the connection broke, or the peer does not read for [`Limits::connect`].
    pub async fn send(&mut self, text: String) -> Result<(), Interruption> {
        self.put(Message::text(text)).await
    }

    /// The next data message: [`Message::Text`] or [`Message::Binary`]. Pings are answered and
    /// sent meanwhile. Can be dropped while it waits without losing a message.
    ///
    /// # Errors
    /// Why there is no message any more; a message above the cap has been answered with close
    /// code 1009.
    pub async fn next(&mut self) -> Result<Message, Interruption> {
        if std::mem::take(&mut self.away) {
            self.heard = clock::instant();
        }
        loop {
            tokio::select! {
                biased;
                got = self.socket.next() => {
                    self.heard = clock::instant();
                    if let Some(message) = self.received(got).await? {
                        self.away = true;
                        return Ok(message);
                    }
                }
                () = self.timer.as_mut() => self.on_timer().await?,
            }
        }
    }

    /// Says goodbye with `code` and `reason` (cut to what a close frame holds), and waits a few
    /// seconds at most for the peer to hang up.
    pub async fn close(mut self, code: u16, reason: &str) {
        self.goodbye(code, reason).await;
    }

    async fn received(
        &mut self,
        got: Option<Result<Message, Broken>>,
    ) -> Result<Option<Message>, Interruption> {
        match got {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => Ok(Some(message)),
            Some(Ok(Message::Close(frame))) => {
                // Sends the answer to the close; a server then hangs up, a client waits for that.
                let _ = timeout(super::FAREWELL, self.socket.next()).await;
                Err(Interruption::Closed {
                    code: frame.as_ref().map(|f| f.code.into()),
                    reason: frame.map(|f| f.reason.to_string()).unwrap_or_default(),
                })
            }
            Some(Ok(_)) => Ok(None),
            Some(Err(Broken::Capacity(CapacityError::MessageTooLong { .. }))) => {
                self.goodbye(1009, "message too big").await;
                Err(Interruption::Oversized(self.limits.frame_bytes_max))
            }
            Some(Err(Broken::Utf8(error))) => {
                self.goodbye(1007, "text is not UTF-8").await;
                Err(Interruption::Broken(error))
            }
            Some(Err(error)) => {
                let reset = ProtocolError::ResetWithoutClosingHandshake;
                if matches!(&error, Broken::Protocol(violation) if *violation != reset) {
                    self.goodbye(1002, "protocol violation").await;
                }
                Err(Interruption::Broken(error.to_string()))
            }
            None => Err(Interruption::Broken("end of stream".into())),
        }
    }

    async fn on_timer(&mut self) -> Result<(), Interruption> {
        let now = clock::instant();
        if now >= self.heard + self.limits.idle {
            return Err(Interruption::Idle(self.limits.idle));
        }
        if now >= self.next_ping {
            self.next_ping = now + self.limits.ping;
            self.put(Message::Ping(Default::default())).await?;
        }
        let next = self.next_ping.min(self.heard + self.limits.idle);
        self.timer.as_mut().reset(next.into());
        Ok(())
    }

    async fn put(&mut self, message: Message) -> Result<(), Interruption> {
        match timeout(self.limits.connect, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Interruption::Broken(error.to_string())),
            Err(_) => Err(Interruption::Broken("the peer does not read".into())),
        }
    }

    /// Buffers messages from `next`, and sends them. Fails when the peer reads nothing for
    /// [`Limits::idle`].
    pub(crate) async fn send_all(
        &mut self,
        next: impl Iterator<Item = Message>,
    ) -> Result<(), Interruption> {
        let sending = async {
            for message in next {
                self.socket.feed(message).await?;
            }
            self.socket.flush().await
        };
        match timeout(self.limits.idle, sending).await {
            Ok(sent) => sent.map_err(|e| Interruption::Broken(e.to_string())),
            Err(_) => Err(Interruption::Broken("the peer does not read".into())),
        }
    }

    pub(super) async fn goodbye(&mut self, code: u16, reason: &str) {
        super::farewell(&mut self.socket, CloseCode::from(code), reason).await;
    }
}
