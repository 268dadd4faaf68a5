//! What cannot be decoded is a dead letter, whole and with its reason, and the next record is
//! handled.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::run::{Running, program};
use crate::sockets::{Socket, dial, framed, read_frame};
use crate::support::{FEW_LAYOUTS, Folder, until};

/// Source, partition, offset, and the bytes as text or hex.
fn place(letter: &str) -> (String, u64, u64, String) {
    let letter: Value = letter.parse().unwrap();
    assert!(!letter["reason"].as_str().unwrap().is_empty(), "{letter}");
    assert!(letter["time"].as_str().unwrap().ends_with('Z'), "{letter}");
    let bytes = letter["text"].as_str().or(letter["hex"].as_str()).unwrap();
    let source = letter["source"].as_str().unwrap();
    let (partition, offset) = (letter["partition"].as_u64(), letter["offset"].as_u64());
    (source.to_owned(), partition.unwrap(), offset.unwrap(), bytes.to_owned())
}

fn placed(source: &str, partition: u64, offset: u64, bytes: &str) -> (String, u64, u64, String) {
    (source.to_owned(), partition, offset, bytes.to_owned())
}

#[test]
fn lines_of_files() {
    let folder = Folder::new();
    folder.write(
        "p-0.jsonl",
        b"{\"type\":\"x\",\"price\":\"5\"}\n{\n\xff\xfe\n\n{\"type\":\"x\",\"price\":\"9\"}\n",
    );
    let deep = "[".repeat(5000);
    folder.write("p-1.jsonl", format!("{deep}\n{{\"type\":\"x\",\"price\":\"8\"}}\nend\u{0}"));
    folder.write(
        "u.jsonl",
        "{\"price\":\"5\",\"user_id\":1}\n\"{\"\n{\"price\":\"9\",\"user_id\":2}",
    );
    let url = |name: &str| format!("file:{}", folder.name(name));
    for layout in FEW_LAYOUTS {
        let urls = ["p-*", "u.jsonl", "notify", "dead"].map(url);
        let flags = ["--prices", &urls[0], "--updates", &urls[1], "--notify", &urls[2]];
        let flags = [&flags[..], &["--dead-letters", &urls[3]], layout].concat();
        let mut running = Running::start(&mut program("bitcoin-alerts", flags));
        running.succeeds();
        let dead = std::fs::read_to_string(folder.path("dead")).unwrap();
        let dead: Vec<_> = dead.lines().map(place).collect();
        assert_eq!(
            dead,
            [
                placed("prices", 0, 1, "{"),
                placed("prices", 0, 2, "fffe"),
                placed("prices", 1, 0, &deep),
                placed("prices", 1, 2, "end\u{0}"),
                placed("updates", 0, 1, "\"{\""),
            ],
            "{layout:?}"
        );
        let counts = running.counts();
        let count = |name: &str| counts.get(name).copied();
        assert_eq!(count("prices.dead_letters"), Some(4), "{counts:?}");
        assert_eq!(count("updates.dead_letters"), Some(1));
        assert_eq!(count("dead-letters.records"), Some(5));
        assert_eq!(count("prices.records"), Some(3));
        assert_eq!(count("updates.records"), Some(2));
    }
}

/// The number of those that were not logged is told although nothing more comes.
#[test]
fn a_burst_of_a_live_source_that_falls_silent() {
    let mut running =
        Running::start(program("word-count", [""; 0]).stdin(std::process::Stdio::piped()));
    let (mut input, output) = (running.input(), running.output());
    input.write_all(&b"\xff\n".repeat(2000)).unwrap();
    running.logs("more like the line before");
    assert!(running.is_running());
    drop(input);
    running.succeeds();
    drop(output);
    assert_eq!(running.counts().get("text.dead_letters"), Some(&2000));
}

#[test]
fn messages_of_sockets() {
    for layout in FEW_LAYOUTS {
        let folder = Folder::new();
        let prices = format!("tcp-listen://:0?port_file={}", folder.name("prices"));
        let updates = format!("ws-listen://:0?port_file={}", folder.name("updates"));
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        let dead = format!("tcp://{}", receiver.local_addr().unwrap());
        let flags = ["--prices", &prices, "--updates", &updates, "--notify", "-"];
        let flags = [&flags[..], &["--dead-letters", &dead], layout].concat();
        let mut running = Running::start(&mut program("bitcoin-alerts", flags));
        let mut letters = receiver.accept().unwrap().0;
        let mut next = || place(&read_frame(&mut letters).unwrap());

        let mut user = Socket::connect(folder.port("updates"), "/");
        user.send("{");
        assert_eq!(next(), placed("updates", 0, 0, "{"));
        user.send_bytes(b"\x00\xff");
        assert_eq!(next(), placed("updates", 0, 1, "00ff"));
        user.send(r#"{"price":"5","user_id":1}"#);
        user.send("");
        assert_eq!(next(), placed("updates", 0, 3, ""));
        // The update between them was read before the last letter came: a price fires it.
        let mut exchange = dial(folder.port("prices"));
        for message in ["x", "", r#"{"type":"ticker","price":"5"}"#, "y"] {
            exchange.write_all(&framed(message)).unwrap();
        }
        assert_eq!(next(), placed("prices", 0, 0, "x"));
        assert_eq!(next(), placed("prices", 0, 1, ""));
        assert_eq!(next(), placed("prices", 0, 3, "y"));
        let mut notification = String::new();
        BufReader::new(running.output()).read_line(&mut notification).unwrap();
        assert!(notification.starts_with(r#"{"id":"prices-0-2","#), "{notification}");
        running.signal("TERM");
        assert_eq!(read_frame(&mut letters), None);
        drop(letters);
        running.succeeds();
        assert_eq!(running.counts()["prices.dead_letters"], 3);
        assert_eq!(running.counts()["updates.dead_letters"], 3);
    }
}

/// A flood of bad input is no flood of log lines, and nothing is left out without its number.
#[test]
fn the_log_is_limited_and_adds_up() {
    let folder = Folder::new();
    let bad: String = (0..20_000).map(|index| format!("bad {index}\n")).collect();
    let url = format!("file:{}", folder.write("bad.jsonl", bad));
    let none = format!("file:{}", folder.write("none.jsonl", ""));
    let flags = ["--prices", &url, "--updates", &none, "--notify", "null:"];
    let mut running = Running::start(&mut program("bitcoin-alerts", flags));
    running.succeeds();
    assert_eq!(running.counts()["prices.dead_letters"], 20_000);
    let errors = running.errors();
    let told = errors.lines().filter(|line| line.contains("dead letter prices-0-")).count();
    let held_back = errors.lines().filter_map(|line| {
        line.split_once(" and ")?.1.split_once(" more like")?.0.parse::<usize>().ok()
    });
    assert!(told < 200, "{told} lines of 20,000 letters");
    assert_eq!(told + held_back.sum::<usize>(), 20_000, "{errors}");
}

#[test]
fn without_a_sink_they_are_counted_and_logged() {
    let folder = Folder::new();
    let updates = format!("file:{}", folder.write("u", "nonsense"));
    let flags = ["--prices", "-", "--updates", &updates, "--notify", "-"];
    let mut running =
        Running::start(program("bitcoin-alerts", flags).stdin(std::process::Stdio::piped()));
    let mut prices = running.input();
    prices.write_all(b"more nonsense\n").unwrap();
    until("it is logged", || running.errors().contains("more nonsense").then_some(()));
    drop(prices);
    running.succeeds();
    assert_eq!(running.counts()["prices.dead_letters"], 1);
    assert_eq!(running.counts()["updates.dead_letters"], 1);
}
