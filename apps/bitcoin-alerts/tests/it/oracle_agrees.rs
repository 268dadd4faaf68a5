//! The program, in several layouts, against the Python oracle, byte for byte.
//!
//! And the application's decoders and computations by themselves: files are read by the file
//! connector and a plain loop stands for the engine's order, so if only the program differs it is
//! the engine's doing. `ANABRANCH_ORACLE_SEEDS` sets how many recordings are generated
//! (12). Needs `python3`; the real recordings take part where `ANABRANCH_RECORDINGS` names their folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anabranch::Time;
use anabranch::metrics::Counters;
use anabranch::source::{Frame, Inlet, OpenContext, Progress, Waker};
use anabranch_connectors::inlet;
use bitcoin_alerts::{AlertUpdate, Averaging, Price, PriceDecoder, UpdateDecoder};
use rust_decimal::Decimal;

use crate::process::{LAYOUTS, run_recorded, scratch};
use crate::world::World;

enum Content {
    Price(Price),
    Update(AlertUpdate),
    DeadLetter,
}

/// Time, source, partition, offset, place.
type Order = (Time, usize, usize, u64, usize);

fn oracle_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle")
}

fn python(script: &str, arguments: &[String]) -> Vec<u8> {
    let script = oracle_folder().join(script);
    let output = Command::new("python3").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// All records of the partitions of a source, by their order, as the file connector reads them.
fn records(source: usize, paths: &[PathBuf]) -> BTreeMap<Order, Content> {
    let mut all = BTreeMap::new();
    for (partition, path) in paths.iter().enumerate() {
        let inlet = inlet(&format!("file:{}", path.display())).unwrap();
        let (waker, counters) = (Waker::new(|| ()), Counters::default());
        let context = OpenContext::new("test", waker, counters);
        let mut reader = inlet.open(0, &context).unwrap();
        let (mut time, mut decoder) = (Time::ZERO, PriceDecoder::default());
        let mut each = |frame: Frame<'_>| {
            let (own, found) = if source == 0 {
                let (own, prices) = decoder.prices(&frame);
                (own, prices.map(|prices| prices.iter().copied().map(Content::Price).collect()))
            } else {
                let (own, update) = UpdateDecoder::update(frame.bytes);
                (own, update.map(|update| vec![Content::Update(update)]))
            };
            time = time.max(frame.stamp.or(own).unwrap_or(time));
            let found: Vec<Content> = found.unwrap_or_else(|_| vec![Content::DeadLetter]);
            for (place, content) in found.into_iter().enumerate() {
                all.insert((time, source, partition, frame.offset, place), content);
            }
            true
        };
        while reader.read(&mut each).unwrap() != Progress::End {}
    }
    all
}

/// The notifications and the dead letters, as lines.
fn run(averaging: Averaging, prices: &[PathBuf], updates: &[PathBuf]) -> (String, String) {
    let mut all = records(0, prices);
    all.extend(records(1, updates));
    let mut world = World::averaging(averaging);
    let (mut sent, mut dead) = (String::new(), String::new());
    for ((time, source, partition, offset, place), content) in all {
        match content {
            Content::Price(price) => {
                let suffix = if place > 0 { format!(".{place}") } else { String::new() };
                let id = format!("prices-{partition}-{offset}{suffix}");
                if let Some(notification) = world.observe(&price, time, &id) {
                    sent += &serde_json::to_string(&notification).unwrap();
                    sent.push('\n');
                }
            }
            Content::Update(update) => world.update(update),
            Content::DeadLetter => {
                let source = ["prices", "updates"][source];
                dead += &format!(
                    "{{\"source\":\"{source}\",\"partition\":{partition},\"offset\":{offset}}}\n"
                );
            }
        }
    }
    (sent, dead)
}

/// How many notifications there were, all equal. No price is too late: what that is depends on how input is
/// cut into epochs, which the plain loop here does not know.
fn compare(average: &str, prices: &[PathBuf], updates: &[PathBuf], scratch: &Path) -> usize {
    let flags = ["--average", average, "--lateness", "8784h"];
    let averaging = average.parse::<Averaging>().unwrap().lateness(Duration::from_secs(1 << 40));
    let dead_letters = scratch.join("dead-letters");
    let names = |paths: &[PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.to_str().unwrap().to_string()).collect()
    };
    let mut arguments = vec!["--dead-letters".to_string(), dead_letters.to_str().unwrap().into()];
    arguments.extend(flags.map(str::to_string));
    arguments.extend(["--prices".to_string()].into_iter().chain(names(prices)));
    arguments.extend(["--updates".to_string()].into_iter().chain(names(updates)));
    let wanted = String::from_utf8(python("oracle.py", &arguments)).unwrap();
    let (sent, dead) = run(averaging, prices, updates);
    for (mine, oracles) in sent.lines().zip(wanted.lines()) {
        assert_eq!(mine, oracles);
    }
    assert_eq!(sent.len(), wanted.len());
    let wanted_dead = std::fs::read_to_string(dead_letters).unwrap();
    assert_eq!(dead, wanted_dead);
    for layout in LAYOUTS {
        let url = |paths| format!("file:{}", names(paths).join(","));
        let flags = [&flags[..], layout].concat();
        let (sent, dead) = run_recorded(scratch, &url(prices), &url(updates), &flags);
        for (mine, oracles) in sent.lines().zip(wanted.lines()) {
            assert_eq!(mine, oracles, "{flags:?}");
        }
        assert_eq!(sent.len(), wanted.len(), "{flags:?}");
        assert_eq!(dead.lines().map(place).collect::<String>(), wanted_dead, "{flags:?}");
    }
    sent.lines().count()
}

/// The place of a dead letter of the program, as the oracle writes it.
fn place(line: &str) -> String {
    let letter: serde_json::Value = serde_json::from_str(line).unwrap();
    let (source, partition, offset) = (&letter["source"], &letter["partition"], &letter["offset"]);
    format!("{{\"source\":{source},\"partition\":{partition},\"offset\":{offset}}}\n")
}

fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .collect();
    paths.sort();
    paths
}

#[test]
fn on_generated_recordings() {
    let seeds = std::env::var("ANABRANCH_ORACLE_SEEDS").map_or(12, |seeds| seeds.parse().unwrap());
    let mut notifications = 0;
    for seed in 0..seeds {
        let folder = scratch("oracle-generated");
        let out = folder.to_str().unwrap().to_string();
        python("generate.py", &["--seed".into(), seed.to_string(), "--out".into(), out]);
        // A recording is of some minutes, with prices up to three seconds late.
        let average = ["running", "10m", "last:7", "5s", "300ms"][seed % 5];
        let (prices, updates) = (files(&folder, "prices-"), files(&folder, "updates-"));
        notifications += compare(average, &prices, &updates, &folder);
    }
    assert!(notifications > 200, "{notifications} notifications prove little");
}

#[test]
fn on_the_real_recordings() {
    let Some(folder) = std::env::var_os("ANABRANCH_RECORDINGS").map(PathBuf::from) else {
        eprintln!("skipped: ANABRANCH_RECORDINGS does not name the folder of recordings");
        return;
    };
    let scratch = scratch("oracle-recordings");
    let updates = scratch.join("updates-0.jsonl");
    let mut lines = String::new();
    // Product, a price of it, the step of thresholds around it, when the recording begins (in
    // seconds), how many milliseconds between updates.
    for (product, price, step, begins, every) in [
        ("SKL-BTC", "0.00001305", "0.00000001", 1_618_677_817, 300),
        ("SKL-USD", "0.8", "0.0001", 1_618_677_817, 300),
        ("BTC-USD", "25741", "0.25", 1_693_929_601, 25_000),
        ("BTCUSDT", "61837.64", "1.5", 1_723_161_253, 3_000),
    ] {
        let (price, step): (Decimal, Decimal) = (price.parse().unwrap(), step.parse().unwrap());
        for n in 0..100_i64 {
            let threshold = price + step * Decimal::from((n * 37) % 41 - 20);
            let direction = ["above", "below"][usize::try_from(n % 2).unwrap()];
            let op = if n % 5 == 4 { "edit" } else { "add" };
            let time = Time::from_millis(begins * 1000 + n * every);
            lines += &format!(
                "{{\"op\":\"{op}\",\"id\":\"{}\",\"product\":\"{product}\",\"price\":{threshold},\
                 \"user_id\":{n},\"direction\":\"{direction}\",\"time\":\"{time}\"}}\n",
                n % 30
            );
        }
    }
    std::fs::write(&updates, lines).unwrap();
    // In the order of their paths, as the program takes several files.
    let prices: Vec<PathBuf> = ["binance", "btc-usd", "coinbase-exchange"]
        .iter()
        .flat_map(|prefix| files(&folder, prefix))
        .collect();
    assert_eq!(prices.len(), 3);
    for average in ["running", "10m"] {
        let notifications = compare(average, &prices, std::slice::from_ref(&updates), &scratch);
        assert!(notifications > 50, "{average}: {notifications} notifications prove little");
    }
}
