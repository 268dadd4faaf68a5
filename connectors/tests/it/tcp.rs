//! TCP with frames behind a 4-byte big-endian length, both ways.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anabranch::sink::Taken;

use crate::support::{Folder, Sink, Source, eventually, patient, tcp};

fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length, payload].concat()
}

/// The frames that come until the sender hangs up, and whether there was a part of one more.
fn read_frames(stream: &mut TcpStream, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut header = [0; 4];
    while frames.len() < count && stream.read_exact(&mut header).is_ok() {
        let mut frame = vec![0; u32::from_be_bytes(header) as usize];
        stream.read_exact(&mut frame).unwrap();
        frames.push(frame);
    }
    frames
}

fn ended(stream: &mut TcpStream) -> bool {
    stream.read_to_end(&mut Vec::new()).is_ok_and(|n| n == 0)
        // A connection that is closed with unread bytes is reset.
        || stream.read(&mut [0]).is_err()
}

#[test]
fn the_bytes_of_the_wire_are_wallaroos() {
    let mut source = Source::open("tcp-listen://:0");
    tcp(source.port())
        .write_all(b"\x00\x00\x00\x05hello\x00\x00\x00\x00\x00\x00\x00\x02\xff\x00")
        .unwrap();
    let frames = source.read(3);
    assert_eq!(
        frames.iter().map(|got| &got.bytes[..]).collect::<Vec<_>>(),
        [&b"hello"[..], b"", b"\xff\x00"]
    );
    assert_eq!(frames.iter().map(|got| got.offset).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn many_senders_arrive_each_in_its_order_however_the_bytes_are_cut() {
    let mut source = Source::open("tcp-listen://:0");
    let port = source.port();
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            std::thread::spawn(move || {
                let mut stream = tcp(port);
                for n in 0..100 {
                    let bytes = framed(format!("{sender}:{n}").as_bytes());
                    let piece = if sender % 2 == 0 { 1 } else { bytes.len() };
                    bytes.chunks(piece).for_each(|piece| stream.write_all(piece).unwrap());
                }
            })
        })
        .collect();
    let texts = source.texts(800);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    for sender in 0..8 {
        let prefix = format!("{sender}:");
        let its: Vec<_> = texts.iter().filter_map(|text| text.strip_prefix(&prefix)).collect();
        assert_eq!(its, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    }
    assert_eq!(source.count("frames"), 800);
}

#[test]
fn a_length_above_the_cap_closes_that_connection_alone() {
    let mut source = Source::open("tcp-listen://:0?frame_max=64KiB");
    let (mut good, mut bad) = (tcp(source.port()), tcp(source.port()));
    bad.write_all(&framed(b"before")).unwrap();
    assert_eq!(source.texts(1), ["before"]);
    // As text sent without lengths would look.
    bad.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(ended(&mut bad));
    good.write_all(&framed(&[b'x'; 64 << 10])).unwrap();
    assert_eq!(source.read(1)[0].bytes.len(), 64 << 10);
    assert_eq!((source.count("oversized"), source.count("frames")), (1, 2));
}

#[test]
fn a_frame_that_is_cut_off_is_dropped_and_counted() {
    let mut source = Source::open("tcp-listen://:0");
    for part in [&b"\x00"[..], b"\x00\x00\x00\x05", b"\x00\x00\x00\x05hell"] {
        tcp(source.port()).write_all(part).unwrap();
    }
    tcp(source.port()).write_all(&framed(b"whole")).unwrap();
    assert_eq!(source.texts(1), ["whole"]);
    eventually("three partial frames", || source.count("partial_frames") == 3);
}

#[test]
fn connections_above_the_bound_are_closed_and_silent_ones_hinder_nobody() {
    let mut source = Source::open("tcp-listen://:0?connections=20");
    let silent: Vec<_> = (0..19).map(|_| tcp(source.port())).collect();
    eventually("19 connections", || source.count("connections") == 19);
    let mut last = tcp(source.port());
    eventually("20 connections", || source.count("connections") == 20);
    assert!(ended(&mut tcp(source.port())));
    assert_eq!(source.count("refused"), 1);
    last.write_all(&framed(b"through")).unwrap();
    assert_eq!(source.texts(1), ["through"]);
    drop(silent);
    eventually("a place", || {
        let mut stream = tcp(source.port());
        stream.write_all(&framed(b"again")).is_ok() && source.count("connections") > 20
    });
    assert_eq!(source.texts(1), ["again"]);
}

#[test]
fn senders_wait_when_no_worker_reads_and_nothing_is_lost() {
    let mut source = Source::open("tcp-listen://:0?queue_bytes=1MiB");
    let port = source.port();
    let (count, payload) = (64, vec![b'x'; 1 << 20]);
    let sender = std::thread::spawn(move || {
        let mut stream = tcp(port);
        for _ in 0..count {
            stream.write_all(&framed(&payload)).unwrap();
        }
    });
    // The queue lets one frame of its size in; the others stay with TCP.
    eventually("one frame is read", || source.count("frames") >= 1);
    eventually("the sender waits", || {
        let before = source.count("frames");
        std::thread::sleep(Duration::from_millis(200));
        source.count("frames") == before
    });
    assert!(source.count("frames") <= 3, "{}", source.count("frames"));
    assert!(!sender.is_finished(), "64 MiB are more than TCP holds");
    assert!(source.read(count).iter().all(|got| got.bytes.len() == 1 << 20));
    sender.join().unwrap();
}

#[test]
fn a_taken_port_is_an_error_that_names_it_and_the_port_is_told() {
    let folder = Folder::new();
    let told = folder.path("port");
    let source = Source::open(&format!("tcp-listen://:0?port_file={}", told.display()));
    let address = std::fs::read_to_string(told).unwrap();
    assert_eq!(address, format!("127.0.0.1:{}\n", source.port()));
    let again = Source::try_open(&format!("tcp-listen://{}", address.trim()), 0);
    let text = again.err().unwrap().to_string();
    assert!(text.contains(address.trim()) && text.contains("in use"), "{text}");
}

#[test]
fn a_reader_that_is_dropped_stops_listening() {
    let source = Source::open("tcp-listen://:0");
    let mut open = tcp(source.port());
    let port = u16::try_from(source.port()).unwrap();
    eventually("the connection", || source.count("connections") == 1);
    drop(source);
    assert!(ended(&mut open));
    eventually("the port is free", || TcpListener::bind(("127.0.0.1", port)).is_ok());
}

fn receiver() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn accept(listener: &TcpListener) -> TcpStream {
    patient(listener.accept().unwrap().0)
}

#[test]
fn a_sink_writes_frames_in_order_and_its_end_is_the_connections() {
    let (listener, url) = receiver();
    let receiver = std::thread::spawn(move || {
        let mut stream = accept(&listener);
        let mut wire = Vec::new();
        stream.read_to_end(&mut wire).unwrap();
        wire
    });
    let mut sink = Sink::open(&url);
    let mut expected = Vec::new();
    for n in 0..1000 {
        let payload = vec![b'x'; n];
        expected.extend(framed(&payload));
        sink.write(&payload);
    }
    sink.close().unwrap();
    assert!(receiver.join().unwrap() == expected);
}

#[test]
fn a_sink_feeds_a_source() {
    let mut source = Source::open("tcp-listen://:0");
    let mut sink = Sink::open(&format!("tcp://127.0.0.1:{}", source.port()));
    sink.write(b"one");
    sink.write(b"");
    sink.write(&[7; 3 << 20]);
    let frames = source.read(3);
    assert_eq!((&frames[0].bytes[..], frames[1].bytes.len()), (&b"one"[..], 0));
    assert_eq!(frames[2].bytes, [7; 3 << 20]);
    drop(source);
}

#[test]
fn a_receiver_may_start_later() {
    let (listener, url) = receiver();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut sink = Sink::open(&url);
    sink.write(b"early");
    eventually("a failure", || sink.count("connect_failures") > 0);
    let listener = TcpListener::bind(address).unwrap();
    assert_eq!(read_frames(&mut accept(&listener), 1), [b"early"]);
}

/// Each receiver reads some frames and hangs up with the rest unread, which resets the connection;
/// the next one gets every frame that no receiver has, from its beginning.
#[test]
fn after_a_break_nothing_that_tcp_had_not_delivered_is_missing() {
    let (listener, url) = receiver();
    let receiver = std::thread::spawn(move || {
        let mut seen = BTreeSet::new();
        let mut connections = 0;
        loop {
            let mut stream = accept(&listener);
            connections += 1;
            // The last receiver reads to the end.
            let count = if connections < 4 { 10 * connections } else { usize::MAX };
            for frame in read_frames(&mut stream, count) {
                seen.insert(String::from_utf8(frame[..8].to_vec()).unwrap());
            }
            if connections == 4 {
                return seen;
            }
        }
    });
    let mut sink = Sink::open(&url);
    for n in 0..1000 {
        let mut payload = format!("{n:08}").into_bytes();
        payload.resize(2000, b'.');
        sink.write(&payload);
    }
    sink.close().unwrap();
    let seen = receiver.join().unwrap();
    assert_eq!(sink.count("reconnects"), 3);
    assert!(sink.count("frames_sent_again") > 0);
    // What the machine of a receiver acknowledged and the receiver did not read is lost with it;
    // everything after is there, without a gap.
    let last: Vec<_> = seen.iter().rev().take(40).rev().cloned().collect();
    assert_eq!(last, (960..1000).map(|n| format!("{n:08}")).collect::<Vec<_>>());
}

#[test]
fn a_receiver_that_does_not_read_makes_the_worker_wait_and_loses_nothing() {
    let (listener, url) = receiver();
    let mut sink = Sink::open(&(url + "?queue_bytes=1MiB"));
    let mut stream = accept(&listener);
    let mut written = 0;
    // What TCP holds, the queue, and what is on its way: far below 64 MiB.
    let stuck = |sink: &mut Sink, written: &mut usize| {
        while sink.offer(&[b'x'; 10_000]).unwrap() == Taken::All {
            *written += 1;
        }
        let before = sink.count("bytes");
        std::thread::sleep(Duration::from_millis(200));
        sink.count("bytes") == before
    };
    eventually("the worker waits", || stuck(&mut sink, &mut written));
    assert!(written < 6_400, "{written} frames of 10 kB were taken");
    let reader = std::thread::spawn(move || read_frames(&mut stream, written + 1).len());
    sink.write(b"last");
    sink.close().unwrap();
    assert_eq!(reader.join().unwrap(), written + 1);
}

#[test]
fn without_a_receiver_the_end_is_an_error_after_a_bounded_time() {
    let (listener, url) = receiver();
    drop(listener);
    let mut sink = Sink::open(&(url.clone() + "?drain=300ms"));
    sink.write(b"lost");
    let text = sink.close().unwrap_err().to_string();
    assert!(text.contains(&url) && text.contains("is the receiver running"), "{text}");
}
