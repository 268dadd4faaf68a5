//! A program with nothing to do uses under 1 % of a core.

use std::process::Stdio;
use std::time::Duration;

use anabranch::clock;

use crate::run::{Running, program, ticks};
use crate::support::Folder;

/// How long the processor time is measured: 1 % of it are 5 ticks.
const WINDOW: Duration = Duration::from_secs(5);

/// The program, once it runs and its start is over, with all its processes.
fn idle(arguments: &[&str], ready: &str, processes: usize) -> (Running, Vec<u32>) {
    let mut running = Running::start(program("word-count", arguments).stdin(Stdio::piped()));
    let mut pids = vec![running.pid()];
    if processes > 1 {
        pids.extend(running.children(processes));
    }
    if !ready.is_empty() {
        running.logs(ready);
    }
    (running, pids)
}

#[test]
fn programs_with_nothing_to_do_cost_nothing() {
    let folder = Folder::new();
    let listening = folder.name("port");
    let listen = format!("ws-listen://:0/text?port_file={listening}");
    let programs = [
        idle(&["-w", "2"], "", 1),
        idle(&["-w", "4", "--epoch", "100us"], "", 1),
        idle(&["--text", &listen, "-w", "2"], "listens on", 1),
        idle(&["-n", "2", "-w", "2"], "the cluster is formed", 2),
    ];
    folder.port("port");
    // What starting costs is not what is measured.
    std::thread::sleep(Duration::from_millis(500));
    let used = || -> Vec<u64> {
        programs.iter().map(|(_, pids)| pids.iter().map(|pid| ticks(*pid)).sum()).collect()
    };
    let (before, began) = (used(), clock::instant());
    std::thread::sleep(WINDOW);
    let (after, hundredth) = (used(), began.elapsed() / 100);
    for ((running, _), (before, after)) in programs.into_iter().zip(before.into_iter().zip(after)) {
        let used = Duration::from_millis(10 * (after - before));
        assert!(used < hundredth, "{used:?} of {WINDOW:?}: {}", running.errors());
    }
}
