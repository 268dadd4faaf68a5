//! Scenarios 14 to 16 and 18 to 22: frames that are not as they should be.

use anabranch_connectors::coinbase::Limits;
use anabranch_exchange::Misbehaviour as M;

use crate::bench::{Bench, config};

#[test]
fn scenario_14_duplicates() {
    // Also from last_match and pages: the connection breaks once, and pages overlap.
    let mut bench = Bench::misbehaving(&[M::Duplicates, M::Drop1006]);
    bench.expect_all();
    bench.expect("connections", 2);
    assert!(bench.feed.count("duplicates") >= 900);
}

#[test]
fn scenario_14_duplicates_from_a_snapshot() {
    let limits = Limits::loopback();
    let mut bench = Bench::start_with(config(&[M::Drop1006]), limits, "&dialect=advanced");
    bench.expect_all();
    bench.expect("connections", 2);
    bench.expect_some("duplicates");
}

#[test]
fn scenario_15_newest_first() {
    for more in ["", "&dialect=advanced"] {
        let mut bench = Bench::start_with(config(&[M::NewestFirst]), Limits::loopback(), more);
        bench.expect_all();
        bench.expect("connections", 1);
        bench.expect("duplicates", 0);
    }
}

#[test]
fn scenario_16_a_late_trade() {
    let mut bench = Bench::misbehaving(&[M::LateTrade]);
    bench.expect_all();
    bench.expect("connections", 1);
    bench.expect_some("gaps_closed");
}

#[test]
fn scenario_18_unknown_types_and_fields_and_missing_ones() {
    let mut bench = Bench::misbehaving(&[M::Unknown]);
    bench.expect_all();
    bench.expect_some("unknown_types");
    bench.expect("connections", 1);
    let reasons: Vec<&str> = bench.feed.refused.iter().map(|(reason, _)| reason.as_str()).collect();
    for lacks in ["`trade_id`", "`product_id`", "`last_trade_id`"] {
        assert!(reasons.contains(&format!("it has no {lacks}").as_str()), "{lacks}: {reasons:?}");
    }
    bench.expect("refused_frames", reasons.len() as u64);
}

#[test]
fn scenario_19_bad_json_bad_utf8_binary_and_empty_frames() {
    let mut bench = Bench::misbehaving(&[M::Garbage]);
    bench.expect_all();
    // Bad UTF-8 ends the connection, as RFC 6455 asks for.
    bench.expect("connections", 2);
    bench.expect("refused_frames", bench.feed.refused.len() as u64);
    let frames: Vec<&[u8]> = bench.feed.refused.iter().map(|(_, frame)| frame.as_slice()).collect();
    for garbage in [&br#"{"type":"match","trade_id":"#[..], &[0xff, 0x00, 0xfe], b""] {
        assert!(frames.contains(&garbage), "a dead letter with exactly {garbage:?}");
    }
}

#[test]
fn scenario_20_big_frames_fragments_and_pings_between() {
    let mut bench = Bench::misbehaving(&[M::BigFrames]);
    bench.expect_all();
    bench.expect("connections", 1);
    bench.expect("unknown_types", 1);
    bench.expect("refused_frames", 0);
}

#[test]
fn scenario_20_an_oversized_frame_ends_its_connection_only() {
    let mut bench = Bench::misbehaving(&[M::OversizedFrame]);
    bench.expect_all();
    bench.expect("oversized_frames", 1);
    bench.expect("connections", 2);
}

#[test]
fn scenario_21_ids_as_text_and_numbers_in_all_forms() {
    let mut bench = Bench::misbehaving(&[M::OddNumbers]);
    bench.expect_all();
    bench.expect("refused_frames", 0);
    bench.expect("pages", 0);
}

#[test]
fn scenario_22_times_that_are_skewed_or_go_back() {
    let mut bench = Bench::misbehaving(&[M::OddTimes]);
    let count = bench.truth.values().map(Vec::len).sum();
    bench.feed.read(count);
    let went_back = !bench.feed.trades.is_sorted_by_key(|trade| trade.time);
    assert!(went_back, "the exchange's times were odd");
    bench.forget_times();
    bench.expect_all();
    bench.expect("refused_frames", 0);
}
