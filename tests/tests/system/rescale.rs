//! Another number of workers or processes at every start: the same tables, the same output.
//!
//! Invariant: a program is stopped in the middle of its input, by SIGTERM or by SIGKILL, and what it
//! leaves behind is compared at each stop, not only at the end.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ledger::{Boundaries, Ledger};
use crate::lives::{Dose, Start};
use crate::support::{Dice, Folder, Words, until};

const LINES: usize = 150_000;
const WORKERS: [&str; 4] = ["1", "2", "4", "3"];
const PROCESSES: [&str; 2] = ["1", "2"];

/// The newest checkpoint: how many lines of each file are in it, and how often each word came.
fn exported(start: &Start<'_>) -> (Vec<usize>, BTreeMap<String, u64>) {
    let shown = start.checkpoint(&["show"]);
    let mut offsets = BTreeMap::new();
    for line in shown.lines() {
        let Some(of) = line.strip_prefix("source text, partition ") else { continue };
        let (partition, rest) = of.split_once(": next offset ").unwrap();
        let offset = rest.split(',').next().unwrap();
        offsets.insert(partition.parse::<usize>().unwrap(), offset.parse::<usize>().unwrap());
    }
    let mut rows = BTreeMap::new();
    for line in start.checkpoint(&["export"]).lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["table"], "counts");
        let (key, value) = (row["key"].as_str().unwrap(), row["value"].as_u64().unwrap());
        assert!(rows.insert(key.to_owned(), value).is_none(), "`{key}` is there twice");
    }
    (offsets.into_values().collect(), rows)
}

/// The table is what a plain loop has after as many lines of each file.
#[track_caller]
pub(crate) fn check_table(start: &Start<'_>, texts: &[Vec<String>]) -> usize {
    if start.checkpoints().is_empty() {
        return 0;
    }
    let (offsets, rows) = exported(start);
    assert_eq!(offsets.len(), texts.len());
    let (mut words, mut output) = (Words::default(), String::new());
    for (lines, offset) in texts.iter().zip(&offsets) {
        lines[..*offset].iter().for_each(|line| words.count(line, &mut output));
    }
    let differ = rows.iter().find(|(word, count)| words.counts().get(*word) != Some(*count));
    assert!(differ.is_none(), "at {offsets:?}: {differ:?}");
    assert_eq!(rows.len(), words.counts().len(), "at {offsets:?}: rows are missing");
    offsets.iter().sum()
}

#[test]
fn any_layout_goes_on_where_another_was() {
    let mut dice = Dice(43);
    let texts: Vec<Vec<String>> =
        (0..3).map(|_| (0..LINES).map(|_| dice.line()).collect()).collect();
    let wanted = Words::of(texts.iter().flatten().map(String::as_str));
    let mut dose = Dose::new("rescale", 8);
    while !dose.is_over() {
        let folder = Folder::new();
        let mut ledger = Ledger::new(folder.path("counts"), wanted.as_str());
        let names =
            [0, 1, 2].map(|n| folder.write(&format!("text-{n}"), texts[n].join("\n").as_bytes()));
        let (text, counts) =
            (format!("file:{}", names.join(",")), format!("file:{}", folder.name("counts")));
        let arguments = ["--text", &text, "--counts", &counts];
        let start = Start::new("word-count", &folder, &arguments, "20ms");
        let (mut boundaries, mut checked) = (Boundaries::default(), 0);
        while !ledger.is_complete() {
            let workers = WORKERS[usize::try_from(dose.dice.below(4)).unwrap()];
            let processes = PROCESSES[usize::try_from(dose.dice.below(2)).unwrap()];
            let mut life = start.begin(&["-w", workers, "-n", processes]);
            let gently = dose.dice.below(2) == 0;
            if !dose.is_over() && life.moment(&start, 150, &mut dose.dice) {
                life.stop(gently, &mut dose.dice);
                dose.made("rescale");
            } else {
                life.succeeds();
            }
            let after = format!("-w {workers} -n {processes}, gently: {gently}");
            ledger.check(&format!("{after}\n{}", life.running.errors()));
            boundaries.check(&start, &after);
            boundaries.verify(&start);
            checked = checked.max(check_table(&start, &texts));
        }
        ledger.complete("rescale");
        assert!(checked > 0, "no table was looked at");
    }
}

/// MBF-11: a source that starts again does not begin at its beginning.
#[test]
fn mbf_11_a_source_goes_on_from_its_saved_position() {
    let mut dice = Dice(44);
    let folder = Folder::new();
    let lines: Vec<String> = (0..4 * LINES).map(|_| dice.line() + "x").collect();
    let text = format!("file:{}", folder.write("text", lines.join("\n")));
    let counts = format!("file:{}", folder.name("counts"));
    let wanted = Words::of(lines.iter().map(String::as_str));
    let start = Start::new("word-count", &folder, &["--text", &text, "--counts", &counts], "10ms");
    let mut first = start.begin(&["-w", "2"]);
    until("there are two checkpoints", || (start.checkpoints().len() > 1).then_some(()));
    first.running.signal("TERM");
    first.succeeds();
    let read = first.running.counts()["text.records"];
    assert!(read < lines.len() as u64, "it has come to its end before it was asked to stop");
    let (offsets, _) = exported(&start);
    let mut second = start.begin(&["-w", "1"]);
    second.succeeds();
    let errors = second.running.errors();
    assert!(errors.contains("generation 2 goes on from checkpoint"), "{errors}");
    // From where the checkpoint was, to the last line.
    let read = second.running.counts()["text.records"];
    assert_eq!(usize::try_from(read).unwrap(), lines.len() - offsets[0]);
    Ledger::new(folder.path("counts"), wanted).complete("mbf-11");
}
