//! The program on a recording of Binance, in several layouts, against a plain loop.
//!
//! Invariant: the loop reads the file, the fields and the rules by itself; it shares no code with the
//! program. The recording is no part of the project: `ANABRANCH_RECORDINGS` names its folder.

// Tests fail by panicking, in their helper functions too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const LAST: usize = 100;
const Z_SCORE: f64 = 6.0;
const EWMA: f64 = 6.0;
const ALPHA: f64 = 0.05;
const ABOVE: f64 = 61_850.0;

/// Runs it; gives the metrics and the alerts.
fn run(recording: &Path, folder: &Path, layout: &[&str]) -> (String, String) {
    let file = |name: &str| format!("file:{}", folder.join(name).display());
    let output = Command::new(env!("CARGO_BIN_EXE_rolling-metrics"))
        .args(["--quiet", "--key", "data.s", "--value", "data.p", "--readings"])
        .arg(format!("file:{}", recording.display()))
        .args(["--alerts", &file("alerts"), "--metrics", &file("metrics")])
        .args(["--last", &LAST.to_string(), "--above", &ABOVE.to_string()])
        .args(["--z-score", &Z_SCORE.to_string(), "--ewma", &EWMA.to_string()])
        .args(["--alpha", &ALPHA.to_string()])
        .args(layout)
        .output()
        .unwrap();
    assert!(output.status.success(), "{layout:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = |name| std::fs::read_to_string(folder.join(name)).unwrap();
    (text("metrics"), text("alerts"))
}

/// The prices of the trades, in their order.
fn prices(recording: &Path) -> Vec<f64> {
    let file = std::fs::File::open(recording).unwrap();
    let lines = BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines();
    let price = |line: std::io::Result<String>| {
        let line = line.unwrap();
        let message: Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        message["data"]["p"].as_str().map(|price| price.parse().unwrap())
    };
    lines.filter_map(price).collect()
}

/// Of a few numbers, in two passes: mean, deviation, maximum.
fn of(window: &[f64]) -> (f64, f64, f64) {
    let count = window.len() as f64;
    let mean = window.iter().sum::<f64>() / count;
    let squares: f64 = window.iter().map(|price| (price - mean) * (price - mean)).sum();
    (mean, (squares / count).sqrt(), window.iter().copied().fold(f64::MIN, f64::max))
}

/// Whether `deviations` is enough; nothing if it is so near to the limit that rounding decides.
fn enough(deviations: f64, limit: f64) -> Option<bool> {
    ((deviations.abs() - limit).abs() > 1e-3).then_some(deviations.abs() >= limit)
}

#[test]
fn metrics_and_anomalies_are_those_of_a_loop() {
    let Some(folder) = std::env::var_os("ANABRANCH_RECORDINGS").map(PathBuf::from) else {
        eprintln!("skipped: ANABRANCH_RECORDINGS does not name the folder of recordings");
        return;
    };
    let recording = folder.join("binance-spot-btcusdt-2024-08-08.gz");
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rolling-metrics");
    std::fs::create_dir_all(&scratch).unwrap();
    let (metrics, alerts) = run(&recording, &scratch, &["-w1"]);
    for layout in [&["-w3"][..], &["-n2", "-w2"]] {
        let (others, other_alerts) = run(&recording, &scratch, layout);
        assert!(metrics == others && alerts == other_alerts, "{layout:?}: not the same bytes");
    }

    let prices = prices(&recording);
    let rows: Vec<Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), prices.len()), (9_757, 9_757));
    let (mut average, mut variance, mut calls) = (prices[0], 0.0_f64, [0; 3]);
    for (n, (row, price)) in rows.iter().zip(&prices).enumerate() {
        let number = |name: &str| row["metrics"][name].as_f64().unwrap();
        let window = &prices[(n + 1).saturating_sub(LAST)..=n];
        let (mean, deviation, max) = of(window);
        assert_eq!(number("count"), window.len() as f64);
        assert!((number("mean") - mean).abs() < 1e-6, "{n}: {row} {mean}");
        assert!((number("deviation") - deviation).abs() < 1e-5, "{n}: {row} {deviation}");
        assert_eq!(number("max"), max);

        let called = |name: &str| {
            row["calls"].as_array().unwrap().iter().any(|call| call.get(name).is_some())
        };
        let mut expect = |which: usize, name: &str, expected: Option<bool>| {
            calls[which] += u32::from(called(name));
            assert!(expected.is_none_or(|expected| expected == called(name)), "{n} {name}: {row}");
        };
        expect(0, "above", ((mean - ABOVE).abs() > 1e-6).then_some(mean > ABOVE));
        let before = &prices[n.saturating_sub(LAST)..n];
        let all_equal = before.iter().all(|price| *price == before[0]);
        let z_score = (before.len() == LAST && !all_equal).then(|| of(before));
        let z_score = z_score.map(|(mean, deviation, _)| (price - mean) / deviation);
        expect(1, "z_score", z_score.map_or(Some(false), |deviations| enough(deviations, Z_SCORE)));
        let off = price - average;
        let ewma = (n >= LAST && variance > 0.0).then(|| off / variance.sqrt());
        expect(2, "ewma", ewma.map_or(Some(false), |deviations| enough(deviations, EWMA)));
        variance = (1.0 - ALPHA) * (variance + ALPHA * off * off);
        average += ALPHA * off;
    }
    assert!(calls.iter().all(|calls| *calls > 0), "{calls:?} calls prove little");
    assert_eq!(alerts.lines().count(), calls.iter().sum::<u32>() as usize);
}
