//! Scenarios 1 to 7, 24 and 25: connections that do not come about, or do not last.

use std::time::Duration;

use anabranch_connectors::coinbase::Limits;
use anabranch_exchange::Misbehaviour as M;
use anabranch_exchange::{Exchange, ExchangeConfig, Trouble};

use crate::bench::{Bench, Feed, by_product, config, forget_time, played, truth};

fn times(times: u32, misbehave: &[M]) -> ExchangeConfig {
    let config = config(misbehave);
    ExchangeConfig { trouble: Trouble { times, ..config.trouble }, ..config }
}

#[test]
fn both_dialects_bring_the_whole_market() {
    for more in ["", "&dialect=advanced"] {
        let mut bench = Bench::start_with(config(&[]), Limits::loopback(), more);
        bench.expect_all();
        bench.expect("connections", 1);
        bench.expect("refused_frames", 0);
        bench.expect("duplicates", 0);
        bench.expect("sequence_jumps", 0);
        bench.expect("pages", 0);
    }
}

#[test]
fn scenario_01_refused() {
    let mut bench = Bench::misbehaving(&[M::Refuse]);
    bench.expect_all();
    bench.expect_some("closed");
    bench.expect("connections", 1);
}

#[test]
fn scenario_01_name_not_found() {
    // A label of more than 63 bytes is no name, so no name server is asked.
    let host = "x".repeat(64);
    let mut feed = Feed::open(&format!("coinbase://{host}.test"), Limits::loopback());
    feed.until("three attempts", |feed| feed.count("closed") >= 3);
    assert_eq!(feed.count("connections"), 0);
    assert!(feed.trades.is_empty());
}

#[test]
fn scenario_02_upgrade_429() {
    let wait = Duration::from_millis(300);
    let limits = Limits { retry_after_max: wait, ..Limits::loopback() };
    let mut bench = Bench::start_with(times(2, &[M::Upgrade429]), limits, "");
    bench.feed.until("a connection", |feed| feed.count("connections") == 1);
    // The exchange said one second; the feed's own limit is less.
    assert!(bench.feed.begun.elapsed() >= 2 * wait, "Retry-After was not obeyed");
    bench.expect_all();
    bench.expect("throttled", 2);
    bench.expect("attempts", 3);
}

#[test]
fn scenario_02_upgrade_503() {
    let mut bench = Bench::start(times(2, &[M::Upgrade503]));
    bench.feed.until("a connection", |feed| feed.count("connections") == 1);
    assert!(bench.feed.begun.elapsed() >= 2 * Limits::loopback().throttled);
    bench.expect_all();
    bench.expect("throttled", 2);
    bench.expect("attempts", 3);
}

#[test]
fn scenario_03_handshake_hangs() {
    let mut config = times(2, &[M::HandshakeHang]);
    config.trouble.lasts = Duration::from_secs(60);
    let mut bench = Bench::start(config);
    bench.expect_all();
    bench.expect("closed", 2);
    bench.expect("connections", 1);
}

#[test]
fn scenario_04_no_answer_to_the_subscribe() {
    let mut bench = Bench::misbehaving(&[M::SubscribeSilence]);
    bench.expect_all();
    bench.expect("connections", 2);
}

#[test]
fn scenario_04_half_an_answer_to_the_subscribe() {
    let mut bench = Bench::start(played(&[M::SubscribeHalf], 2, 2_000));
    let came = bench.expect_from_where_it_came_in();
    assert!(came.values().all(|count| *count > 0), "{came:?}");
    bench.expect("stale", 1);
    bench.expect("connections", 2);
}

#[test]
fn scenario_05_error_frame() {
    let mut bench = Bench::start(times(2, &[M::ErrorFrame]));
    bench.expect_all();
    bench.expect("error_frames", 2);
    bench.expect("connections", 3);
}

#[test]
fn scenario_06_data_before_the_answer() {
    for more in ["", "&dialect=advanced"] {
        let mut bench = Bench::start_with(config(&[M::DataFirst]), Limits::loopback(), more);
        bench.expect_all();
        bench.expect("connections", 1);
        bench.expect("stale", 0);
    }
}

#[test]
fn scenario_07_reset_mid_frame_and_closes() {
    let deaths =
        [M::ResetMidFrame, M::Close1000, M::Close1001, M::Drop1006, M::Close1008, M::Close1009];
    for death in deaths {
        for more in ["", "&dialect=advanced"] {
            let mut bench = Bench::start_with(times(2, &[death]), Limits::loopback(), more);
            bench.expect_all();
            // A reset may come before the second of two subscribes is sent: not all have opened.
            bench.expect("attempts", 3);
            bench.expect("closed", 2);
            bench.expect("refused_frames", 0);
        }
    }
}

#[test]
fn scenario_24_a_reconnect_storm_stays_under_the_limit() {
    let mut config = played(&[M::Storm], 2, 3_000);
    config.trouble.times = 40;
    let (limits, mut truth) = (Limits::loopback(), truth(&config));
    truth.values_mut().flatten().for_each(forget_time);
    let exchange = Exchange::start(config).unwrap();
    let url = exchange.feed_url(&[]);
    let mut feeds: Vec<Feed> = (0..5).map(|_| Feed::open(&url, limits.clone())).collect();
    let begun = feeds[0].begun;
    feeds[0].until("the end of the storm", |_| {
        let calls = exchange.counters();
        let calls = ["attempts", "requests"].map(|name| calls.get(name).copied().unwrap_or(0));
        // Counted before the time is taken, so that no delay of this test can fail it.
        let calls: u64 = calls.iter().sum();
        let intervals = begun.elapsed().as_nanos() / limits.attempts_per.as_nanos() + 1;
        assert!(
            u128::from(calls) <= intervals * limits.attempts_max as u128,
            "{calls} calls in {intervals} intervals"
        );
        calls > 44
    });
    // Each feed is complete from where it came in.
    for feed in &mut feeds {
        feed.read_to_the_end(&truth);
        feed.trades.iter_mut().for_each(forget_time);
        for (product, came) in by_product(&feed.trades) {
            assert!(truth[&product].ends_with(&came));
        }
        assert_eq!(feed.count("missing_trades"), 0);
    }
}

#[test]
fn scenario_25_flapping_does_not_reset_the_back_off() {
    let mut bench = Bench::start(times(6, &[M::Flapping]));
    bench.feed.until("seven connections", |feed| feed.count("connections") == 7);
    // The shortest delays are 5, 10, 20, 40, 80 and 100 ms; had they begun again, the longest
    // ones would be 120 ms together.
    assert!(bench.feed.begun.elapsed() >= Duration::from_millis(255));
    bench.expect_all();
    bench.expect("connections", 7);
}
