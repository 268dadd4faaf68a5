//! A process that is stopped for longer than any limit, and wakes: it commits nothing any more.
//!
//! Invariant: each test wakes what it has stopped, or sees it killed; a stop is longer than the
//! heartbeats allow because what they lead to has been awaited.

use crate::ledger::Ledger;
use crate::lives::{Start, pids, send};
use crate::run::{Running, is_gone, parent, program};
use crate::support::{Dice, Folder, Words, free_ports, key_file, until};

const LINES: usize = 600_000;

/// A program that counts the words of a long text, and its ledger.
fn long(folder: &Folder) -> (Start<'static>, Ledger) {
    let mut dice = Dice(45);
    let lines: Vec<String> = (0..LINES).map(|_| dice.line()).collect();
    let text = format!("file:{}", folder.write("text", lines.join("\n")));
    let counts = format!("file:{}", folder.name("counts"));
    let start = Start::new("word-count", folder, &["--text", &text, "--counts", &counts], "20ms");
    let wanted = Words::of(lines.iter().map(String::as_str));
    (start, Ledger::new(folder.path("counts"), wanted))
}

fn first_checkpoint(start: &Start<'_>) {
    until("there is a checkpoint", || (!start.checkpoints().is_empty()).then_some(()));
}

/// The supervisor does not wait for it.
fn replaced(layout: &[&str]) {
    let folder = Folder::new();
    let (start, mut ledger) = long(&folder);
    let mut life = start.begin(layout);
    first_checkpoint(&start);
    let (_, children) = life.generation().unwrap();
    let stopped = *children.last().unwrap();
    send("STOP", &[stopped]);
    life.running.logs("silent for");
    life.running.logs("generation 2 starts");
    ledger.check("the next generation has started");
    // If it had outlived its supervisor's patience, this would wake it.
    if parent(stopped) == Some(life.running.pid()) {
        send("CONT", &[stopped]);
    }
    life.succeeds();
    assert!(is_gone(stopped));
    ledger.complete("silent");
}

#[test]
fn the_only_child_that_does_not_answer_is_replaced() {
    replaced(&["-w", "2"]);
}

#[test]
fn a_child_that_does_not_answer_is_replaced_with_all_others() {
    replaced(&["-n", "2"]);
}

/// Its supervisor is gone, so nobody kills it: it keeps the directory as long as it lives, and ends when
/// it wakes.
#[test]
fn a_child_that_sleeps_through_the_end_of_its_supervisor_keeps_others_out() {
    let folder = Folder::new();
    let (start, mut ledger) = long(&folder);
    let mut first = start.begin(&["-w", "2"]);
    first_checkpoint(&start);
    let (_, children) = first.generation().unwrap();
    send("STOP", &children);
    first.running.signal("KILL");
    assert_eq!(first.running.code(), None);
    let asleep = ledger.check("all are stopped or dead");

    // Longer than a start waits.
    let mut second = start.begin(&["-w", "1"]);
    let error = second.running.fails();
    assert!(error.contains("in use by"), "{error}");
    assert!(error.contains(&children[0].to_string()), "which process: {error}");
    assert_eq!(ledger.check("nobody could write"), asleep);

    let mut third = start.begin(&["-w", "1"]);
    third.running.logs("to be free");
    send("CONT", &children);
    until("it is gone", || is_gone(children[0]).then_some(()));
    third.succeeds();
    let errors = third.running.errors();
    assert!(errors.contains("goes on from checkpoint"), "{errors}");
    ledger.complete("woken");
}

/// Both its supervisor and itself: a machine that was frozen. The other one goes on to the next
/// generation meanwhile; what wakes is of an old one, and meets the other in the new.
#[test]
fn a_machine_that_was_frozen_commits_nothing_and_comes_back() {
    let folder = Folder::new();
    let (start, mut ledger) = long(&folder);
    let key = key_file(&folder, "cluster.key", "0123456789abcdef0123456789abcdef");
    let ports: [u16; 2] = free_ports();
    let hosts = folder.write("hosts", ports.map(|port| format!("127.0.0.1:{port}\n")).concat());
    let mut machines: Vec<Running> = ["0", "1"]
        .map(|process| {
            let place = ["-p", process, "--hosts", &hosts, "--cluster-key-file", &key];
            let arguments = start.arguments.iter().map(String::as_str).chain(place);
            Running::start(&mut program("word-count", arguments))
        })
        .into();
    first_checkpoint(&start);
    let frozen = [vec![machines[1].pid()], machines[1].children(1)].concat();
    send("STOP", &frozen);
    machines[0].logs("generation 2 starts");
    let meanwhile = ledger.check("frozen");
    send("CONT", &frozen);
    machines.iter_mut().for_each(Running::succeeds);
    assert!(ledger.check("woken") >= meanwhile);
    ledger.complete("frozen");
    for machine in &machines {
        for pid in pids(&machine.errors()) {
            until("the child is gone", || is_gone(pid).then_some(()));
        }
    }
}
