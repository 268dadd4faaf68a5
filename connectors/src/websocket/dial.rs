//! [`Dial`]: makes one WebSocket connection to a server; [`Connection`]: reads and writes it.
//!
//! Invariant: everything has a deadline. A server that hangs in the handshake, goes silent without
//! closing, or stops reading is an [`Interruption`] after a bounded time; a message is never
//! larger than the cap. It does not connect again: that is [`keep_connected`](super::keep_connected).

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch::{Error, Result, clock};
use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as Broken};
use tokio_tungstenite::tungstenite::http;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

/// The longest `Retry-After` that is honoured.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// What one read takes from the socket.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// Bounds on one client connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Name lookup, TCP, TLS and upgrade together.
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
    /// The server closed the connection.
    #[error("closed by the server: code {}, `{reason}`", .code.map_or("none".into(), |c| c.to_string()))]
    Closed {
        /// The close code, if it gave one.
        code: Option<u16>,
        /// The reason it gave.
        reason: String,
    },
    /// The connection broke without a close, or the server broke the protocol.
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

/// How to reach a server.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use anabranch_connectors::{Dial, Limits};
/// let dial = Dial::new("ws://127.0.0.1:9000/feed", None, Limits::default())?;
/// let mut connection = dial.connect().await?;
/// connection.send(r#"{"type":"subscribe"}"#.into()).await?;
/// let message = connection.next().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Dial {
    url: String,
    request: http::Request<()>,
    tls: Option<Arc<ClientConfig>>,
    limits: Limits,
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Dial {
    /// A client of `url` (`ws://` or `wss://`, with the server's own query if it has one). `tls`
    /// is needed for `wss://` only, and is then Mozilla's roots if not given; see
    /// [`tls_client`](super::tls_client).
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn new(url: &str, tls: Option<Arc<ClientConfig>>, limits: Limits) -> Result<Self> {
        let request = url
            .into_client_request()
            .map_err(|e| Error::Usage(format!("the WebSocket URL is malformed: {e}")))?;
        let secure = match request.uri().scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => {
                let text = "the WebSocket URL must begin with `ws://` or `wss://`";
                return Err(Error::Usage(text.into()));
            }
        };
        if request.uri().host().is_none_or(str::is_empty) {
            return Err(Error::Usage("the WebSocket URL names no host".into()));
        }
        let tls = if secure && tls.is_none() { Some(super::tls_client(None)?) } else { tls };
        Ok(Self { url: url.into(), request, tls, limits })
    }

    /// Adds a header to the upgrade request.
    ///
    /// # Errors
    /// When the name or the value is no HTTP header.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self> {
        let wrong = |_| Error::Usage(format!("`{name}` with its value is no HTTP header"));
        let value = http::HeaderValue::from_str(value).map_err(|e| wrong(e.to_string()))?;
        let key =
            http::HeaderName::from_bytes(name.as_bytes()).map_err(|e| wrong(e.to_string()))?;
        self.request.headers_mut().insert(key, value);
        Ok(self)
    }

    /// The URL without its query, for people.
    pub fn describe(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }

    /// Connects once.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(&self) -> Result<Connection, Interruption> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(self.limits.frame_bytes_max.max(1 << 20))
            .max_message_size(Some(self.limits.frame_bytes_max))
            .max_frame_size(Some(self.limits.frame_bytes_max));
        let connector = self.tls.clone().map_or(Connector::Plain, Connector::Rustls);
        let request = self.request.clone();
        let connecting = tokio_tungstenite::connect_async_tls_with_config(
            request,
            Some(config),
            true,
            Some(connector),
        );
        match timeout(self.limits.connect, connecting).await {
            Err(_) => Err(Interruption::TimedOut(self.limits.connect)),
            Ok(Err(Broken::Http(answer))) => Err(refusal(&answer)),
            Ok(Err(error)) => Err(Interruption::Unreachable(error.to_string())),
            Ok(Ok((socket, _))) => Ok(Connection::new(socket, self.limits)),
        }
    }
}

fn refusal(answer: &http::Response<Option<Vec<u8>>>) -> Interruption {
    let seconds = answer.headers().get(http::header::RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = seconds.map(|s| Duration::from_secs(s).min(RETRY_AFTER_MAX));
    Interruption::Refused { status: answer.status().as_u16(), retry_after }
}

/// An open connection to a server.
pub struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    limits: Limits,
    /// When the last frame of any kind came.
    heard: Instant,
    next_ping: Instant,
    timer: Pin<Box<Sleep>>,
    /// The last call gave a message: time until the next call is the caller's, not the server's.
    away: bool,
}

impl Connection {
    fn new(socket: WebSocketStream<MaybeTlsStream<TcpStream>>, limits: Limits) -> Self {
        let heard = clock::instant();
        let next_ping = heard + limits.ping;
        let timer = Box::pin(tokio::time::sleep(limits.ping.min(limits.idle)));
        Self { socket, limits, heard, next_ping, timer, away: false }
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// When the connection broke, or the server does not read for [`Limits::connect`].
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

    /// Says goodbye with `code` and `reason` (cut to what a close frame holds), and waits a second
    /// at most for the server to hang up.
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
                // The answer to the close is on its way; the server hangs up after it.
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
            Some(Err(error)) => Err(Interruption::Broken(error.to_string())),
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
            Err(_) => Err(Interruption::Broken("the server does not read".into())),
        }
    }

    pub(super) async fn goodbye(&mut self, code: u16, reason: &str) {
        super::farewell(&mut self.socket, CloseCode::from(code), reason).await;
    }
}
