//! Scenarios 8 to 11, 23, 27 and 28: connections that stay and do not bring what they should.

use std::time::Duration;

use anabranch_connectors::coinbase::Limits;
use anabranch_connectors::market::MarketOptions;
use anabranch_exchange::MarketSource;
use anabranch_exchange::Misbehaviour as M;

use crate::bench::{Bench, PATIENCE, config, played};

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
    while !bench.exchange.counters().contains_key("slow_consumers") {
        assert!(begun.elapsed() < PATIENCE, "{:#?}", bench.exchange.counters());
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert!(bench.feed.count("frames") < 2_000, "what nobody reads is not taken either");
    bench.expect_all();
    bench.expect_some("filled_trades");
}

#[test]
fn scenario_27_a_halted_product_is_not_stale() {
    let mut bench = Bench::start(played(&[M::HaltedProduct], 3, 1_500));
    let halted = *bench.exchange.products().last().unwrap();
    bench.truth.get_mut(&halted).unwrap().retain(|trade| trade.trade_id <= 50);
    let came = bench.expect_from_where_it_came_in();
    assert!(came[&halted] > 0 && came.values().sum::<usize>() > 500, "{came:?}");
    bench.expect("stale", 0);
    bench.expect("connections", 1);
    bench.expect("pages", 0);
}

#[test]
fn scenario_28_two_connections_overlap_at_failover() {
    let mut config = played(&[M::Overlap], 2, 2_000);
    config.trouble.after = 20;
    let mut bench = Bench::start(config);
    bench.feed.until("the overlap", |feed| feed.count("duplicates") > 0);
    bench.expect_from_where_it_came_in();
    bench.expect_some("failovers");
    assert!(bench.exchange.counters()["overlaps"] > 0);
}
