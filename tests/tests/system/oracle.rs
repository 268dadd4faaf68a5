//! `bitcoin-alerts` over recordings, byte for byte as the oracle in Python has it.
//!
//! The oracle (`tests/oracle`) shares no code with the program. Needs `python3`; the real recordings
//! take part where `ANABRANCH_RECORDINGS` names their folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::run::{Running, program};
use crate::support::{Folder, LAYOUTS, assert_same};

pub(crate) fn python(script: &str, arguments: &[String]) -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle").join(script);
    let output = Command::new("python3").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Where a dead letter of the program was, as the oracle writes it: reasons are for people.
fn places(dead_letters: &[u8]) -> String {
    let mut places = String::new();
    for line in dead_letters.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let letter: Value = serde_json::from_slice(line).unwrap();
        let (source, partition, offset) =
            (&letter["source"], &letter["partition"], &letter["offset"]);
        assert!(!letter["reason"].as_str().unwrap().is_empty());
        assert!(letter["text"].is_string() != letter["hex"].is_string());
        let _ = writeln!(
            places,
            "{{\"source\":{source},\"partition\":{partition},\"offset\":{offset}}}"
        );
    }
    places
}

/// How many notifications and dead letters there were, all equal in all layouts.
fn compare(prices: &[PathBuf], updates: &[PathBuf], scratch: &Folder) -> [usize; 2] {
    let names = |paths: &[PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    };
    let mut arguments = vec!["--dead-letters".to_owned(), scratch.name("dead")];
    arguments.extend(["--prices".to_owned()].into_iter().chain(names(prices)));
    arguments.extend(["--updates".to_owned()].into_iter().chain(names(updates)));
    let wanted = python("oracle.py", &arguments);
    let wanted_dead = std::fs::read_to_string(scratch.path("dead")).unwrap();
    let mut letters: Option<Vec<u8>> = None;
    for layout in LAYOUTS {
        let url = |paths: &[PathBuf]| format!("file:{}", names(paths).join(","));
        let outputs = ["notify", "letters"].map(|name| format!("file:{}", scratch.name(name)));
        let flags = ["--prices", &url(prices), "--updates", &url(updates)];
        let sinks = ["--notify", &outputs[0], "--dead-letters", &outputs[1]];
        let arguments = [&flags[..], &sinks, layout].concat();
        Running::start(&mut program("bitcoin-alerts", arguments)).succeeds();
        let sent = std::fs::read(scratch.path("notify")).unwrap();
        assert_same(&format!("notifications, {layout:?}"), &sent, &wanted);
        let dead = std::fs::read(scratch.path("letters")).unwrap();
        let dead_places = places(&dead);
        let what = format!("dead letters, {layout:?}");
        assert_same(&what, dead_places.as_bytes(), wanted_dead.as_bytes());
        // Reasons, times and bytes too are the same everywhere.
        assert_same(&what, &dead, letters.as_deref().unwrap_or(&dead));
        letters = Some(dead);
    }
    [&wanted, wanted_dead.as_bytes()].map(|lines| lines.iter().filter(|b| **b == b'\n').count())
}

pub(crate) fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .collect();
    paths.sort();
    paths
}

#[test]
fn on_generated_recordings() {
    let (mut notifications, mut dead_letters) = (0, 0);
    // Other seeds than those of the application's own test.
    for seed in 100..106 {
        let folder = Folder::new();
        let out = folder.name("recordings");
        let size = ["--frames", "600", "--price-files", "4", "--update-files", "3"];
        let flags = ["--seed".to_owned(), seed.to_string(), "--out".to_owned(), out.clone()];
        python("generate.py", &[&flags[..], &size.map(str::to_owned)].concat());
        let out = Path::new(&out);
        let [sent, dead] = compare(&files(out, "prices-"), &files(out, "updates-"), &folder);
        (notifications, dead_letters) = (notifications + sent, dead_letters + dead);
    }
    assert!(notifications > 200, "{notifications} notifications prove little");
    assert!(dead_letters > 200, "{dead_letters} dead letters prove little");
}

#[test]
fn on_the_real_recordings() {
    let Some(recordings) = std::env::var_os("ANABRANCH_RECORDINGS").map(PathBuf::from) else {
        println!("skipped: ANABRANCH_RECORDINGS does not name the folder of recordings");
        return;
    };
    let folder = Folder::new();
    // Product, a price of it and the step of thresholds around it in units of 10^-places, when
    // its recording begins (in seconds), how many seconds between updates.
    for (index, (product, price, step, places, begins, every)) in [
        ("SKL-BTC", 1_305, 1, 8, 1_618_677_817, 1),
        ("SKL-USD", 8_000, 1, 4, 1_618_677_817, 1),
        ("BTC-USD", 2_574_100, 25, 2, 1_693_929_601, 25),
        ("BTCUSDT", 6_183_764, 150, 2, 1_723_161_253, 3),
    ]
    .into_iter()
    .enumerate()
    {
        let mut lines = String::new();
        for n in 0..150_i64 {
            let threshold = format!("{:0>12}", price + step * ((n * 37) % 41 - 20));
            let (whole, fraction) = threshold.split_at(12 - places);
            let direction = ["above", "below"][usize::from(n % 2 == 1)];
            let op = if n % 5 == 4 { "edit" } else { "add" };
            let (id, seconds) = (n % 40, begins + n * every);
            let time = anabranch::Time::from_millis(seconds * 1000);
            let _ = writeln!(
                lines,
                "{{\"op\":\"{op}\",\"id\":\"{id}\",\"product\":\"{product}\",\
                 \"price\":\"{whole}.{fraction}\",\"user_id\":{n},\"direction\":\"{direction}\",\
                 \"time\":\"{time}\"}}"
            );
        }
        folder.write(&format!("updates-{index}.jsonl"), lines);
    }
    let mut prices: Vec<PathBuf> = ["coinbase-exchange", "btc-usd", "binance"]
        .iter()
        .flat_map(|prefix| files(&recordings, prefix))
        .collect();
    assert_eq!(prices.len(), 3);
    // Partitions are in the order of the files' names.
    prices.sort();
    let updates = files(&folder.path(""), "updates-");
    let [notifications, _] = compare(&prices, &updates, &folder);
    assert!(notifications > 50, "{notifications} notifications prove little");
}
