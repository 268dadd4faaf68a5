//! The HTTP interface of programs that are killed and asked to end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::ledger::check_live;
use crate::producer::{Producers, Transport};
use crate::run::{Running, program, signal};
use crate::support::{Folder, free_ports, until};

/// The status of an answer and its body as JSON, if there is an answer.
fn ask(port: u16, path: &str) -> Option<(u16, Value)> {
    send(port, "GET", path, "")
}

/// The same, after something was sent.
fn send(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
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
        self.reading("ws-listen://127.0.0.1:0/text", flags)
    }

    /// With producers that are told what is durable.
    fn sent_to(&self, port: u16, flags: &[&str]) -> Running {
        self.reading(&format!("tcp-listen://127.0.0.1:{port}?ack=true"), flags)
    }

    fn reading(&self, text: &str, flags: &[&str]) -> Running {
        let counts = format!("file:{}", self.folder.name("counts"));
        let (data, http) = (self.folder.name("data"), self.http.to_string());
        let basic = ["--text", text, "--counts", &counts];
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

/// What an earlier start has read is complete, and can be asked for, though nothing comes any more; whichever worker
/// had read it.
#[test]
fn what_was_read_is_there_after_a_kill_and_after_an_end_though_nothing_comes() {
    for workers in ["1", "2", "3"] {
        let folder = Folder::new();
        let [http] = free_ports();
        let (data, address) = (folder.name("data"), http.to_string());
        let start = || {
            let flags = ["--prices", "ws-listen://127.0.0.1:0/prices", "--updates", "http:"];
            let more =
                ["--notify", "null:", "--data-dir", &data, "--http", &address, "-w", workers];
            Running::start(&mut program("bitcoin-alerts", [&flags[..], &more].concat()))
        };
        let open = || {
            let (status, rows) = ask(http, "/api/v1/tables/alerts/BTC-USD").unwrap();
            if status == 200 { rows["total"].as_u64().unwrap() } else { 0 }
        };
        for (known, end) in (0_u64..).zip(["KILL", "TERM", "KILL", "KILL", "TERM"]) {
            let mut running = start();
            is_ready(http);
            until("all alerts are there", || (open() == known).then_some(()));
            let alert = format!(r#"{{"price":"{}","user_id":7}}"#, 1_000 + known);
            let (status, told) = send(http, "POST", "/api/v1/alerts", &alert).unwrap();
            assert_eq!((status, &told["durable"]), (200, &true.into()), "{told}");
            running.signal(end);
            let code = running.code();
            assert_eq!(code, (end == "TERM").then_some(0), "{}", running.errors());
        }
    }
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

#[test]
fn every_process_is_seen_by_who_asks_one() {
    let counting = Counting::new();
    let [text] = free_ports();
    let mut running = counting.sent_to(text, &["-n", "3", "-w", "2"]);
    is_ready(counting.http);
    let producers = Producers::start(2, Transport::Tcp, text);
    until("records are taken", || (producers.acknowledged() > 2_000).then_some(()));
    let made = producers.finish();

    let (_, workers) = ask(counting.http, "/api/v1/workers").unwrap();
    assert_eq!(workers.as_array().unwrap().len(), 6, "{workers}");
    let (_, counters) = ask(counting.http, "/api/v1/counters").unwrap();
    let sent: u64 = made.iter().flatten().map(|connection| connection.sent).sum();
    assert_eq!(counters["text.records"], sent, "{counters}");
    // Each word of its own, and those that repeat, on whichever of six workers.
    let mut rows = std::collections::BTreeMap::new();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/tables/counts?limit=1000{after}");
        let (status, page) = ask(counting.http, &path).unwrap();
        assert_eq!(status, 200, "{page}");
        for row in page["rows"].as_array().unwrap() {
            let word = row["key"].as_str().unwrap().to_string();
            rows.insert(word, row["value"].as_u64().unwrap());
        }
        if page["more"] == false {
            break;
        }
        after = format!("&after={}", rows.last_key_value().unwrap().0);
    }
    assert_eq!(rows["not"], sent);
    let (_, row) = ask(counting.http, "/api/v1/tables/counts/not").unwrap();
    assert_eq!(row["value"], sent);
    running.signal("TERM");
    running.succeeds();
    let output = std::fs::read_to_string(counting.folder.path("counts")).unwrap();
    check_live(output.as_bytes(), &made);
    let words: std::collections::BTreeSet<&str> =
        output.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(words.iter().all(|word| rows.contains_key(*word)) && words.len() == rows.len());
}

/// 1 -> 2 -> 4 -> 1 workers, in one process and several, while producers send: nothing is lost, nothing comes twice.
#[test]
fn a_running_program_is_given_another_size() {
    let counting = Counting::new();
    let [text] = free_ports();
    let mut running = counting.sent_to(text, &["-w", "1"]);
    is_ready(counting.http);
    let producers = Producers::start(3, Transport::Tcp, text);
    let mut before = 0;
    for (workers, processes) in [(2, 1), (2, 2), (1, 1), (1, 3)] {
        until("the program gets on", || (producers.acknowledged() > before + 500).then_some(()));
        let wanted = format!(r#"{{"workers":{workers},"processes":{processes}}}"#);
        let (status, told) = send(counting.http, "POST", "/api/v1/rescale", &wanted).unwrap();
        assert_eq!(status, 202, "{told}");
        until("it has another size", || {
            let (_, told) = ask(counting.http, "/api/v1/workers")?;
            (told.as_array()?.len() == workers * processes).then_some(())
        });
        is_ready(counting.http);
        let paused = until("the pause is told", || {
            ask(counting.http, "/api/v1/counters")?.1["rescale.pause_us"].as_u64()
        });
        assert!(paused > 0);
        before = producers.acknowledged();
    }
    until("the program gets on", || (producers.acknowledged() > before + 500).then_some(()));
    let made = producers.finish();
    assert!(made.iter().any(|connections| connections.len() >= 5), "{made:?}");
    for (wanted, said) in [
        (r#"{"workers":0,"processes":1}"#, 400),
        (r#"{"workers":1,"processes":65}"#, 400),
        (r#"{"workers":1}"#, 422),
    ] {
        assert_eq!(send(counting.http, "POST", "/api/v1/rescale", wanted).unwrap().0, said);
    }
    running.signal("TERM");
    running.succeeds();
    let output = std::fs::read(counting.folder.path("counts")).unwrap();
    check_live(&output, &made);
}

#[test]
fn a_program_that_keeps_nothing_has_the_size_that_it_began_with() {
    let counting = Counting::new();
    let http = counting.http.to_string();
    let flags = ["--text", "ws-listen://127.0.0.1:0/text", "--counts", "null:", "--http", &http];
    let mut running = Running::start(&mut program("word-count", flags));
    is_ready(counting.http);
    let wanted = r#"{"workers":2,"processes":1}"#;
    let (status, told) = send(counting.http, "POST", "/api/v1/rescale", wanted).unwrap();
    assert!(status == 409 && told["detail"].as_str().unwrap().contains("--data-dir"), "{told}");
    running.signal("TERM");
    running.succeeds();
}
