//! The source `ws-listen://`: many producers, each of which can harm only itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{Source, close_code, connect, eventually, tcp, try_connect};

fn status(port: u64, path: &str) -> u16 {
    match try_connect(port, path) {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(error) => panic!("{error}"),
        Ok(_) => 101,
    }
}

fn ended(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn many_producers_arrive_each_in_its_order() {
    let mut source = Source::open("ws-listen://:0/updates");
    let port = source.port();
    let producers: Vec<_> = (0..8)
        .map(|producer| {
            std::thread::spawn(move || {
                let mut socket = connect(port, "/updates");
                for n in 0..100 {
                    let text = format!("{producer}:{n}");
                    let message = match n % 3 {
                        0 => Message::text(text),
                        1 => Message::binary(text.into_bytes()),
                        _ => {
                            let (front, back) = text.split_at(1);
                            let front =
                                Frame::message(front.to_owned(), OpCode::Data(Data::Text), false);
                            socket.send(Message::Frame(front)).unwrap();
                            let code = OpCode::Data(Data::Continue);
                            Message::Frame(Frame::message(back.to_owned(), code, true))
                        }
                    };
                    socket.send(message).unwrap();
                }
                socket.close(None).unwrap();
                while socket.read().is_ok() {}
            })
        })
        .collect();
    let frames = source.read(800);
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    for (n, got) in frames.iter().enumerate() {
        assert_eq!(got.offset, n as u64);
    }
    for producer in 0..8 {
        let prefix = format!("{producer}:");
        let its: Vec<_> =
            frames.iter().filter_map(|got| got.text().strip_prefix(&prefix)).collect();
        assert_eq!(its, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    }
    assert_eq!((source.count("frames"), source.count("connections")), (800, 8));
}

#[test]
fn another_path_is_not_found() {
    let mut source = Source::open("ws-listen://:0/updates");
    for path in ["/", "/update", "/updates/", "/UPDATES"] {
        assert_eq!(status(source.port(), path), 404, "{path}");
    }
    assert_eq!(status(source.port(), "/updates?user=7"), 101);
    connect(source.port(), "/updates").send(Message::text("through")).unwrap();
    assert_eq!(source.texts(1), ["through"]);
    assert_eq!(status(Source::open("ws-listen://:0").port(), "/"), 101);
}

/// The status that a page of `origin` gets.
fn page(port: u64, origin: &str) -> String {
    let mut stream = tcp(port);
    let request = format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Origin: {origin}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    String::from_utf8(status[9..].to_vec()).unwrap()
}

#[test]
fn a_page_in_a_browser_connects_only_if_its_origin_is_named() {
    let closed = Source::open("ws-listen://:0");
    for origin in ["https://evil.example", "null", "http://127.0.0.1"] {
        assert_eq!(page(closed.port(), origin), "403", "{origin}");
    }
    let named = Source::open("ws-listen://:0?origin=https://a.example&origin=http://b.example:80");
    for (origin, status) in
        [("https://a.example", "101"), ("http://b.example:80", "101"), ("http://a.example", "403")]
    {
        assert_eq!(page(named.port(), origin), status, "{origin}");
    }
    assert_eq!(page(Source::open("ws-listen://:0?origin=*").port(), "null"), "101");
}

#[test]
fn garbage_silence_and_slow_handshakes_end_and_hinder_nobody() {
    let mut source = Source::open("ws-listen://:0?handshake=300ms");
    let mut silent: Vec<_> = (0..100).map(|_| tcp(source.port())).collect();
    let mut slow = tcp(source.port());
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    let mut garbage = tcp(source.port());
    garbage.write_all(&[0xff; 5000]).unwrap();
    let mut plain = tcp(source.port());
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut good = connect(source.port(), "/");
    good.send(Message::text("through")).unwrap();
    assert_eq!(source.texts(1), ["through"]);
    assert!(ended(&mut slow) && ended(&mut garbage) && ended(&mut plain));
    assert!(silent.iter_mut().all(ended));
    eventually("all are counted", || source.count("handshake_failures") == 103);
    good.send(Message::text("again")).unwrap();
    assert_eq!(source.texts(1), ["again"]);
}

#[test]
fn connections_above_the_bound_are_closed_until_there_is_a_place() {
    let mut source = Source::open("ws-listen://:0?connections=2");
    let (first, mut second) = (connect(source.port(), "/"), connect(source.port(), "/"));
    assert!(ended(&mut tcp(source.port())));
    assert_eq!(source.count("refused"), 1);
    second.send(Message::text("through")).unwrap();
    assert_eq!(source.texts(1), ["through"]);
    drop(first);
    let mut third = None;
    eventually("a place", || {
        third = try_connect(source.port(), "/").ok();
        third.is_some()
    });
    third.unwrap().0.send(Message::text("third")).unwrap();
    assert_eq!(source.texts(1), ["third"]);
}

#[test]
fn a_message_above_the_cap_is_answered_1009_and_costs_its_producer_only() {
    let mut source = Source::open("ws-listen://:0?frame_max=64KiB");
    let (mut good, mut bad) = (connect(source.port(), "/"), connect(source.port(), "/"));
    bad.send(Message::text("x".repeat((64 << 10) + 1))).unwrap();
    assert_eq!(close_code(&mut bad), Some(1009));
    good.send(Message::text("x".repeat(64 << 10))).unwrap();
    assert_eq!(source.read(1)[0].bytes.len(), 64 << 10);
    assert_eq!(source.count("frames"), 1);
    eventually("it is counted", || source.count("oversized") == 1);
}

#[test]
fn text_that_is_not_utf8_is_answered_1007() {
    let source = Source::open("ws-listen://:0");
    let mut socket = connect(source.port(), "/");
    // Masked with zeros.
    socket.get_mut().write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]).unwrap();
    assert_eq!(close_code(&mut socket), Some(1007));
    assert_eq!(source.count("frames"), 0);
}

#[test]
fn a_producer_that_vanished_gives_its_place_back() {
    let source = Source::open("ws-listen://:0?ping=100ms&idle=300ms&connections=1");
    let mut vanished = connect(source.port(), "/");
    // Pings arrive and are not answered.
    assert!(ended(vanished.get_mut()));
    eventually("a place", || try_connect(source.port(), "/").is_ok());
}

#[test]
fn producers_wait_when_no_worker_reads_and_nothing_is_lost() {
    let mut source = Source::open("ws-listen://:0?queue_bytes=1MiB");
    let port = source.port();
    let count = 64;
    let producer = std::thread::spawn(move || {
        let mut socket = connect(port, "/");
        for _ in 0..count {
            socket.send(Message::binary(vec![b'x'; 1 << 20])).unwrap();
        }
        socket
    });
    eventually("one frame is read", || source.count("frames") >= 1);
    eventually("the producer waits", || {
        let before = source.count("frames");
        std::thread::sleep(Duration::from_millis(200));
        source.count("frames") == before
    });
    assert!(source.count("frames") <= 2, "{} frames were taken", source.count("frames"));
    assert!(source.read(count).iter().all(|got| got.bytes.len() == 1 << 20));
    drop(producer.join().unwrap());
}
