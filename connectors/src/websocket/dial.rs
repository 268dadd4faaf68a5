//! [`Dial`]: makes one connection to a WebSocket server.
//!
//! Invariant: connecting ends within its deadline, wherever the server hangs. It does not connect
//! again: that is [`keep_connected`](super::keep_connected).

use std::sync::Arc;
use std::time::Duration;

use anabranch::{Error, Result};
use rustls::ClientConfig;
use tokio::time::timeout;
use tokio_tungstenite::Connector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error as Broken;
use tokio_tungstenite::tungstenite::http;

use crate::websocket::connection::{Connection, Interruption, Limits};

/// The longest `Retry-After` that is honoured.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// What one read takes from the socket.
const READ_BUFFER_BYTES: usize = 64 << 10;

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
        let config = self.limits.config(READ_BUFFER_BYTES);
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
    let retry_after = retry_after(answer.headers(), RETRY_AFTER_MAX);
    Interruption::Refused { status: answer.status().as_u16(), retry_after }
}

/// How long an answer asks to wait, `max` at most; its form as a date is not understood.
pub(crate) fn retry_after(headers: &http::HeaderMap, max: Duration) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(max))
}
