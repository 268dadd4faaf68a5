//! [`keep_connected`]: a client that always comes back, with a protocol on top.
//!
//! Invariant: after any interruption it waits as [`Backoff`] says, connects, and sends what the
//! [`Feed`] says first; only a message that the feed calls good resets the back-off. It knows no
//! exchange and no record.

use std::future::Future;
use std::time::Duration;

use anabranch::clock;
use anabranch::metrics::{Counter, Counters};
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::backoff::{Attempts, Backoff};
use crate::websocket::connection::{Connection, Interruption};
use crate::websocket::dial::Dial;

/// Without `Retry-After`, a server that answered 429 or 503 is left alone for at least this long.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// What to do after a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A data message as it should be: the back-off starts over.
    Good,
    /// Go on, but this proves nothing (an error message, a greeting).
    Neutral,
    /// Close this connection and make a new one, for the reason given.
    Reconnect(String),
    /// Close and stop: nobody listens any more.
    Stop,
}

/// A protocol on top of a connection that is kept.
///
/// ```no_run
/// use anabranch_connectors::{Backoff, Dial, Feed, Limits, Message, Verdict, keep_connected};
///
/// struct Trades;
///
/// impl Feed for Trades {
///     fn greeting(&mut self) -> Vec<String> {
///         vec![r#"{"type":"subscribe","channels":["matches"]}"#.into()]
///     }
///
///     async fn message(&mut self, message: Message) -> Verdict {
///         match message.to_text() {
///             Ok(text) if text.contains(r#""type":"match""#) => Verdict::Good,
///             _ => Verdict::Neutral,
///         }
///     }
/// }
///
/// # async fn example() -> anabranch::Result<()> {
/// let dial = Dial::new("wss://feed.example.com", None, Limits::default())?;
/// let counters = anabranch::metrics::Counters::default();
/// keep_connected("prices", &dial, Backoff::default(), &counters, &mut Trades).await;
/// # Ok(())
/// # }
/// ```
pub trait Feed: Send {
    /// The text messages to send first on every connection: subscriptions.
    fn greeting(&mut self) -> Vec<String>;

    /// Handles a data message. Waiting in here is back pressure: nothing is read meanwhile.
    fn message(&mut self, message: Message) -> impl Future<Output = Verdict> + Send;

    /// There is no connection, or no longer one; the next attempt is made after `wait`.
    fn interrupted(&mut self, why: &Interruption, wait: Duration) {
        let _ = (why, wait);
    }
}

/// The counters of a kept connection: `connects`, `reconnects`, `connect_failures`, `frames`,
/// `bytes`, `oversized`.
#[derive(Clone, Debug)]
struct Counts {
    attempts: Attempts,
    frames: Counter,
    bytes: Counter,
    oversized: Counter,
}

impl Counts {
    fn of(counters: &Counters) -> Self {
        Self {
            attempts: Attempts::of(counters),
            frames: counters.counter("frames"),
            bytes: counters.counter("bytes"),
            oversized: counters.counter("oversized"),
        }
    }
}

/// Keeps a connection to `dial` and hands its messages to `feed`, until the feed says
/// [`Verdict::Stop`]. To end it from outside, drop the future: it holds nothing else.
///
/// `name` is for the log. Attempts and messages are counted in `counters`: `connects`,
/// `reconnects` (connections after the first), `connect_failures`, `frames`, `bytes`, `oversized`.
pub async fn keep_connected(
    name: &str,
    dial: &Dial,
    mut backoff: Backoff,
    counters: &Counters,
    feed: &mut impl Feed,
) {
    let counts = Counts::of(counters);
    let mut wait = backoff.wait(clock::instant());
    loop {
        tokio::time::sleep(wait).await;
        let why = match dial.connect().await {
            Err(why) => {
                counts.attempts.failed();
                why
            }
            Ok(mut connection) => {
                counts.attempts.connected();
                tracing::info!(source = %name, "connected to {}", dial.describe());
                match converse(&mut connection, &mut backoff, &counts, feed).await {
                    Err(why) => why,
                    Ok(()) => return connection.close(1000, "done").await,
                }
            }
        };
        if let Interruption::Refused { status: 429 | 503, retry_after } = &why {
            backoff.at_least(retry_after.unwrap_or(REFUSED_PAUSE));
        }
        wait = backoff.wait(clock::instant());
        tracing::warn!(source = %name, "{}: {why}; next attempt in {wait:.1?}", dial.describe());
        feed.interrupted(&why, wait);
    }
}

/// Serves one connection. `Ok` means that the feed wants to stop.
async fn converse(
    connection: &mut Connection,
    backoff: &mut Backoff,
    counts: &Counts,
    feed: &mut impl Feed,
) -> Result<(), Interruption> {
    for text in feed.greeting() {
        connection.send(text).await?;
    }
    loop {
        let message = match connection.next().await {
            Ok(message) => message,
            Err(why) => {
                counts.oversized.add(u64::from(matches!(why, Interruption::Oversized(_))));
                return Err(why);
            }
        };
        counts.frames.add(1);
        counts.bytes.add(message.len() as u64);
        match feed.message(message).await {
            Verdict::Good => backoff.reset(),
            Verdict::Neutral => {}
            Verdict::Reconnect(reason) => {
                connection.goodbye(1000, &reason).await;
                return Err(Interruption::GivenUp(reason));
            }
            Verdict::Stop => return Ok(()),
        }
    }
}
