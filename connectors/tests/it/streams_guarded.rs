//! Durable streams over HTTP: everything has its bound, and nobody comes in who may not.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anabranch_connectors::stream::{From, ServeOptions, ServiceLimits, Streams, description};
use serde_json::json;

use crate::http_listener::{answer, ask, ended};
use crate::streams_http::{JSON, Server};
use crate::support::{Folder, eventually, tcp};

const LINES: &str = "Content-Type: application/x-ndjson";

/// One that nobody uses makes room for another.
#[test]
fn the_streams_that_are_open_to_be_written_are_bounded() {
    let folder = Folder::new();
    let limits = ServiceLimits { writers_max: 1, ..ServiceLimits::default() };
    let server = Server::with(folder.as_ref(), limits, &ServeOptions::default());
    for name in ["a", "b"] {
        server.done(&format!("PUT /{name}"), "");
    }
    let streams = Streams::open(folder.as_ref()).unwrap();
    for n in 0..3 {
        for (name, other) in [("a", "b"), ("b", "a")] {
            assert_eq!(server.done(&format!("POST /{name}/records"), "1")["first"], n);
            assert!(streams.stream(other).unwrap().writer().is_ok(), "{other} is not held");
        }
    }
}

#[test]
fn a_consumer_that_asks_for_nothing_has_left_after_its_lease() {
    let folder = Folder::new();
    let limits = ServiceLimits {
        lease: Duration::from_millis(100),
        consumers_max: 1,
        ..ServiceLimits::default()
    };
    let server = Server::with(folder.as_ref(), limits, &ServeOptions::default());
    server.done("PUT /s", "");
    let one = server.done("POST /s/groups/g/consumers", "");
    // In this process or another.
    let stream = Streams::open(folder.as_ref()).unwrap().stream("s").unwrap();
    eventually("its group is free", || {
        stream.consume("g", From::Beginning, Duration::ZERO).is_ok()
    });
    assert_eq!(server.status("POST /s/groups/g/consumers", ""), 201);
    assert_eq!(server.status("POST /s/groups/other/consumers", ""), 503, "there is one already");
    let gone = format!("POST /s/groups/g/consumers/{}/read", one["consumer"].as_str().unwrap());
    assert_eq!(server.status(&gone, ""), 404);
}

#[test]
fn who_waits_gets_what_comes_and_those_who_wait_are_bounded() {
    let folder = Folder::new();
    let limits = ServiceLimits { followers_max: 1, ..ServiceLimits::default() };
    let server = Server::with(folder.as_ref(), limits, &ServeOptions::default());
    server.done("PUT /s", "");
    let port = server.port();
    let waiting = std::thread::spawn(move || {
        loop {
            let waits = "GET /api/v1/streams/s/records?from=end&wait_ms=25000";
            let told = ask(port, waits, &[], "");
            // The other one may have had the place.
            if told.status != 503 {
                return told.json();
            }
        }
    });
    eventually("there is no place beside it", || {
        server.status("GET /s/records?wait_ms=1", "") == 503
    });
    server.done("POST /s/records", "\"came\"");
    assert_eq!(waiting.join().unwrap()["records"][0]["value"], "came");
    let page = server.done("GET /s/records?from=1&wait_ms=1", "");
    assert_eq!(page, json!({"records": [], "next": 1}));
    for wrong in
        ["wait_ms=25001", "limit=0", "limit=1001", "from=yesterday", "from=-1", "form=1", "from=9"]
    {
        assert_eq!(server.status(&format!("GET /s/records?{wrong}"), ""), 400, "{wrong}");
    }
}

/// Names and places of paths that are none, in as many ways as a client can write them.
#[test]
fn no_path_leads_out_of_the_folder() {
    let folder = Folder::new();
    let inside = folder.path("streams");
    let server = Server::new(&inside);
    let outside = Streams::open(folder.as_ref()).unwrap().create("outside").unwrap();
    outside.writer().unwrap().append(b"secret").unwrap();
    for name in [
        "../outside",
        "%2e%2e%2foutside",
        "%2e%2e/outside",
        "..%2foutside",
        "%2E%2E%2Foutside",
        "%2e%2e",
        "..",
        ".",
        "%2e",
        "%00",
        "a%00b",
        "a%2fb",
        "a%5cb",
        ".hidden",
        "%ff",
        "a%20b",
        "%252e%252e",
        "%e2%80%ae",
    ] {
        for asked in [
            format!("PUT /{name}"),
            format!("GET /{name}/records"),
            format!("DELETE /{name}?drop_unread=true"),
            format!("POST /{name}/records"),
            format!("POST /{name}/trim"),
            format!("GET /{name}/groups"),
            format!("POST /ok/groups/{name}/consumers"),
        ] {
            let told = server.ask(&asked, &[JSON], "1");
            assert!(matches!(told.status, 400 | 404 | 405), "{asked}: {told:?}");
            assert!(!told.body.contains("secret"), "{told:?}");
        }
    }
    assert_eq!(outside.end().unwrap(), 1);
    assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0, "nothing was made");
    let mut names: Vec<_> =
        std::fs::read_dir(folder.as_ref()).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["outside", "streams"]);
}

#[test]
fn a_stream_that_another_one_writes_is_refused_and_one_that_is_not_used_is_let_go() {
    let folder = Folder::new();
    let limits =
        ServiceLimits { writer_idle: Duration::from_millis(50), ..ServiceLimits::default() };
    let server = Server::with(folder.as_ref(), limits, &ServeOptions::default());
    server.done("PUT /s", "");
    server.done("POST /s/records", "1");
    let stream = Streams::open(folder.as_ref()).unwrap().stream("s").unwrap();
    let mut mine = None;
    eventually("it is let go", || {
        mine = stream.writer().ok();
        mine.is_some()
    });
    let refused = server.ask("POST /s/records", &[], "2");
    assert_eq!((refused.status, refused.body.contains("held by")), (409, true), "{refused:?}");
    drop(mine);
    assert_eq!(server.done("POST /s/records", "2")["first"], 1);
}

#[test]
fn bodies_heads_connections_and_times_have_bounds() {
    let folder = Folder::new();
    let limits = ServiceLimits {
        body_bytes_max: 1 << 10,
        body_time: Duration::from_millis(300),
        ..ServiceLimits::default()
    };
    let options = ServeOptions {
        head_time: Duration::from_millis(300),
        connections_max: 8,
        ..ServeOptions::default()
    };
    let server = Server::with(folder.as_ref(), limits, &options);
    server.done("PUT /s", "");
    assert_eq!(server.ask("POST /s/records", &[], vec![b'x'; 1025]).status, 413);
    assert_eq!(server.ask("POST /s/retain", &[JSON], vec![b' '; 20 << 10]).status, 413);
    assert_eq!(server.ask("POST /s/records", &[LINES], "1\n{\n").json()["refused"][0]["place"], 1);
    let begun = b"POST /api/v1/streams/s/records HTTP/1.1\r\nHost: localhost\r\n";
    let mut slow = tcp(server.port());
    slow.write_all(&[begun, &b"Content-Length: 5\r\n\r\nab"[..]].concat()).unwrap();
    assert_eq!(answer(&mut slow).status, 408);
    let mut silent: Vec<_> = (0..6).map(|_| tcp(server.port())).collect();
    let mut head = tcp(server.port());
    head.write_all(begun).unwrap();
    assert!(silent.iter_mut().all(ended) && ended(&mut head));
    eventually("there are places", || {
        let mut stream = tcp(server.port());
        stream.write_all(&[begun, &b"Content-Length: 1\r\n\r\n1"[..]].concat()).is_ok()
            && std::io::Read::read(&mut stream, &mut [0; 8]).is_ok_and(|count| count > 0)
    });
}

#[test]
fn who_has_no_token_and_pages_of_other_sites_are_refused() {
    let folder = Folder::new();
    let tokens = folder.path("tokens");
    std::fs::write(&tokens, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).unwrap();
    let dir = folder.path("streams");
    let options = ServeOptions {
        token_file: Some(tokens),
        origins: vec!["https://a.example".into()],
        ..ServeOptions::default()
    };
    let server = Server::with(&dir, ServiceLimits::default(), &options);
    for lines in [&[][..], &["Authorization: Bearer 0123456789abcdeF"], &["Authorization: Bearer "]]
    {
        for asked in ["GET ", "PUT /s", "GET /s/records", "GET /s/follow"] {
            assert_eq!(server.ask(asked, lines, "").status, 401, "{asked}");
        }
    }
    let right = "Authorization: Bearer 0123456789abcdef";
    assert_eq!(server.ask("PUT /s", &[right], "").status, 201);
    assert_eq!(server.ask("PUT /s", &[right, "Origin: https://evil.example"], "").status, 403);
    let told = server.ask("GET ", &[right, "Origin: https://a.example"], "");
    assert!(
        told.status == 200 && told.head.contains("access-control-allow-origin: https://a.example")
    );
    // Without tokens a name of another site leads nowhere.
    let open = Server::new(&dir);
    let mut stream = tcp(open.port());
    stream.write_all(b"GET /api/v1/streams HTTP/1.1\r\nHost: evil.example\r\n\r\n").unwrap();
    assert_eq!(answer(&mut stream).status, 421);
}

#[test]
fn every_described_address_is_there() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    let served = ask(server.port(), "GET /api/v1/openapi.json", &[], "").json();
    let described = serde_json::to_value(description()).unwrap();
    assert_eq!(served["paths"], described["paths"]);
    let mut count = 0;
    for (path, methods) in described["paths"].as_object().unwrap() {
        let path = path.replace("{stream}", "s").replace("{group}", "g").replace("{consumer}", "c");
        for method in methods.as_object().unwrap().keys() {
            let told =
                ask(server.port(), &format!("{} {path}", method.to_uppercase()), &[JSON], "{}");
            assert!(!told.body.contains("there is nothing here"), "{method} {path}: {told:?}");
            assert_ne!(told.status, 405, "{method} {path}");
            count += 1;
        }
    }
    assert_eq!(count, 17);
}

#[test]
fn who_follows_and_does_not_read_is_left() {
    let folder = Folder::new();
    let limits = ServiceLimits { followers_max: 1, ..ServiceLimits::default() };
    let options =
        ServeOptions { answer_time: Duration::from_millis(500), ..ServeOptions::default() };
    let server = Server::with(folder.as_ref(), limits, &options);
    server.done("PUT /s", "");
    for _ in 0..16 {
        assert_eq!(server.ask("POST /s/records", &[], vec![b'x'; 4 << 20]).status, 200);
    }
    let mut deaf = tcp(server.port());
    let head = "GET /api/v1/streams/s/records HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    deaf.write_all(head.as_bytes()).unwrap();
    let waits = "GET /s/records?from=end&wait_ms=1";
    eventually("it has the place", || server.status(waits, "") == 503);
    eventually("the place is free again", || server.status(waits, "") == 200);
}
