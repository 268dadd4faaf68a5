//! No bytes in a file can do more than become a dead letter: one line each, with the reason and
//! the bytes, and the next record is handled.
//!
//! The corpus is that of `bad_json`, without the texts that hold a line end (in a file they are
//! two lines) and the blank ones (in a file they are no record).

use std::collections::BTreeMap;
use std::path::Path;

use anabranch::source::Frame;
use bitcoin_alerts::{PriceDecoder, UpdateDecoder};

use crate::bad_json_corpus::{FRAGMENTS, FRAMES, large_fragments};
use crate::process::{LAYOUTS, run_recorded, scratch};

/// Each text alone, and as the value of `price`.
fn corpus() -> Vec<Vec<u8>> {
    let small = FRAGMENTS.iter().map(|(_, bytes, _)| bytes.to_vec());
    let fragments: Vec<Vec<u8>> =
        small.chain(large_fragments().into_iter().map(|(_, bytes, _)| bytes)).collect();
    let prices = fragments.iter().map(|bytes| {
        [br#"{"type":"x","product_id":"X","product":"X","user_id":1,"price":"#, &bytes[..], b"}"]
            .concat()
    });
    let frames = FRAMES.iter().map(|(_, bytes)| bytes.to_vec());
    let all: Vec<Vec<u8>> = prices.chain(frames).chain(fragments.clone()).collect();
    let one_line = |bytes: &Vec<u8>| {
        !bytes.contains(&b'\n') && !bytes.ends_with(b"\r") && !bytes.trim_ascii().is_empty()
    };
    all.into_iter().filter(one_line).collect()
}

fn time(second: usize) -> String {
    format!("2024-01-01T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// A line of the corpus, a good one, and so on.
fn write(path: &Path, corpus: &[Vec<u8>], good: impl Fn(usize) -> String) -> String {
    let mut file = Vec::new();
    for (at, bytes) in corpus.iter().enumerate() {
        file.extend_from_slice(bytes);
        file.extend_from_slice(format!("\n{}\n", good(at)).as_bytes());
    }
    std::fs::write(path, file).unwrap();
    // Some texts of the corpus look like those of a recorder.
    format!("file:{}?format=lines", path.display())
}

/// What becomes of each line of the corpus: the reason, if it is refused.
fn expected(corpus: &[Vec<u8>], refusal: impl Fn(&[u8]) -> Option<String>) -> Letters {
    let letter = |(at, bytes): (usize, &Vec<u8>)| {
        let reason = refusal(bytes)?;
        Some((2 * at as u64, (reason, bytes.clone())))
    };
    corpus.iter().enumerate().filter_map(letter).collect()
}

/// Reason and bytes by offset.
type Letters = BTreeMap<u64, (String, Vec<u8>)>;

fn letters(lines: &str, source: &str) -> Letters {
    let mut letters = Letters::new();
    for line in lines.lines() {
        let letter: serde_json::Value = serde_json::from_str(line).unwrap();
        if letter["source"] != source {
            continue;
        }
        assert_eq!(letter["partition"], 0);
        let bytes = match (letter["text"].as_str(), letter["hex"].as_str()) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(hex)) => (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect(),
            _ => panic!("{line}"),
        };
        let offset = letter["offset"].as_u64().unwrap();
        assert!(letters.last_key_value().is_none_or(|(last, _)| *last < offset), "in order, once");
        letters.insert(offset, (letter["reason"].as_str().unwrap().to_string(), bytes));
    }
    letters
}

#[test]
fn each_line_is_a_dead_letter_and_the_next_is_handled() {
    let folder = scratch("bad-json");
    let corpus = corpus();
    assert!(corpus.len() > 300, "{}", corpus.len());
    // The n-th good price finds the n-th good update's alert, of its own product.
    let prices = write(&folder.join("prices.jsonl"), &corpus, |at| {
        let time = time(2 * at + 1);
        format!(r#"{{"type":"x","product_id":"P{at}","price":"2","time":"{time}"}}"#)
    });
    let updates = write(&folder.join("updates.jsonl"), &corpus, |at| {
        let time = time(2 * at);
        format!(r#"{{"product":"P{at}","price":"2","user_id":{at},"time":"{time}"}}"#)
    });
    let refused_prices = expected(&corpus, |bytes| {
        let frame = Frame::new(0, bytes);
        PriceDecoder::default().prices(&frame).1.err().map(|error| error.to_string())
    });
    let refused_updates =
        expected(&corpus, |bytes| UpdateDecoder::update(bytes).1.err().map(|e| e.to_string()));
    assert!(refused_prices.len() > 250 && refused_updates.len() > 270);
    let mut first = None;
    for layout in LAYOUTS {
        let (sent, dead) = run_recorded(&folder, &prices, &updates, layout);
        let mut products = Vec::new();
        for line in sent.lines() {
            let sent: serde_json::Value = serde_json::from_str(line).unwrap();
            let product = sent["product"].as_str().unwrap().to_string();
            // Texts that are decimals are prices and alerts of a product of their own.
            if product != "X" {
                assert_eq!(sent["average"], "2");
                products.push(product);
            }
        }
        let all: Vec<String> = (0..corpus.len()).map(|at| format!("P{at}")).collect();
        assert_eq!(products, all, "{layout:?}");
        assert!(letters(&dead, "prices") == refused_prices, "{layout:?}");
        assert!(letters(&dead, "updates") == refused_updates, "{layout:?}");
        let first = first.get_or_insert_with(|| (sent.clone(), dead.clone()));
        assert!(*first == (sent, dead), "{layout:?}");
    }
}
