//! Scenario 26: a crash, whenever it comes: before, in or after a gap fill.

use std::collections::BTreeMap;

use anabranch_connectors::coinbase::{Limits, Trade};
use anabranch_exchange::Misbehaviour as M;
use anabranch_exchange::{Exchange, Trouble};

use crate::bench::{Feed, by_product, config, truth};

/// All trades of the market, each once and in order, of what several starts brought.
#[track_caller]
fn expect_all(
    trades: &[Trade],
    truth: &BTreeMap<anabranch_connectors::coinbase::Product, Vec<Trade>>,
) {
    assert_eq!(&by_product(trades), truth);
}

#[test]
fn scenario_26_a_crash_between_gap_fill_and_checkpoint() {
    let mut config = config(&[M::Gap]);
    config.trouble = Trouble { times: 2, ..config.trouble };
    let truth = truth(&config);
    let all: usize = truth.values().map(Vec::len).sum();
    let exchange = Exchange::start(config).unwrap();
    let url = exchange.feed_url(&[]);
    let mut feed = Feed::open(&url, Limits::loopback());
    feed.until("some trades", |feed| feed.trades.len() >= 30);
    // The checkpoint is before the gap, the crash after it was filled.
    let (checkpoint, kept) = (feed.position(), feed.trades.clone());
    feed.until("the gap is filled", |feed| feed.count("filled_trades") >= 10);
    let until = feed.trades.len() + 5;
    feed.until("trades after it", |feed| feed.trades.len() >= until);
    let lost = feed.trades[kept.len()..].to_vec();
    drop(feed);
    let mut feed = Feed::resume(&url, Limits::loopback(), checkpoint);
    feed.read(all - kept.len());
    assert_eq!(feed.count("missing_trades"), 0);
    let again = by_product(&feed.trades);
    for (product, lost) in by_product(&lost) {
        assert_eq!(again[&product][..lost.len()], lost[..], "the same trades come again");
    }
    expect_all(&[kept, feed.trades].concat(), &truth);
}

#[test]
fn scenario_26_crashes_all_the_time() {
    for more in ["", "&dialect=advanced"] {
        let config = config(&[M::Duplicates]);
        let truth = truth(&config);
        let all: usize = truth.values().map(Vec::len).sum();
        let exchange = Exchange::start(config).unwrap();
        let url = exchange.feed_url(&[]) + more;
        let mut trades = Vec::new();
        let mut resume = anabranch::source::Resume::default();
        while trades.len() < all {
            let mut feed = Feed::resume(&url, Limits::loopback(), resume.clone());
            let wanted = (trades.len() + 150).min(all) - trades.len();
            feed.until("some trades", |feed| feed.trades.len() >= wanted);
            let from = resume.from;
            resume = feed.position();
            resume.from += from;
            assert_eq!(feed.count("missing_trades"), 0);
            trades.append(&mut feed.trades);
        }
        expect_all(&trades, &truth);
    }
}

#[test]
fn scenario_26_what_happens_while_nobody_is_there_is_filled_without_a_further_trade() {
    // After the market's end only heartbeats, and pages of its history, tell of what was missed.
    let config = config(&[]);
    let truth = truth(&config);
    let all: usize = truth.values().map(Vec::len).sum();
    let exchange = Exchange::start(config).unwrap();
    let url = exchange.feed_url(&[]);
    let mut feed = Feed::open(&url, Limits::loopback());
    feed.until("some trades", |feed| feed.trades.len() >= 30);
    let (checkpoint, kept) = (feed.position(), feed.trades.clone());
    feed.read(all);
    drop(feed);
    let mut feed = Feed::resume(&url, Limits::loopback(), checkpoint);
    feed.read(all - kept.len());
    assert_eq!(feed.count("missing_trades"), 0);
    expect_all(&[kept, feed.trades].concat(), &truth);
}

#[test]
fn a_position_of_something_else_is_an_error_that_says_so() {
    let mut context = anabranch::source::OpenContext::new(
        "prices",
        anabranch::source::Waker::new(|| ()),
        Default::default(),
    );
    context.resume.position = vec![1, 2, 3];
    let feed = anabranch_connectors::coinbase::trades("coinbase:").unwrap();
    let error = anabranch::source::Source::open(&feed, 0, &context).err().unwrap().to_string();
    assert!(error.contains("`prices`") && error.contains("position"), "{error}");
}
