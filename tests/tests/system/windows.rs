//! SIGKILL in the middle of open windows, and other layouts after it: what is told is what a run without
//! faults tells, and that is what a loop finds that keeps every trade.
//!
//! Invariant: a small dose by default; the full one is
//! `ANABRANCH_CRASHES=1000 cargo test -p anabranch-system-tests --test system windows -- --nocapture`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::crashes::storm;
use crate::ledger::{Boundaries, Ledger};
use crate::lives::{Dose, Start, Victim};
use crate::run::{Running, program};
use crate::support::{Dice, Folder};

const TRADES: i64 = 120_000;
const SIZE_MS: i64 = 10_000;

/// What was traded, how much, when in milliseconds, and when it arrives.
struct Trade {
    product: usize,
    size: u64,
    time: i64,
    arrival: i64,
}

/// A trade a millisecond: mostly up to two seconds late, some so that they correct what was told, and some
/// too late.
fn trades() -> Vec<Trade> {
    let mut dice = Dice(43);
    let trade = |time: i64| {
        let delay = match time {
            // For all of its windows, so not near the end.
            _ if time % 25_000 == 20_000 && time < 90_000 => 40_000,
            _ if time % 900 == 800 => 6_000,
            _ => time * 7_919 % 2_000,
        };
        let (product, size) = (dice.below(5) as usize, 1 + dice.below(9));
        Trade { product, size, time, arrival: time + delay }
    };
    let mut trades: Vec<Trade> = (0..TRADES).map(trade).collect();
    trades.sort_by_key(|trade| trade.arrival);
    trades
}

/// The trades as two files, in the order of arrival.
fn files(folder: &Folder, trades: &[Trade]) -> String {
    let names = [0, 1].map(|file| {
        let of = trades.iter().enumerate().filter(|(number, _)| number % 2 == file);
        let lines = of.map(|(_, Trade { product, size, time, .. })| {
            format!("{{\"product_id\":\"P{product}\",\"size\":\"{size}\",\"time\":{time}}}\n")
        });
        folder.write(&format!("trades-{file}"), lines.collect::<String>())
    });
    format!("file:{}", names.join(","))
}

/// Checks what was told last of each window, `slide` milliseconds apart.
fn check(alerts: &str, too_late: &str, trades: &[Trade], slide: i64) {
    let left_out: BTreeSet<i64> = too_late
        .lines()
        .map(|line| millis(&serde_json::from_str::<Value>(line).unwrap()["time"]))
        .collect();
    assert!(!left_out.is_empty());
    let mut told = BTreeMap::new();
    let mut corrections = 0;
    for line in alerts.lines() {
        let alert = &serde_json::from_str::<Value>(line).unwrap()["alert"];
        corrections += usize::from(alert["correction"].as_bool().unwrap());
        let number = |field: &str| alert[field].to_string().trim_matches('"').parse().unwrap();
        let (count, volume): (u64, u64) = (number("trades"), number("volume"));
        let product = alert["product"].as_str().unwrap().to_owned();
        told.insert((product, millis(&alert["from"])), (count, volume));
    }
    assert!(corrections > 10, "{corrections}");
    let mut wanted: BTreeMap<(String, i64), (u64, u64)> = BTreeMap::new();
    for trade in trades.iter().filter(|trade| !left_out.contains(&trade.time)) {
        let last = trade.time.div_euclid(slide) * slide;
        let mut start = last;
        while start + SIZE_MS > trade.time {
            let window = wanted.entry((format!("P{}", trade.product), start)).or_default();
            *window = (window.0 + 1, window.1 + trade.size);
            start -= slide;
        }
    }
    assert!(told == wanted, "{} windows told, {} wanted", told.len(), wanted.len());
}

fn millis(time: &Value) -> i64 {
    let time: anabranch::Time = time.as_str().unwrap().parse().unwrap();
    time.as_nanos() / 1_000_000
}

fn windows_storm(layouts: &[[&str; 2]], slide: i64) {
    let calm = Folder::new();
    let trades = trades();
    let source = files(&calm, &trades);
    let slid = format!("{slide}ms");
    let arguments = |alerts: &str, too_late: &str| -> Vec<String> {
        let urls = [alerts, too_late].map(|name| format!("file:{name}"));
        let slide = if slide == SIZE_MS { vec![] } else { vec!["--slide", &slid] };
        let source = ["--trades", &source, "--volume", "0", "--lateness", "20s"];
        let sinks = ["--alerts", &urls[0], "--too-late", &urls[1]];
        [&source[..], &sinks, &slide].concat().into_iter().map(str::to_owned).collect()
    };
    let names = ["alerts", "too-late"].map(|name| calm.name(name));
    Running::start(&mut program("windowed-alerts", arguments(&names[0], &names[1]))).succeeds();
    let [alerts, too_late] = names.each_ref().map(|name| std::fs::read_to_string(name).unwrap());
    check(&alerts, &too_late, &trades, slide);
    for layout in layouts {
        let mut dose = Dose::new("windowed-alerts", 6);
        storm("windowed-alerts", &mut dose, layout, 60, |folder| {
            let names = ["alerts", "too-late"].map(|name| folder.name(name));
            let arguments = arguments(&names[0], &names[1]);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let start = Start::new("windowed-alerts", folder, &arguments, "20ms");
            let ledgers = [("alerts", &alerts), ("too-late", &too_late)]
                .map(|(name, wanted)| Ledger::new(folder.path(name), wanted.as_str()));
            (start, ledgers.into())
        });
    }
}

#[test]
fn open_windows_survive_with_two_workers_and_two_processes() {
    windows_storm(&[["-w", "2"], ["-n", "2"]], SIZE_MS);
}

#[test]
fn open_sliding_windows_survive() {
    windows_storm(&[["-w", "3"]], 1_000);
}

#[test]
fn open_windows_go_on_in_another_layout() {
    let calm = Folder::new();
    let trades = trades();
    let source = files(&calm, &trades);
    let arguments = |alerts: &str| {
        let alerts = format!("file:{alerts}");
        ["--trades", &source, "--volume", "0", "--slide", "500ms", "--alerts", &alerts]
            .map(str::to_owned)
    };
    let name = calm.name("alerts");
    Running::start(&mut program("windowed-alerts", arguments(&name))).succeeds();
    let wanted = std::fs::read_to_string(&name).unwrap();
    let folder = Folder::new();
    let arguments = arguments(&folder.name("alerts"));
    let arguments = arguments.each_ref().map(String::as_str);
    let start = Start::new("windowed-alerts", &folder, &arguments, "20ms");
    let mut ledger = Ledger::new(folder.path("alerts"), wanted);
    let (mut dice, mut boundaries) = (Dice(44), Boundaries::default());
    for layout in [["-w", "1"], ["-w", "3"], ["-n", "2"], ["-w", "2"], ["-w", "4"]] {
        let mut life = start.begin(&layout);
        if !life.moment(&start, 60, &mut dice) {
            break;
        }
        life.kill(Victim::All, &mut dice);
        ledger.check(&format!("after {layout:?}"));
        boundaries.check(&start, &format!("after {layout:?}"));
    }
    start.begin(&["-w", "2"]).succeeds();
    ledger.complete("five layouts");
}
