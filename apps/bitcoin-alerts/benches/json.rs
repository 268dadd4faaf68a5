//! Which JSON library reads the feed: `serde_json`, `sonic-rs` or `simd-json`.
//!
//! Workload: every frame of the recordings that `ANABRANCH_RECORDINGS` names (else 10,000 generated
//! frames of the same kinds), read once by each library in turn, 15 rounds; the best round counts,
//! in nanoseconds a frame. Each fills a struct of the fields that the price decoder reads; the last
//! line is the decoder itself, with its checks, decimals and times. Then what each library makes of
//! the corpus of bad JSON, as a field that is not read.
//!
//! `cargo bench -p bitcoin-alerts --bench json`

// A measurement ends at the first thing that is not as it should be.
#![allow(clippy::unwrap_used, clippy::expect_used)]

// Its larger texts are not for measuring.
#[allow(dead_code)]
#[path = "../tests/it/bad_json_corpus.rs"]
mod bad_json_corpus;

use std::borrow::Cow;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;

use anabranch::source::Frame;
use bad_json_corpus::{FRAGMENTS, Kind};
use bitcoin_alerts::PriceDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;
use sonic_rs::LazyValue;

/// A struct of the fields that are read, with numbers as they are written.
macro_rules! raw_fields {
    ($name:ident, $field:ty) => {
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct $name<'a> {
            #[serde(borrow, rename = "type")]
            kind: Option<$field>,
            #[serde(borrow)]
            product_id: Option<$field>,
            #[serde(borrow)]
            price: Option<$field>,
            #[serde(borrow)]
            time: Option<$field>,
            #[serde(borrow)]
            trade_id: Option<$field>,
            #[serde(borrow)]
            sequence: Option<$field>,
            #[serde(borrow)]
            channel: Option<$field>,
            #[serde(borrow)]
            timestamp: Option<$field>,
            #[serde(borrow)]
            events: Option<$field>,
            #[serde(borrow)]
            stream: Option<$field>,
            #[serde(borrow)]
            data: Option<$field>,
            #[serde(borrow)]
            e: Option<$field>,
            #[serde(borrow)]
            s: Option<$field>,
            #[serde(borrow)]
            p: Option<$field>,
            #[serde(borrow, rename = "T")]
            trade_time: Option<$field>,
        }
    };
}

raw_fields!(Raw, &'a RawValue);
raw_fields!(Lazy, LazyValue<'a>);

/// `simd-json` has no form for a number as it is written: decimals that are no strings would pass
/// through a binary fraction.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Typed<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    product_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    price: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    trade_id: Option<u64>,
    sequence: Option<u64>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<TypedData<'a>>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct TypedData<'a> {
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
    #[serde(borrow)]
    s: Option<Cow<'a, str>>,
    #[serde(borrow)]
    p: Option<Cow<'a, str>>,
    #[serde(rename = "T")]
    trade_time: Option<u64>,
}

fn by_serde_json(frame: &[u8]) -> bool {
    let text = std::str::from_utf8(frame).ok();
    text.is_some_and(|text| black_box(serde_json::from_str::<Raw<'_>>(text)).is_ok())
}

fn by_sonic_rs(frame: &[u8]) -> bool {
    black_box(sonic_rs::from_slice::<Lazy<'_>>(frame)).is_ok()
}

/// It parses in place, so that it needs a copy of a frame that a transport lends.
fn by_simd_json(frame: &[u8]) -> bool {
    thread_local! {
        static COPY: std::cell::RefCell<(Vec<u8>, simd_json::Buffers)> = std::cell::RefCell::default();
    }
    COPY.with_borrow_mut(|(copy, buffers)| {
        copy.clear();
        copy.extend_from_slice(frame);
        black_box(simd_json::serde::from_slice_with_buffers::<Typed<'_>>(copy, buffers)).is_ok()
    })
}

/// The frames of a recording, without their stamps.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).expect("a recording");
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut text).expect("a recording");
    let lines = text.split(|byte| *byte == b'\n');
    let stamped = lines.filter(|line| line.first().is_some_and(u8::is_ascii_digit));
    stamped
        .filter_map(|line| line.iter().position(|byte| *byte == b'{').map(|at| line[at..].to_vec()))
        .collect()
}

fn generated() -> Vec<Vec<u8>> {
    let time = "2021-04-17T16:43:37.089723Z";
    (0..10_000_u64)
        .map(|n| match n % 4 {
            0 => format!(
                r#"{{"type":"match","trade_id":{n},"maker_order_id":"2a0da34e-61f7-4c36-88e5-c9dd15927b16","taker_order_id":"3c82abaa-c01e-4608-be59-6a1e69742891","side":"sell","size":"985","price":"{n}.00001305","product_id":"SKL-BTC","sequence":177100030,"time":"{time}"}}"#
            ),
            1 => format!(
                r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":{n},"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}}}"#
            ),
            2 => format!(
                r#"{{"stream":"btcusdt@bookTicker","data":{{"u":{n},"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.60520000"}}}}"#
            ),
            _ => format!(
                r#"{{"type":"l2update","product_id":"BTC-USD","changes":[["buy","{n}.5","0.2"]],"time":"{time}"}}"#
            ),
        })
        .map(String::into_bytes)
        .collect()
}

/// The best of the rounds, in nanoseconds a frame.
fn measure(frames: &[Vec<u8>], read: &mut dyn FnMut(&[u8])) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..15 {
        let begun = anabranch::clock::instant();
        frames.iter().for_each(|frame| read(frame));
        best = best.min(begun.elapsed().as_secs_f64());
    }
    best * 1e9 / frames.len() as f64
}

type Library = (&'static str, fn(&[u8]) -> bool);

const LIBRARIES: [Library; 3] =
    [("serde_json", by_serde_json), ("sonic-rs", by_sonic_rs), ("simd-json", by_simd_json)];

fn main() {
    let mut feeds = Vec::new();
    if let Some(folder) = std::env::var_os("ANABRANCH_RECORDINGS") {
        for name in ["coinbase-exchange-2021-04-17.txt.gz", "binance-spot-btcusdt-2024-08-08.gz"] {
            let all = frames(&Path::new(&folder).join(name));
            let is_trade = |frame: &&Vec<u8>| {
                let text = String::from_utf8_lossy(frame);
                text.contains(r#""match""#) || text.contains(r#""e":"trade""#)
            };
            let trades = all.iter().filter(is_trade).cloned().collect();
            feeds.push((format!("{} trades", &name[..7]), trades));
            feeds.push((format!("{} all", &name[..7]), all));
        }
    } else {
        println!("ANABRANCH_RECORDINGS is not set: generated frames instead");
        feeds.push(("generated".into(), generated()));
    }
    for (name, frames) in &feeds {
        let bytes: usize = frames.iter().map(Vec::len).sum();
        println!("{name}: {} frames of {} bytes", frames.len(), bytes / frames.len());
        for (library, read) in LIBRARIES {
            assert!(frames.iter().all(|frame| read(frame)), "{library} refuses a frame");
            let nanos = measure(frames, &mut |frame| {
                black_box(read(frame));
            });
            println!("  {library:<16}{nanos:>8.0} ns a frame");
        }
        let mut decoder = PriceDecoder::default();
        let nanos = measure(frames, &mut |bytes| {
            let frame = Frame::new(0, bytes);
            let _ = black_box(decoder.prices(&frame));
        });
        println!("  {:<16}{nanos:>8.0} ns a frame", "PriceDecoder");
    }
    for (library, read) in LIBRARIES {
        let taken = |fragment: &[u8]| {
            read(&[br#"{"type":"x","more":"#, fragment, br#","price":"1"}"#].concat())
        };
        let wrong = |(_, fragment, kind): &&(&str, &[u8], Kind)| {
            taken(fragment) != (*kind != Kind::Refused)
        };
        let names: Vec<&str> = FRAGMENTS.iter().filter(wrong).map(|(name, ..)| *name).collect();
        println!("{library}: wrong on {} of {} texts {names:?}", names.len(), FRAGMENTS.len());
    }
}
