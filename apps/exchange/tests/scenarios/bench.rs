//! A feed handler against a fake exchange on loopback, held to the market's own list.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anabranch::clock;
use anabranch::metrics::Counters;
use anabranch::source::{Intake, OpenContext, Reader, Resume, Source, Waker};
use anabranch_connectors::coinbase::{self, Limits, Product, Trade};
use anabranch_connectors::market::{Market, MarketOptions};
use anabranch_exchange::{
    Exchange, ExchangeConfig, ExchangeLimits, MarketSource, Misbehaviour, Speed, Trouble,
};

/// After which a test gives up: far beyond what any of them takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Trades that happened before the feed begins.
pub(crate) const HISTORY: usize = 20;

/// A market of two products that is over after 1,000 trades, on an exchange that is fast in all.
pub(crate) fn config(misbehave: &[Misbehaviour]) -> ExchangeConfig {
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
pub(crate) fn truth(config: &ExchangeConfig) -> BTreeMap<Product, Vec<Trade>> {
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

pub(crate) fn forget_time(trade: &mut Trade) {
    trade.time = anabranch::Time::ZERO;
}

/// A market of `keys` products that is played by the clock, 1,000 trades a second.
pub(crate) fn played(misbehave: &[Misbehaviour], keys: u32, count: u64) -> ExchangeConfig {
    let market = MarketOptions {
        seed: 7,
        count: Some(count),
        keys,
        skew_milli: 500,
        rate: 1_000,
        ..MarketOptions::default()
    };
    ExchangeConfig {
        market: MarketSource::Generated(market),
        speed: Speed::Times(1),
        ..config(misbehave)
    }
}

pub(crate) fn by_product(trades: &[Trade]) -> BTreeMap<Product, Vec<Trade>> {
    let mut lanes = BTreeMap::<Product, Vec<Trade>>::new();
    for trade in trades {
        lanes.entry(trade.product).or_default().push(*trade);
    }
    lanes
}

/// A feed handler that runs, and what came of it.
pub(crate) struct Feed {
    reader: Box<dyn Reader<Trade>>,
    intake: Intake<Trade>,
    woken: mpsc::Receiver<()>,
    counters: Counters,
    pub(crate) trades: Vec<Trade>,
    /// Dead letters: the reason and the frame.
    pub(crate) refused: Vec<(String, Vec<u8>)>,
    pub(crate) begun: Instant,
}

impl Feed {
    pub(crate) fn open(url: &str, limits: Limits) -> Self {
        Self::resume(url, limits, Resume::default())
    }

    /// Goes on where an earlier one was.
    pub(crate) fn resume(url: &str, limits: Limits, resume: Resume) -> Self {
        let counters = Counters::default();
        let (wake, woken) = mpsc::sync_channel(1);
        let waker = Waker::new(move || {
            // A second call before the first is noticed adds nothing.
            let _ = wake.try_send(());
        });
        let mut context = OpenContext::new("prices", waker, counters.clone());
        context.resume = resume;
        let begun = clock::instant();
        let reader = coinbase::trades(url).unwrap().with_limits(limits).open(0, &context).unwrap();
        let intake = Intake::detached(1_000, 1 << 20);
        Self { reader, intake, woken, counters, trades: Vec::new(), refused: Vec::new(), begun }
    }

    /// What the engine hands back after a crash that comes now.
    pub(crate) fn position(&self) -> Resume {
        let from = (self.trades.len() + self.refused.len()) as u64;
        let position = self.reader.position().unwrap();
        Resume { from, position, folder: None, generation: 2 }
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
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
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
    pub(crate) fn read(&mut self, count: usize) {
        self.until(&format!("{count} trades"), |feed| feed.trades.len() >= count);
        if self.count("heartbeats") > 0 {
            let beats = self.count("heartbeats") + 6;
            self.until("heartbeats", |feed| feed.count("heartbeats") >= beats);
        }
    }

    /// Reads until the last trade of each product has come.
    pub(crate) fn read_to_the_end(&mut self, truth: &BTreeMap<Product, Vec<Trade>>) {
        let mut last: BTreeMap<Product, u64> = BTreeMap::new();
        let mut seen = 0;
        self.until("the last trades", |feed| {
            for trade in feed.trades.iter().skip(seen) {
                last.insert(trade.product, trade.trade_id);
            }
            seen = feed.trades.len();
            truth.iter().all(|(product, trades)| {
                trades.last().is_none_or(|end| last.get(product) == Some(&end.trade_id))
            })
        });
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        self.counters.counter(name).get()
    }

    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        self.counters.snapshot()
    }
}

/// An exchange, and a feed of all its products.
pub(crate) struct Bench {
    pub(crate) exchange: Exchange,
    pub(crate) feed: Feed,
    pub(crate) truth: BTreeMap<Product, Vec<Trade>>,
}

impl Bench {
    pub(crate) fn start(config: ExchangeConfig) -> Self {
        Self::start_with(config, Limits::loopback(), "")
    }

    /// `more` is appended to the feed's URL.
    pub(crate) fn start_with(config: ExchangeConfig, limits: Limits, more: &str) -> Self {
        let truth = truth(&config);
        let exchange = Exchange::start(config).unwrap();
        let feed = Feed::open(&(exchange.feed_url(&[]) + more), limits);
        Self { exchange, feed, truth }
    }

    pub(crate) fn misbehaving(misbehave: &[Misbehaviour]) -> Self {
        Self::start(config(misbehave))
    }

    /// Reads the whole market and compares it with the truth, trade by trade.
    pub(crate) fn expect_all(&mut self) {
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

    /// Reads to the market's end, and compares what came with the end of the truth: a feed that
    /// came in late is complete from there. Gives how many trades came of each product.
    pub(crate) fn expect_from_where_it_came_in(&mut self) -> BTreeMap<Product, usize> {
        self.feed.read_to_the_end(&self.truth);
        self.forget_times();
        let came = by_product(&self.feed.trades);
        for (product, came) in &came {
            let expected = self.truth.get(product).map_or(&[][..], Vec::as_slice);
            assert!(expected.ends_with(came), "{product}: {:#?}", self.feed.counters());
        }
        self.expect("missing_trades", 0);
        came.into_iter().map(|(product, trades)| (product, trades.len())).collect()
    }

    /// The same for a market whose times are not those of the list.
    pub(crate) fn forget_times(&mut self) {
        self.feed.trades.iter_mut().for_each(forget_time);
        self.truth.values_mut().flatten().for_each(forget_time);
    }

    #[track_caller]
    pub(crate) fn expect(&self, counter: &str, count: u64) {
        assert_eq!(self.feed.count(counter), count, "{counter}: {:#?}", self.feed.counters());
    }

    #[track_caller]
    pub(crate) fn expect_some(&self, counter: &str) {
        assert!(self.feed.count(counter) > 0, "{counter}: {:#?}", self.feed.counters());
    }
}
