//! `-n N`: the supervisor's children live and end with it.

use crate::support::{Dir, Process, expected_sum, gone, signal, until};

fn start(dir: &Dir, mode: &str, processes: usize) -> Process {
    let settings =
        [("CLUSTER_TEST_MODE", mode.to_owned()), ("CLUSTER_TEST_PROCESSES", processes.to_string())];
    Process::start(dir, "supervisor", &settings)
}

/// Waits until the children compute, and returns their pids.
fn up(dir: &Dir, processes: usize) -> Vec<u32> {
    (0..processes).map(|process| dir.read(&format!("up-{process}")).parse().unwrap()).collect()
}

fn all_gone(children: &[u32]) {
    until("no child remains", || children.iter().all(|pid| gone(*pid)).then_some(()));
}

#[test]
fn the_children_compute_together_and_end_with_success() {
    let dir = Dir::new();
    assert_eq!(start(&dir, "sum", 3).end().code(), Some(0));
    for process in 0..3 {
        let sums = dir.read(&format!("done-{process}"));
        assert_eq!(sums, format!("{:?}", [expected_sum(process, 3)]));
    }
}

#[test]
fn a_killed_child_ends_all_with_one_line_that_names_it() {
    let dir = Dir::new();
    let mut supervisor = start(&dir, "hold", 3);
    let children = up(&dir, 3);
    signal("KILL", children[1]);
    let failure = supervisor.failure();
    assert!(failure.starts_with("error: process 1 "), "{failure}");
    assert!(failure.contains("was lost") && failure.contains("SIGKILL"), "{failure}");
    assert!(children.iter().all(|pid| gone(*pid)), "a child outlived the supervisor");
}

#[test]
fn a_panic_in_a_child_is_the_one_line() {
    let dir = Dir::new();
    let mut supervisor = start(&dir, "hold", 2);
    let children = up(&dir, 2);
    std::fs::write(dir.path("panic-1"), "").unwrap();
    let failure = supervisor.failure();
    assert!(failure.starts_with("error: process 1: thread `timely:work-0` panicked"), "{failure}");
    assert!(children.iter().all(|pid| gone(*pid)), "a child outlived the supervisor");
}

#[test]
fn no_child_outlives_a_killed_supervisor_however_busy_it_is() {
    let dir = Dir::new();
    let mut supervisor = start(&dir, "busy", 2);
    let children = up(&dir, 2);
    signal("KILL", supervisor.pid());
    supervisor.end();
    all_gone(&children);
}

#[test]
fn no_child_outlives_a_supervisor_killed_while_the_cluster_forms() {
    let dir = Dir::new();
    let mut supervisor = start(&dir, "hold", 2);
    let child = dir.read("pid-0").parse().unwrap();
    signal("KILL", supervisor.pid());
    supervisor.end();
    all_gone(&[child]);
    if let Ok(other) = std::fs::read_to_string(dir.path("pid-1")) {
        all_gone(&[other.parse().unwrap()]);
    }
}

#[test]
fn a_signal_to_the_supervisor_drains_the_children() {
    for name in ["TERM", "INT"] {
        let dir = Dir::new();
        let mut supervisor = start(&dir, "hold", 2);
        let children = up(&dir, 2);
        signal(name, supervisor.pid());
        assert_eq!(supervisor.end().code(), Some(0));
        assert!(dir.has("done-0") && dir.has("done-1"));
        assert!(children.iter().all(|pid| gone(*pid)), "a child outlived the supervisor");
    }
}

#[test]
fn children_ignore_signals() {
    // As with Ctrl-C in a terminal: everybody gets the signal, the supervisor decides.
    let dir = Dir::new();
    let mut supervisor = start(&dir, "hold", 2);
    let children = up(&dir, 2);
    for child in &children {
        signal("INT", *child);
        signal("TERM", *child);
        signal("INT", *child);
    }
    assert!(supervisor.running() && children.iter().all(|pid| !gone(*pid)));
    signal("INT", supervisor.pid());
    assert_eq!(supervisor.end().code(), Some(0));
    assert!(dir.has("done-0") && dir.has("done-1"));
}

#[test]
fn a_second_signal_leaves_at_once_and_takes_the_children_along() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let dir = Dir::new();
        let mut supervisor = start(&dir, "stubborn", 2);
        let children = up(&dir, 2);
        let ended = supervisor.signalled_until_gone(name);
        assert_eq!(ended.code(), Some(code));
        all_gone(&children);
    }
}

#[test]
fn a_stopped_child_is_lost_and_killed() {
    let dir = Dir::new();
    let settings = [
        ("CLUSTER_TEST_MODE", "hold".to_owned()),
        ("CLUSTER_TEST_PROCESSES", "2".to_owned()),
        ("CLUSTER_TEST_SILENCE_MS", "3000".to_owned()),
    ];
    let mut supervisor = Process::start(&dir, "supervisor", &settings);
    let children = up(&dir, 2);
    signal("STOP", children[0]);
    let failure = supervisor.failure();
    assert!(failure.starts_with("error: process 0 "), "{failure}");
    assert!(failure.ends_with("silent for 3s"), "{failure}");
    assert!(children.iter().all(|pid| gone(*pid)), "a child outlived the supervisor");
}

#[test]
fn no_child_holds_the_pipe_of_another() {
    let dir = Dir::new();
    let mut supervisor = start(&dir, "hold", 3);
    let children = up(&dir, 3);
    let descriptor =
        |pid, number| std::fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap_or_default();
    for child in &children {
        let own = [descriptor(*child, 3), descriptor(*child, 4)];
        assert!(own.iter().all(|pipe| pipe.to_string_lossy().starts_with("pipe:")), "{own:?}");
        for other in children.iter().filter(|other| *other != child) {
            let held: Vec<_> = (0..64).map(|number| descriptor(*other, number)).collect();
            assert!(!held.iter().any(|pipe| own.contains(pipe)), "{own:?} in {held:?}");
        }
    }
    signal("TERM", supervisor.pid());
    assert_eq!(supervisor.end().code(), Some(0));
}
