//! [`Limits`]: every limit of the feed handler, in one place.
//!
//! Invariant: nothing in the feed handler waits, retries or buffers without one of these.

use std::time::Duration;

/// What the feed handler waits for, retries and buffers at most. The default is for the public
/// exchange; [`Limits::loopback`] is for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte sent until the WebSocket is open.
    pub connect: Duration,
    /// From the subscribe until it is answered for each channel and product.
    pub answer: Duration,
    /// Without any byte received, after which a connection is half-open.
    pub silence: Duration,
    /// Between pings.
    pub ping_every: Duration,
    /// Without a trade of any product, after which a feed of heartbeats only is stale.
    pub trades_idle: Duration,
    /// How long heartbeats may tell of newer and newer trades that do not come.
    pub behind: Duration,
    /// Without a heartbeat, after which their channel is subscribed again.
    pub heartbeat_idle: Duration,
    /// After which a connection without trades is good all the same (a halted market).
    pub stable: Duration,
    /// The first delay before connecting again: at random between these.
    pub backoff_first: (Duration, Duration),
    /// The longest delay before connecting again: at random between these.
    pub backoff_last: (Duration, Duration),
    /// How many connections and requests are begun in any `attempts_per`, by all feeds of this
    /// process that have the same host.
    pub attempts_max: usize,
    /// See `attempts_max`. A little over the exchange's second, as packets bunch on their way.
    pub attempts_per: Duration,
    /// After an answer 429 or 503 that does not say for how long.
    pub throttled: Duration,
    /// The longest `Retry-After` that is obeyed.
    pub retry_after_max: Duration,
    /// The largest message, in bytes; a level-2 snapshot of 5,079,379 was seen.
    pub frame_bytes_max: usize,
    /// How long a missing trade may still come by itself before it is asked for.
    pub gap_grace: Duration,
    /// After which a gap is given up, counted and reported.
    pub gap_deadline: Duration,
    /// How often a gap is asked for.
    pub gap_attempts_max: u32,
    /// Before it is asked for again; doubles.
    pub gap_retry: Duration,
    /// How many pages are asked for to fill one gap.
    pub gap_pages_max: u32,
    /// How many trades of a product wait for those before them.
    pub waiting_max: usize,
    /// Trades a page.
    pub page_trades: u32,
    /// The largest page, in bytes.
    pub page_bytes_max: usize,
    /// How long a page may take.
    pub page_timeout: Duration,
    /// How many pages are asked for at a time.
    pub fetches_max: usize,
    /// How many trades and refused frames wait for the worker.
    pub queue_items_max: usize,
    /// How many bytes of them.
    pub queue_bytes_max: usize,
    /// How many products are subscribed to.
    pub products_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        Self {
            connect: s(10),
            answer: s(10),
            silence: s(15),
            ping_every: s(5),
            trades_idle: s(300),
            behind: s(15),
            heartbeat_idle: s(10),
            stable: s(60),
            backoff_first: (ms(250), s(1)),
            backoff_last: (s(30), s(60)),
            attempts_max: 8,
            attempts_per: ms(1_100),
            throttled: s(5),
            retry_after_max: s(300),
            frame_bytes_max: 16 << 20,
            gap_grace: ms(100),
            gap_deadline: s(60),
            gap_attempts_max: 5,
            gap_retry: s(1),
            gap_pages_max: 20,
            waiting_max: 50_000,
            page_trades: 1_000,
            page_bytes_max: 4 << 20,
            page_timeout: s(10),
            fetches_max: 4,
            queue_items_max: 16_384,
            queue_bytes_max: 16 << 20,
            products_max: 1_000,
        }
    }
}

impl Limits {
    /// For tests against an exchange on loopback: retries in tens of milliseconds. What decides
    /// that a connection is bad stays at seconds, so that a busy machine is not mistaken for a bad
    /// exchange: a test shortens the one limit that it is about.
    pub fn loopback() -> Self {
        let ms = Duration::from_millis;
        Self {
            trades_idle: Duration::from_secs(30),
            heartbeat_idle: Duration::from_secs(30),
            ping_every: ms(500),
            backoff_first: (ms(5), ms(20)),
            backoff_last: (ms(100), ms(200)),
            attempts_per: ms(110),
            throttled: ms(100),
            gap_grace: ms(10),
            gap_retry: ms(20),
            ..Self::default()
        }
    }
}
