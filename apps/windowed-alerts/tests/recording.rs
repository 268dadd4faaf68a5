//! The program on a recording of Binance, in several layouts, against a plain loop.
//!
//! Invariant: the loop reads the file and adds integers; it shares no code with the program. The recording
//! is no part of the project: `ANABRANCH_RECORDINGS` names its folder.

// Tests fail by panicking, in their helper functions too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anabranch::Time;
use serde_json::Value;

/// Runs it: ten seconds at every second, from 15 bitcoins on.
fn run(recording: &Path, folder: &Path, layout: &[&str]) -> String {
    let alerts = folder.join("alerts");
    let output = Command::new(env!("CARGO_BIN_EXE_windowed-alerts"))
        .args(["--quiet", "--product", "data.s", "--size", "data.q", "--time", "data.T"])
        .args(["--slide", "1s", "--volume", "15", "--trades"])
        .arg(format!("file:{}", recording.display()))
        .args(["--alerts", &format!("file:{}", alerts.display())])
        .args(layout)
        .output()
        .unwrap();
    assert!(output.status.success(), "{layout:?}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(alerts).unwrap()
}

/// By the window's first second: volume in hundred-millionths, and trades.
fn windows(recording: &Path) -> BTreeMap<i64, (u64, u64)> {
    let file = std::fs::File::open(recording).unwrap();
    let mut windows = BTreeMap::<i64, (u64, u64)>::new();
    for line in BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines() {
        let line = line.unwrap();
        let message: Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        let Some(size) = message["data"]["q"].as_str() else { continue };
        let (whole, fraction) = size.split_once('.').unwrap();
        assert_eq!(fraction.len(), 8);
        let size: u64 = format!("{whole}{fraction}").parse().unwrap();
        let second = message["data"]["T"].as_i64().unwrap() / 1_000;
        for start in second - 9..=second {
            let window = windows.entry(start).or_default();
            *window = (window.0 + size, window.1 + 1);
        }
    }
    windows
}

#[test]
fn alerts_are_those_of_a_loop() {
    let Some(folder) = std::env::var_os("ANABRANCH_RECORDINGS").map(PathBuf::from) else {
        eprintln!("skipped: ANABRANCH_RECORDINGS does not name the folder of recordings");
        return;
    };
    let recording = folder.join("binance-spot-btcusdt-2024-08-08.gz");
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("windowed-alerts");
    std::fs::create_dir_all(&scratch).unwrap();
    let alerts = run(&recording, &scratch, &["-w1"]);
    for layout in [&["-w3"][..], &["-n2", "-w2"]] {
        assert!(run(&recording, &scratch, layout) == alerts, "{layout:?}: not the same bytes");
    }
    let expected: Vec<Value> = windows(&recording)
        .into_iter()
        .filter(|(_, (volume, _))| *volume >= 1_500_000_000)
        .map(|(start, (volume, trades))| {
            let time = |second: i64| Time::from_millis(second * 1_000).to_string();
            let volume = format!("{}.{:08}", volume / 100_000_000, volume % 100_000_000);
            let volume = volume.trim_end_matches('0').trim_end_matches('.');
            serde_json::json!({"alert": {
                "product": "BTCUSDT", "from": time(start), "until": time(start + 10),
                "trades": trades, "volume": volume, "correction": false,
            }})
        })
        .collect();
    let alerts: Vec<Value> =
        alerts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(alerts, expected);
    assert!(alerts.len() > 10, "{} alerts prove little", alerts.len());
}
