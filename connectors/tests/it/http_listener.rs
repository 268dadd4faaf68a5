//! The source `http-listen://`: producers POST, each of which can harm only itself.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::{sink, source};
use anabranch_connectors::{inlet, outlet};
use serde_json::{Value, json};

use crate::support::{Folder, Source, eventually, resume, tcp};

/// Of the program that is killed: its folder.
const CHILD: &str = "ANABRANCH_TEST_HTTP_LISTENER";

/// An answer: status, head in lower case, body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Reads one answer, whose body has a `Content-Length`.
pub(crate) fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&bytes));
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1);
    let length = length.map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let status = head[9..12].parse().unwrap();
    Answer { status, head, body: String::from_utf8(body).unwrap() }
}

/// Sends a request with these lines of head.
pub(crate) fn send(stream: &mut TcpStream, first: &str, lines: &[&str], body: &[u8]) {
    let mut request =
        format!("{first} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n", body.len());
    lines.iter().for_each(|line| request.push_str(&format!("{line}\r\n")));
    request.push_str("\r\n");
    stream.write_all(&[request.as_bytes(), body].concat()).unwrap();
}

pub(crate) fn ask(port: u64, first: &str, lines: &[&str], body: impl AsRef<[u8]>) -> Answer {
    let mut stream = tcp(port);
    send(&mut stream, first, lines, body.as_ref());
    answer(&mut stream)
}

const JSON: &str = "Content-Type: application/json";
const LINES: &str = "Content-Type: application/x-ndjson";

fn post(source: &Source, lines: &[&str], body: impl AsRef<[u8]>) -> Answer {
    ask(source.port(), "POST /in", lines, body)
}

pub(crate) fn ended(stream: &mut TcpStream) -> bool {
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
fn a_record_many_records_and_lines_are_frames_as_they_were_sent() {
    let mut source = Source::open("http-listen://:0/in");
    let told = post(&source, &[JSON], "{\"a\" : 1}");
    assert_eq!((told.status, told.json()), (202, json!({"taken": 1, "durable": false})));
    assert_eq!(post(&source, &[JSON], "[{\"b\":1.50},[2], \"x\"]").json()["taken"], 3);
    assert_eq!(post(&source, &[LINES], "{\"c\":1}\n\n{\"d\":2}\r\n").json()["taken"], 2);
    assert_eq!(
        post(&source, &["Content-Type: application/x-www-form-urlencoded"], "[1,2]").json()["taken"],
        1
    );
    assert_eq!(post(&source, &[], [0xff, 0]).json()["taken"], 1);
    assert_eq!(post(&source, &[JSON], "[]").json()["taken"], 0);
    let got = source.read(8);
    let frames: Vec<&[u8]> = got.iter().map(|got| &got.bytes[..]).collect();
    let expected: [&[u8]; 8] = [
        b"{\"a\" : 1}",
        b"{\"b\":1.50}",
        b"[2]",
        b"\"x\"",
        b"{\"c\":1}",
        b"{\"d\":2}",
        b"[1,2]",
        &[0xff, 0],
    ];
    assert_eq!(frames, expected);
    assert_eq!(got.iter().map(|got| got.offset).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_eq!((source.count("frames"), source.count("requests")), (8, 6));
}

#[test]
fn a_request_with_a_wrong_record_is_refused_whole_and_says_which() {
    let mut source = Source::open("http-listen://:0/in?frame_max=20");
    let wrong = post(&source, &[LINES], "1\n<script>\n3\n");
    assert_eq!((wrong.status, wrong.json()["refused"][0]["place"].as_u64()), (400, Some(1)));
    assert!(wrong.head.contains("application/problem+json") && wrong.head.contains("nosniff"));
    assert!(!wrong.body.contains("<script>"), "{wrong:?}");
    let long = post(&source, &[JSON], format!("[1,2,\"{}\"]", "x".repeat(30)));
    assert_eq!((long.status, long.json()["refused"][0]["place"].as_u64()), (413, Some(2)));
    assert_eq!(post(&source, &[JSON], "{").status, 400);
    assert_eq!(post(&source, &[], "").status, 400);
    assert_eq!(post(&source, &[JSON], "\"good\"").status, 202);
    assert_eq!(source.texts(1), ["\"good\""]);
    assert_eq!((source.count("refused_requests"), source.count("frames")), (4, 1));
}

#[test]
fn one_connection_can_send_many_requests_and_many_can_send_at_once() {
    let mut source = Source::open("http-listen://:0/in");
    let port = source.port();
    let producers: Vec<_> = (0..8)
        .map(|producer| {
            std::thread::spawn(move || {
                let mut stream = tcp(port);
                for n in 0..50 {
                    send(&mut stream, "POST /in", &[], format!("{producer}:{n}").as_bytes());
                    assert_eq!(answer(&mut stream).status, 202);
                }
            })
        })
        .collect();
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    let frames = source.texts(400);
    for producer in 0..8 {
        let prefix = format!("{producer}:");
        let its: Vec<_> = frames.iter().filter_map(|text| text.strip_prefix(&prefix)).collect();
        assert_eq!(its, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn another_path_or_method_is_refused_by_name() {
    let source = Source::open("http-listen://:0/in");
    for path in ["/", "/In", "/in/", "/in%2f..", "/../in", "//in"] {
        let told = ask(source.port(), &format!("POST {path}"), &[], "x");
        assert_eq!(told.status, 404, "{path}");
        assert!(told.body.contains("POST to /in"), "{told:?}");
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let told = ask(source.port(), &format!("{method} /in"), &[], "");
        assert_eq!((told.status, told.head.contains("allow: post")), (405, true), "{method}");
    }
    assert_eq!(ask(source.port(), "POST /in?user=7", &[], "x").status, 202);
    assert_eq!(source.count("frames"), 1);
}

/// What does not fit is not kept: the sender is told, and none of its records was taken.
#[test]
fn a_full_queue_is_answered_503_with_a_time_and_nothing_is_lost_or_kept() {
    let mut source = Source::open("http-listen://:0/in?queue_records=8");
    assert_eq!(post(&source, &[JSON], "[1,2,3]").status, 202);
    let full = post(&source, &[JSON], "[4,5]");
    assert_eq!((full.status, full.head.contains("retry-after: 1")), (503, true), "{full:?}");
    assert_eq!(post(&source, &[JSON], "[4]").status, 202);
    assert_eq!((source.count("full"), source.count("frames")), (1, 4));
    let many = post(&source, &[JSON], "[1,2,3,4,5]");
    assert_eq!(many.status, 413, "these never fit: {many:?}");
    assert_eq!(source.texts(4), ["1", "2", "3", "4"]);
    eventually("there is room again", || post(&source, &[JSON], "[4,5]").status == 202);
    assert_eq!(source.texts(2), ["4", "5"]);
}

#[test]
fn a_body_above_the_cap_is_refused_whether_it_says_so_or_not() {
    let source = Source::open("http-listen://:0/in?body_max=1KiB");
    assert_eq!(post(&source, &[], vec![b'x'; 1024]).status, 202);
    let told = post(&source, &[], vec![b'x'; 1025]);
    assert_eq!(told.status, 413, "{told:?}");
    // It is refused by what it says, before it is sent.
    let mut stream = tcp(source.port());
    stream
        .write_all(b"POST /in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        .unwrap();
    assert_eq!(answer(&mut stream).status, 413);
    let mut stream = tcp(source.port());
    stream
        .write_all(b"POST /in HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for _ in 0..2 {
        stream.write_all(format!("300\r\n{}\r\n", "x".repeat(0x300)).as_bytes()).unwrap();
    }
    assert_eq!(answer(&mut stream).status, 413);
    let gzip = post(&source, &["Content-Encoding: gzip"], "x");
    assert_eq!(gzip.status, 415);
    assert_eq!((source.count("oversized"), source.count("frames")), (3, 1));
}

#[test]
fn slow_heads_slow_bodies_large_heads_and_garbage_end_and_hinder_nobody() {
    let mut source = Source::open("http-listen://:0/in?handshake=300ms&request=300ms");
    let mut silent: Vec<_> = (0..50).map(|_| tcp(source.port())).collect();
    let mut slow_head = tcp(source.port());
    slow_head.write_all(b"POST /in HTTP/1.1\r\nHost: x\r\n").unwrap();
    let mut slow_body = tcp(source.port());
    slow_body
        .write_all(b"POST /in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab")
        .unwrap();
    let mut garbage = tcp(source.port());
    garbage.write_all(&[0xff; 200]).unwrap();
    let mut large = tcp(source.port());
    let head =
        format!("POST /in HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let _ = large.write_all(head.as_bytes());
    assert_eq!(post(&source, &[], "through").status, 202);
    assert_eq!(source.texts(1), ["through"]);
    assert_eq!(answer(&mut slow_body).status, 408);
    assert!(ended(&mut slow_head) && ended(&mut garbage) && ended(&mut large));
    assert!(silent.iter_mut().all(ended));
    // Who has had its answer holds its place no longer than who has said nothing yet.
    let mut idle = tcp(source.port());
    send(&mut idle, "POST /in", &[], b"idle");
    assert_eq!(answer(&mut idle).status, 202);
    assert_eq!(source.texts(1), ["idle"]);
    assert!(ended(&mut idle));
    assert_eq!(post(&source, &[], "again").status, 202);
    assert_eq!(source.texts(1), ["again"]);
    assert_eq!(source.count("frames"), 3);
}

#[test]
fn a_body_that_breaks_off_is_not_taken() {
    let source = Source::open("http-listen://:0/in");
    let mut stream = tcp(source.port());
    stream
        .write_all(b"POST /in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab")
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    ended(&mut stream);
    assert_eq!(source.count("frames"), 0);
}

#[test]
fn connections_above_the_bound_are_closed_until_there_is_a_place() {
    let source = Source::open("http-listen://:0/in?connections=2");
    let mut first = tcp(source.port());
    send(&mut first, "POST /in", &[], b"x");
    assert_eq!(answer(&mut first).status, 202);
    let _second = tcp(source.port());
    eventually("both have a place", || source.count("connections") == 2);
    assert!(ended(&mut tcp(source.port())));
    assert_eq!(source.count("refused"), 1);
    drop(first);
    eventually("a place", || {
        let mut third = tcp(source.port());
        let request = b"POST /in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
        let mut status = [0; 12];
        third.write_all(request).is_ok()
            && third.read_exact(&mut status).is_ok()
            && status.ends_with(b"202")
    });
}

#[test]
fn a_page_sends_only_if_its_origin_is_named_and_no_name_leads_here() {
    let closed = Source::open("http-listen://:0/in");
    for origin in ["https://evil.example", "null", "http://127.0.0.1"] {
        let told = post(&closed, &[&format!("Origin: {origin}")], "x");
        assert_eq!(told.status, 403, "{origin}");
        assert!(!told.head.contains("access-control"), "{told:?}");
    }
    let rebound = "POST /in HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1\r\n\r\nx";
    let mut stream = tcp(closed.port());
    stream.write_all(rebound.as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).status, 421);
    assert_eq!(closed.count("frames"), 0);
    let named =
        Source::open("http-listen://:0/in?origin=https://a.example&origin=http://b.example:80");
    for (origin, status) in
        [("https://a.example", 202), ("http://b.example:80", 202), ("http://a.example", 403)]
    {
        let told = post(&named, &[&format!("Origin: {origin}")], "x");
        assert_eq!(told.status, status, "{origin}");
        let allowed = told.head.contains(&format!("access-control-allow-origin: {origin}"));
        assert_eq!(allowed, status == 202);
    }
    let first = ["Origin: https://a.example", "Access-Control-Request-Method: POST"];
    let told = ask(named.port(), "OPTIONS /in", &first, "");
    assert_eq!(
        (told.status, told.head.contains("access-control-allow-methods: post")),
        (204, true)
    );
}

#[test]
fn who_has_no_token_is_refused() {
    let folder = Folder::new();
    let tokens = folder.path("tokens");
    std::fs::write(&tokens, "0123456789abcdef\nfedcba9876543210\n").unwrap();
    let url = format!("http-listen://:0/in?token_file={}", tokens.display());
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = Source::try_open(&url, 0).err().unwrap().to_string();
    assert!(open.contains("chmod 600") && !open.contains("0123456789abcdef"), "{open}");
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut source = Source::open(&url);
    for wrong in [
        "X: y",
        "Authorization: Bearer 0123456789abcdeF",
        "Authorization: 0123456789abcdef",
        "Authorization: Bearer ",
        "Authorization: Basic MDEyMzQ1Njc4OWFiY2RlZg==",
    ] {
        let told = post(&source, &[wrong], "x");
        assert_eq!(
            (told.status, told.head.contains("www-authenticate: bearer")),
            (401, true),
            "{wrong}"
        );
        assert!(!told.body.contains("0123456789"), "{told:?}");
    }
    for right in ["0123456789abcdef", "fedcba9876543210"] {
        assert_eq!(post(&source, &[&format!("Authorization: Bearer {right}")], right).status, 202);
    }
    assert_eq!(source.texts(2), ["0123456789abcdef", "fedcba9876543210"]);
}

#[test]
fn with_ack_an_answer_comes_when_all_of_its_records_are_durable() {
    let folder = Folder::new();
    let url = "http-listen://:0/in?ack=true";
    let mut source = Source::resume(url, resume(&folder.own("state"), 500, b"")).unwrap();
    let (mut one, mut two) = (tcp(source.port()), tcp(source.port()));
    send(&mut one, "POST /in", &[JSON], b"[1,2]");
    assert_eq!(source.texts(2), ["1", "2"]);
    send(&mut two, "POST /in", &[], b"x");
    assert_eq!(source.texts(1), ["x"]);
    source.durable(501);
    one.set_nonblocking(true).unwrap();
    let nothing = one.peek(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "only one of two is durable");
    one.set_nonblocking(false).unwrap();
    source.durable(502);
    let told = answer(&mut one);
    assert_eq!((told.status, told.json()), (200, json!({"taken": 2, "durable": true})));
    source.durable(503);
    assert_eq!(answer(&mut two).status, 200);
    let told = ask(source.port(), "POST /in", &[JSON], "[]");
    assert_eq!((told.status, told.json()["taken"].as_u64()), (200, Some(0)));
}

#[test]
fn what_does_not_become_durable_in_time_is_said() {
    let folder = Folder::new();
    let url = "http-listen://:0/in?ack=true&request=200ms";
    let source = Source::resume(url, resume(&folder.own("state"), 0, b"")).unwrap();
    let told = post(&source, &[], "x");
    assert_eq!(told.status, 504, "{told:?}");
    assert!(told.body.contains("may come twice"), "{told:?}");
    let refused = Source::try_open(url, 0).err().unwrap();
    assert!(refused.exit_code() == 2 && refused.to_string().contains("--data-dir"), "{refused}");
}

/// What is being received takes no more than the queue may.
#[test]
fn all_bodies_together_are_bounded() {
    let source = Source::open("http-listen://:0/in?queue_bytes=64KiB&body_max=64KiB&request=1m");
    let head = "POST /in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n";
    let hold = || {
        let mut held = tcp(source.port());
        held.write_all(format!("{head}{}", "x".repeat(60_000)).as_bytes()).unwrap();
        held
    };
    let body = vec![b'x'; 10_000];
    let mut held = hold();
    eventually("there is no room beside it", || {
        let told = post(&source, &[], &body);
        let is_full = told.status == 503 && told.body.contains("being sent");
        if !is_full {
            // The other one may have come first, and then there was no room for this.
            held = hold();
        }
        is_full
    });
    drop(held);
    eventually("it is given back", || {
        let told = post(&source, &[], &body);
        !told.body.contains("being sent")
    });
}

/// The program that another test kills; alone it does nothing.
#[test]
fn a_program_that_is_killed() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let from = format!("http-listen://:0/in?ack=true&port_file={folder}/port");
    let (to, data) = (format!("file:{folder}/out"), format!("{folder}/data"));
    let flags = ["-w", "2", "--data-dir", &data, "--checkpoint-interval", "10ms", "--quiet"];
    let build = move |app: &App| {
        app.source("posted", source::frames(inlet(&from)?, || source::Text))
            .sink("out", sink::frames(outlet(&to)?, || sink::Text));
        Ok(())
    };
    anabranch::run(&Config::from_flags(flags).unwrap(), build).unwrap();
}

/// Killed while a request is on its way: what was answered is there, once and in order.
#[test]
fn what_was_answered_survives_a_kill() {
    let folder = Folder::new();
    let (mut answered, mut unknown) = (Vec::new(), Vec::new());
    for life in 0..4 {
        let port_file = folder.path("port");
        let _ = std::fs::remove_file(&port_file);
        let mut running = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "http_listener::a_program_that_is_killed"])
            .env(CHILD, folder.as_ref())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        eventually("it listens", || port_file.exists());
        let listens = std::fs::read_to_string(&port_file).unwrap();
        let port = listens.trim().rsplit_once(':').unwrap().1.parse().unwrap();
        let mut stream = tcp(port);
        for n in 0..20 + life {
            send(
                &mut stream,
                "POST /in",
                &[LINES],
                format!("\"{life}a{n}\"\n\"{life}b{n}\"").as_bytes(),
            );
            assert_eq!(answer(&mut stream).json(), json!({"taken": 2, "durable": true}));
            answered.extend([format!("\"{life}a{n}\""), format!("\"{life}b{n}\"")]);
        }
        send(&mut stream, "POST /in", &[], format!("unknown {life}").as_bytes());
        unknown.push(format!("unknown {life}"));
        if life == 3 {
            // By then everything has been computed again.
            eventually("all is written", || {
                let out = std::fs::read_to_string(folder.path("out")).unwrap_or_default();
                answered.last().is_some_and(|last| out.lines().any(|line| line == last))
            });
        }
        running.kill().unwrap();
        running.wait().unwrap();
    }
    let out = std::fs::read_to_string(folder.path("out")).unwrap();
    let (others, there): (Vec<&str>, Vec<&str>) =
        out.lines().partition(|line| line.starts_with("unknown"));
    assert_eq!(there, answered);
    assert!(others.windows(2).all(|pair| pair[0] < pair[1]), "none twice: {others:?}");
    assert!(others.iter().all(|line| unknown.iter().any(|it| it.starts_with(line))), "{others:?}");
}
