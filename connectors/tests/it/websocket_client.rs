//! The source `ws://` and `wss://`: whatever the server does, the client comes back.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anabranch::metrics::Counters;
use anabranch_connectors::{
    Backoff, Dial, Feed, Interruption, Limits, Verdict, keep_connected, runtime,
};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept};

use crate::support::{Folder, Source, close_code, eventually, patient};

/// A server whose connections `serve` handles one after the other, by their number; it returns
/// false after the last.
fn serve(
    mut serve: impl FnMut(usize, TcpStream) -> bool + Send + 'static,
) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/feed", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        for number in 0.. {
            if !serve(number, patient(listener.accept().unwrap().0)) {
                return;
            }
        }
    });
    (url, server)
}

fn upgrade(stream: TcpStream) -> WebSocket<TcpStream> {
    accept(stream).unwrap()
}

/// Sends `text`, and serves until the client is gone.
fn send_and_stay(stream: TcpStream, text: &str) {
    let mut socket = upgrade(stream);
    socket.send(Message::text(text)).unwrap();
    while socket.read().is_ok() {}
}

#[test]
fn each_message_is_a_frame_fragments_and_pings_notwithstanding() {
    let (url, _server) = serve(|_, stream| {
        let mut socket = upgrade(stream);
        socket.send(Message::text("text")).unwrap();
        socket.send(Message::binary(vec![0, 255])).unwrap();
        let fragment = |text: &'static str, code, is_last| {
            Message::Frame(Frame::message(text, OpCode::Data(code), is_last))
        };
        socket.send(fragment("in ", Data::Text, false)).unwrap();
        socket.send(Message::Ping("are you there".into())).unwrap();
        socket.send(fragment("two parts", Data::Continue, true)).unwrap();
        socket.send(Message::text("")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()));
        while socket.read().is_ok() {}
        false
    });
    let mut source = Source::open(&url);
    let frames = source.read(4);
    let bytes: Vec<_> = frames.iter().map(|got| &got.bytes[..]).collect();
    assert_eq!(bytes, [&b"text"[..], &[0, 255], b"in two parts", b""]);
    assert_eq!(frames.iter().map(|got| got.offset).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!((source.count("frames"), source.count("bytes")), (4, 18));
}

#[test]
fn after_each_kind_of_break_it_connects_and_subscribes_again() {
    let ways = 6;
    let (url, server) = serve(move |number, stream| {
        let mut socket = upgrade(stream);
        assert_eq!(socket.read().unwrap(), Message::text(r#"{"subscribe":"a&b"}"#));
        assert_eq!(socket.read().unwrap(), Message::text("second"));
        socket.send(Message::text(format!("message {number}"))).unwrap();
        let close = |code| CloseFrame { code, reason: "because".into() };
        match number {
            0 => socket.close(Some(close(CloseCode::Normal))).unwrap(),
            1 => socket.close(Some(close(CloseCode::Away))).unwrap(),
            2 => socket.close(Some(close(CloseCode::Policy))).unwrap(),
            3 => socket.close(None).unwrap(),
            // The end of the stream without a close.
            4 => return true,
            // In the middle of a frame of 100 bytes.
            5 => return socket.get_mut().write_all(&[0x81, 100, b'x']).is_ok(),
            _ => {}
        }
        while socket.read().is_ok() {}
        number < ways
    });
    let options = "?subscribe={\"subscribe\":\"a%26b\"}&subscribe=second";
    let mut source = Source::open(&(url + options));
    let expected: Vec<_> = (0..=ways).map(|number| format!("message {number}")).collect();
    assert_eq!(source.texts(ways + 1), expected);
    assert_eq!((source.count("connects"), source.count("reconnects")), (7, 6));
    drop(source);
    server.join().unwrap();
}

/// The client's failures against a server that gives each of `answers` to the first connections.
fn failures(answers: &'static [&'static str]) -> u64 {
    let (url, _server) = serve(move |number, mut stream| {
        let Some(answer) = answers.get(number) else {
            send_and_stay(stream, "at last");
            return false;
        };
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        while stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
        true
    });
    let mut source = Source::open(&(url + "?connect=300ms"));
    assert_eq!(source.texts(1), ["at last"]);
    assert_eq!(source.count("connects"), 1);
    source.count("connect_failures")
}

#[test]
fn a_server_that_refuses_is_tried_again() {
    let refusals = &[
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ];
    assert_eq!(failures(refusals), 3);
}

/// Garbage; then half an answer and silence, where the client must give up by itself.
#[test]
fn a_server_that_hangs_in_the_handshake_is_tried_again() {
    assert_eq!(failures(&["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 101 Switching", ""]), 3);
}

#[test]
fn a_server_that_is_not_there_yet_is_found_when_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut source = Source::open(&format!("ws://{address}/"));
    eventually("a failure", || source.count("connect_failures") > 0);
    let listener = TcpListener::bind(address).unwrap();
    let server = std::thread::spawn(move || send_and_stay(listener.accept().unwrap().0, "hello"));
    assert_eq!(source.texts(1), ["hello"]);
    drop(source);
    server.join().unwrap();
}

#[test]
fn a_message_above_the_cap_is_answered_1009_and_costs_the_connection_only() {
    let (url, server) = serve(|number, stream| {
        if number == 2 {
            send_and_stay(stream, "next");
            return false;
        }
        let mut socket = upgrade(stream);
        socket.send(Message::text("x".repeat(64 << 10))).unwrap();
        // In one frame, then in fragments that are each small enough.
        if number == 0 {
            socket.send(Message::text("x".repeat((64 << 10) + 1))).unwrap();
        } else {
            for part in 0..3 {
                let code = if part == 0 { Data::Text } else { Data::Continue };
                let frame = Frame::message("x".repeat(30 << 10), OpCode::Data(code), part == 2);
                socket.send(Message::Frame(frame)).unwrap();
            }
        }
        assert_eq!(close_code(&mut socket), Some(1009));
        true
    });
    let mut source = Source::open(&(url + "?frame_max=64KiB"));
    let frames = source.read(3);
    let lengths: Vec<_> = frames.iter().map(|got| got.bytes.len()).collect();
    assert_eq!(lengths, [64 << 10, 64 << 10, 4]);
    assert_eq!(source.count("oversized"), 2);
    drop(source);
    server.join().unwrap();
}

#[test]
fn bad_text_and_broken_frames_cost_the_connection_only() {
    let (url, server) = serve(|number, stream| {
        let wire: &[u8] = match number {
            0 => &[0x81, 2, 0xff, 0xfe], // text that is not UTF-8
            1 => &[0xf1, 0],             // reserved bits
            2 => &[0x80, 0],             // a continuation of nothing
            _ => {
                send_and_stay(stream, "good");
                return false;
            }
        };
        let mut socket = upgrade(stream);
        socket.get_mut().write_all(wire).unwrap();
        let code = if number == 0 { 1007 } else { 1002 };
        assert_eq!(close_code(&mut socket), Some(code));
        true
    });
    let mut source = Source::open(&url);
    assert_eq!(source.texts(1), ["good"]);
    drop(source);
    server.join().unwrap();
}

#[test]
fn half_open_silence_ends_and_a_quiet_server_that_answers_pings_does_not() {
    let (url, server) = serve(|number, stream| {
        let mut socket = upgrade(stream);
        if number == 0 {
            socket.send(Message::text("then silence")).unwrap();
            // Nothing is read as messages, so pings are not answered, and the socket stays open.
            while socket.get_mut().read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
            return true;
        }
        // Several idle times long nothing but answers to pings.
        for _ in 0..12 {
            assert!(matches!(socket.read().unwrap(), Message::Ping(_)));
        }
        socket.send(Message::text("still here")).unwrap();
        while socket.read().is_ok() {}
        false
    });
    let mut source = Source::open(&(url + "?ping=100ms&idle=400ms"));
    assert_eq!(source.texts(2), ["then silence", "still here"]);
    assert_eq!(source.count("reconnects"), 1);
    drop(source);
    server.join().unwrap();
}

#[test]
fn a_server_waits_when_no_worker_reads_and_nothing_is_lost() {
    let (count, size) = (64, 1 << 20);
    let (url, server) = serve(move |_, stream| {
        let mut socket = upgrade(stream);
        for _ in 0..count {
            socket.send(Message::binary(vec![b'x'; size])).unwrap();
        }
        while socket.read().is_ok() {}
        false
    });
    let mut source = Source::open(&(url + "?queue_bytes=1MiB"));
    eventually("one frame is read", || source.count("frames") >= 1);
    eventually("the server waits", || {
        let before = source.count("frames");
        std::thread::sleep(Duration::from_millis(200));
        source.count("frames") == before
    });
    assert!(source.count("frames") <= 2, "{} frames were taken", source.count("frames"));
    assert!(source.read(count).iter().all(|got| got.bytes.len() == size));
    assert_eq!(source.count("reconnects"), 0, "waiting for the worker is no silence");
    drop(source);
    server.join().unwrap();
}

#[test]
fn a_reader_that_is_dropped_leaves_the_server() {
    let (url, server) = serve(|_, stream| {
        send_and_stay(stream, "hello");
        false
    });
    let mut source = Source::open(&url);
    source.read(1);
    drop(source);
    server.join().unwrap();
}

/// What a feed sees of a server that accepts and drops.
#[derive(Default)]
struct Patience {
    waits: Vec<Duration>,
    verdict: Option<Verdict>,
}

impl Feed for Patience {
    fn greeting(&mut self) -> Vec<String> {
        Vec::new()
    }

    async fn message(&mut self, _: Message) -> Verdict {
        if self.waits.len() >= 3 { Verdict::Stop } else { self.verdict.clone().unwrap() }
    }

    fn interrupted(&mut self, _: &Interruption, wait: Duration) {
        self.waits.push(wait);
    }
}

/// Only a message that the feed calls good resets the back-off.
#[test]
fn a_server_that_flaps_is_tried_less_and_less_often() {
    for (verdict, expected_ms) in [(Verdict::Neutral, [150, 300, 600]), (Verdict::Good, [150; 3])] {
        let (url, server) = serve(|number, stream| {
            let mut socket = upgrade(stream);
            socket.send(Message::text("an error")).unwrap();
            socket.close(None).unwrap();
            while socket.read().is_ok() {}
            number < 3
        });
        let mut feed = Patience { waits: Vec::new(), verdict: Some(verdict) };
        let dial = Dial::new(&url, None, Limits::default()).unwrap();
        let first = Duration::from_millis(150);
        let backoff = Backoff::new(first, 100 * first).with_jitter(|| u64::MAX);
        let counters = Counters::default();
        let kept = keep_connected("test", &dial, backoff, &counters, &mut feed);
        runtime().unwrap().block_on(kept);
        server.join().unwrap();
        let waits: Vec<_> =
            feed.waits.iter().map(|wait| wait.as_nanos().div_ceil(1_000_000)).collect();
        assert_eq!(waits, expected_ms);
    }
}

/// A TLS server with a certificate that its own authority signed.
fn tls_server(folder: &Folder) -> (u16, String, JoinHandle<()>) {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let roots = folder.path("roots.pem");
    std::fs::write(&roots, certificate.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    let server = std::thread::spawn(move || {
        loop {
            let stream = patient(listener.accept().unwrap().0);
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let Ok(mut socket) = accept(rustls::StreamOwned::new(tls, stream)) else { continue };
            socket.send(Message::text("secret")).unwrap();
            while socket.read().is_ok() {}
            return;
        }
    });
    (port, roots.display().to_string(), server)
}

#[test]
fn a_tls_server_is_trusted_by_the_roots_that_are_named_and_by_no_others() {
    let folder = Folder::new();
    let (port, roots, server) = tls_server(&folder);
    let stranger = Source::open(&format!("wss://localhost:{port}/"));
    eventually("the certificate is refused", || stranger.count("connect_failures") > 0);
    assert_eq!(stranger.count("connects"), 0);
    drop(stranger);
    let misnamed = Source::open(&format!("wss://127.0.0.1:{port}/?ca={roots}"));
    eventually("the name is refused", || misnamed.count("connect_failures") > 0);
    assert_eq!(misnamed.count("connects"), 0);
    drop(misnamed);
    let mut source = Source::open(&format!("wss://localhost:{port}/?ca={roots}"));
    assert_eq!(source.texts(1), ["secret"]);
    drop(source);
    server.join().unwrap();
    for content in ["", "no certificate"] {
        let file = folder.file("empty.pem", content).replace("file:", "");
        let error =
            Source::try_open(&format!("wss://localhost:{port}/?ca={file}"), 0).err().unwrap();
        assert_eq!((error.exit_code(), error.to_string().contains("empty.pem")), (2, true));
    }
}
