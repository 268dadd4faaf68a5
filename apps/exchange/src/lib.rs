//! A fake exchange: Coinbase's feeds over a real WebSocket and HTTP, with a generated or recorded
//! market, which misbehaves on request.
//!
//! Invariant: what the market's list of trades says is what happened; each client is told of it in
//! the exchange's own format, completely and in order unless a [`Misbehaviour`] was asked for.
//! Nothing listens beyond loopback unless the configuration says so.
//!
//! ```
//! use anabranch_connectors::market::MarketOptions;
//! use anabranch_exchange::{Exchange, ExchangeConfig, MarketSource};
//!
//! let market = MarketOptions { keys: 3, rate: 50, ..MarketOptions::default() };
//! let exchange = Exchange::start(ExchangeConfig {
//!     market: MarketSource::Generated(market),
//!     ..ExchangeConfig::default()
//! })?;
//! assert!(exchange.feed_url(&["BTC-USD"]).starts_with("coinbase+ws://127.0.0.1:"));
//! exchange.shutdown();
//! # Ok::<(), anabranch::Error>(())
//! ```

mod book;
mod config;
mod http;
mod misbehaviour;
mod publisher;
mod recording;
mod script;
mod server;
mod subscriber;
mod subscription;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anabranch::{Error, Result};
use anabranch_connectors::coinbase::Product;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use self::book::Book;
pub use self::config::{ExchangeConfig, ExchangeLimits, MarketSource, Recording, Speed, Trouble};
pub use self::misbehaviour::Misbehaviour;
use self::publisher::Publisher;
pub use self::recording::{TRADES_MAX, read_recording};
use self::server::Shared;

/// Connections that wait to be let in.
const BACKLOG: u32 = 128;

/// A running exchange; it ends when it is dropped.
pub struct Exchange {
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
    websocket: SocketAddr,
    http: SocketAddr,
}

impl Exchange {
    /// Starts an exchange on threads of its own.
    ///
    /// # Errors
    /// When an address cannot be listened on, or no thread can be started.
    pub fn start(mut config: ExchangeConfig) -> Result<Self> {
        if config.misbehave.contains(&Misbehaviour::SlowConsumer) {
            config.limits.behind_max = 64;
            config.limits.patience = config.limits.patience.min(Duration::from_millis(100));
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("exchange")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| Error::io("starting the exchange's threads", e))?;
        let products = publisher::products(&config.market);
        let book = Arc::new(Book::new(config.limits.behind_max, config.limits.history_max));
        let publisher = Publisher::new(&config, &products, Arc::clone(&book));
        let (websocket, http) = (config.websocket, config.http);
        let refuses = config.misbehave.contains(&Misbehaviour::Refuse);
        let lasts = config.trouble.lasts;
        let shared = Arc::new(Shared::new(config, products, book));
        let stop = watch::Sender::new(false);

        let guard = runtime.enter();
        let (socket, websocket) = bind(websocket)?;
        let (listener, http) = bind(http)?;
        let listener = listen(listener, http)?;
        let router = http::router(Arc::clone(&shared));
        let mut stopped = stop.subscribe();
        runtime.spawn(async move {
            let stop = async move { drop(stopped.wait_for(|stop| *stop).await) };
            axum::serve(listener, router).with_graceful_shutdown(stop).await
        });
        let accepts = Arc::clone(&shared);
        let stopped = stop.subscribe();
        if refuses {
            runtime.spawn(async move {
                // Bound and not yet listening: the system refuses connections.
                tokio::time::sleep(lasts).await;
                if let Ok(listener) = listen(socket, websocket) {
                    server::accept(listener, accepts, stopped).await;
                }
            });
        } else {
            let listener = listen(socket, websocket)?;
            runtime.spawn(server::accept(listener, accepts, stopped));
        }
        runtime.spawn(publisher.run());
        drop(guard);
        Ok(Self { runtime: Some(runtime), stop, shared, websocket, http })
    }

    /// The URL of its WebSocket.
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.websocket)
    }

    /// The URL of its HTTP interface.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The URL for [`coinbase::trades`](anabranch_connectors::coinbase::trades) of these products;
    /// of all without any.
    pub fn feed_url(&self, products: &[&str]) -> String {
        let all: Vec<&str> = self.shared.products.iter().map(Product::as_str).collect();
        let products = if products.is_empty() { &all[..] } else { products };
        let (websocket, products, http) = (self.websocket, products.join(","), self.http_url());
        format!("coinbase+ws://{websocket}?products={products}&http={http}")
    }

    /// What is traded.
    pub fn products(&self) -> &[Product] {
        &self.shared.products
    }

    /// How many trades have happened.
    pub fn published(&self) -> u64 {
        self.shared.book.published()
    }

    /// What was counted: `attempts`, `connections`, `subscribes`, `frames`, `requests`,
    /// `throttled`, `strikes`, `slow_consumers`, `turned_away`, `unsubscribed`.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.shared.counters.snapshot()
    }

    /// Ends it: the listeners at once, connections with them.
    pub fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("websocket", &self.websocket)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

fn bind(address: SocketAddr) -> Result<(TcpSocket, SocketAddr)> {
    let refused = |e| Error::io(format!("binding {address}: is another program there?"), e);
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(refused)?;
    socket.set_reuseaddr(true).map_err(refused)?;
    socket.bind(address).map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    Ok((socket, address))
}

fn listen(socket: TcpSocket, address: SocketAddr) -> Result<TcpListener> {
    socket.listen(BACKLOG).map_err(|e| Error::io(format!("listening on {address}"), e))
}
