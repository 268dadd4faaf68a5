//! WebSockets: a client that always comes back, a listener for producers, and a broadcast.
//!
//! Invariant: a peer can delay or end only its own connection.

mod audience;
mod broadcast;
mod client;
mod connection;
mod dial;
mod listener;
mod log;
mod source;
mod tls;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

pub(crate) use self::broadcast::Broadcast;
pub use self::client::{Feed, Verdict, keep_connected};
pub use self::connection::{Connection, Interruption, Limits};
pub use self::dial::Dial;
pub(crate) use self::dial::retry_after;
pub(crate) use self::listener::{Endpoint, WebSocketListener};
pub(crate) use self::source::WebSocketSource;
pub use self::tls::tls_client;

/// How long a goodbye may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// A peer that sends nothing for this long in the middle of a broken frame is left.
const QUIET: Duration = Duration::from_millis(500);

/// Sends a close frame, then reads and discards for some seconds at most until the peer has
/// answered it or hangs up.
///
/// What still comes is of no interest, but closing a socket with unread bytes makes a reset, which
/// can overtake the close frame and hide its code from the peer.
async fn farewell<S>(socket: &mut WebSocketStream<S>, code: CloseCode, reason: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A control frame holds 125 bytes: two of code, the rest of reason.
    let mut end = reason.len().min(120);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default();
    let frame = CloseFrame { code, reason: reason.into() };
    let goodbye = async {
        if socket.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
        loop {
            match socket.next().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => break,
                None => return,
            }
        }
        // The stream cannot be understood any more: within a message above the cap, mostly.
        let mut discarded = vec![0; 16 << 10];
        let raw = socket.get_mut();
        while let Ok(Ok(1..)) = timeout(QUIET, raw.read(&mut discarded)).await {}
    };
    let _ = timeout(FAREWELL, goodbye).await;
}
