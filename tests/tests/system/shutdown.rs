//! The end of input, a signal, a second one, a death: each ends all processes, as it should.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use crate::run::{Running, is_gone, program, signal, ticks};
use crate::sockets::{framed, read_frame};
use crate::support::{Dice, FEW_LAYOUTS, Folder, Words, assert_same, free_ports, key_file, until};

const LINES: usize = 50_000;
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn processes(layout: &[&str]) -> usize {
    if layout[0] == "-n" { layout[1].parse().unwrap() } else { 0 }
}

/// So long that the records that are accepted at any time are more output than fits into the pipe
/// and the queue between a program and its reader.
fn long_lines() -> Vec<String> {
    let mut dice = Dice(5);
    (0..LINES).map(|_| dice.line().replace('w', &"w".repeat(200))).collect()
}

/// A program whose output nobody reads, once it can do no more.
fn stuck(folder: &Folder, layout: &[&str]) -> Running {
    let text = format!("file:{}", folder.name("text"));
    let limits = ["--in-flight-records", "1000"];
    let arguments = [&["--text", &text, "--counts=-?queue_records=100"], &limits[..], layout];
    let mut running = Running::start(&mut program("word-count", arguments.concat()));
    // It has begun when something is in the pipe; then it waits for its reader.
    let mut first = [0];
    let mut output = running.output();
    output.read_exact(&mut first).unwrap();
    running.give_back(output);
    let pids = [vec![running.pid()], running.children(processes(layout))].concat();
    let used = || pids.iter().map(|pid| ticks(*pid)).sum::<u64>();
    until("it waits", || {
        let before = used();
        std::thread::sleep(Duration::from_millis(100));
        (used() == before).then_some(())
    });
    running
}

#[test]
fn a_signal_completes_what_was_accepted_of_recorded_input() {
    let folder = Folder::new();
    let lines = long_lines();
    folder.write("text", lines.join("\n"));
    let wanted = Words::of(lines.iter().map(String::as_str));
    for (layout, name) in FEW_LAYOUTS.into_iter().zip(["TERM", "INT", "TERM"]) {
        let mut running = stuck(&folder, layout);
        running.signal(name);
        running.logs("draining");
        let output = running.collect();
        running.succeeds();
        let output = [&wanted.as_bytes()[..1], &output.join().unwrap()].concat();
        assert!(output.len() < wanted.len(), "{layout:?}: it read on to the end");
        assert!(output.ends_with(b"\n"), "{layout:?}: a line was cut");
        assert_same(&format!("{layout:?}"), &output, &wanted.as_bytes()[..output.len()]);
    }
}

/// What was read is what comes out, to the last line, although the producer never ends.
#[test]
fn a_signal_completes_what_was_read_from_standard_input() {
    for (layout, name) in FEW_LAYOUTS.into_iter().zip(["INT", "TERM", "INT"]) {
        let mut running = Running::start(program("word-count", layout).stdin(Stdio::piped()));
        let (mut input, mut output) = (running.input(), BufReader::new(running.output()));
        let producer = std::thread::spawn(move || {
            let (mut dice, mut lines) = (Dice(6), Vec::new());
            loop {
                lines.push(dice.line() + "\n");
                if input.write_all(lines.last().unwrap().as_bytes()).is_err() {
                    return lines;
                }
            }
        });
        let mut read = String::new();
        for _ in 0..20_000 {
            output.read_line(&mut read).unwrap();
        }
        running.signal(name);
        output.read_to_string(&mut read).unwrap();
        running.succeeds();
        let lines = producer.join().unwrap();
        let accepted = usize::try_from(running.counts()["text.records"]).unwrap();
        // A blank line is no record.
        let lines = lines.iter().map(String::as_str).filter(|line| *line != "\n");
        let wanted = Words::of(lines.take(accepted));
        assert_same(&format!("{layout:?}"), read.as_bytes(), wanted.as_bytes());
    }
}

#[test]
fn a_signal_completes_what_was_read_from_a_socket() {
    for layout in FEW_LAYOUTS {
        let folder = Folder::new();
        let text = format!("tcp-listen://:0?port_file={}", folder.name("port"));
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        let counts = format!("tcp://{}", receiver.local_addr().unwrap());
        let arguments = [&["--text", &text, "--counts", &counts], layout].concat();
        let mut running = Running::start(&mut program("word-count", arguments));
        let mut sender = TcpStream::connect(("127.0.0.1", folder.port("port"))).unwrap();
        let producer = std::thread::spawn(move || {
            let (mut dice, mut lines) = (Dice(8), Vec::new());
            loop {
                lines.push(dice.line());
                let text = lines.last().unwrap().as_bytes();
                if sender.write_all(&framed(text)).is_err() {
                    return lines;
                }
            }
        });
        let (mut received, mut output) = (receiver.accept().unwrap().0, String::new());
        let mut take = |output: &mut String| {
            let frame = read_frame(&mut received)?;
            output.push_str(&frame);
            output.push('\n');
            Some(())
        };
        (0..20_000).for_each(|_| take(&mut output).unwrap());
        running.signal("TERM");
        while take(&mut output).is_some() {}
        // The program waits a moment for its receiver to hang up.
        drop(received);
        running.succeeds();
        let lines = producer.join().unwrap();
        let accepted = usize::try_from(running.counts()["text.records"]).unwrap();
        let wanted = Words::of(lines[..accepted].iter().map(String::as_str));
        assert_same(&format!("{layout:?}"), output.as_bytes(), wanted.as_bytes());
    }
}

#[test]
fn a_program_that_waits_for_input_obeys_at_once() {
    for (layout, name) in FEW_LAYOUTS.into_iter().zip(["INT", "TERM", "INT"]) {
        let mut running = Running::start(program("word-count", layout).stdin(Stdio::piped()));
        let (mut input, mut output) = (running.input(), BufReader::new(running.output()));
        input.write_all(b"once\n").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "once 1\n");
        running.signal(name);
        running.succeeds();
        drop(input);
    }
}

#[test]
fn a_second_signal_leaves_at_once() {
    let folder = Folder::new();
    folder.write("text", long_lines().join("\n"));
    for (layout, name, code) in
        [(FEW_LAYOUTS[0], "INT", 130), (FEW_LAYOUTS[1], "TERM", 143), (FEW_LAYOUTS[2], "INT", 130)]
    {
        let mut running = stuck(&folder, layout);
        let children = running.children(processes(layout));
        running.signal(name);
        running.logs("draining");
        assert!(running.is_running(), "nobody reads, so the drain cannot be over");
        running.signal(name);
        assert_eq!(running.code(), Some(code), "{layout:?}: {}", running.errors());
        for child in children {
            until("the child is gone", || is_gone(child).then_some(()));
        }
    }
}

/// Also while they are stuck in back pressure: nothing but the kernel tells them.
#[test]
fn no_child_outlives_the_supervisor() {
    let folder = Folder::new();
    folder.write("text", long_lines().join("\n"));
    let mut busy = stuck(&folder, &["-n", "3", "-w", "2"]);
    let mut idle =
        Running::start(program("word-count", ["-n", "2", "--text", "-"]).stdin(Stdio::piped()));
    idle.logs("the cluster is formed");
    let children = [busy.children(3), idle.children(2)].concat();
    for running in [&mut busy, &mut idle] {
        running.signal("KILL");
        assert_eq!(running.code(), None);
    }
    for child in children {
        until("the child is gone", || is_gone(child).then_some(()));
    }
}

#[test]
fn a_killed_child_ends_all_with_the_first_cause() {
    for victim in 0..3 {
        let mut running = Running::start(program("word-count", ["-n", "3"]).stdin(Stdio::piped()));
        let (_input, output) = (running.input(), running.collect());
        running.logs("the cluster is formed");
        let children = running.children(3);
        signal("KILL", children[victim]);
        let error = running.fails();
        assert!(error.contains(&format!("process {victim}")), "{error}");
        assert!(error.contains("SIGKILL"), "{error}");
        assert!(children.iter().all(|child| is_gone(*child)), "children are left");
        output.join().unwrap();
    }
}

/// Two processes that were started one by one.
struct Listed {
    processes: Vec<Running>,
    _folder: Folder,
}

impl Listed {
    fn start<const COUNT: usize>() -> Self {
        let folder = Folder::new();
        let key = key_file(&folder, "cluster.key", KEY);
        let ports: [u16; COUNT] = free_ports();
        folder.write("hosts", ports.map(|port| format!("127.0.0.1:{port}\n")).concat());
        let mut processes: Vec<Running> = (0..COUNT)
            .map(|process| {
                let process = process.to_string();
                let hosts = folder.name("hosts");
                let flags = ["-p", &process, "--hosts", &hosts, "--cluster-key-file", &key];
                Running::start(program("word-count", flags).stdin(Stdio::piped()))
            })
            .collect();
        processes.iter_mut().for_each(|running| running.logs("the cluster is formed"));
        Self { processes, _folder: folder }
    }
}

#[test]
fn a_cluster_of_listed_processes_ends_as_one() {
    // By the end of its input, which is that of the process that has the source.
    let mut cluster = Listed::start::<2>();
    let outputs: Vec<_> = cluster.processes.iter_mut().map(Running::collect).collect();
    let inputs: Vec<_> = cluster.processes.iter_mut().map(Running::input).collect();
    for mut input in inputs {
        input.write_all(b"to be or not to be").unwrap();
    }
    cluster.processes.iter_mut().for_each(Running::succeeds);
    let outputs =
        outputs.into_iter().map(|output| String::from_utf8(output.join().unwrap()).unwrap());
    assert_eq!(outputs.collect::<String>(), "to 1\nbe 1\nor 1\nnot 1\nto 2\nbe 2\n");

    // By a signal to any of them.
    for asked in 0..2 {
        let mut cluster = Listed::start::<2>();
        let inputs: Vec<_> = cluster.processes.iter_mut().map(Running::input).collect();
        cluster.processes[asked].signal("TERM");
        cluster.processes.iter_mut().for_each(Running::succeeds);
        drop(inputs);
    }

    // By a death, whose cause all others name.
    for victim in 0..3 {
        let mut cluster = Listed::start::<3>();
        let inputs: Vec<_> = cluster.processes.iter_mut().map(Running::input).collect();
        cluster.processes[victim].signal("KILL");
        for (process, running) in cluster.processes.iter_mut().enumerate() {
            if process != victim {
                let error = running.fails();
                assert!(error.contains(&format!("process {victim} ")), "{error}");
            }
        }
        drop(inputs);
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let hosts = folder.write("hosts", "127.0.0.1:1\n127.0.0.1:2\n");
    let key = key_file(&folder, "cluster.key", KEY);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let flags = ["-p", "0", "--hosts", &hosts, "--cluster-key-file", &key];
    let ended = crate::run::ended(&mut program("word-count", flags));
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    assert!(ended.errors.contains("chmod 600"), "{}", ended.errors);
}
