//! A data directory of version 1, as a program left it when it was killed: it must be gone on from for
//! ever.
//!
//! Invariant: what is in the fixture is never made anew for the same version. It has everything that
//! has a format: the directory, generations, a journal, checkpoints, a broadcast's log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::lives::{Start, Victim};
use crate::sockets::framed;
use crate::subscriber::Subscription;
use crate::support::{Dice, Folder, Words, assert_same, free_ports, until};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/data-1")
}

/// What producers had sent: what a checkpoint knows, and what only the journal does.
fn lines(part: &str) -> impl Iterator<Item = String> {
    let part = part.to_owned();
    (0..30).map(move |line| format!("{part} line {line} to be or not to be w{}", line % 7))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.metadata().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// Sends lines, and waits until all are durable.
fn send(port: u16, lines: impl Iterator<Item = String>) {
    let mut stream = until("it listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    let frames: Vec<Vec<u8>> = lines.map(framed).collect();
    stream.write_all(&frames.concat()).unwrap();
    let mut durable = [0; 8];
    while u64::from_be_bytes(durable) < frames.len() as u64 {
        stream.read_exact(&mut durable).unwrap();
    }
}

fn start(folder: &Folder, [from, to]: [u16; 2], interval: &str) -> Start<'static> {
    let text = format!("tcp-listen://127.0.0.1:{from}?ack=true");
    let counts = format!("ws-listen://127.0.0.1:{to}/");
    Start::new("word-count", folder, &["--text", &text, "--counts", &counts], interval)
}

#[test]
fn a_data_directory_of_version_1_is_gone_on_from() {
    let folder = Folder::new();
    copy(&fixture(), &folder.path("data"));
    let ports: [u16; 2] = free_ports();
    let start = start(&folder, ports, "10s");
    let verified = start.checkpoint(&["verify"]);
    assert!(verified.lines().count() > 0 && verified.lines().all(|it| it.ends_with(": whole")));
    let all: Vec<String> = ["first", "second", "now"].into_iter().flat_map(lines).collect();
    let wanted = Words::of(all.iter().map(String::as_str));
    for layout in [["-w", "1"], ["-w", "3"], ["-n", "2"]] {
        let again = Folder::new();
        copy(&fixture(), &again.path("data"));
        let start = self::start(&again, ports, "10s");
        let mut life = start.begin(&layout);
        let subscription = Subscription::start(ports[1]);
        send(ports[0], lines("now"));
        until("all is there", || {
            assert!(life.running.is_running(), "{}", life.running.errors());
            subscription.look(|got| (got.text.len() >= wanted.len()).then_some(()))
        });
        life.running.signal("TERM");
        life.succeeds();
        let errors = life.running.errors();
        assert!(errors.contains("generation 2 goes on from checkpoint"), "{errors}");
        let got = subscription.finish();
        assert_same(&format!("{layout:?}"), got.text.as_bytes(), wanted.as_bytes());
    }
}

/// Makes the fixture anew, only when a format has a new version: `cargo test -- --ignored fixture`.
#[test]
#[ignore = "writes into the source tree"]
fn make_the_fixture() {
    let folder = Folder::new();
    let ports: [u16; 2] = free_ports();
    let start = start(&folder, ports, "200ms");
    let mut life = start.begin(&["-w", "2"]);
    send(ports[0], lines("first"));
    assert!(life.checkpoint(&start));
    send(ports[0], lines("second"));
    assert!(life.kill(Victim::All, &mut Dice(1)));
    let _ = std::fs::remove_dir_all(fixture());
    copy(&folder.path("data"), &fixture());
    // Locks, and which machine it was, are nobody's business.
    for entry in std::fs::read_dir(fixture()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "lock") || path.ends_with("lock") {
            std::fs::remove_file(path).unwrap();
        }
    }
    for entry in std::fs::read_dir(fixture().join("generations")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut says: serde_json::Value = serde_json::from_str(&text).unwrap();
        says["host"] = "host".into();
        std::fs::write(path, format!("{says}\n")).unwrap();
    }
    std::fs::remove_file(fixture().join("connectors/counts/sink/log/lock")).unwrap();
}
