//! The sink `ws-listen://`: every subscriber gets every frame, and nobody is waited for.

use std::thread::JoinHandle;

use anabranch::sink::Taken;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::support::{Sink, close_code, connect, eventually, tcp, try_connect};

/// Collects what a subscriber gets, and the code that ends it.
fn collect(mut socket: WebSocket<std::net::TcpStream>) -> JoinHandle<(Vec<Message>, Option<u16>)> {
    std::thread::spawn(move || {
        let mut messages = Vec::new();
        loop {
            match socket.read() {
                Ok(Message::Close(frame)) => {
                    let _ = socket.flush();
                    return (messages, frame.map(|frame| frame.code.into()));
                }
                Ok(Message::Ping(_)) => {}
                Ok(message) => messages.push(message),
                Err(_) => return (messages, None),
            }
        }
    })
}

#[test]
fn every_subscriber_gets_every_frame_in_order_and_a_goodbye() {
    let mut sink = Sink::open("ws-listen://:0/notify");
    let subscribers: Vec<_> = (0..5).map(|_| collect(connect(sink.port(), "/notify"))).collect();
    for n in 0..10_000 {
        sink.write(format!("notification {n}").as_bytes());
    }
    sink.write(&[0xff, 0x00]);
    sink.close().unwrap();
    let mut expected: Vec<_> =
        (0..10_000).map(|n| Message::text(format!("notification {n}"))).collect();
    expected.push(Message::binary(vec![0xff, 0x00]));
    for subscriber in subscribers {
        let (messages, code) = subscriber.join().unwrap();
        assert!(messages == expected, "{} messages", messages.len());
        assert_eq!(code, Some(1000));
    }
    assert_eq!(sink.count("frames"), 10_001);
}

/// From the moment that it is connected, and nothing from before.
#[test]
fn a_subscriber_misses_nothing_from_when_it_is_connected() {
    let mut sink = Sink::open("ws-listen://:0");
    for n in 0..50 {
        let mut socket = connect(sink.port(), "/");
        sink.write(format!("{n}").as_bytes());
        assert_eq!(socket.read().unwrap(), Message::text(format!("{n}")));
    }
}

#[test]
fn without_subscribers_frames_are_counted_and_dropped() {
    let mut sink = Sink::open("ws-listen://:0");
    for _ in 0..1000 {
        sink.write(b"unheard");
    }
    eventually("all are counted", || sink.count("frames_without_subscriber") == 1000);
    let mut socket = connect(sink.port(), "/");
    sink.write(b"heard");
    assert_eq!(socket.read().unwrap(), Message::text("heard"));
    assert_eq!(sink.count("frames_without_subscriber"), 1000);
}

#[test]
fn a_slow_subscriber_is_disconnected_with_1008_and_delays_nobody() {
    let mut sink = Sink::open("ws-listen://:0?subscriber_records=100&subscriber_bytes=1MiB");
    let mut slow = connect(sink.port(), "/");
    let mut good = connect(sink.port(), "/");
    let frame = vec![b'x'; 100_000];
    let mut sent = 0;
    // The good one reads each frame before the next is written; the slow one reads none.
    while sink.count("slow_disconnected") == 0 {
        sink.write(&frame);
        assert_eq!(good.read().unwrap().len(), frame.len());
        sent += 1;
        assert!(sent < 1000, "100 MB are more than TCP and the queue hold");
    }
    assert_eq!(close_code(&mut slow), Some(1008));
    eventually("one subscriber is left", || sink.count("subscribers") == 1);
    sink.write(b"goes on");
    assert_eq!(good.read().unwrap(), Message::text("goes on"));
    assert_eq!(sink.count("slow_disconnected"), 1);
}

#[test]
fn a_worker_never_waits_for_a_subscriber() {
    let mut sink = Sink::open("ws-listen://:0?queue_bytes=4MiB");
    let _slow = connect(sink.port(), "/");
    let frame = vec![b'x'; 1 << 20];
    // Far more than everything between holds; `write` waits at most for the distribution.
    for _ in 0..200 {
        sink.write(&frame);
    }
    eventually("all are distributed", || sink.count("frames") == 200);
    assert_eq!(sink.count("slow_disconnected"), 1);
}

#[test]
fn a_subscriber_that_leaves_or_talks_disturbs_nobody() {
    let mut sink = Sink::open("ws-listen://:0?frame_max=1KiB");
    let mut good = connect(sink.port(), "/");
    drop(connect(sink.port(), "/"));
    let mut closing = connect(sink.port(), "/");
    closing.close(None).unwrap();
    while closing.read().is_ok() {}
    let mut loud = connect(sink.port(), "/");
    loud.send(Message::text("x".repeat(2 << 10))).unwrap();
    assert_eq!(close_code(&mut loud), Some(1009));
    eventually("one subscriber is left", || sink.count("subscribers") == 1);
    good.send(Message::text("chatter")).unwrap();
    good.send(Message::Ping("x".into())).unwrap();
    assert_eq!(good.read().unwrap(), Message::Pong("x".into()));
    sink.write(b"through");
    assert_eq!(good.read().unwrap(), Message::text("through"));
}

#[test]
fn who_does_not_subscribe_is_no_subscriber() {
    let mut sink = Sink::open("ws-listen://:0/notify?handshake=200ms&connections=3");
    let _silent = (tcp(sink.port()), tcp(sink.port()));
    match try_connect(sink.port(), "/elsewhere") {
        Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 404),
        other => panic!("{:?}", other.err()),
    }
    eventually("all are counted", || sink.count("handshake_failures") == 3);
    sink.write(b"x");
    eventually("nobody heard", || sink.count("frames_without_subscriber") == 1);
}

/// A zombie at the end costs the time to drain and no more.
#[test]
fn the_end_waits_for_subscribers_no_longer_than_it_may() {
    let mut sink = Sink::open("ws-listen://:0?drain=300ms");
    let _zombie = connect(sink.port(), "/");
    while sink.count("bytes") < 8 << 20 {
        assert_eq!(sink.offer(&[b'x'; 10_000]).unwrap(), Taken::All);
        sink.flush().unwrap();
    }
    sink.close().unwrap();
}
