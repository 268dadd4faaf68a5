//! The application's decoders and computations against the Python oracle, byte for byte.
//!
//! Here a plain loop stands for the engine, so what differs is the application's doing. Needs
//! `python3`; the real recordings take part where `ANABRANCH_RECORDINGS` names their folder.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anabranch::Time;
use anabranch::source::Frame;
use bitcoin_alerts::{AlertUpdate, Price, PriceDecoder, UpdateDecoder};
use rust_decimal::Decimal;

use crate::world::World;

enum Content {
    Price(Price),
    Update(AlertUpdate),
    DeadLetter,
}

/// Time, source, partition, offset, place.
type Order = (Time, usize, usize, usize, usize);

fn oracle_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle")
}

fn python(script: &str, arguments: &[String]) -> Vec<u8> {
    let script = oracle_folder().join(script);
    let output = Command::new("python3").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn read(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut unpacked = Vec::new();
        flate2::read::MultiGzDecoder::new(&*bytes).read_to_end(&mut unpacked).unwrap();
        return unpacked;
    }
    bytes
}

/// The stamp of a recorded line, and its frame: `<seconds>: <frame>` or `<nanoseconds> <frame>`.
fn stamp(line: &[u8]) -> Option<(Time, &[u8])> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (stamp, frame) = (std::str::from_utf8(&line[..space]).ok()?, &line[space + 1..]);
    let nanos = match stamp.strip_suffix(':') {
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            format!("{whole}{fraction:0<9}").parse().ok()?
        }
        None if stamp.len() >= 16 => stamp.parse().ok()?,
        None => return None,
    };
    Some((Time::from_nanos(nanos), frame))
}

/// All records of the partitions of a source, by their order.
fn records(source: usize, paths: &[PathBuf]) -> BTreeMap<Order, Content> {
    let mut all = BTreeMap::new();
    for (partition, path) in paths.iter().enumerate() {
        let bytes = read(path);
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let columns: Option<Vec<String>> = path.to_str().unwrap().contains(".csv").then(|| {
            let header = std::str::from_utf8(lines.next().unwrap()).unwrap();
            header.split(',').map(|name| name.trim_matches('"').to_string()).collect()
        });
        let recording = bytes.starts_with(b"wss:") || stamp(&bytes[..40]).is_some();
        let (mut time, mut decoder) = (Time::ZERO, PriceDecoder::default());
        let frames = lines.filter_map(|line| match stamp(line).filter(|_| recording) {
            Some((stamp, frame)) => Some((Some(stamp), frame)),
            None => (!line.starts_with(b"wss:")).then_some((None, line)),
        });
        for (offset, (stamp, bytes)) in frames.enumerate() {
            let frame = Frame { offset: 0, stamp, columns: columns.as_deref(), bytes };
            let (own, found) = if source == 0 {
                let (own, prices) = decoder.prices(&frame);
                (own, prices.map(|prices| prices.iter().copied().map(Content::Price).collect()))
            } else {
                let (own, update) = UpdateDecoder::update(bytes);
                (own, update.map(|update| vec![Content::Update(update)]))
            };
            time = time.max(stamp.or(own).unwrap_or(time));
            let found: Vec<Content> = found.unwrap_or_else(|_| vec![Content::DeadLetter]);
            for (place, content) in found.into_iter().enumerate() {
                all.insert((time, source, partition, offset, place), content);
            }
        }
    }
    all
}

/// The notifications and the dead letters, as lines.
fn run(prices: &[PathBuf], updates: &[PathBuf]) -> (String, String) {
    let mut all = records(0, prices);
    all.extend(records(1, updates));
    let (mut world, mut sent, mut dead) = (World::new(), String::new(), String::new());
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

/// How many notifications there were, all equal.
fn compare(prices: &[PathBuf], updates: &[PathBuf], scratch: &Path) -> usize {
    let dead_letters = scratch.join("dead-letters");
    let names = |paths: &[PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.to_str().unwrap().to_string()).collect()
    };
    let mut arguments = vec!["--dead-letters".to_string(), dead_letters.to_str().unwrap().into()];
    arguments.extend(["--prices".to_string()].into_iter().chain(names(prices)));
    arguments.extend(["--updates".to_string()].into_iter().chain(names(updates)));
    let wanted = String::from_utf8(python("oracle.py", &arguments)).unwrap();
    let (sent, dead) = run(prices, updates);
    for (mine, oracles) in sent.lines().zip(wanted.lines()) {
        assert_eq!(mine, oracles);
    }
    assert_eq!(sent.len(), wanted.len());
    assert_eq!(dead, std::fs::read_to_string(dead_letters).unwrap());
    sent.lines().count()
}

fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .collect();
    paths.sort();
    paths
}

/// A folder of this test, empty.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn on_generated_recordings() {
    let mut notifications = 0;
    for seed in 0..12 {
        let folder = scratch(&format!("oracle-{seed}"));
        let out = folder.to_str().unwrap().to_string();
        python("generate.py", &["--seed".into(), seed.to_string(), "--out".into(), out]);
        notifications += compare(&files(&folder, "prices-"), &files(&folder, "updates-"), &folder);
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
    let prices: Vec<PathBuf> = ["coinbase-exchange", "btc-usd", "binance"]
        .iter()
        .flat_map(|prefix| files(&folder, prefix))
        .collect();
    assert_eq!(prices.len(), 3);
    let notifications = compare(&prices, &[updates], &scratch);
    assert!(notifications > 50, "{notifications} notifications prove little");
}
