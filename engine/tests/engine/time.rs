//! A run over recorded inputs is a pure function of them: times are raised to the running maximum
//! of their partition, inputs are merged by them, and the outputs have the same bytes on any
//! number of workers.

use std::collections::BTreeMap;

use anabranch::prelude::*;
use anabranch::source::{self, Decoded, Frame, FrameReader, Inlet, Nature, OpenContext, Progress};
use anabranch::{Error, run};

use crate::support::{Lines, Memory, Sequence, Stamped, bounded, workers};

const HASHES: Table<u8, u64> = Table::new("hashes");

type Partitions = Vec<Vec<Stamped<u64>>>;

/// Not commutative, so that a different order shows.
fn mix(hash: u64, value: u64) -> u64 {
    hash.wrapping_mul(31).wrapping_add(value)
}

fn observe(value: u64, mut hash: Row<'_, u64>, out: &mut Context<'_, (i64, u64)>) {
    *hash = mix(*hash, value);
    out.emit((out.now().as_nanos(), *hash));
}

fn run_engine(inputs: &[Partitions], count: usize) -> Vec<String> {
    let inputs: Vec<Memory<u64>> = inputs.iter().map(|p| Memory::new(p.clone())).collect();
    bounded(move || {
        let sinks: Vec<Lines> = inputs.iter().map(|_| Lines::default()).collect();
        let outputs = sinks.clone();
        let build = move |app: &App| {
            for (index, (input, sink)) in inputs.iter().zip(&sinks).enumerate() {
                app.source(&format!("source-{index}"), input.clone())
                    .key_by(|value| (value % 13) as u8)
                    .compute(&format!("observe-{index}"), HASHES, observe)
                    .sink(&format!("sink-{index}"), sink.sink());
            }
            Ok(())
        };
        run(&workers(count), build).unwrap();
        outputs.iter().map(Lines::take).collect()
    })
}

/// The same as one loop over everything, sorted.
fn oracle(inputs: &[Partitions]) -> Vec<String> {
    let mut all = Vec::new();
    for (source, partitions) in inputs.iter().enumerate() {
        for (partition, records) in partitions.iter().enumerate() {
            let mut before = None;
            for (offset, (stamp, value)) in records.iter().enumerate() {
                let time = stamp.or(before).unwrap_or(0).max(before.unwrap_or(i64::MIN));
                before = Some(time);
                all.push((time, source, partition, offset, *value));
            }
        }
    }
    all.sort_unstable();
    let mut hashes: BTreeMap<u64, u64> = BTreeMap::new();
    let mut lines = vec![String::new(); inputs.len()];
    for (time, source, partition, offset, value) in all {
        let hash = hashes.entry(value % 13).or_default();
        *hash = mix(*hash, value);
        lines[source] += &format!("source-{source}-{partition}-{offset} ({time}, {hash})\n");
    }
    lines
}

fn check(inputs: &[Partitions]) {
    let expected = oracle(inputs);
    for count in 1..=4 {
        let outputs = run_engine(inputs, count);
        for (index, (output, expected)) in outputs.iter().zip(&expected).enumerate() {
            let differs = output.lines().zip(expected.lines()).find(|(a, b)| a != b);
            assert_eq!(differs, None, "sink {index} on {count} workers");
            assert_eq!(output.len(), expected.len(), "sink {index} on {count} workers");
        }
    }
}

/// `partitions` of about `records` records each, whose stamps are what `stamp` makes of the
/// sequence and the time before.
fn generate(
    seed: u64,
    partitions: usize,
    records: usize,
    stamp: impl Fn(&mut Sequence, i64) -> Option<i64>,
) -> Partitions {
    let mut sequence = Sequence(seed);
    (0..partitions)
        .map(|partition| {
            let mut now = 0;
            (0..records + partition * 37)
                .map(|_| {
                    let stamp = stamp(&mut sequence, now);
                    now = stamp.unwrap_or(now).max(now);
                    (stamp, sequence.below(1 << 40))
                })
                .collect()
        })
        .collect()
}

#[test]
fn output_has_the_same_bytes_on_any_workers() {
    let wavering = |s: &mut Sequence, now: i64| match s.below(10) {
        0 => None,
        1 => Some(now - s.below(50) as i64),
        _ => Some(now + s.below(4) as i64),
    };
    check(&[generate(1, 3, 4500, wavering), generate(2, 2, 5000, wavering)]);
}

#[test]
fn equal_times_go_by_source_partition_and_offset() {
    let same = |_: &mut Sequence, _: i64| Some(7);
    check(&[generate(3, 2, 6000, same), generate(4, 3, 4097, same)]);
}

#[test]
fn records_without_times_go_by_source_partition_and_offset() {
    let none = |_: &mut Sequence, _: i64| None;
    check(&[generate(5, 3, 4096, none), generate(6, 1, 9000, none)]);
}

#[test]
fn partitions_of_very_different_paces_and_lengths_are_merged() {
    let slow = |s: &mut Sequence, now: i64| Some(now + s.below(2) as i64);
    let fast = |s: &mut Sequence, now: i64| Some(now + 1000 + s.below(1000) as i64);
    check(&[generate(7, 2, 20_000, slow), vec![Vec::new()], generate(8, 1, 300, fast)]);
}

/// Frames in memory.
struct Recording(Vec<(Option<i64>, &'static str)>);

struct RecordingReader(Vec<(Option<i64>, &'static str)>, usize);

impl Inlet for Recording {
    fn describe(&self) -> String {
        "recording".to_string()
    }
    fn nature(&self) -> Nature {
        Nature::Recorded
    }
    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }
    fn open(&self, _: usize, _: &OpenContext) -> Result<Box<dyn FrameReader>> {
        Ok(Box::new(RecordingReader(self.0.clone(), 0)))
    }
}

impl FrameReader for RecordingReader {
    fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
        while let Some((stamp, text)) = self.0.get(self.1) {
            let (offset, stamp) = (self.1 as u64, stamp.map(Time::from_nanos));
            self.1 += 1;
            if !each(Frame { stamp, ..Frame::new(offset, text.as_bytes()) }) {
                return Ok(Progress::Ready);
            }
        }
        Ok(Progress::End)
    }
}

/// `@5` names the time 5, `!` is refused, any other word is a record.
fn decode(frame: Frame<'_>, out: &mut Decoded<'_, String>) -> Result<()> {
    for word in std::str::from_utf8(frame.bytes).unwrap().split_whitespace() {
        match (word.strip_prefix('@'), word) {
            (Some(time), _) => out.time(Time::from_nanos(time.parse().unwrap())),
            (None, "!") => return Err(Error::Decode("refused".to_string())),
            (None, word) => out.emit(word.to_string()),
        }
    }
    Ok(())
}

/// What leaves by the sinks of records and of dead letters.
fn run_recording(frames: &[(Option<i64>, &'static str)], count: usize) -> (String, String) {
    let frames = frames.to_vec();
    bounded(move || {
        let (records, letters) = (Lines::default(), Lines::default());
        let outputs = (records.clone(), letters.clone());
        let build = move |app: &App| {
            app.source("lines", source::frames(Recording(frames.clone()), || decode))
                .key_by(|word| word.len() as u64)
                .compute("stamp", (), |word, (), out: &mut Context<'_, (i64, String)>| {
                    out.emit((out.now().as_nanos(), word));
                })
                .sink("records", records.sink());
            app.dead_letters(letters.sink());
            Ok(())
        };
        run(&workers(count), build).unwrap();
        (outputs.0.take(), outputs.1.take())
    })
}

#[test]
fn a_frame_has_its_stamp_else_its_time_else_that_of_the_frame_before() {
    let frames = [
        (None, "none"),
        (None, "@5 named"),
        (None, "unnamed"),
        (None, "@3 earlier"),
        (Some(8), "@100 stamped"),
        (Some(2), "raised"),
        (None, "after"),
    ];
    let expected = "lines-0-0 (0, \"none\")\n\
        lines-0-1 (5, \"named\")\n\
        lines-0-2 (5, \"unnamed\")\n\
        lines-0-3 (5, \"earlier\")\n\
        lines-0-4 (8, \"stamped\")\n\
        lines-0-5 (8, \"raised\")\n\
        lines-0-6 (8, \"after\")\n";
    for count in [1, 3] {
        assert_eq!(run_recording(&frames, count).0, expected);
    }
}

#[test]
fn refused_and_ignored_frames_have_times_like_any_other() {
    let frames = [
        (Some(4), "a"),
        (Some(2), "!"),
        (None, "@9 lost !"),
        (None, "!"),
        (None, "@12"),
        (None, "z"),
    ];
    for count in [1, 3] {
        let (records, letters) = run_recording(&frames, count);
        assert_eq!(records, "lines-0-0 (4, \"a\")\nlines-0-5 (12, \"z\")\n");
        let times: Vec<&str> = letters
            .lines()
            .map(|line| line.split("time: Time(").nth(1).unwrap().split(')').next().unwrap())
            .collect();
        assert_eq!(times, ["4", "9", "9"], "{letters}");
        assert!(letters.starts_with("lines-0-1 DeadLetter"), "{letters}");
    }
}

#[test]
fn records_of_one_frame_keep_their_places() {
    let frames = [(Some(4), "one"), (Some(4), "a bb a cc"), (None, "x"), (None, "p q !")];
    let expected = "lines-0-0 (4, \"one\")\n\
        lines-0-1 (4, \"a\")\n\
        lines-0-1.1 (4, \"bb\")\n\
        lines-0-1.2 (4, \"a\")\n\
        lines-0-1.3 (4, \"cc\")\n\
        lines-0-2 (4, \"x\")\n";
    for count in 1..=4 {
        assert_eq!(run_recording(&frames, count).0, expected, "{count} workers");
    }
}

#[test]
fn times_before_1970_are_times() {
    let frames = [(Some(-9), "a"), (None, "b"), (Some(-3), "c"), (Some(-7), "d")];
    let expected = "lines-0-0 (-9, \"a\")\nlines-0-1 (-9, \"b\")\nlines-0-2 (-3, \"c\")\n\
        lines-0-3 (-3, \"d\")\n";
    assert_eq!(run_recording(&frames, 1).0, expected);
    let frames = [(None, "@-9 a"), (None, "@-4 b"), (None, "@-8 c")];
    let expected = "lines-0-0 (-9, \"a\")\nlines-0-1 (-4, \"b\")\nlines-0-2 (-4, \"c\")\n";
    assert_eq!(run_recording(&frames, 1).0, expected);
}
