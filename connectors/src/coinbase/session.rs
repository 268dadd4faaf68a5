//! One connection's health: is it subscribed, does it bring what it should.
//!
//! Invariant: a connection that stops bringing trades is found out by one of the limits, and one
//! whose market is merely quiet is not disturbed before. Told the time, touches no network.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Body, Dialect, Frame, Limits, Product, Trade};

/// What is wrong with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The subscribe was not answered for each channel and product.
    Unanswered,
    /// The exchange refused to subscribe.
    Refused(String),
    /// Heartbeats and no trade of any product.
    HeartbeatsOnly,
    /// Heartbeats tell of newer and newer trades of this product, which do not come.
    Behind(Product),
}

#[derive(Debug)]
pub(super) struct Session {
    opened: Duration,
    /// Channels and products whose subscribe is not answered yet.
    unanswered: BTreeSet<(&'static str, String)>,
    refused: Option<String>,
    next_sequence_num: Option<u64>,
    last_trade: Duration,
    last_heartbeat: Duration,
    lanes: BTreeMap<Product, Lane>,
    behind: Option<Product>,
}

/// What one product's heartbeats and trades said on this connection.
#[derive(Debug, Default)]
struct Lane {
    newest: u64,
    /// Since when heartbeats tell of newer trades, and of which first.
    ahead: Option<(Duration, u64)>,
}

impl Session {
    pub(super) fn new(dialect: Dialect, products: &[Product], now: Duration) -> Self {
        let mut unanswered = BTreeSet::new();
        for product in products.iter().map(ToString::to_string) {
            match dialect {
                Dialect::Exchange => {
                    unanswered.insert(("matches", product.clone()));
                    unanswered.insert(("heartbeat", product));
                }
                Dialect::AdvancedTrade => {
                    unanswered.insert(("market_trades", product));
                }
            }
        }
        if dialect == Dialect::AdvancedTrade {
            unanswered.insert(("heartbeats", String::new()));
        }
        Self {
            opened: now,
            unanswered,
            refused: None,
            next_sequence_num: (dialect == Dialect::AdvancedTrade).then_some(0),
            last_trade: now,
            last_heartbeat: now,
            lanes: products.iter().map(|product| (*product, Lane::default())).collect(),
            behind: None,
        }
    }

    /// Whether the subscribe was answered in full.
    pub(super) fn is_subscribed(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Whether it has lasted so long that it is good even without a trade.
    pub(super) fn is_stable(&self, now: Duration, limits: &Limits) -> bool {
        self.is_subscribed() && now >= self.opened + limits.stable
    }

    /// Notes a frame; true if its number shows that frames before it were lost.
    pub(super) fn note(&mut self, frame: &Frame, now: Duration, limits: &Limits) -> bool {
        match &frame.body {
            Body::Match(trade) => self.note_trade(trade, now),
            Body::MarketTrades { update, snapshot } => {
                for trade in snapshot {
                    self.note_old(trade);
                }
                for trade in update {
                    self.note_trade(trade, now);
                }
            }
            Body::LastMatch(trade) => self.note_old(trade),
            Body::Heartbeat { product, last_trade_id } => {
                self.last_heartbeat = now;
                self.note_heartbeat(*product, *last_trade_id, now, limits);
            }
            Body::ConnectionHeartbeat => self.last_heartbeat = now,
            Body::Subscriptions(channels) => {
                self.unanswered.retain(|(channel, product)| {
                    let answered = channels.get(*channel);
                    !answered.is_some_and(|all| product.is_empty() || all.contains(product))
                });
            }
            Body::Error { message, reason } if !self.is_subscribed() => {
                self.refused = Some(format!("{message}: {reason}"));
            }
            Body::Error { .. } | Body::Ticker { .. } | Body::Other(_) => {}
        }
        let lost = match (frame.sequence_num, self.next_sequence_num) {
            (Some(number), Some(expected)) => number != expected,
            _ => false,
        };
        if let Some(number) = frame.sequence_num {
            self.next_sequence_num = Some(number.saturating_add(1));
        }
        lost
    }

    fn note_old(&mut self, trade: &Trade) {
        if let Some(lane) = self.lanes.get_mut(&trade.product) {
            lane.newest = lane.newest.max(trade.trade_id);
        }
    }

    fn note_trade(&mut self, trade: &Trade, now: Duration) {
        self.last_trade = now;
        if let Some(lane) = self.lanes.get_mut(&trade.product) {
            lane.newest = lane.newest.max(trade.trade_id);
            lane.ahead = None;
        }
        self.behind = self.behind.filter(|product| *product != trade.product);
    }

    fn note_heartbeat(&mut self, product: Product, id: u64, now: Duration, limits: &Limits) {
        let Some(lane) = self.lanes.get_mut(&product).filter(|lane| id > lane.newest) else {
            return;
        };
        // A heartbeat that stays at one id shows one lost trade, which is filled; only ids that
        // go on rising show a connection that has stopped to bring them.
        let (since, first) = *lane.ahead.get_or_insert((now, id));
        if id > first && now >= since + limits.behind {
            self.behind = Some(product);
        }
    }

    /// What is wrong with the connection.
    pub(super) fn fault(&self, now: Duration, limits: &Limits) -> Option<Fault> {
        if let Some(reason) = &self.refused {
            return Some(Fault::Refused(reason.clone()));
        }
        if !self.is_subscribed() {
            return (now >= self.opened + limits.answer).then_some(Fault::Unanswered);
        }
        if let Some(product) = self.behind {
            return Some(Fault::Behind(product));
        }
        (now >= self.last_trade + limits.trades_idle).then_some(Fault::HeartbeatsOnly)
    }

    /// Whether heartbeats should be asked for again; asks once per limit.
    pub(super) fn wants_heartbeats(&mut self, now: Duration, limits: &Limits) -> bool {
        let wants = self.is_subscribed() && now >= self.last_heartbeat + limits.heartbeat_idle;
        if wants {
            self.last_heartbeat = now;
        }
        wants
    }

    /// When [`fault`](Self::fault) or [`wants_heartbeats`](Self::wants_heartbeats) may change.
    pub(super) fn deadline(&self, limits: &Limits) -> Duration {
        if self.is_subscribed() {
            let stale = self.last_trade + limits.trades_idle;
            stale.min(self.last_heartbeat + limits.heartbeat_idle)
        } else {
            self.opened + limits.answer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits::default()
    }

    fn frame(body: Body) -> Frame {
        Frame { sequence_num: None, body }
    }

    fn subscribed(dialect: Dialect) -> Session {
        let mut session = Session::new(dialect, &[Product::BTC_USD], Duration::ZERO);
        for channel in ["matches", "heartbeat", "market_trades", "heartbeats"] {
            let body = Body::Subscriptions([(channel.into(), vec!["BTC-USD".into()])].into());
            session.note(&frame(body), Duration::ZERO, &limits());
        }
        assert!(session.is_subscribed());
        session
    }

    fn heartbeat(last_trade_id: u64) -> Frame {
        frame(Body::Heartbeat { product: Product::BTC_USD, last_trade_id })
    }

    #[test]
    fn an_answer_must_name_every_channel_and_product() {
        let mut session = Session::new(Dialect::Exchange, &[Product::BTC_USD], Duration::ZERO);
        let half = Body::Subscriptions([("matches".into(), vec!["BTC-USD".into()])].into());
        session.note(&frame(half), SECOND, &limits());
        assert_eq!(session.fault(9 * SECOND, &limits()), None);
        assert_eq!(session.fault(10 * SECOND, &limits()), Some(Fault::Unanswered));
        let error = Body::Error { message: "no".into(), reason: "because".into() };
        session.note(&frame(error), SECOND, &limits());
        assert_eq!(session.fault(SECOND, &limits()), Some(Fault::Refused("no: because".into())));
    }

    #[test]
    fn rising_heartbeats_without_trades_are_a_fault_and_a_quiet_market_is_none() {
        let mut trade = market::parse("gen:").unwrap().trades().next().unwrap();
        trade.trade_id = 7;
        let mut session = subscribed(Dialect::Exchange);
        session.note(&frame(Body::Match(trade)), SECOND, &limits());
        for second in 1..100 {
            session.note(&heartbeat(8), second * SECOND, &limits());
            assert_eq!(session.fault(second * SECOND, &limits()), None, "one lost trade");
        }
        session.note(&heartbeat(9), 100 * SECOND, &limits());
        assert_eq!(session.fault(100 * SECOND, &limits()), Some(Fault::Behind(Product::BTC_USD)));
        trade.trade_id = 10;
        session.note(&frame(Body::Match(trade)), 101 * SECOND, &limits());
        assert_eq!(session.fault(101 * SECOND, &limits()), None);
        session.note(&heartbeat(0), 400 * SECOND, &limits());
        assert_eq!(session.fault(401 * SECOND, &limits()), Some(Fault::HeartbeatsOnly));
    }

    #[test]
    fn a_jump_of_the_connections_number_is_a_loss() {
        let mut session = subscribed(Dialect::AdvancedTrade);
        let mut lost = |number| {
            let frame = Frame { sequence_num: Some(number), body: Body::ConnectionHeartbeat };
            session.note(&frame, SECOND, &limits())
        };
        assert_eq!([0, 1, 3, 4, 0, 1].map(&mut lost), [false, false, true, false, true, false]);
    }

    #[test]
    fn heartbeats_are_asked_for_again_once_per_limit() {
        let mut session = subscribed(Dialect::Exchange);
        let mut wants = |second| session.wants_heartbeats(second * SECOND, &limits());
        assert_eq!([9, 10, 11, 19, 20].map(&mut wants), [false, true, false, false, true]);
    }
}
