//! The sink `ws-listen://` of a program with a data directory: a subscriber that comes back gets
//! what it missed, each record once, or is told of the gap.

use std::net::TcpStream;

use anabranch::Result;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::support::{Folder, Sink, connect, eventually, resume, try_connect};

fn open(folder: &Folder, options: &str, position: &[u8], given: u64) -> Result<Sink> {
    let url = format!("ws-listen://:0/notify{options}");
    Sink::resume(&url, resume(&folder.own("state"), 0, position), given)
}

fn give(sink: &mut Sink, records: std::ops::Range<u64>) {
    for n in records {
        sink.write(format!("{{\"n\":{n}}}").as_bytes());
    }
}

fn next(socket: &mut WebSocket<TcpStream>) -> String {
    loop {
        match socket.read().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) => {}
            other => panic!("{other}"),
        }
    }
}

#[track_caller]
fn expect(socket: &mut WebSocket<TcpStream>, records: std::ops::Range<u64>) {
    for n in records {
        assert_eq!(next(socket), format!("{{\"n\":{n}}}"));
    }
}

#[test]
fn who_comes_back_gets_what_it_missed_and_goes_on_live() {
    let folder = Folder::new();
    let mut sink = open(&folder, "", b"", 0).unwrap();
    let mut first = connect(sink.port(), "/notify");
    give(&mut sink, 0..100);
    expect(&mut first, 0..100);
    drop(first);
    give(&mut sink, 100..200);
    // They are in the log, and nobody heard them.
    sink.position();
    let mut back = connect(sink.port(), "/notify?after=test-0-99");
    expect(&mut back, 100..200);
    give(&mut sink, 200..210);
    expect(&mut back, 200..210);
    assert_eq!(sink.count("gaps"), 0);
    assert_eq!(sink.count("frames_from_log"), 100);
    // Who asks for nothing gets what comes.
    let mut fresh = connect(sink.port(), "/notify");
    give(&mut sink, 210..211);
    expect(&mut fresh, 210..211);
}

/// Again and again while records are released as fast as they can be: no gap and no repeat.
#[test]
fn catching_up_meets_the_live_end_exactly() {
    let folder = Folder::new();
    let mut sink = open(&folder, "", b"", 0).unwrap();
    let port = sink.port();
    give(&mut sink, 0..1);
    sink.position();
    let subscriber = std::thread::spawn(move || {
        let mut last = 0;
        while last < 20_000 {
            let mut socket = connect(port, &format!("/notify?after=test-0-{last}"));
            for _ in 0..700 {
                let text = next(&mut socket);
                last += 1;
                assert_eq!(text, format!("{{\"n\":{last}}}"));
                if last == 20_000 {
                    break;
                }
            }
        }
    });
    for n in 1..=20_000 {
        give(&mut sink, n..n + 1);
        if n % 500 == 0 {
            sink.position();
        }
    }
    subscriber.join().unwrap();
}

#[test]
fn after_a_restart_nothing_is_sent_twice_and_nothing_is_missing() {
    let folder = Folder::new();
    let mut sink = open(&folder, "", b"", 0).unwrap();
    give(&mut sink, 0..50);
    let position = sink.position();
    let mut seen = connect(sink.port(), "/notify?after=test-0-49");
    give(&mut sink, 50..80);
    expect(&mut seen, 50..80);
    drop((seen, sink));
    // The engine gives everything after the position again.
    let mut sink = open(&folder, "", &position, 50).unwrap();
    let mut live = connect(sink.port(), "/notify");
    let mut back = connect(sink.port(), "/notify?after=test-0-69");
    give(&mut sink, 50..90);
    expect(&mut live, 80..90);
    expect(&mut back, 70..90);
    assert_eq!(sink.count("frames"), 10);
    let position = sink.position();
    drop(sink);
    let error = open(&folder, "", &position[..3], 0).err().unwrap().to_string();
    assert!(error.contains("position"), "{error}");
    let sink = open(&folder, "", &position, 90).unwrap();
    let mut back = connect(sink.port(), "/notify?after=test-0-0");
    expect(&mut back, 1..90);
    // Another record than the one that was released: the positions are those of the log.
    drop((sink, back));
    let mut sink = open(&folder, "", &50_u64.to_le_bytes(), 51).unwrap();
    sink.write(b"other");
    let error = sink.try_position().unwrap_err().to_string();
    assert!(error.contains("test-0-51") && error.contains("not deterministic"), "{error}");
}

#[test]
fn what_is_not_there_any_more_is_said() {
    let folder = Folder::new();
    let mut sink = open(&folder, "?log=4KiB", b"", 0).unwrap();
    give(&mut sink, 0..1000);
    sink.position();
    for id in ["test-0-3", "elsewhere-0-999", "%22"] {
        let mut back = connect(sink.port(), &format!("/notify?after={id}"));
        let gap: serde_json::Value = serde_json::from_str(&next(&mut back)).unwrap();
        assert_eq!(gap["gap"]["after"], if id == "%22" { "\"" } else { id });
        let first = gap["gap"]["first"].as_str().unwrap();
        let first: u64 = first.strip_prefix("test-0-").unwrap().parse().unwrap();
        assert!((800..999).contains(&first), "{first}");
        expect(&mut back, first..1000);
    }
    assert_eq!(sink.count("gaps"), 3);
    let size: u64 = std::fs::read_dir(folder.path("state/log"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size <= 5 << 10, "{size}");
}

#[test]
fn without_a_data_directory_everything_before_is_a_gap() {
    let mut sink = Sink::open("ws-listen://:0/");
    give(&mut sink, 0..3);
    eventually("they are gone", || sink.count("frames") == 3);
    let mut back = connect(sink.port(), "/?after=test-0-1");
    give(&mut sink, 3..4);
    assert_eq!(next(&mut back), r#"{"gap":{"after":"test-0-1","first":null}}"#);
    expect(&mut back, 3..4);
}

#[test]
fn records_come_with_their_names_for_who_asks() {
    let folder = Folder::new();
    let mut sink = open(&folder, "", b"", 0).unwrap();
    give(&mut sink, 0..2);
    sink.position();
    let mut named = connect(sink.port(), "/notify?ids=true&after=test-0-0");
    let mut plain = connect(sink.port(), "/notify?ids=false");
    assert_eq!(next(&mut named), "test-0-1\n{\"n\":1}");
    give(&mut sink, 2..3);
    assert_eq!(next(&mut named), "test-0-2\n{\"n\":2}");
    assert_eq!(next(&mut plain), "{\"n\":2}");
    sink.write(&[0xff]);
    assert_eq!(named.read().unwrap(), Message::binary([b"test-0-3\n", &[0xff][..]].concat()));
    assert_eq!(plain.read().unwrap(), Message::binary(vec![0xff]));
    match try_connect(sink.port(), "/notify?ids=yes") {
        Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 400),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn the_end_brings_everything_out() {
    let folder = Folder::new();
    let mut sink = open(&folder, "", b"", 0).unwrap();
    let mut socket = connect(sink.port(), "/notify");
    give(&mut sink, 0..1000);
    let reading = std::thread::spawn(move || {
        expect(&mut socket, 0..1000);
        crate::support::close_code(&mut socket)
    });
    sink.close().unwrap();
    assert_eq!(reading.join().unwrap(), Some(1000));
}
