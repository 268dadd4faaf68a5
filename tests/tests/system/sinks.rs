//! What a sink that is no file promises, while processes are killed.
//!
//! Invariant: a small dose by default; `ANABRANCH_CRASHES=N` makes another.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::ledger::{Boundaries, check_live};
use crate::lives::{Dose, Life, Start, Victim};
use crate::producer::{Producers, Transport};
use crate::sockets::read_frame;
use crate::subscriber::Subscription;
use crate::support::{Dice, Folder, Words, free_ports, until};

const LINES: usize = 150_000;

/// From producers that are told what is durable to a subscriber that comes back, all by WebSockets.
fn from_socket_to_socket(layout: &[&str]) {
    let mut dose = Dose::new("sockets", 6);
    let folder = Folder::new();
    let [from, to] = free_ports();
    let text = format!("ws-listen://127.0.0.1:{from}/?ack=true");
    let counts = format!("ws-listen://127.0.0.1:{to}/?log=256MiB&subscriber_records=1000000");
    let arguments = ["--text", &text, "--counts", &counts];
    let start = Start::new("word-count", &folder, &arguments, "50ms");
    let (mut boundaries, mut life) = (Boundaries::default(), start.begin(layout));
    let producers = Producers::start(2, Transport::Ws, from);
    let subscription = Subscription::start(to);
    let progress = |life: &mut Life, what: &str| {
        let (before, seen) = (producers.acknowledged(), subscription.look(|got| got.text.len()));
        until(what, || {
            assert!(life.running.is_running(), "{}", life.running.errors());
            let goes_on = producers.acknowledged() > before + 100;
            (goes_on && subscription.look(|got| got.text.len()) > seen).then_some(())
        });
    };
    while !dose.is_over() {
        progress(&mut life, "progress resumes");
        assert!(life.moment(&start, 100, &mut dose.dice), "{}", life.running.errors());
        let victim = dose.victim();
        assert!(life.kill(victim, &mut dose.dice));
        dose.made("sockets");
        boundaries.check(&start, &format!("{layout:?}, after {victim:?}"));
        if matches!(victim, Victim::Supervisor | Victim::All) {
            boundaries.verify(&start);
            life = start.begin(layout);
        }
    }
    progress(&mut life, "progress resumes at the end");
    let producers = producers.finish();
    // A subscriber is no reason for a program not to end: it has to have come back by then.
    let known: u64 = producers.iter().flatten().map(|one| one.acknowledged).sum();
    until("the subscriber has what was acknowledged", || {
        assert!(life.running.is_running(), "{}", life.running.errors());
        let lines = subscription.look(|got| got.text.lines().count());
        (lines >= 7 * usize::try_from(known).unwrap()).then_some(())
    });
    life.running.signal("TERM");
    life.succeeds();
    let got = subscription.finish();
    assert_eq!(got.gaps, 0);
    assert!(got.connections > 1, "nothing was interrupted");
    check_live(got.text.as_bytes(), &producers);
    println!("sockets {layout:?}: {known} records, {} connections", got.connections);
}

#[test]
fn a_subscriber_that_comes_back_misses_nothing_with_two_workers() {
    from_socket_to_socket(&["-w", "2"]);
}

#[test]
fn a_subscriber_that_comes_back_misses_nothing_with_two_processes() {
    from_socket_to_socket(&["-n", "2"]);
}

/// At least once: a connection may begin with what there was already, but never after what is missing.
#[test]
fn tcp_brings_every_record_at_least_once() {
    let mut dice = Dice(48);
    let lines: Vec<String> = (0..LINES).map(|_| dice.line()).collect();
    let wanted = Words::of(lines.iter().map(String::as_str));
    // A word and its count come once.
    let places: BTreeMap<&str, usize> =
        wanted.lines().enumerate().map(|(place, line)| (line, place)).collect();
    for layout in [["-w", "2"], ["-n", "2"]] {
        let mut dose = Dose::new("tcp", 5);
        while !dose.is_over() {
            let folder = Folder::new();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let connections = Arc::new(Mutex::new(Vec::<Vec<String>>::new()));
            let received = Arc::clone(&connections);
            // Ends with the test's process, or at the word that follows.
            let receiver = std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = std::io::BufReader::new(stream.unwrap());
                    let mut frames = Vec::new();
                    while let Some(frame) = whole_frame(&mut stream) {
                        if frame == "over" {
                            return;
                        }
                        frames.push(frame);
                    }
                    received.lock().unwrap().push(frames);
                }
            });
            let text = format!("file:{}", folder.write("text", lines.join("\n")));
            let counts = format!("tcp://127.0.0.1:{port}");
            let start =
                Start::new("word-count", &folder, &["--text", &text, "--counts", &counts], "20ms");
            let mut life = start.begin(&layout);
            while !dose.is_over() && life.moment(&start, 60, &mut dose.dice) {
                let victim = dose.victim();
                if !life.kill(victim, &mut dose.dice) {
                    continue;
                }
                dose.made("tcp");
                if matches!(victim, Victim::Supervisor | Victim::All) {
                    life = start.begin(&layout);
                }
            }
            life.succeeds();
            let mut over = crate::sockets::dial(port);
            std::io::Write::write_all(&mut over, &crate::sockets::framed("over")).unwrap();
            receiver.join().unwrap();
            let mut next = 0;
            for frames in connections.lock().unwrap().iter().filter(|frames| !frames.is_empty()) {
                let first = places[frames[0].as_str()];
                assert!(first <= next, "{layout:?}: from record {next} to {first}");
                for (at, frame) in frames.iter().enumerate() {
                    assert_eq!(places[frame.as_str()], first + at, "{layout:?}: out of order");
                }
                next = next.max(first + frames.len());
            }
            assert_eq!(next, places.len(), "{layout:?}: records are missing at the end");
        }
    }
}

/// A frame that came whole: the last one of a killed process may not.
fn whole_frame(stream: &mut impl std::io::Read) -> Option<String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read_frame(stream))).ok().flatten()
}
