//! No bytes from outside can do more than be refused: no panic, no deep recursion, nothing kept.
//!
//! Every text of the corpus is used as a whole frame, as a field that nobody reads and as the
//! price, of a price and of an update. After each one the next record is decoded as if it had
//! not been.

use anabranch::source::Frame;
use bitcoin_alerts::{Change, PriceDecoder, UpdateDecoder};

use crate::bad_json_corpus::{FRAGMENTS, FRAMES, Kind, large_fragments};

const GOOD_PRICE: &[u8] = br#"{"type":"match","trade_id":1,"product_id":"BTC-USD","price":"2"}"#;
const GOOD_UPDATE: &[u8] = br#"{"price":"2","user_id":1}"#;

/// How many prices a frame is, or `None` if it is refused; then that the next one is read.
fn prices(decoder: &mut PriceDecoder, bytes: &[u8]) -> Option<usize> {
    let frame = |bytes| Frame::new(0, bytes);
    let found = decoder.prices(&frame(bytes)).1.map(<[_]>::len).ok();
    let next = decoder.prices(&frame(GOOD_PRICE)).1.unwrap();
    assert_eq!((next.len(), next[0].price.to_string().as_str()), (1, "2"));
    found
}

/// Whether an update is taken.
fn is_update(bytes: &[u8]) -> bool {
    let taken = UpdateDecoder::update(bytes).1.is_ok();
    let next = UpdateDecoder::update(GOOD_UPDATE).1.unwrap();
    assert!(matches!(next.change, Change::Add(_)));
    taken
}

fn around(before: &str, fragment: &[u8], after: &str) -> Vec<u8> {
    [before.as_bytes(), fragment, after.as_bytes()].concat()
}

fn corpus() -> Vec<(&'static str, Vec<u8>, Kind)> {
    let small = FRAGMENTS.iter().map(|(name, bytes, kind)| (*name, bytes.to_vec(), *kind));
    small.chain(large_fragments()).collect()
}

#[test]
fn as_a_whole_price() {
    let mut decoder = PriceDecoder::default();
    for (name, bytes, kind) in corpus() {
        let is_object = kind == Kind::Value && bytes.starts_with(b"{");
        let wanted = is_object.then_some(0);
        assert_eq!(prices(&mut decoder, &bytes), wanted, "{name}");
    }
    for (name, bytes) in FRAMES {
        assert_eq!(prices(&mut decoder, bytes), None, "{name}");
    }
}

#[test]
fn as_a_field_that_no_price_reads() {
    let mut decoder = PriceDecoder::default();
    for (name, bytes, kind) in corpus() {
        let wanted = (kind != Kind::Refused).then_some(1);
        for before in
            [r#"{"type":"x","price":"1","more":"#, r#"{"stream":"s","data":{"more":1},"more":"#]
        {
            let is_price = before.contains("price");
            let message = around(before, &bytes, "}");
            let wanted = wanted.map(|count| if is_price { count } else { 0 });
            assert_eq!(prices(&mut decoder, &message), wanted, "{name} behind {before}");
        }
        let message = around(r#"{"more":"#, &bytes, r#","type":"x","price":"1"}"#);
        assert_eq!(prices(&mut decoder, &message), wanted, "{name} in front");
    }
}

#[test]
fn as_the_price_itself() {
    let mut decoder = PriceDecoder::default();
    for (name, bytes, kind) in corpus() {
        let wanted = (kind == Kind::Decimal).then_some(1);
        for (before, after) in [
            (r#"{"type":"x","price":"#, "}"),
            (r#"{"type":"match","product_id":"X","trade_id":1,"price":"#, "}"),
            (r#"{"stream":"s","data":{"e":"trade","s":"X","p":"#, "}}"),
            (
                r#"{"channel":"market_trades","events":[{"type":"update","trades":[{"product_id":"X","trade_id":1,"price":"#,
                "}]}]}",
            ),
        ] {
            let message = around(before, &bytes, after);
            assert_eq!(prices(&mut decoder, &message), wanted, "{name} in {before}");
        }
    }
}

#[test]
fn as_the_other_fields_of_a_price() {
    let mut decoder = PriceDecoder::default();
    for (name, bytes, kind) in corpus() {
        for before in
            [r#"{"price":"1","type":"#, r#"{"channel":"#, r#"{"e":"#, r#"{"stream":"s","data":"#]
        {
            let found = prices(&mut decoder, &around(before, &bytes, "}"));
            // A value may be a kind that nobody knows; what is no JSON is always refused.
            assert!(kind != Kind::Refused || found.is_none(), "{name} in {before}");
        }
        let time = r#"{"type":"match","trade_id":1,"price":"1","product_id":"X","time":"#;
        assert_eq!(prices(&mut decoder, &around(time, &bytes, "}")), None, "{name} as time");
        let trade_id = r#"{"e":"trade","s":"X","p":"1","t":"#;
        let numbers = ["number_zero", "number_twenty_digits", "string_escaped_decimal"];
        let wanted = numbers.contains(&name).then_some(1);
        assert_eq!(prices(&mut decoder, &around(trade_id, &bytes, "}")), wanted, "{name} as id");
    }
}

#[test]
fn as_an_update() {
    for (name, bytes, kind) in corpus() {
        assert!(!is_update(&bytes), "{name}");
        let unread = around(r#"{"price":"1","user_id":1,"more":"#, &bytes, "}");
        assert_eq!(is_update(&unread), kind != Kind::Refused, "{name} unread");
        let price = around(r#"{"user_id":1,"price":"#, &bytes, "}");
        assert_eq!(is_update(&price), kind == Kind::Decimal, "{name} as price");
        for field in ["op", "time", "direction"] {
            let message = around(&format!(r#"{{"price":"1","user_id":1,"{field}":"#), &bytes, "}");
            assert!(!is_update(&message), "{name} as {field}");
        }
    }
    for (name, bytes) in FRAMES {
        assert!(!is_update(bytes), "{name}");
    }
}

#[test]
fn cut_anywhere_and_with_any_byte_changed() {
    let mut decoder = PriceDecoder::default();
    for good in [GOOD_PRICE, GOOD_UPDATE] {
        for length in 0..good.len() {
            assert_eq!(prices(&mut decoder, &good[..length]), None, "cut at {length}");
            assert!(!is_update(&good[..length]), "cut at {length}");
        }
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bytes = good.to_vec();
                bytes[at] = byte;
                // Whatever it means now: no panic, and the next record is read.
                prices(&mut decoder, &bytes);
                is_update(&bytes);
            }
        }
    }
}

#[test]
fn the_corpus_is_as_large_as_it_says() {
    assert!(corpus().len() + FRAMES.len() >= 170);
    let mut names: Vec<&str> = corpus().iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), corpus().len(), "each name once");
}
