//! A feed handler against a fake exchange on loopback, held to the market's own list.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anabranch::clock;
use anabranch::metrics::Counters;
use anabranch::source::{Intake, OpenContext, Reader, Source, Waker};
use anabranch_connectors::coinbase::{self, Limits, Product, Trade};
use anabranch_connectors::market::{Market, MarketOptions};
use anabranch_exchange::{
    Exchange, ExchangeConfig, ExchangeLimits, MarketSource, Misbehaviour, Speed, Trouble,
};

/// After which a test gives up: far beyond what any of them takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Trades that happened before the feed begins.
pub const HISTORY: usize = 20;

/// A market of two products that is over after 1,000 trades, on an exchange that is fast in all.
pub fn config(misbehave: &[Misbehaviour]) -> ExchangeConfig {
    let market = MarketOptions {
        seed: 7,
        count: Some(1_000),
        keys: 2,
        skew_milli: 500,
        ..MarketOptions::default()
    };
    ExchangeConfig {
        market: MarketSource::Generated(market),
        speed: Speed::Max,
        history: HISTORY,
        misbehave: misbehave.to_vec(),
        trouble: Trouble { after: 50, times: 1, lasts: Duration::from_millis(200) },
        heartbeat_every: Duration::from_millis(20),
        limits: ExchangeLimits {
            requests_per_second: 160,
            requests_burst: 40,
            // The market keeps step with its subscribers.
            behind_max: 200,
            ..ExchangeLimits::default()
        },
        ..ExchangeConfig::default()
    }
}

/// What happens on the market once the history is over, by product.
pub fn truth(config: &ExchangeConfig) -> BTreeMap<Product, Vec<Trade>> {
    let trades: Vec<Trade> = match &config.market {
        MarketSource::Generated(options) => {
            Market::new(options.clone()).trades().skip(config.history).collect()
        }
        MarketSource::Recorded(recording) => {
            recording.trades.iter().skip(config.history).copied().collect()
        }
    };
    by_product(&trades)
}

pub fn by_product(trades: &[Trade]) -> BTreeMap<Product, Vec<Trade>> {
    let mut lanes = BTreeMap::<Product, Vec<Trade>>::new();
    for trade in trades {
        lanes.entry(trade.product).or_default().push(*trade);
    }
    lanes
}

/// A feed handler that runs, and what came of it.
pub struct Feed {
    reader: Box<dyn Reader<Trade>>,
    intake: Intake<Trade>,
    woken: mpsc::Receiver<()>,
    counters: Counters,
    pub trades: Vec<Trade>,
    /// Dead letters: the reason and the frame.
    pub refused: Vec<(String, Vec<u8>)>,
    pub begun: Instant,
}

impl Feed {
    pub fn open(url: &str, limits: Limits) -> Self {
        let counters = Counters::default();
        let (wake, woken) = mpsc::sync_channel(1);
        let context = OpenContext {
            name: "prices".into(),
            waker: Waker::new(move || drop(wake.try_send(()))),
            counters: counters.clone(),
        };
        let begun = clock::instant();
        let reader = coinbase::trades(url).unwrap().with_limits(limits).open(0, &context).unwrap();
        let intake = Intake::detached(1_000, 1 << 20);
        Self { reader, intake, woken, counters, trades: Vec::new(), refused: Vec::new(), begun }
    }

    /// Reads what is there, or waits a little for it.
    fn step(&mut self) {
        let progress = self.reader.read(&mut self.intake).unwrap();
        for item in self.intake.take() {
            match item {
                Ok(trade) => self.trades.push(trade),
                Err(refused) => self.refused.push(refused),
            }
        }
        if progress == anabranch::source::Progress::Idle {
            let _ = self.woken.recv_timeout(Duration::from_millis(20));
        }
    }

    /// Reads until `done`, within bounds.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let begun = clock::instant();
        while !done(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "{what} did not come about; {} trades, {:#?}",
                self.trades.len(),
                self.counters.snapshot()
            );
            self.step();
        }
    }

    /// Reads `count` trades, and then goes on until some more heartbeats have shown that no other
    /// trade comes.
    pub fn read(&mut self, count: usize) {
        self.until(&format!("{count} trades"), |feed| feed.trades.len() >= count);
        if self.count("heartbeats") > 0 {
            let beats = self.count("heartbeats") + 6;
            self.until("heartbeats", |feed| feed.count("heartbeats") >= beats);
        }
    }

    pub fn count(&self, name: &str) -> u64 {
        self.counters.counter(name).get()
    }

    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.counters.snapshot()
    }
}

/// An exchange, and a feed of all its products.
pub struct Bench {
    pub exchange: Exchange,
    pub feed: Feed,
    pub truth: BTreeMap<Product, Vec<Trade>>,
}

impl Bench {
    pub fn start(config: ExchangeConfig) -> Self {
        Self::start_with(config, Limits::loopback(), "")
    }

    /// `more` is appended to the feed's URL.
    pub fn start_with(config: ExchangeConfig, limits: Limits, more: &str) -> Self {
        let truth = truth(&config);
        let exchange = Exchange::start(config).unwrap();
        let feed = Feed::open(&(exchange.feed_url(&[]) + more), limits);
        Self { exchange, feed, truth }
    }

    pub fn misbehaving(misbehave: &[Misbehaviour]) -> Self {
        Self::start(config(misbehave))
    }

    /// Reads the whole market and compares it with the truth, trade by trade.
    pub fn expect_all(&mut self) {
        let count = self.truth.values().map(Vec::len).sum();
        self.feed.read(count);
        let came = by_product(&self.feed.trades);
        for (product, expected) in &self.truth {
            let came = came.get(product).map_or(&[][..], Vec::as_slice);
            let differs = came.iter().zip(expected).position(|(a, b)| a != b);
            assert!(
                differs.is_none() && came.len() == expected.len(),
                "{product}: {} instead of {}, from {differs:?} on; {:#?}",
                came.len(),
                expected.len(),
                self.feed.counters()
            );
        }
        assert_eq!(self.feed.trades.len(), count);
        self.expect("trades", count as u64);
        self.expect("missing_trades", 0);
        self.expect("gaps", 0);
    }

    /// The same for a market whose times are not those of the list.
    pub fn forget_times(&mut self) {
        let forget = |trade: &mut Trade| trade.time = anabranch::Time::ZERO;
        self.feed.trades.iter_mut().for_each(forget);
        self.truth.values_mut().flatten().for_each(forget);
    }

    #[track_caller]
    pub fn expect(&self, counter: &str, count: u64) {
        assert_eq!(self.feed.count(counter), count, "{counter}: {:#?}", self.feed.counters());
    }

    #[track_caller]
    pub fn expect_some(&self, counter: &str) {
        assert!(self.feed.count(counter) > 0, "{counter}: {:#?}", self.feed.counters());
    }
}
