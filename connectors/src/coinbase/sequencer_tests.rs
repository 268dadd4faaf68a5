//! The sequencer against an oracle: the market's own list of trades.
//!
//! Time is a number here: nothing sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::market::{self, SplitMix64};

const STEP: Duration = Duration::from_millis(1);

fn market(products: u32, count: u64) -> Vec<Trade> {
    market::parse(&format!("gen:?seed=3&keys={products}&count={count}&skew=0.5"))
        .unwrap()
        .trades()
        .collect()
}

/// The exchange's history: pages, newest first, of what happened so far.
fn history(happened: &[Trade], fetch: Fetch, page_trades: usize) -> Page {
    let after = fetch.after.unwrap_or(u64::MAX);
    let mut trades: Vec<Trade> = happened
        .iter()
        .filter(|trade| trade.product == fetch.product && trade.trade_id < after)
        .copied()
        .collect();
    trades.sort_by_key(|trade| std::cmp::Reverse(trade.trade_id));
    trades.truncate(page_trades);
    let next = trades.last().map(|trade| trade.trade_id);
    Page { trades, next }
}

struct Bench {
    sequencer: Sequencer,
    now: Duration,
    released: Vec<Trade>,
    missing: Vec<Missing>,
}

impl Bench {
    fn new(products: u32, limits: Limits) -> Self {
        let market = market::parse(&format!("gen:?keys={products}")).unwrap();
        let sequencer = Sequencer::new(market.products(), limits);
        Self { sequencer, now: Duration::ZERO, released: Vec::new(), missing: Vec::new() }
    }

    fn trade(&mut self, trade: Trade) -> bool {
        let new = self.sequencer.trade(trade, self.now);
        self.drain();
        new
    }

    fn drain(&mut self) {
        self.released.extend(std::iter::from_fn(|| self.sequencer.pop()));
        self.missing.extend(self.sequencer.take_missing());
    }

    /// Answers what is asked for until nothing is, as time goes on.
    fn settle(&mut self, answer: &mut dyn FnMut(Fetch) -> Option<Page>) {
        for _ in 0..100_000 {
            for fetch in self.sequencer.poll(self.now) {
                match answer(fetch) {
                    Some(page) => self.sequencer.page(fetch, page, self.now),
                    None => self.sequencer.page_failed(fetch, None, self.now),
                }
            }
            self.drain();
            match self.sequencer.deadline() {
                None => return,
                Some(deadline) => self.now = deadline.max(self.now + STEP),
            }
        }
        panic!("gaps stay open for ever");
    }

    fn ids(&self) -> Vec<u64> {
        self.released.iter().map(|trade| trade.trade_id).collect()
    }
}

fn ids(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn duplicates_are_dropped_and_late_ones_wait_for_no_one() {
    let market = market(1, 10);
    let mut bench = Bench::new(1, Limits::default());
    for at in [0, 1, 1, 0, 3, 4, 3, 2, 2, 5] {
        bench.trade(market[at]);
    }
    assert_eq!(bench.released, market[..6]);
    assert_eq!(bench.sequencer.counts().duplicates, 4);
    assert_eq!(bench.sequencer.counts().gaps_closed, 1);
    assert_eq!(bench.sequencer.deadline(), None);
}

#[test]
fn the_first_old_trade_is_a_baseline_and_later_ones_show_what_was_missed() {
    let market = market(1, 100);
    let mut bench = Bench::new(1, Limits::default());
    bench.sequencer.old_trades(&market[0..10], bench.now);
    bench.trade(market[10]);
    assert_eq!(bench.ids(), ids(11..=11));
    // After a reconnect: 12 to 20 were missed, the last is repeated as an old one.
    bench.sequencer.old_trades(&market[19..20], bench.now);
    bench.settle(&mut |fetch| Some(history(&market[..20], fetch, 1000)));
    assert_eq!(bench.ids(), ids(11..=20));
    assert!(!bench.trade(market[5]));
    // The trade that was repeated is the feed's, eight came from the history.
    assert_eq!(bench.sequencer.counts().filled, 8);
}

#[test]
fn a_gap_of_thousands_is_filled_page_by_page() {
    let market = market(1, 12_345);
    let mut bench = Bench::new(1, Limits::default());
    bench.trade(market[0]);
    bench.trade(market[12_344]);
    let mut pages = 0;
    bench.settle(&mut |fetch| {
        pages += 1;
        Some(history(&market, fetch, 1000))
    });
    assert_eq!(bench.released, market);
    assert_eq!(pages, 13);
    assert_eq!(bench.missing, []);
}

#[test]
fn what_the_history_does_not_have_is_reported_once() {
    let market = market(1, 20);
    let mut bench = Bench::new(1, Limits::default());
    bench.trade(market[0]);
    bench.trade(market[10]);
    bench.trade(market[11]);
    bench.settle(&mut |_| Some(Page::default()));
    assert_eq!(bench.ids(), [1, 11, 12]);
    let product = market[0].product;
    assert_eq!(bench.missing, [Missing { product, from: 2, to: 10 }]);
    assert!(!bench.trade(market[4]));
    let counts = bench.sequencer.counts();
    assert_eq!((counts.gaps, counts.missing, counts.late, counts.duplicates), (1, 9, 1, 0));
}

#[test]
fn a_history_that_fails_is_asked_again_and_given_up_in_bounded_time() {
    let market = market(1, 20);
    let mut bench = Bench::new(1, Limits::default());
    bench.trade(market[0]);
    bench.trade(market[10]);
    let mut asked = 0;
    bench.settle(&mut |fetch| {
        asked += 1;
        (asked > 3).then(|| history(&market[..11], fetch, 1000))
    });
    assert_eq!(bench.ids(), ids(1..=11));
    bench.trade(market[15]);
    let before = bench.now;
    bench.settle(&mut |_| None);
    assert_eq!(bench.missing.len(), 1);
    assert!(bench.now - before <= Limits::default().gap_deadline);
}

#[test]
fn a_request_to_wait_is_obeyed_and_is_no_failed_attempt() {
    let market = market(1, 20);
    let mut bench = Bench::new(1, Limits::default());
    bench.trade(market[0]);
    bench.trade(market[10]);
    for _ in 0..6 {
        bench.now = bench.sequencer.deadline().unwrap().max(bench.now);
        let fetch = bench.sequencer.poll(bench.now).pop().unwrap();
        let wait = Duration::from_secs(7);
        bench.sequencer.page_failed(fetch, Some(wait), bench.now);
        assert!(bench.sequencer.deadline().unwrap() >= bench.now + wait);
    }
    bench.settle(&mut |fetch| Some(history(&market[..11], fetch, 1000)));
    assert_eq!(bench.ids(), ids(1..=11));
}

#[test]
fn heartbeats_tell_of_trades_but_are_not_believed_blindly() {
    let market = market(1, 20);
    let mut bench = Bench::new(1, Limits::default());
    bench.trade(market[0]);
    bench.sequencer.hint(market[0].product, 0, bench.now);
    assert_eq!(bench.sequencer.deadline(), None);
    bench.sequencer.hint(market[0].product, 5, bench.now);
    bench.settle(&mut |fetch| Some(history(&market[..5], fetch, 1000)));
    assert_eq!(bench.ids(), ids(1..=5));
    // A trade that does not exist: no trade is passed over for it, and it is not asked for again.
    bench.sequencer.hint(market[0].product, u64::MAX, bench.now);
    bench.settle(&mut |fetch| Some(history(&market[..5], fetch, 1000)));
    bench.sequencer.hint(market[0].product, u64::MAX, bench.now);
    assert_eq!(bench.sequencer.deadline(), None);
    bench.trade(market[5]);
    assert_eq!(bench.ids(), ids(1..=6));
    assert_eq!(bench.sequencer.counts().hints_refuted, 1);
    assert_eq!(bench.missing, []);
}

#[test]
fn an_id_that_cannot_be_does_not_silence_the_product() {
    let market = market(1, 20);
    let mut bench = Bench::new(1, Limits::default());
    bench.trade(market[0]);
    bench.trade(Trade { trade_id: 1 << 60, ..market[1] });
    bench.settle(&mut |fetch| Some(history(&market[..1], fetch, 1000)));
    bench.trade(market[1]);
    assert_eq!(bench.ids(), [1, 2]);
    assert_eq!(bench.sequencer.counts().outliers, 1);
    assert_eq!(bench.missing, []);
}

#[test]
fn a_loss_of_unknown_extent_is_looked_for() {
    let market = market(2, 400);
    let mut bench = Bench::new(2, Limits::default());
    for trade in &market[..100] {
        bench.trade(*trade);
    }
    bench.sequencer.lost(bench.now);
    bench.settle(&mut |fetch| Some(history(&market[..300], fetch, 10)));
    let mut released = bench.released.clone();
    released.sort_by_key(|trade| trade.time);
    assert_eq!(released, market[..300]);
    assert_eq!(bench.missing, []);
}

#[test]
fn what_waits_is_bounded() {
    let market = market(1, 1_000);
    let limits = Limits { waiting_max: 50, ..Limits::default() };
    let mut bench = Bench::new(1, limits);
    bench.trade(market[0]);
    for trade in &market[10..59] {
        bench.trade(*trade);
    }
    assert_eq!(bench.ids(), [1], "49 wait");
    bench.trade(market[59]);
    assert_eq!(bench.ids()[1..], ids(11..=60), "the fiftieth gives up the gap");
    assert_eq!(bench.sequencer.counts().missing, 9);
    // A page does not get around the bound either.
    bench.trade(market[500]);
    bench.settle(&mut |fetch| Some(history(&market, fetch, 1000)));
    let counts = bench.sequencer.counts();
    assert_eq!(counts.trades + counts.missing, 501);
}

#[test]
fn others_products_are_counted_and_dropped() {
    let market = market(3, 100);
    let mut bench = Bench::new(1, Limits::default());
    for trade in &market {
        bench.trade(*trade);
    }
    assert!(bench.released.iter().all(|trade| trade.product == market::parse("gen:").unwrap().products().next().unwrap()));
    let released = bench.released.len() as u64;
    assert!(released > 0);
    assert_eq!(bench.sequencer.counts().unknown_products, 100 - released);
}

/// What the connection does to each trade.
#[derive(Clone, Debug)]
struct Weather {
    seed: u64,
    lost_percent: u64,
    twice_percent: u64,
    late_percent: u64,
    history_fails_percent: u64,
    old_percent: u64,
}

fn weather() -> impl Strategy<Value = Weather> {
    (any::<u64>(), 0..60_u64, 0..40_u64, 0..40_u64, 0..50_u64, 0..10_u64).prop_map(
        |(seed, lost_percent, twice_percent, late_percent, history_fails_percent, old_percent)| {
            Weather {
                seed,
                lost_percent,
                twice_percent,
                late_percent,
                history_fails_percent,
                old_percent,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is lost, repeated or late: each trade is released once and in order, or reported
    /// as missing, and never both.
    #[test]
    fn every_trade_is_released_once_or_reported(weather in weather(), reliable in any::<bool>()) {
        let market = market(3, 600);
        let mut random = SplitMix64::new(weather.seed);
        let mut bench = Bench::new(3, Limits::default());
        for product in market.iter().map(|trade| trade.product).collect::<BTreeSet<_>>() {
            // The exchange repeats the trade before the first.
            let old = Trade { trade_id: 0, product, ..market[0] };
            bench.sequencer.old_trades(&[old], bench.now);
        }
        let mut held: Vec<(usize, Trade)> = Vec::new();
        for (at, trade) in market.iter().enumerate() {
            bench.now += STEP;
            let mut percent = |of: u64| random.below(100) < of;
            if percent(weather.late_percent) {
                held.push((at + 1 + usize::try_from(random.below(80)).unwrap(), *trade));
            } else if !percent(weather.lost_percent) {
                bench.trade(*trade);
                if percent(weather.twice_percent) {
                    bench.trade(*trade);
                }
            } else if percent(weather.old_percent) {
                bench.sequencer.old_trades(&[*trade], bench.now);
            }
            for (_, late) in held.extract_if(.., |(due, _)| *due <= at) {
                bench.sequencer.trade(late, bench.now);
            }
            for fetch in bench.sequencer.poll(bench.now) {
                if reliable || random.below(100) >= weather.history_fails_percent {
                    let page = history(&market[..=at], fetch, 50);
                    bench.sequencer.page(fetch, page, bench.now);
                } else {
                    bench.sequencer.page_failed(fetch, None, bench.now);
                }
            }
            bench.drain();
        }
        let newest: BTreeMap<Product, u64> =
            market.iter().map(|trade| (trade.product, trade.trade_id)).collect();
        for (product, trade_id) in &newest {
            bench.sequencer.hint(*product, *trade_id, bench.now);
        }
        bench.settle(&mut |fetch| {
            (reliable || random.below(100) >= weather.history_fails_percent)
                .then(|| history(&market, fetch, 50))
        });

        let of = |product| market.iter().filter(move |trade| trade.product == product);
        for product in newest.into_keys() {
            let released: Vec<Trade> =
                bench.released.iter().filter(|trade| trade.product == product).copied().collect();
            prop_assert!(released.is_sorted_by(|a, b| a.trade_id < b.trade_id));
            let missing: BTreeSet<u64> = bench.missing.iter()
                .filter(|missing| missing.product == product)
                .flat_map(|missing| missing.from..=missing.to)
                .collect();
            let last = released.last().map_or(0, |trade| trade.trade_id);
            let expected: Vec<Trade> = of(product)
                .filter(|trade| trade.trade_id <= last && !missing.contains(&trade.trade_id))
                .copied()
                .collect();
            prop_assert_eq!(&released, &expected);
            if reliable {
                prop_assert_eq!(released.len(), of(product).count());
            }
        }
        let counts = bench.sequencer.counts();
        prop_assert_eq!(counts.trades, bench.released.len() as u64);
        let missing: u64 = bench.missing.iter().map(|m| m.to - m.from + 1).sum();
        prop_assert_eq!(counts.missing, missing);
        prop_assert_eq!(counts.gaps, bench.missing.len() as u64);
    }
}
