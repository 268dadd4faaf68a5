//! The HTTP interface of programs that are killed and asked to end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::run::{Running, program, signal};
use crate::support::{Folder, free_ports, until};

/// The status of an answer and its body as JSON, if there is an answer.
fn ask(port: u16, path: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

#[track_caller]
fn is_ready(port: u16) {
    until("the program takes input", || {
        ask(port, "/api/v1/ready").filter(|(status, _)| *status == 200)
    });
}

/// Counts words that come by a socket, and answers over HTTP.
struct Counting {
    folder: Folder,
    http: u16,
}

impl Counting {
    fn new() -> Self {
        let [http] = free_ports();
        Self { folder: Folder::new(), http }
    }

    fn start(&self, flags: &[&str]) -> Running {
        let counts = format!("file:{}", self.folder.name("counts"));
        let (data, http) = (self.folder.name("data"), self.http.to_string());
        let basic = ["--text", "ws-listen://127.0.0.1:0/text", "--counts", &counts];
        let kept = ["--data-dir", &data, "--http", &http];
        Running::start(&mut program("word-count", [&basic[..], &kept, flags].concat()))
    }
}

#[test]
fn it_answers_again_when_its_processes_were_killed() {
    let counting = Counting::new();
    let mut running = counting.start(&["-n", "2", "-w", "2"]);
    is_ready(counting.http);
    let (status, told) = ask(counting.http, "/api/v1/program").unwrap();
    assert_eq!((status, &told["processes"]), (200, &2.into()));
    let children = running.children(2);
    children.iter().for_each(|child| signal("KILL", *child));
    running.logs("generation 2 starts");
    is_ready(counting.http);
    assert_eq!(running.children(4).len(), 4, "others than before");
    running.signal("TERM");
    running.succeeds();
    assert!(ask(counting.http, "/api/v1/health").is_none(), "the program has ended");
}

#[test]
fn a_place_that_is_taken_is_told_of() {
    let counting = Counting::new();
    let mut running = counting.start(&[]);
    is_ready(counting.http);
    let taken = counting.http.to_string();
    let flags = ["--text", "-", "--counts", "null:", "--http", &taken];
    let error = Running::start(&mut program("word-count", flags)).fails();
    assert!(error.contains("for --http") && error.contains("another program"), "{error}");
    running.signal("INT");
    running.succeeds();
}
