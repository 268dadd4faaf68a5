//! The program without flags: a demo that shows alerts, in any layout, and ends when asked.

use crate::process::{Program, run, scratch};

/// `12:03:07  BTC-USD   price  64,012.50  average  64,000.12  above 64,000 -> user 7`.
fn is_notification(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [time, product, "price", price, "average", average, side, threshold, "->", "user", user] =
        words[..]
    else {
        return false;
    };
    let number = |text: &str| text.replace(',', "").parse::<f64>().is_ok();
    time.len() == 8
        && time.split(':').all(|part| part.len() == 2 && part.parse::<u8>().is_ok())
        && ["BTC-USD", "ETH-USD", "SOL-USD"].contains(&product)
        && ["above", "below"].contains(&side)
        && [price, average, threshold].into_iter().all(number)
        && user.parse::<u64>().is_ok()
}

fn shows_alerts(name: &str, layout: &[&str]) {
    let folder = scratch(name);
    let mut program = Program::start(&folder, layout);
    program.wait_until("three alerts", |program| program.stdout().lines().count() >= 3);
    program.wait_until("a live line", |program| program.stderr().contains("/s  3 products  "));
    program.terminate();
    let ended = program.end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    for line in ended.stdout.lines() {
        assert!(is_notification(line), "{line:?}");
    }
    assert!(!ended.stdout.contains('\x1b') && !ended.stderr.contains('\x1b'), "no terminal");
    let command = "bitcoin-alerts --prices \
                   'coinbase://ws-feed.exchange.coinbase.com?products=BTC-USD' \
                   --updates - --notify -\n";
    assert!(ended.stderr.contains(command), "{}", ended.stderr);
    // What it says in the end is what it has shown.
    let fired = ended.stdout.lines().count();
    let summary = format!("s, {fired} alerts fired, {} still open\n", 12 - fired);
    assert!(ended.stderr.contains(&summary), "{}", ended.stderr);
    assert!(!ended.stderr.contains("ERROR"), "{}", ended.stderr);
}

#[test]
fn on_one_worker() {
    shows_alerts("demo-w1", &["-w1"]);
}

#[test]
fn on_two_workers() {
    shows_alerts("demo-w2", &["-w2"]);
}

#[test]
fn on_four_workers() {
    shows_alerts("demo-w4", &["-w4"]);
}

#[test]
fn in_two_processes() {
    shows_alerts("demo-n2", &["-n2"]);
}

#[test]
fn a_flag_replaces_its_part_only() {
    let folder = scratch("demo-notify");
    let file = folder.join("fired.jsonl");
    let mut program = Program::start(&folder, &["--notify", &format!("file:{}", file.display())]);
    let fired = || std::fs::read_to_string(&file).unwrap_or_default();
    program.wait_until("two alerts", |_| fired().lines().count() >= 2);
    program.terminate();
    let ended = program.end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "", "the readable form is replaced");
    let first: serde_json::Value = serde_json::from_str(fired().lines().next().unwrap()).unwrap();
    assert_eq!(first["product"], "BTC-USD");
    assert_eq!(first["fired"][0]["alerts"][0]["user_id"], 1, "the demo's alerts are there");

    // Recorded prices with the demo's alerts, shown: it ends with its prices, and is repeatable.
    let market = ["--prices", "gen:?seed=53&keys=3&rate=60&count=3600"];
    let shown: Vec<String> = ["-w1", "-w3"]
        .iter()
        .map(|workers| {
            let ended = run(&folder, &[&market[..], &[workers]].concat());
            assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
            assert!(ended.stderr.contains("3,600 prices of 3 products"), "{}", ended.stderr);
            assert!(!ended.stderr.contains("exchange"), "{}", ended.stderr);
            ended.stdout
        })
        .collect();
    assert_eq!(shown[0].lines().count(), 11);
    assert!(shown[0].lines().all(is_notification), "{}", shown[0]);
    assert_eq!(shown[0], shown[1]);
}

/// Whatever brings trades, the prices are the same: generated, or read from the messages that an
/// exchange would send of them.
#[test]
fn generated_trades_are_their_messages() {
    let folder = scratch("generated");
    let url = "gen:?seed=7&keys=3&rate=7&count=2000";
    let market = anabranch_connectors::market::parse(url).unwrap();
    let frames: Vec<String> = anabranch_connectors::market::frames(&market).collect();
    let (path, updates) = (folder.join("frames.jsonl"), folder.join("updates.jsonl"));
    std::fs::write(&path, frames.join("\n")).unwrap();
    let alerts: String = (0..2000_i64)
        .map(|n| {
            let (price, side) = (64_000 + n, if n < 1000 { "below" } else { "above" });
            format!("{{\"price\":{price},\"user_id\":{n},\"direction\":\"{side}\"}}\n")
        })
        .collect();
    std::fs::write(&updates, alerts).unwrap();
    let updates = format!("file:{}", updates.display());
    let run = |prices: &str| crate::process::run_recorded(&folder, prices, &updates, &["-w2"]);
    let (generated, read) = (run(url), run(&format!("file:{}", path.display())));
    assert!(generated.0.lines().count() > 100, "{} prove little", generated.0.lines().count());
    assert_eq!(generated, read);
    assert_eq!(generated.1, "");
}
