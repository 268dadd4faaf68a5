//! Processes of a hosts file: one is lost, and every other one names it; a drain reaches all.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Dir, Process, expected_sum, signal};

/// A running cluster of real processes.
struct Cluster {
    dir: Dir,
    hosts: Vec<String>,
    processes: Vec<Process>,
}

/// Writes the files of a cluster, and returns the settings of each of its processes.
fn files(dir: &Dir, mode: &str, hosts: &[String]) -> Vec<Vec<(&'static str, String)>> {
    std::fs::write(dir.path("hosts"), hosts.join("\n")).unwrap();
    std::fs::write(dir.path("key"), [b'k'; 32]).unwrap();
    std::fs::set_permissions(dir.path("key"), PermissionsExt::from_mode(0o600)).unwrap();
    let path = |name| dir.path(name).to_str().unwrap().to_owned();
    let settings = |process: usize| {
        vec![
            ("CLUSTER_TEST_MODE", mode.to_owned()),
            ("CLUSTER_TEST_PROCESS", process.to_string()),
            ("CLUSTER_TEST_HOSTS", path("hosts")),
            ("CLUSTER_TEST_KEY", path("key")),
        ]
    };
    (0..hosts.len()).map(settings).collect()
}

/// Starts `count` processes, each with its own `settings`.
fn start(
    count: usize,
    mode: &str,
    settings: impl Fn(usize) -> Vec<(&'static str, String)>,
) -> Cluster {
    let dir = Dir::new();
    let ports: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<_> = ports.iter().map(|port| port.local_addr().unwrap().to_string()).collect();
    drop(ports);
    let all = files(&dir, mode, &hosts).into_iter().enumerate();
    let processes = all
        .map(|(process, mut all)| {
            all.extend(settings(process));
            Process::start(&dir, &process.to_string(), &all)
        })
        .collect();
    Cluster { dir, hosts, processes }
}

impl Cluster {
    /// Waits until every process computes.
    fn up(&self) {
        for process in 0..self.processes.len() {
            self.dir.read(&format!("up-{process}"));
        }
    }

    fn named(&self, process: usize) -> String {
        format!("error: process {process} ({}) was lost: ", self.hosts[process])
    }
}

#[test]
fn processes_compute_together_and_end_with_success() {
    let mut cluster = start(3, "sum", |_| vec![("CLUSTER_TEST_WORKERS", "2".to_owned())]);
    for process in 0..3 {
        assert_eq!(cluster.processes[process].end().code(), Some(0));
        let sums = cluster.dir.read(&format!("done-{process}"));
        let first = 2 * process as u64;
        assert_eq!(sums, format!("{:?}", [expected_sum(first, 6), expected_sum(first + 1, 6)]));
    }
}

#[test]
fn a_killed_process_is_named_by_every_other_one() {
    let mut cluster = start(3, "hold", |_| vec![]);
    cluster.up();
    signal("KILL", cluster.processes[1].pid());
    for process in [0, 2] {
        let failure = cluster.processes[process].failure();
        assert!(failure.starts_with(&cluster.named(1)), "{failure}");
    }
}

#[test]
fn a_stopped_process_is_lost_when_it_is_silent_for_too_long() {
    let mut cluster = start(3, "hold", |_| vec![("CLUSTER_TEST_SILENCE_MS", "3000".to_owned())]);
    cluster.up();
    let stopped = cluster.processes[2].pid();
    signal("STOP", stopped);
    for process in [0, 1] {
        let failure = cluster.processes[process].failure();
        assert_eq!(failure, cluster.named(2) + "silent for 3s");
    }
    // When it goes on, it reads why the others have given it up, and ends for the same reason.
    signal("CONT", stopped);
    let failure = cluster.processes[2].failure();
    assert_eq!(failure, cluster.named(2) + "silent for 3s");
}

#[test]
fn a_panic_ends_every_process_with_its_message() {
    let mut cluster = start(3, "hold", |_| vec![]);
    cluster.up();
    std::fs::write(cluster.dir.path("panic-1"), "").unwrap();
    for process in &mut cluster.processes {
        let failure = process.failure();
        assert!(
            failure.starts_with("error: process 1: thread `timely:work-0` panicked"),
            "{failure}"
        );
        assert!(failure.contains("told to panic"), "{failure}");
    }
}

#[test]
fn a_panic_of_user_code_names_its_record_and_nothing_else_is_printed() {
    let mut cluster = start(2, "hold", |_| vec![]);
    cluster.up();
    std::fs::write(cluster.dir.path("record-1"), "").unwrap();
    let told = "error: process 1: computation `x` panicked at prices-0-17: no price (";
    for process in &mut cluster.processes {
        let failure = process.failure();
        assert!(failure.starts_with(told), "{failure}");
        assert_eq!(process.errors(), failure + "\n");
    }
}

#[test]
fn different_workers_end_both_processes_with_the_values() {
    let workers = |process: usize| vec![("CLUSTER_TEST_WORKERS", (process + 1).to_string())];
    let mut cluster = start(2, "hold", workers);
    for process in &mut cluster.processes {
        let failure = process.failure();
        assert!(failure.contains("workers per process, not"), "{failure}");
    }
}

#[test]
fn a_signal_to_one_process_drains_all() {
    for name in ["TERM", "INT"] {
        let mut cluster = start(2, "hold", |_| vec![]);
        cluster.up();
        signal(name, cluster.processes[1].pid());
        for process in 0..2 {
            assert_eq!(cluster.processes[process].end().code(), Some(0));
            assert!(cluster.dir.has(&format!("done-{process}")));
        }
    }
}

#[test]
fn a_second_signal_leaves_at_once_and_the_others_name_it() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let mut cluster = start(2, "stubborn", |_| vec![]);
        cluster.up();
        let ended = cluster.processes[0].signalled_until_gone(name);
        assert_eq!(ended.code(), Some(code));
        let failure = cluster.processes[1].failure();
        assert!(failure.starts_with(&cluster.named(0)), "{failure}");
    }
}

#[test]
fn a_signal_while_others_are_missing_ends_with_success() {
    let dir = Dir::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let hosts = [&silent, &own].map(|listener| listener.local_addr().unwrap().to_string());
    drop(own);
    let settings = files(&dir, "hold", &hosts);
    let mut process = Process::start(&dir, "1", &settings[1]);
    // It dials process 0, which says nothing: so it listens to signals by now.
    let (_silent, _) = silent.accept().unwrap();
    signal("TERM", process.pid());
    assert_eq!(process.end().code(), Some(0));
    assert!(!dir.has("done-1"));
}

#[test]
fn a_process_alone_obeys_signals_too() {
    let dir = Dir::new();
    let settings = |mode: &str| [("CLUSTER_TEST_MODE", mode.to_owned())];
    let mut process = Process::start(&dir, "alone", &settings("hold"));
    dir.read("up-0");
    signal("TERM", process.pid());
    assert_eq!(process.end().code(), Some(0));

    let dir = Dir::new();
    let mut process = Process::start(&dir, "alone", &settings("stubborn"));
    dir.read("up-0");
    let ended = process.signalled_until_gone("INT");
    assert_eq!(ended.code(), Some(130));
}

#[test]
fn what_is_wrong_with_the_options_is_said_with_exit_code_2() {
    let dir = Dir::new();
    let hosts = ["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
    let good = files(&dir, "hold", &hosts).swap_remove(0);
    let changed = |name: &str, value: Option<&str>| {
        let mut settings = good.clone();
        settings.retain(|(setting, _)| *setting != name);
        let name = ALL.iter().find(|known| **known == name).unwrap();
        settings.extend(value.map(|value| (*name, value.to_owned())));
        settings
    };
    for (settings, told) in [
        (changed("CLUSTER_TEST_PROCESS", Some("2")), "--process 2 is none of 0 to 1"),
        (changed("CLUSTER_TEST_PROCESSES", Some("3")), "--processes and the 2 lines of"),
        (changed("CLUSTER_TEST_HOSTS", None), "--process needs --hosts FILE"),
        (changed("CLUSTER_TEST_KEY", None), "--process needs --cluster-key-file FILE"),
        (changed("CLUSTER_TEST_PROCESS", None), "say with --process which line"),
        (changed("CLUSTER_TEST_WORKERS", Some("0")), "--workers must be at least 1"),
    ] {
        let mut process = Process::start(&dir, "wrong", &settings);
        let status = process.end();
        let errors = dir.read("wrong.err");
        assert_eq!(status.code(), Some(2), "{errors}");
        assert!(errors.contains("error: ") && errors.contains(told), "{errors}");
    }
}

const ALL: [&str; 5] = [
    "CLUSTER_TEST_PROCESS",
    "CLUSTER_TEST_PROCESSES",
    "CLUSTER_TEST_HOSTS",
    "CLUSTER_TEST_KEY",
    "CLUSTER_TEST_WORKERS",
];
