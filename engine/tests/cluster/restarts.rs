//! With a data directory: whatever dies is started again, as a generation of its own.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anabranch::data_dir::DataDir;

use crate::support::{Dir, Process, expected_sum, gone, publish, signal, until};

type Settings = Vec<(&'static str, String)>;

fn settings(mode: &str, processes: usize) -> Settings {
    vec![
        ("CLUSTER_TEST_MODE", mode.to_owned()),
        ("CLUSTER_TEST_PROCESSES", processes.to_string()),
        ("CLUSTER_TEST_DATA", "program".to_owned()),
    ]
}

fn start(dir: &Dir, mode: &str, processes: usize) -> Process {
    Process::start(dir, "supervisor", &settings(mode, processes))
}

fn start_with(dir: &Dir, processes: usize, more: &[(&'static str, &str)]) -> Process {
    let mut settings = settings("hold", processes);
    settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Process::start(dir, "supervisor", &settings)
}

/// Waits until the children of a generation compute, and returns their pids.
fn up(dir: &Dir, processes: usize, generation: u64) -> Vec<u32> {
    let pid = |process| dir.read(&format!("up-{process}-{generation}")).parse().unwrap();
    (0..processes).map(pid).collect()
}

fn generation(dir: &Dir) -> u64 {
    DataDir::open(dir.path("data"), "program", 8).unwrap().current().unwrap()
}

/// Asks for the drain, and checks that all ends well.
fn drain(supervisor: &mut Process, children: &[u32]) {
    signal("TERM", supervisor.pid());
    assert_eq!(supervisor.end().code(), Some(0), "{}", supervisor.errors());
    assert!(children.iter().all(|pid| gone(*pid)), "a child outlived the supervisor");
}

#[test]
fn mbf_8_a_killed_child_is_started_again_with_all_others_as_the_next_generation() {
    for processes in [1, 2, 3] {
        let dir = Dir::new();
        let mut supervisor = start(&dir, "hold", processes);
        let mut children = up(&dir, processes, 1);
        for next in 2..5 {
            let killed = children[next % processes];
            signal("KILL", killed);
            let others = up(&dir, processes, next as u64);
            assert!(children.iter().all(|pid| gone(*pid)), "an old one lived beside a new one");
            children = others;
        }
        drain(&mut supervisor, &children);
        assert_eq!(generation(&dir), 4);
        let errors = supervisor.errors();
        assert_eq!(errors.matches("restart ").count(), 3, "{errors}");
        assert!(errors.contains("killed by SIGKILL (9)"), "{errors}");
        assert!(errors.contains("; restart 3 of at most 10 in 10ms"), "{errors}");
        assert!(!errors.contains("error: "), "{errors}");
    }
}

#[test]
fn all_children_are_killed_at_once() {
    let dir = Dir::new();
    let mut supervisor = start(&dir, "hold", 3);
    let all = up(&dir, 3, 1).iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    // Some may have ended with those before them.
    Command::new("sh").args(["-c", &format!("kill -KILL {all}")]).status().unwrap();
    let children = up(&dir, 3, 2);
    drain(&mut supervisor, &children);
}

#[test]
fn after_a_killed_supervisor_the_next_one_starts_at_once() {
    for (mode, processes) in [("hold", 1), ("busy", 1), ("busy", 2)] {
        let dir = Dir::new();
        let mut first = start(&dir, mode, processes);
        let orphans = up(&dir, processes, 1);
        signal("KILL", first.pid());
        let mut second = start(&dir, "hold", processes);
        let children = up(&dir, processes, 2);
        assert!(orphans.iter().all(|pid| gone(*pid)), "two programs in one directory");
        first.end();
        drain(&mut second, &children);
    }
}

#[test]
fn a_supervisor_killed_while_its_children_start_leaves_nobody_behind() {
    let dir = Dir::new();
    let mut first = start(&dir, "hold", 2);
    let orphan: u32 = dir.read("pid-0").parse().unwrap();
    signal("KILL", first.pid());
    first.end();
    let mut second = start(&dir, "hold", 1);
    // The orphan may have come as far as computing before it was gone.
    let of_second = |n: &u64| {
        let up = format!("up-0-{n}");
        dir.has(&up) && dir.read(&up) != orphan.to_string()
    };
    let next = until("another generation", || (1..9).find(of_second));
    let children = up(&dir, 1, next);
    until("no child remains", || gone(orphan).then_some(()));
    drain(&mut second, &children);
}

/// The only child of a supervisor that was killed, stopped so that it does not notice.
fn stopped_orphan(dir: &Dir) -> u32 {
    let mut first = start(dir, "hold", 1);
    let orphan = up(dir, 1, 1)[0];
    signal("STOP", orphan);
    signal("KILL", first.pid());
    first.end();
    orphan
}

#[test]
fn a_stopped_child_of_a_killed_supervisor_keeps_the_directory_until_it_is_gone() {
    let dir = Dir::new();
    let orphan = stopped_orphan(&dir);
    let failure = start_with(&dir, 1, &[("CLUSTER_TEST_LOCK_MS", "100")]).failure();
    let named = format!("in use by a process of an earlier start, `program` (pid {orphan} on ");
    assert!(failure.contains(&named), "{failure}");
    let mut third = start(&dir, "hold", 1);
    until("it waits", || third.errors().contains("waiting for").then_some(()));
    assert_eq!(generation(&dir), 1);
    signal("CONT", orphan);
    let children = up(&dir, 1, 2);
    assert!(gone(orphan), "two programs in one directory");
    drain(&mut third, &children);
}

#[test]
fn a_program_whose_file_was_replaced_starts_again_as_it_was() {
    let dir = Dir::new();
    let copy = dir.path("copy");
    // By another process: a descriptor of ours could be open in a child of another test.
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status();
    assert!(copied.unwrap().success());
    let mut supervisor = Process::start_copy(&copy, &dir, "supervisor", &settings("hold", 1));
    let first = up(&dir, 1, 1)[0];
    publish(&copy, "the next version, half written");
    signal("KILL", first);
    let children = up(&dir, 1, 2);
    drain(&mut supervisor, &children);
}

#[test]
fn a_second_program_on_the_same_directory_is_refused_by_name() {
    let dir = Dir::new();
    let mut first = start(&dir, "hold", 1);
    let children = up(&dir, 1, 1);
    let mut more = settings("hold", 1);
    more.push(("CLUSTER_TEST_LOCK_MS", "100".to_owned()));
    let mut second = Process::start(&dir, "second", &more);
    let failure = second.failure();
    let named = format!("is in use by `program` (pid {} on ", first.pid());
    assert!(failure.starts_with("error: the data directory "), "{failure}");
    assert!(failure.contains(&named), "{failure}");
    assert_eq!(generation(&dir), 1);

    let mut foreign = settings("hold", 1);
    foreign.retain(|(name, _)| *name != "CLUSTER_TEST_DATA");
    foreign.push(("CLUSTER_TEST_DATA", "another".to_owned()));
    let mut foreign = Process::start(&dir, "foreign", &foreign);
    assert_eq!(foreign.end().code(), Some(2));
    assert!(foreign.errors().contains("belongs to the program `program`"), "{}", foreign.errors());
    drain(&mut first, &children);
}

#[test]
fn a_stopped_child_is_given_up_and_started_again() {
    for processes in [1, 2] {
        let dir = Dir::new();
        let mut supervisor = start_with(&dir, processes, &[("CLUSTER_TEST_SILENCE_MS", "1000")]);
        let children = up(&dir, processes, 1);
        signal("STOP", children[0]);
        let next = up(&dir, processes, 2);
        assert!(children.iter().all(|pid| gone(*pid)), "an old one lived beside a new one");
        assert!(supervisor.errors().contains("silent for 1s"), "{}", supervisor.errors());
        drain(&mut supervisor, &next);
    }
}

#[test]
fn a_supervisor_that_was_stopped_itself_gives_nobody_up() {
    let dir = Dir::new();
    let mut supervisor = start_with(&dir, 1, &[("CLUSTER_TEST_SILENCE_MS", "300")]);
    let children = up(&dir, 1, 1);
    for _ in 0..3 {
        signal("STOP", supervisor.pid());
        // The fault itself: longer than the limit.
        thread::sleep(Duration::from_millis(600));
        signal("CONT", supervisor.pid());
    }
    drain(&mut supervisor, &children);
    assert_eq!(generation(&dir), 1);
}

#[test]
fn failures_in_a_row_end_with_the_first_cause() {
    let dir = Dir::new();
    std::fs::write(dir.path("record-1"), "").unwrap();
    let mut supervisor = start_with(&dir, 2, &[("CLUSTER_TEST_RESTARTS", "3")]);
    let failure = supervisor.failure();
    let told = "error: process 1: computation `x` panicked at prices-0-17: no price (";
    assert!(failure.starts_with(told), "{failure}");
    assert!(failure.contains("gave up after 3 restarts without progress"), "{failure}");
    assert_eq!(generation(&dir), 4);
    // That of process 0 may have ended before it was up.
    for child in (1..=4).flat_map(|generation| dir.read(&format!("up-1-{generation}")).parse()) {
        assert!(gone(child), "a child outlived the supervisor");
    }
}

#[test]
fn a_cluster_that_gets_on_is_started_again_however_often_it_fails() {
    let dir = Dir::new();
    let mut more = settings("progress", 1);
    more.push(("CLUSTER_TEST_RESTARTS", "1".to_owned()));
    let mut supervisor = Process::start(&dir, "supervisor", &more);
    for generation in 1..6 {
        signal("KILL", up(&dir, 1, generation)[0]);
    }
    let children = up(&dir, 1, 6);
    drain(&mut supervisor, &children);
}

#[test]
fn a_record_that_was_set_aside_costs_one_start_without_a_pause() {
    let dir = Dir::new();
    // A pause would outlast the test.
    let settings = [("CLUSTER_TEST_PAUSE_MS", "3600000"), ("CLUSTER_TEST_RESTARTS", "1")];
    let supervisor = start_with(&dir, 2, &settings);
    for generation in 1..4 {
        up(&dir, 2, generation);
        publish(&dir.path("aside-1"), &format!("prices-0-{generation}"));
    }
    let children = up(&dir, 2, 4);
    // The same one again counts.
    publish(&dir.path("aside-0"), "prices-0-3");
    until("a pause", || supervisor.errors().contains("restart 1 of at most 1 in").then_some(()));
    assert_eq!(supervisor.errors().matches("its record was set aside").count(), 3);
    signal("TERM", supervisor.pid());
    remains(supervisor, "`x` panicked at prices-0-3");
    assert!(children.iter().all(|pid| gone(*pid)), "a child outlived the supervisor");
}

#[test]
fn what_a_restart_cannot_mend_ends_at_once() {
    let dir = Dir::new();
    std::fs::write(dir.path("data-1"), "").unwrap();
    let mut supervisor = start(&dir, "hold", 2);
    assert_eq!(supervisor.end().code(), Some(3));
    let errors = supervisor.errors();
    assert!(errors.contains("error: process 1: the journal is damaged"), "{errors}");
    assert_eq!(generation(&dir), 1);
}

/// What a supervisor says that was asked to end while nobody computed.
fn remains(mut supervisor: Process, why: &str) {
    let failure = supervisor.failure();
    let said =
        "then it was asked to end: what was accepted and is not completed remains in the journal";
    assert!(failure.contains(why) && failure.contains(said), "{failure}");
    assert!(failure.contains("and the next start completes it"), "{failure}");
}

#[test]
fn a_signal_in_a_pause_says_what_remains() {
    for name in ["TERM", "INT"] {
        let dir = Dir::new();
        let supervisor = start_with(&dir, 2, &[("CLUSTER_TEST_PAUSE_MS", "3600000")]);
        signal("KILL", up(&dir, 2, 1)[0]);
        until("a pause", || supervisor.errors().contains("restart 1 of").then_some(()));
        signal(name, supervisor.pid());
        remains(supervisor, "killed by SIGKILL (9)");
        assert_eq!(generation(&dir), 1);
    }
}

#[test]
fn a_signal_before_the_start_says_what_may_remain_of_an_earlier_one() {
    let dir = Dir::new();
    let orphan = stopped_orphan(&dir);
    let second = start(&dir, "hold", 1);
    until("it waits", || second.errors().contains("waiting for").then_some(()));
    signal("TERM", second.pid());
    remains(second, "no process had begun to compute");
    signal("KILL", orphan);
    assert_eq!(generation(&dir), 1);
}

#[test]
fn a_signal_before_the_very_first_start_ends_with_success() {
    let dir = Dir::new();
    let settings = listed(&dir, 2);
    let mut alone = Process::start(&dir, "host-1", &settings[1]);
    until("it waits", || alone.errors().contains("waiting for").then_some(()));
    signal("TERM", alone.pid());
    assert_eq!(alone.end().code(), Some(0), "{}", alone.errors());
    assert_eq!(generation(&dir), 0);
}

#[test]
fn a_supervisor_whose_place_was_taken_starts_no_other_generation() {
    let dir = Dir::new();
    let mut supervisor = start(&dir, "hold", 1);
    let children = up(&dir, 1, 1);
    DataDir::open(dir.path("data"), "program", 8).unwrap().claim().unwrap();
    signal("KILL", children[0]);
    let failure = supervisor.failure();
    assert!(failure.contains("generation 1 has lost its place in"), "{failure}");
    assert!(failure.contains("generation 2 has begun (`program`, pid "), "{failure}");
    assert_eq!(generation(&dir), 2);
}

#[test]
fn a_second_signal_leaves_at_once() {
    let dir = Dir::new();
    let mut supervisor = start(&dir, "stubborn", 1);
    let children = up(&dir, 1, 1);
    assert_eq!(supervisor.signalled_until_gone("INT").code(), Some(130));
    until("no child remains", || gone(children[0]).then_some(()));
}

#[test]
fn one_process_that_is_done_is_done() {
    for processes in [1, 2] {
        let dir = Dir::new();
        let mut settings = settings("sum", processes);
        settings.push(("CLUSTER_TEST_WORKERS", "2".to_owned()));
        assert_eq!(Process::start(&dir, "supervisor", &settings).end().code(), Some(0));
        let peers = 2 * processes as u64;
        for process in 0..processes {
            let sums = [0, 1].map(|worker| expected_sum(2 * process as u64 + worker, peers));
            assert_eq!(dir.read(&format!("done-{process}")), format!("{sums:?}"));
        }
        assert_eq!(generation(&dir), 1);
    }
}

/// The settings of each line of a hosts file.
fn listed(dir: &Dir, count: usize) -> Vec<Settings> {
    let ports: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<_> = ports.iter().map(|port| port.local_addr().unwrap().to_string()).collect();
    std::fs::write(dir.path("hosts"), hosts.join("\n")).unwrap();
    std::fs::write(dir.path("key"), [b'k'; 32]).unwrap();
    std::fs::set_permissions(dir.path("key"), PermissionsExt::from_mode(0o600)).unwrap();
    let path = |name| dir.path(name).to_str().unwrap().to_owned();
    let settings = |process: usize| {
        vec![
            ("CLUSTER_TEST_MODE", "hold".to_owned()),
            ("CLUSTER_TEST_PROCESS", process.to_string()),
            ("CLUSTER_TEST_HOSTS", path("hosts")),
            ("CLUSTER_TEST_KEY", path("key")),
            ("CLUSTER_TEST_DATA", "program".to_owned()),
        ]
    };
    (0..count).map(settings).collect()
}

/// Waits until both compute in the same generation, later than `after`; it and their pids.
fn met(dir: &Dir, after: u64) -> (u64, Vec<u32>) {
    let both = |generation: &u64| (0..2).all(|p| dir.has(&format!("up-{p}-{generation}")));
    let generation = until("both meet again", || (after + 1..after + 50).find(both));
    (generation, up(dir, 2, generation))
}

#[test]
fn processes_of_a_hosts_file_meet_again() {
    let dir = Dir::new();
    let settings = listed(&dir, 2);
    let start =
        |process: usize| Process::start(&dir, &format!("host-{process}"), &settings[process]);
    let mut supervisors = [start(0), start(1)];
    let (mut generation, mut children) = met(&dir, 0);
    for killed in [1, 0, 1] {
        signal("KILL", children[killed]);
        (generation, children) = met(&dir, generation);
    }
    for killed in [0, 1] {
        signal("KILL", supervisors[killed].pid());
        supervisors[killed].end();
        supervisors[killed] = start(killed);
        (generation, children) = met(&dir, generation);
    }
    let mut twice = settings[1].clone();
    twice.push(("CLUSTER_TEST_LOCK_MS", "100".to_owned()));
    let failure = Process::start(&dir, "twice", &twice).failure();
    let named = format!("is in use by `program` (pid {} on ", supervisors[1].pid());
    assert!(failure.contains(&named), "{failure}");
    signal("TERM", supervisors[0].pid());
    for supervisor in &mut supervisors {
        assert_eq!(supervisor.end().code(), Some(0), "{}", supervisor.errors());
    }
    assert!(children.iter().all(|pid| gone(*pid)), "a child outlived its supervisor");
}

#[test]
fn a_machine_that_was_stopped_is_replaced_and_comes_back_as_the_next_generation() {
    let dir = Dir::new();
    let mut settings = listed(&dir, 2);
    for settings in &mut settings {
        settings.push(("CLUSTER_TEST_SILENCE_MS", "1000".to_owned()));
    }
    let mut first = Process::start(&dir, "host-0", &settings[0]);
    let mut second = Process::start(&dir, "host-1", &settings[1]);
    let (old, children) = met(&dir, 0);
    signal("STOP", second.pid());
    signal("STOP", children[1]);
    until("the other goes on", || (generation(&dir) > old).then_some(()));
    assert!(!gone(children[1]), "nobody there could end it");
    signal("CONT", children[1]);
    signal("CONT", second.pid());
    met(&dir, old);
    assert!(gone(children[1]), "a stale process lives on");
    signal("TERM", first.pid());
    assert_eq!(first.end().code(), Some(0), "{}", first.errors());
    assert_eq!(second.end().code(), Some(0), "{}", second.errors());
}

#[test]
fn a_process_that_begins_with_an_old_generation_finds_the_new_one() {
    let dir = Dir::new();
    let settings = listed(&dir, 2);
    DataDir::open(dir.path("data"), "program", 8).unwrap().claim().unwrap();
    let mut late = Process::start(&dir, "host-1", &settings[1]);
    until("it begins", || late.errors().contains("generation 1 starts").then_some(()));
    let mut first = Process::start(&dir, "host-0", &settings[0]);
    let (generation, _) = met(&dir, 0);
    assert!(generation > 1);
    signal("TERM", late.pid());
    assert_eq!(late.end().code(), Some(0), "{}", late.errors());
    assert_eq!(first.end().code(), Some(0), "{}", first.errors());
}
