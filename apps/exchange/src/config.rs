//! What an exchange serves, how fast, and how badly.
//!
//! Invariant: the default is a well-behaved exchange on loopback with a generated market.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anabranch_connectors::coinbase::Trade;
use anabranch_connectors::market::MarketOptions;

use crate::Misbehaviour;

/// What an exchange serves, how fast, and how badly.
#[derive(Clone, Debug)]
pub struct ExchangeConfig {
    /// The trades.
    pub market: MarketSource,
    /// How fast they happen.
    pub speed: Speed,
    /// How many of them happened before anyone connects.
    pub history: usize,
    /// In which ways the exchange goes wrong.
    pub misbehave: Vec<Misbehaviour>,
    /// When, how often and for how long.
    pub trouble: Trouble,
    /// Between heartbeats.
    pub heartbeat_every: Duration,
    /// Where the WebSocket listens; port 0 is any that is free.
    pub websocket: SocketAddr,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// What it takes from clients.
    pub limits: ExchangeLimits,
}

/// Where the trades come from.
#[derive(Clone, Debug)]
pub enum MarketSource {
    /// A generated market. Played at a multiple of real time, its trades happen now.
    Generated(MarketOptions),
    /// A recording; see [`read_recording`](crate::read_recording).
    Recorded(Recording),
}

/// Trades that were recorded.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Those that happened before.
    pub history: Vec<Trade>,
    /// Those that happen, in order.
    pub trades: Vec<Trade>,
}

/// How fast the trades happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// At this multiple of the market's own pace, whether anyone listens or not.
    Times(u32),
    /// As fast as the subscribers take them; while nobody listens only a few.
    Max,
}

/// When, how often and for how long the exchange goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// How many trades a connection gets before.
    pub after: u64,
    /// How many connections or requests are hit.
    pub times: u32,
    /// For how long, where that matters.
    pub lasts: Duration,
}

/// What the exchange takes from its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeLimits {
    /// Requests and connections a second, of all clients together: all have one address.
    pub requests_per_second: u32,
    /// How many of them at once.
    pub requests_burst: u32,
    /// Connections at a time.
    pub connections_max: usize,
    /// From connecting until the first subscribe.
    pub subscribe_within: Duration,
    /// Messages a second from one client.
    pub messages_per_second: u32,
    /// How many trades a subscriber may be behind before it is disconnected.
    pub behind_max: usize,
    /// At full speed, how long the market waits for a subscriber that is behind.
    pub patience: Duration,
    /// Trades of each product that HTTP remembers.
    pub history_max: usize,
    /// At full speed, how many trades happen while nobody is connected.
    pub absent_trades: usize,
}

impl Default for ExchangeConfig {
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            market: MarketSource::Generated(MarketOptions::default()),
            speed: Speed::Times(1),
            history: 100,
            misbehave: Vec::new(),
            trouble: Trouble { after: 10, times: 1, lasts: Duration::from_secs(10) },
            heartbeat_every: Duration::from_secs(1),
            websocket: loopback,
            http: loopback,
            limits: ExchangeLimits::default(),
        }
    }
}

impl Default for ExchangeLimits {
    fn default() -> Self {
        Self {
            requests_per_second: 8,
            requests_burst: 20,
            connections_max: 100,
            subscribe_within: Duration::from_secs(5),
            messages_per_second: 100,
            behind_max: 65_536,
            patience: Duration::from_secs(5),
            history_max: 100_000,
            absent_trades: 25,
        }
    }
}
