//! Scenarios 8 to 11, 23, 27 and 28: connections that stay and do not bring what they should.

use std::time::Duration;

use anabranch_connectors::coinbase::Limits;
use anabranch_connectors::market::MarketOptions;
use anabranch_exchange::Misbehaviour as M;
use anabranch_exchange::{ExchangeConfig, MarketSource, Speed, Trouble};

use crate::bench::{Bench, PATIENCE, config};

#[test]
fn scenario_08_half_open_silence() {
    let mut config = config(&[M::HalfOpen]);
    config.trouble.lasts = PATIENCE;
    let mut bench = Bench::start(config);
    bench.expect_all();
    bench.expect("connections", 2);
    bench.expect("closed", 1);
}

#[test]
fn scenario_09_heartbeats_but_no_trades() {
    for more in ["", "&dialect=advanced"] {
        let config = config(&[M::HeartbeatsOnly]);
        let mut bench = Bench::start_with(config, Limits::loopback(), more);
        bench.expect_all();
        bench.expect_some("stale");
        bench.expect_some("failovers");
        bench.expect_some("filled_trades");
    }
}

#[test]
fn scenario_10_trades_but_no_heartbeats() {
    let limits = Limits { trades_idle: PATIENCE, ..Limits::loopback() };
    let mut bench = Bench::start_with(config(&[M::NoHeartbeats]), limits, "");
    bench.expect_all();
    bench.feed.until("asking again", |feed| feed.count("resubscribes") >= 2);
    bench.expect("heartbeats", 0);
    bench.expect("connections", 1);
    bench.expect("stale", 0);
}

#[test]
fn scenario_11_heartbeat_ahead_of_the_trades() {
    let mut bench = Bench::misbehaving(&[M::HeartbeatAhead]);
    bench.expect_all();
    bench.expect_some("heartbeats");
}

#[test]
fn scenario_11_heartbeat_of_trade_zero() {
    let mut bench = Bench::misbehaving(&[M::HeartbeatZero]);
    bench.expect_all();
    bench.expect_some("heartbeats");
    bench.expect("pages", 0);
    bench.expect("connections", 1);
}

#[test]
fn scenario_23_slow_consumer_is_disconnected_and_catches_up() {
    let mut config = config(&[M::SlowConsumer]);
    let market = MarketOptions { count: Some(20_000), keys: 1, ..MarketOptions::default() };
    config.market = MarketSource::Generated(market);
    let limits = Limits {
        queue_items_max: 100,
        gap_pages_max: 100,
        waiting_max: 100_000,
        ..Limits::loopback()
    };
    let mut bench = Bench::start_with(config, limits, "");
    // Nothing is read: the feed takes what it may hold and not more, and the exchange gives up.
    let begun = anabranch::clock::instant();
    while bench.exchange.counters().get("slow_consumers").is_none() {
        assert!(begun.elapsed() < PATIENCE, "{:#?}", bench.exchange.counters());
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert!(bench.feed.count("frames") < 2_000, "what nobody reads is not taken either");
    bench.expect_all();
    bench.expect_some("filled_trades");
}

#[test]
fn scenario_27_a_halted_product_is_not_stale() {
    let mut config = config(&[M::HaltedProduct]);
    config.market = MarketSource::Generated(MarketOptions {
        count: Some(1_000),
        keys: 3,
        skew_milli: 0,
        rate: 1_000,
        ..MarketOptions::default()
    });
    config.speed = Speed::Times(1);
    config.history = 0;
    let mut bench = Bench::start(config);
    let halted = *bench.exchange.products().last().unwrap();
    bench.truth.get_mut(&halted).unwrap().retain(|trade| trade.trade_id <= 50);
    // Played by the clock, trades may happen before the feed begins.
    let expected = bench.truth.clone();
    bench.feed.until("the last trades", |feed| {
        let came = |id: u64, product| {
            feed.trades.iter().any(|trade| trade.trade_id == id && trade.product == product)
        };
        expected.iter().all(|(product, trades)| came(trades.last().unwrap().trade_id, *product))
    });
    bench.forget_times();
    for (product, came) in crate::bench::by_product(&bench.feed.trades) {
        let expected = &bench.truth[&product];
        assert_eq!(came[..], expected[expected.len() - came.len()..], "{product}");
    }
    bench.expect("stale", 0);
    bench.expect("connections", 1);
    bench.expect("missing_trades", 0);
    bench.expect("pages", 0);
}

#[test]
fn scenario_28_two_connections_overlap_at_failover() {
    let plain = config(&[M::Overlap]);
    let mut bench = Bench::start(ExchangeConfig {
        market: MarketSource::Generated(MarketOptions {
            count: Some(1_500),
            keys: 2,
            rate: 1_000,
            ..MarketOptions::default()
        }),
        speed: Speed::Times(1),
        trouble: Trouble { after: 20, ..plain.trouble },
        ..plain
    });
    let expected = bench.truth.clone();
    bench.feed.until("the last trades", |feed| {
        let came = |id: u64, product| {
            feed.trades.iter().any(|trade| trade.trade_id == id && trade.product == product)
        };
        expected.iter().all(|(product, trades)| came(trades.last().unwrap().trade_id, *product))
    });
    bench.feed.until("the overlap", |feed| feed.count("duplicates") > 0);
    bench.forget_times();
    for (product, came) in crate::bench::by_product(&bench.feed.trades) {
        let expected = &bench.truth[&product];
        assert_eq!(came[..], expected[expected.len() - came.len()..], "{product}");
    }
    bench.expect_some("failovers");
    bench.expect("missing_trades", 0);
    assert!(bench.exchange.counters()["overlaps"] > 0);
}
