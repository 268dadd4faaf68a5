//! Producers that ask are told when their frames are durable: of their own ones, in order, never
//! too early, and as bounded as all else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use tokio_tungstenite::tungstenite::{Message, WebSocket};

use crate::support::{Folder, PATIENCE, Source, connect, eventually, resume, tcp};

fn source(folder: &Folder, url: &str, from: u64) -> Source {
    Source::resume(url, resume(&folder.own("state"), from, b"")).unwrap()
}

/// Reads acknowledgements until `count` are; each must say more than the one before.
#[track_caller]
fn acknowledged(socket: &mut WebSocket<TcpStream>, after: u64, count: u64) {
    let mut last = after;
    while last < count {
        let Message::Text(text) = socket.read().unwrap() else { continue };
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        let told = told["ack"].as_u64().unwrap();
        assert!(last < told && told <= count, "{told} after {last}");
        last = told;
    }
}

#[test]
fn each_producer_is_told_of_its_own_messages_when_they_are_durable() {
    let folder = Folder::new();
    let mut source = source(&folder, "ws-listen://:0/?ack=true", 500);
    let (mut one, mut two) = (connect(source.port(), "/"), connect(source.port(), "/"));
    one.send(Message::text("a")).unwrap();
    assert_eq!(source.texts(1), ["a"]);
    two.send(Message::text("b")).unwrap();
    assert_eq!(source.texts(1), ["b"]);
    one.send(Message::text("c")).unwrap();
    assert_eq!(source.texts(1), ["c"]);
    source.durable(502);
    acknowledged(&mut one, 0, 1);
    acknowledged(&mut two, 0, 1);
    source.durable(503);
    acknowledged(&mut one, 1, 2);
    // Nothing is acknowledged that is not durable.
    two.send(Message::text("d")).unwrap();
    assert_eq!(source.texts(1), ["d"]);
    two.get_ref().set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
    assert!(two.read().is_err());
    two.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    source.durable(504);
    acknowledged(&mut two, 1, 2);
}

#[test]
fn a_producer_that_waits_for_each_acknowledgement_gets_it() {
    let folder = Folder::new();
    let mut source = source(&folder, "ws-listen://:0/?ack=true&queue_records=2", 0);
    let mut socket = connect(source.port(), "/");
    for n in 1..200 {
        socket.send(Message::text("x")).unwrap();
        source.read(1);
        source.durable(n);
        acknowledged(&mut socket, n - 1, n);
    }
}

/// It is not read when too much is owed to it, and nothing is lost.
#[test]
fn a_producer_is_slowed_while_nothing_becomes_durable() {
    let folder = Folder::new();
    let mut source = source(&folder, "tcp-listen://:0?ack=true", 0);
    let mut stream = tcp(source.port());
    let mut sending = stream.try_clone().unwrap();
    let count = 100_000_u64;
    let sender = std::thread::spawn(move || {
        let frame = [[0, 0, 0, 100].to_vec(), vec![b'x'; 100]].concat();
        for _ in 0..count {
            sending.write_all(&frame).unwrap();
        }
        sending.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert_eq!(source.read(16 << 10).len(), 16 << 10);
    assert_eq!(source.count("frames"), 16 << 10, "no more is read than may be owed");
    let receiver = std::thread::spawn(move || {
        let mut last = 0;
        let mut told = [0; 8];
        while stream.read_exact(&mut told).is_ok() {
            assert!(u64::from_be_bytes(told) > last);
            last = u64::from_be_bytes(told);
        }
        last
    });
    let mut read = 16 << 10;
    source.durable(read);
    while read < count {
        read += source.read(1).len() as u64;
        source.durable(read);
    }
    sender.join().unwrap();
    // Who has sent everything gets the last acknowledgement, then the end.
    assert_eq!(receiver.join().unwrap(), count);
}

#[test]
fn a_producer_that_leaves_without_reading_disturbs_nobody() {
    let folder = Folder::new();
    let mut source = source(&folder, "tcp-listen://:0?ack=true", 0);
    let mut leaving = tcp(source.port());
    leaving.write_all(&[0, 0, 0, 1, b'x']).unwrap();
    source.read(1);
    drop(leaving);
    let mut other = tcp(source.port());
    other.write_all(&[0, 0, 0, 1, b'y']).unwrap();
    assert_eq!(source.texts(1), ["y"]);
    source.durable(2);
    let mut told = [0; 8];
    other.read_exact(&mut told).unwrap();
    assert_eq!(u64::from_be_bytes(told), 1);
}

#[test]
fn without_a_data_directory_it_is_refused_with_what_to_do() {
    for url in ["ws-listen://:0/?ack=true", "tcp-listen://:0?ack=true"] {
        let error = Source::try_open(url, 0).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }
    Source::open("ws-listen://:0/?ack=false");
}

#[test]
fn without_asking_nothing_is_said() {
    let folder = Folder::new();
    let mut source = source(&folder, "tcp-listen://:0", 0);
    let mut stream = tcp(source.port());
    stream.write_all(&[0, 0, 0, 1, b'x']).unwrap();
    source.read(1);
    source.durable(1);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"");
    eventually("it is counted", || source.count("frames") == 1);
}
