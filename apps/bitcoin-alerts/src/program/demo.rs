//! The demo's parts: an exchange that runs inside, and a handful of alerts.
//!
//! Invariant: the exchange is reached as any other, through its WebSocket by the feed handler, and
//! runs on the one worker that reads the prices, however many workers and processes there are.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anabranch::source::{self, Intake, Nature, OpenContext, Progress, Reader, Source};
use anabranch::{Result, Time};
use anabranch_connectors::coinbase::{self, Product, Trade};
use anabranch_connectors::market::MarketOptions;
use anabranch_exchange::{Exchange, ExchangeConfig, MarketSource};
use rust_decimal::Decimal;
use serde_json::json;

use crate::{Alert, AlertUpdate, Change, Direction, Price};

/// Where the demo answers over HTTP, if nobody else does.
pub(super) const HTTP: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));

/// The prices of an exchange that is started when they are read.
pub(super) fn prices() -> Result<Box<dyn Source<Item = Price>>> {
    Ok(Box::new(source::map(DemoExchange, Price::from)))
}

/// Three products, about 60 trades a second.
fn market() -> MarketOptions {
    MarketOptions { seed: SEED, keys: 3, rate: 60, ..MarketOptions::default() }
}

/// With this one the averages of the market cross all of [`ALERTS`] but one within a minute, the
/// first within two seconds.
const SEED: u64 = 53;

/// Product, direction, threshold, user; around the prices that the market begins with.
pub(super) const ALERTS: [(&str, Direction, &str, u64); 12] = [
    ("BTC-USD", Direction::Above, "65050", 1),
    ("BTC-USD", Direction::Above, "65150", 2),
    ("BTC-USD", Direction::Above, "65250", 3),
    ("BTC-USD", Direction::Above, "65300", 4),
    ("BTC-USD", Direction::Above, "66000", 5),
    ("BTC-USD", Direction::Below, "64950", 6),
    ("BTC-USD", Direction::Below, "64800", 7),
    ("ETH-USD", Direction::Below, "3398", 8),
    ("ETH-USD", Direction::Above, "3404", 9),
    ("SOL-USD", Direction::Below, "149.5", 10),
    ("SOL-USD", Direction::Above, "150.25", 11),
    ("SOL-USD", Direction::Above, "150.6", 12),
];

/// A fake exchange, and the feed handler's connection to it.
struct DemoExchange;

impl Source for DemoExchange {
    type Item = Trade;

    fn describe(&self) -> String {
        format!("the demo's exchange, with the market {}", market())
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<Trade>>> {
        let market = MarketSource::Generated(market());
        // Without a history averages begin where the market does, not where it has got to.
        let config = ExchangeConfig { market, history: 0, ..ExchangeConfig::default() };
        let exchange = Exchange::start(config)?;
        let feed = coinbase::trades(&exchange.feed_url(&[]))?;
        Ok(Box::new(DemoReader { feed: feed.open(partition, context)?, _exchange: exchange }))
    }
}

/// Fields are dropped in this order: the feed handler ends before the exchange does, and does not
/// see it go.
struct DemoReader {
    feed: Box<dyn Reader<Trade>>,
    _exchange: Exchange,
}

impl Reader<Trade> for DemoReader {
    fn read(&mut self, intake: &mut Intake<Trade>) -> Result<Progress> {
        self.feed.read(intake)
    }
}

/// The demo's alerts as they would be sent.
pub(super) fn alerts_as_json() -> Vec<Vec<u8>> {
    let json = |(product, direction, price, user_id): &(&str, Direction, &str, u64)| {
        let direction = direction.as_str();
        let alert =
            json!({"product": product, "direction": direction, "price": price, "user_id": user_id});
        alert.to_string().into_bytes()
    };
    ALERTS.iter().map(json).collect()
}

/// The demo's alerts, all at the beginning. They are recorded or live as the prices are, so that
/// recorded prices stay recorded.
pub(super) fn alerts(nature: Nature) -> Box<dyn Source<Item = AlertUpdate>> {
    let alerts = ALERTS.iter().filter_map(|(product, direction, price, user_id)| {
        let (product, price): (Product, Decimal) = (product.parse().ok()?, price.parse().ok()?);
        let alert = Alert::once(*direction, price, *user_id);
        let id = alert.default_id();
        Some((Time::ZERO, AlertUpdate { product, id, change: Change::Add(alert) }))
    });
    let alerts = source::memory(vec![alerts.collect()].into());
    Box::new(DemoAlerts { alerts, nature })
}

struct DemoAlerts<S> {
    alerts: S,
    nature: Nature,
}

impl<S: Source<Item = AlertUpdate>> Source for DemoAlerts<S> {
    type Item = AlertUpdate;

    fn describe(&self) -> String {
        format!("the demo's {} alerts", ALERTS.len())
    }

    fn nature(&self) -> Nature {
        self.nature
    }

    fn partitions(&self) -> Result<usize> {
        self.alerts.partitions()
    }

    fn open(&self, index: usize, context: &OpenContext) -> Result<Box<dyn Reader<AlertUpdate>>> {
        self.alerts.open(index, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// None is left out because it cannot be read.
    #[test]
    fn each_alert_is_one() {
        let waker = anabranch::source::Waker::new(|| ());
        let context = OpenContext::new("updates", waker, Default::default());
        let source = alerts(Nature::Live);
        let mut intake = Intake::detached(100, 1 << 20);
        let mut reader = source.open(0, &context).unwrap();
        assert_eq!(reader.read(&mut intake).unwrap(), Progress::End);
        let mut ids: Vec<String> =
            intake.take().into_iter().map(|update| update.unwrap().id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), ALERTS.len());
    }
}
