//! Scenarios 12, 13 and 17: trades that the connection loses.

use anabranch_connectors::coinbase::Limits;
use anabranch_connectors::market::MarketOptions;
use anabranch_exchange::Misbehaviour as M;
use anabranch_exchange::{ExchangeConfig, MarketSource, Trouble};

use crate::bench::{Bench, by_product, config};

fn times(times: u32, misbehave: &[M]) -> ExchangeConfig {
    let config = config(misbehave);
    ExchangeConfig { trouble: Trouble { times, ..config.trouble }, ..config }
}

#[test]
fn scenario_12_a_gap_longer_than_1000_trades() {
    let mut config = config(&[M::LongGap]);
    let market = MarketOptions { count: Some(4_000), keys: 1, ..MarketOptions::default() };
    config.market = MarketSource::Generated(market);
    let mut bench = Bench::start(config);
    bench.expect_all();
    bench.expect("filled_trades", 2_500);
    // Pages of 1,000: the gap needs three.
    assert!(bench.feed.count("pages") >= 3);
    bench.expect("connections", 1);
}

#[test]
fn scenario_13_gap_fill_answers_429() {
    let mut bench = Bench::start(times(2, &[M::Fill429]));
    bench.expect_all();
    bench.expect("filled_trades", 10);
    bench.expect("failed_pages", 2);
    bench.expect("throttled", 2);
}

#[test]
fn scenario_13_gap_fill_answers_500() {
    let mut bench = Bench::start(times(2, &[M::Fill500]));
    bench.expect_all();
    bench.expect("filled_trades", 10);
    bench.expect("failed_pages", 2);
}

#[test]
fn scenario_13_gap_fill_is_empty_at_first() {
    let mut bench = Bench::start(times(2, &[M::FillEmpty]));
    bench.expect_all();
    bench.expect("filled_trades", 10);
    bench.expect("failed_pages", 0);
}

#[test]
fn scenario_13_gap_fill_is_slow() {
    let mut bench = Bench::start(times(1, &[M::FillSlow]));
    bench.expect_all();
    bench.expect("filled_trades", 10);
}

#[test]
fn scenario_13_gap_fill_takes_longer_than_it_may() {
    let mut config = times(1, &[M::FillSlow]);
    config.trouble.lasts = crate::bench::PATIENCE;
    let limits =
        Limits { page_timeout: std::time::Duration::from_millis(100), ..Limits::loopback() };
    let mut bench = Bench::start_with(config, limits, "");
    bench.expect_all();
    bench.expect("filled_trades", 10);
    bench.expect("failed_pages", 1);
}

#[test]
fn scenario_13_what_cannot_be_filled_is_counted_and_reported() {
    let mut bench = Bench::start(times(u32::MAX, &[M::FillEmpty]));
    let all: usize = bench.truth.values().map(Vec::len).sum();
    bench.feed.read(all - 10);
    bench.expect("missing_trades", 10);
    let came = by_product(&bench.feed.trades);
    let mut missing = 0;
    for (product, expected) in &bench.truth {
        let came = &came[product];
        assert!(came.is_sorted_by(|a, b| a.trade_id < b.trade_id));
        assert!(came.iter().all(|trade| expected.contains(trade)));
        let lost = (expected.len() - came.len()) as u64;
        bench.expect(&format!("missing_trades.{product}"), lost);
        missing += lost;
    }
    assert_eq!(missing, 10);
}

#[test]
fn scenario_17_a_jump_of_the_sequence_number() {
    let limits = Limits::loopback();
    let mut bench = Bench::start_with(config(&[M::SequenceJump]), limits, "&dialect=advanced");
    bench.expect_all();
    bench.expect("sequence_jumps", 1);
    bench.expect_some("pages");
    bench.expect("connections", 1);
}

#[test]
fn scenario_17_the_sequence_number_begins_again_at_reconnect() {
    let limits = Limits::loopback();
    let mut bench = Bench::start_with(config(&[M::Close1001]), limits, "&dialect=advanced");
    bench.expect_all();
    bench.expect("connections", 2);
    bench.expect("sequence_jumps", 0);
}
