//! The program on a recording of Binance, in several layouts, against a plain loop.
//!
//! Invariant: the loop reads the file and counts; it shares no code with the program. The recording is no
//! part of the project: `ANABRANCH_RECORDINGS` names its folder.

// Tests fail by panicking, in their helper functions too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anabranch::Time;
use serde_json::Value;

const FRAME: i64 = 15_000;

fn run(recording: &Path, folder: &Path, layout: &[&str]) -> String {
    let out = folder.join("out");
    let output = Command::new(env!("CARGO_BIN_EXE_time-frames"))
        .args(["--quiet", "--time", "data.T", "--items"])
        .arg(format!("file:{}", recording.display()))
        .args(["--out", &format!("file:{}", out.display())])
        .args(layout)
        .output()
        .unwrap();
    assert!(output.status.success(), "{layout:?}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(out).unwrap()
}

/// When trades were, in milliseconds.
fn times(recording: &Path) -> Vec<i64> {
    let file = std::fs::File::open(recording).unwrap();
    let lines = BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines();
    let time = |line: std::io::Result<String>| {
        let line = line.unwrap();
        let message: Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        message["data"]["T"].as_i64()
    };
    lines.filter_map(time).collect()
}

#[test]
fn frames_are_those_of_a_loop() {
    let Some(folder) = std::env::var_os("ANABRANCH_RECORDINGS").map(PathBuf::from) else {
        eprintln!("skipped: ANABRANCH_RECORDINGS does not name the folder of recordings");
        return;
    };
    let recording = folder.join("binance-spot-btcusdt-2024-08-08.gz");
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("time-frames");
    std::fs::create_dir_all(&scratch).unwrap();
    let out = run(&recording, &scratch, &["-w1"]);
    for layout in [&["-w3"][..], &["-n2", "-w2"]] {
        assert!(run(&recording, &scratch, layout) == out, "{layout:?}: not the same bytes");
    }
    let times = times(&recording);
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    let (mut start, mut expected) = (first / 60_000 * 60_000, Vec::new());
    while start <= *last {
        let items = times.iter().filter(|time| (start..start + FRAME).contains(*time)).count();
        let time = |millis| Time::from_millis(millis).to_string();
        expected.push((time(start), time(start + FRAME), items as u64));
        start += FRAME;
    }
    let row = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let frame = &line["frame"];
        assert_eq!(frame["state"], "Calculated");
        let text = |name: &str| frame[name].as_str().unwrap().to_owned();
        (text("from"), text("until"), frame["items"].as_u64().unwrap())
    };
    let rows: Vec<_> = out.lines().map(row).collect();
    assert_eq!(rows, expected);
    let items: u64 = rows.iter().map(|row| row.2).sum();
    assert!(items == 9_757 && rows.len() > 20, "{items} in {}", rows.len());
}
