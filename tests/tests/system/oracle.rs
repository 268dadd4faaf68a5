//! `bitcoin-alerts` over recordings, byte for byte as the oracle in Python has it.
//!
//! Averages are over ten minutes, the default, over all prices, and over the last so many.
//!
//! The oracle (`tests/oracle`) shares no code with the program. Needs `python3`; the real recordings
//! take part where `ANABRANCH_RECORDINGS` names their folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::run::{Running, program};
use crate::support::{Dice, Folder, LAYOUTS, assert_same};

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

/// How many notifications, dead letters and late prices there were, all equal in all layouts.
fn compare(
    average: [&str; 2],
    prices: &[PathBuf],
    updates: &[PathBuf],
    scratch: &Folder,
) -> [usize; 3] {
    let average = ["--average", average[0], "--lateness", average[1]];
    let names = |paths: &[PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    };
    let mut arguments = average.map(str::to_owned).to_vec();
    arguments.extend(["--dead-letters".to_owned(), scratch.name("dead")]);
    arguments.extend(["--too-late".to_owned(), scratch.name("late")]);
    arguments.extend(["--prices".to_owned()].into_iter().chain(names(prices)));
    arguments.extend(["--updates".to_owned()].into_iter().chain(names(updates)));
    let wanted = python("oracle.py", &arguments);
    let wanted_dead = std::fs::read_to_string(scratch.path("dead")).unwrap();
    let wanted_late = std::fs::read(scratch.path("late")).unwrap();
    let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
    let mut letters: Option<Vec<u8>> = None;
    for layout in LAYOUTS {
        let url = |paths: &[PathBuf]| format!("file:{}", names(paths).join(","));
        let outputs = ["notify", "letters"].map(|name| format!("file:{}", scratch.name(name)));
        let flags = ["--prices", &url(prices), "--updates", &url(updates)];
        let sinks = ["--notify", &outputs[0], "--dead-letters", &outputs[1]];
        let arguments = [&flags[..], &sinks, &average, layout].concat();
        let mut running = Running::start(&mut program("bitcoin-alerts", arguments));
        running.succeeds();
        let counts = running.counts();
        let late = counts.iter().filter(|(name, _)| name.ends_with(".too_late"));
        let late: u64 = late.map(|(_, count)| count).sum();
        assert_eq!(late, lines(&wanted_late) as u64, "{layout:?}");
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
    [&wanted, wanted_dead.as_bytes(), &wanted_late].map(lines)
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
        let average = [["running", "1m"], ["10m", "1m"], ["last:20", "0s"]][seed % 3];
        let [sent, dead, _] =
            compare(average, &files(out, "prices-"), &files(out, "updates-"), &folder);
        (notifications, dead_letters) = (notifications + sent, dead_letters + dead);
    }
    assert!(notifications > 200, "{notifications} notifications prove little");
    assert!(dead_letters > 200, "{dead_letters} dead letters prove little");
}

/// Prices up to three seconds late, and some without any time.
#[test]
fn on_generated_recordings_with_late_prices() {
    let (mut notifications, mut too_late) = (0, 0);
    for seed in 106..109 {
        let folder = Folder::new();
        let out = folder.name("recordings");
        let size = ["--frames", "5000", "--price-files", "3", "--update-files", "2"];
        let flags = ["--seed".to_owned(), seed.to_string(), "--out".to_owned(), out.clone()];
        python("generate.py", &[&flags[..], &size.map(str::to_owned)].concat());
        let out = Path::new(&out);
        let average = [["30s", "2s"], ["10m", "500ms"], ["2s 500ms", "0s"]][seed % 3];
        let [sent, _, late] =
            compare(average, &files(out, "prices-"), &files(out, "updates-"), &folder);
        (notifications, too_late) = (notifications + sent, too_late + late);
    }
    assert!(notifications > 500, "{notifications} notifications prove little");
    assert!(too_late > 40, "{too_late} late prices prove little");
}

/// Ten minutes of some forty, of three products in two partitions; one trade of twenty is up to three
/// minutes late, of which one is allowed for.
#[test]
fn on_a_made_market_with_late_trades() {
    let (folder, mut dice) = (Folder::new(), Dice(61));
    let products = ["BTC-USD", "ETH-USD", "SOL-USD"];
    let mut levels = [6_500_000_u64, 340_000, 15_000];
    let mut texts = [String::new(), String::new()];
    let (mut updates, begin) = (String::new(), 1_700_000_000_000_i64);
    for number in 0..12_000_i64 {
        let product = usize::try_from(dice.below(3)).unwrap();
        let level = &mut levels[product];
        // A thousandth up or down, at most.
        *level = *level + dice.below(*level / 1000) - *level / 2001;
        let late = i64::try_from(u64::from(dice.below(20) == 0) * dice.below(180_000)).unwrap();
        let clock = begin + number * 200;
        let _ = writeln!(
            texts[usize::try_from(dice.below(2)).unwrap()],
            "{{\"type\":\"match\",\"trade_id\":{number},\"product_id\":\"{}\",\
             \"price\":\"{}.{:02}\",\"time\":\"{}\"}}",
            products[product],
            *level / 100,
            *level % 100,
            anabranch::Time::from_millis(clock - late)
        );
        if number % 20 == 0 {
            let threshold = *level + dice.below(*level / 300) - *level / 600;
            let direction = ["above", "below"][usize::try_from(dice.below(2)).unwrap()];
            let _ = writeln!(
                updates,
                "{{\"id\":\"{number}\",\"product\":\"{}\",\"price\":\"{}.{:02}\",\
                 \"user_id\":{number},\"direction\":\"{direction}\",\"time\":\"{}\"}}",
                products[product],
                threshold / 100,
                threshold % 100,
                anabranch::Time::from_millis(clock)
            );
        }
    }
    let prices = [0, 1].map(|n| PathBuf::from(folder.write(&format!("prices-{n}"), &texts[n])));
    let updates = [PathBuf::from(folder.write("updates", updates))];
    let [sent, dead, late] = compare(["10m", "1m"], &prices, &updates, &folder);
    assert!(sent > 100 && dead == 0 && late > 50, "{sent}, {dead} and {late} prove little");
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
    for average in ["running", "10m"] {
        let [notifications, ..] = compare([average, "1m"], &prices, &updates, &folder);
        assert!(notifications > 50, "{average}: {notifications} notifications prove little");
    }
}
