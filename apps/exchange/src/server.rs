//! What all connections and requests share, and the door that lets connections in.
//!
//! Invariant: connections are bounded in number, and each must upgrade and subscribe within its
//! deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anabranch::clock;
use anabranch::metrics::Counters;
use anabranch_connectors::coinbase::Product;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::book::Book;
use crate::subscriber::Subscriber;
use crate::{ExchangeConfig, Misbehaviour};

/// How long a client may take to upgrade.
const UPGRADE_WITHIN: Duration = Duration::from_secs(5);
/// The largest message that a client may send.
const MESSAGE_MAX: usize = 1 << 20;

pub(crate) struct Shared {
    pub(crate) config: ExchangeConfig,
    pub(crate) products: Vec<Product>,
    pub(crate) book: Arc<Book>,
    pub(crate) counters: Counters,
    misbehave: BTreeSet<Misbehaviour>,
    /// How often each misbehaviour has struck.
    struck: Mutex<BTreeMap<Misbehaviour, u32>>,
    bucket: Mutex<Bucket>,
}

/// A token bucket.
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Shared {
    pub(crate) fn new(config: ExchangeConfig, products: Vec<Product>, book: Arc<Book>) -> Self {
        let tokens = f64::from(config.limits.requests_burst);
        Self {
            misbehave: config.misbehave.iter().copied().collect(),
            config,
            products,
            book,
            counters: Counters::default(),
            struck: Mutex::default(),
            bucket: Mutex::new(Bucket { tokens, filled: clock::instant() }),
        }
    }

    /// Whether the exchange goes wrong in this way at all.
    pub(crate) fn misbehaves(&self, how: Misbehaviour) -> bool {
        self.misbehave.contains(&how)
    }

    /// Whether the exchange goes wrong in this way now; no more often than it is to.
    pub(crate) fn strikes(&self, how: Misbehaviour) -> bool {
        if !self.misbehaves(how) {
            return false;
        }
        let mut struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
        let times = struck.entry(how).or_default();
        let strikes = *times < self.config.trouble.times;
        if strikes {
            *times += 1;
            self.counters.counter("strikes").add(1);
        }
        strikes
    }

    /// The ways in which the exchange goes wrong on a new connection.
    pub(crate) fn strikes_on_connection(&self) -> BTreeSet<Misbehaviour> {
        let all = self.misbehave.iter().copied();
        all.filter(|how| self.is_lasting(*how) || self.strikes(*how)).collect()
    }

    /// Whether it goes on on every connection, or does not concern connections.
    fn is_lasting(&self, how: Misbehaviour) -> bool {
        use Misbehaviour as M;
        matches!(
            how,
            M::DataFirst
                | M::NoHeartbeats
                | M::HeartbeatAhead
                | M::HeartbeatZero
                | M::Fill429
                | M::Fill500
                | M::FillEmpty
                | M::FillSlow
                | M::Duplicates
                | M::NewestFirst
                | M::LateTrade
                | M::Unknown
                | M::Garbage
                | M::BigFrames
                | M::OddNumbers
                | M::OddTimes
                | M::SlowConsumer
                | M::HaltedProduct
                | M::Refuse
                | M::Upgrade429
                | M::Upgrade503
                | M::HandshakeHang
                | M::Storm
        )
    }

    /// Whether one more request or connection is within the limits.
    pub(crate) fn admit(&self) -> bool {
        let limits = &self.config.limits;
        let now = clock::instant();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.filled = now;
        bucket.tokens = (bucket.tokens + since * f64::from(limits.requests_per_second))
            .min(f64::from(limits.requests_burst));
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }
}

/// Lets connections in until `stop` says so.
pub(crate) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(shared.config.limits.connections_max));
    let mut id = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: others must end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        shared.counters.counter("attempts").add(1);
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            shared.counters.counter("turned_away").add(1);
            continue;
        };
        id += 1;
        let (shared, mut stop) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = connection(id, stream, shared) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            drop(place);
        });
    }
}

async fn connection(id: u64, stream: TcpStream, shared: Arc<Shared>) {
    if shared.strikes(Misbehaviour::Storm) {
        return;
    }
    if shared.strikes(Misbehaviour::HandshakeHang) {
        tokio::time::sleep(shared.config.trouble.lasts).await;
        return;
    }
    // Only a matter of delay: a socket that refuses it still works.
    let _ = stream.set_nodelay(true);
    let Ok(Some(stream)) = timeout(UPGRADE_WITHIN, upgrade(stream, &shared)).await else { return };
    shared.counters.counter("connections").add(1);
    Subscriber::new(id, stream, Arc::clone(&shared)).run().await;
    shared.book.unsubscribe(id);
}

async fn upgrade(stream: TcpStream, shared: &Arc<Shared>) -> Option<WebSocketStream<TcpStream>> {
    let refusal = if shared.strikes(Misbehaviour::Upgrade429) || !shared.admit() {
        shared.counters.counter("throttled").add(1);
        Some((429, Some("1")))
    } else if shared.strikes(Misbehaviour::Upgrade503) {
        Some((503, None))
    } else {
        None
    };
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MESSAGE_MAX);
    config.max_frame_size = Some(MESSAGE_MAX);
    // The refusal is as large as the callback's contract makes it.
    #[allow(clippy::result_large_err)]
    let answer = move |_: &Request, response: Response| match refusal {
        None => Ok(response),
        Some((status, retry_after)) => {
            let mut refused = ErrorResponse::new(None);
            if let Ok(status) = http::StatusCode::from_u16(status) {
                *refused.status_mut() = status;
            }
            if let Some(seconds) = retry_after {
                let value = http::HeaderValue::from_static(seconds);
                refused.headers_mut().insert(http::header::RETRY_AFTER, value);
            }
            Err(refused)
        }
    };
    tokio_tungstenite::accept_hdr_async_with_config(stream, answer, Some(config)).await.ok()
}
