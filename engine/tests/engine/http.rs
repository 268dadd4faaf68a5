//! The HTTP interface of a running program, asked by a client that is as plain as can be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::source::Nature;
use anabranch::{Drain, run_until, sink};
use serde_json::Value;

use crate::support::Memory;

/// How many records came in before anybody asks.
const RECORDS: usize = 500;
const KEYS: i64 = 7;
const SUMS: Table<i64, i64> = Table::new("sums");

/// A port that nobody listens on.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A program that has had its records and waits, until this is dropped.
struct Program {
    address: SocketAddr,
    drain: Drain,
    /// Lets a computation that is told to wait go on.
    released: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Program {
    fn start(flags: &[&str]) -> Self {
        let program = Self::begin(flags);
        program.wait_for("/api/v1/counters", |answer| {
            answer.json()["out.records"].as_u64() == Some(RECORDS as u64)
        });
        program
    }

    fn begin(flags: &[&str]) -> Self {
        let address = free();
        let http = address.to_string();
        let flags = [&["--http", &http], flags].concat();
        let config = Config::from_flags(flags).unwrap();
        let (drain, released) = (Drain::default(), Arc::new(AtomicBool::new(true)));
        let (wish, goes_on) = (drain.clone(), Arc::clone(&released));
        let ended = drain.clone();
        let records = (0..=RECORDS as i64).map(|n| (None, n)).collect();
        let memory = Memory {
            nature: Nature::Live,
            last_when: Some(Arc::new(move || ended.requested())),
            ..Memory::new(vec![records])
        };
        let build = move |app: &App| {
            let waits = Arc::clone(&goes_on);
            let numbers = app.source("numbers", memory.clone());
            numbers
                .key_by(|n: &i64| n % KEYS)
                .compute("add", SUMS, move |n, mut sum, out| {
                    while !waits.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    *sum += n;
                    out.emit(*sum);
                })
                .sink("out", sink::null());
            app.view("by-key", SUMS, |t| t.map(|(key, sum)| (key, sum)));
            Ok(())
        };
        let thread = std::thread::spawn(move || run_until(&config, build, &wish).map(drop));
        Self { address, drain, released, thread: Some(thread) }
    }

    fn wait_for(&self, path: &str, there: impl Fn(&Answer) -> bool) {
        for _ in 0..6_000 {
            if self.ask(path).is_some_and(|answer| there(&answer)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{path} never answered so: {:?}", self.ask(path).map(|answer| answer.body));
    }

    fn ask(&self, path: &str) -> Option<Answer> {
        self.ask_as("GET", path, &[])
    }

    fn ask_as(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Option<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if headers.iter().all(|(name, _)| *name != "Host") {
            head += &format!("Host: {}\r\n", self.address);
        }
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head: head.to_lowercase(), body: body.to_string() })
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(path).unwrap_or_else(|| panic!("no answer to {path}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.released.store(true, Ordering::SeqCst);
        self.drain.request();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// The sum of each key, by a plain loop.
fn sums() -> Vec<(i64, i64)> {
    let mut sums = vec![0; KEYS as usize];
    (0..RECORDS as i64).for_each(|n| sums[(n % KEYS) as usize] += n);
    (0..).zip(sums).collect()
}

#[test]
fn a_running_program_says_what_it_is_and_how_it_does() {
    let program = Program::start(&["-w", "2"]);
    program.wait_for("/api/v1/ready", |answer| answer.status == 200);
    let health = program.get("/api/v1/health");
    assert_eq!((health.status, &health.json()["status"]), (200, &Value::from("ok")));
    assert_eq!(health.json()["workers"].as_array().unwrap().len(), 2);
    assert_eq!(program.get("/api/v1/program").json()["workers_per_process"], 2);
    let graph = program.get("/api/v1/graph").json();
    let names: Vec<_> = graph["nodes"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert!(names.contains(&&Value::from("numbers")) && names.contains(&&Value::from("add")));
    let workers = program.get("/api/v1/workers").json();
    assert_eq!(workers[0]["state"], "running");
    assert!(workers[1]["finished_before"].as_u64().unwrap() > 0);

    let metrics = program.get("/metrics").body;
    let out = format!("\nanabranch_records_total{{name=\"out\"}} {RECORDS}\n");
    assert!(metrics.contains(&out), "{metrics}");
    assert!(metrics.contains("\n# TYPE anabranch_records_total counter\n"), "{metrics}");
    assert!(
        metrics.contains(&format!("anabranch_port{{name=\"http\"}} {}\n", program.address.port()))
    );

    let everything = program.get("/api/v1/views/by-key").json();
    let rows = everything["rows"].as_array().unwrap().iter();
    let rows: Vec<(i64, i64)> =
        rows.map(|row| serde_json::from_value(row["row"].clone()).unwrap()).collect();
    assert_eq!(rows, sums());
    let page = program.get("/api/v1/views/by-key?from=2&limit=1").json();
    assert_eq!((&page["total"], &page["rows"][0]["row"][0]), (&KEYS.into(), &2.into()));
    assert_eq!(page["rows"].as_array().unwrap().len(), 1);
    assert_eq!(program.get("/api/v1/views").json(), serde_json::json!(["by-key"]));
}

#[test]
fn a_worker_that_takes_no_step_is_named() {
    let program = Program::start(&[]);
    program.released.store(false, Ordering::SeqCst);
    assert_eq!(program.get("/api/v1/health").status, 200, "it waits for input");
    program.drain.request();
    // The last record has come, and is applied for ever.
    program.wait_for("/api/v1/health", |answer| {
        answer.status == 503 && answer.body.contains("worker 0 has taken no step")
    });
    assert_eq!(program.get("/api/v1/ready").status, 503);
    program.released.store(true, Ordering::SeqCst);
}

#[test]
fn every_address_is_described_and_every_mistake_explained() {
    let program = Program::start(&[]);
    let description = program.get("/api/v1/openapi.json").json();
    let paths = description["paths"].as_object().unwrap();
    assert!(paths.len() >= 10, "{description}");
    for (path, methods) in paths {
        let answer = program.get(&path.replace("{view}", "by-key"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(answer.head.contains("x-content-type-options: nosniff"), "{}", answer.head);
        assert!(!answer.head.contains("access-control-allow"), "{}", answer.head);
        assert_eq!(methods.as_object().unwrap().keys().collect::<Vec<_>>(), ["get"], "{path}");
        let posted = program.ask_as("POST", path, &[]).unwrap();
        assert_eq!(posted.status, 405, "{path}");
    }
    for (path, status, said) in [
        ("/", 404, "nothing at this address"),
        ("/api/v1/views/none", 404, "there are: by-key"),
        ("/api/v1/views/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, "there are: by-key"),
        ("/api/v1/views/by-key?limit=0", 400, "`limit` is from 1 to 1000"),
        ("/api/v1/views/by-key?limit=1001", 400, "`limit` is from 1 to 1000"),
        ("/api/v1/views/by-key?from=-1", 400, "invalid digit"),
        ("/api/v1/views/%ff", 400, "UTF-8"),
    ] {
        let answer = program.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        let problem = answer.json();
        assert!(problem["detail"].as_str().unwrap().contains(said), "{path}: {problem}");
        assert_eq!(problem["status"], status);
    }
}

#[test]
fn pages_of_other_sites_may_not_ask() {
    let program = Program::start(&[]);
    let own = format!("http://{}", program.address);
    let of = |headers: &[(&str, &str)]| program.ask_as("GET", "/api/v1/counters", headers).unwrap();
    assert_eq!(of(&[("Origin", &own)]).status, 200);
    assert_eq!(of(&[("Host", "localhost:1")]).status, 200);
    assert_eq!(of(&[("Origin", "http://evil.example")]).status, 403);
    assert_eq!(of(&[("Origin", "null")]).status, 403);
    // A name of another site that leads to this machine.
    let rebound = of(&[("Host", "evil.example"), ("Origin", "http://evil.example")]);
    assert_eq!(rebound.status, 421, "{}", rebound.body);
    assert_eq!(program.ask_as("GET", "/api/v1/health", &[("Host", "pod-7")]).unwrap().status, 200);
}

#[test]
fn with_tokens_only_who_has_one_may_ask() {
    let folder = std::env::temp_dir().join(format!("anabranch-http-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("tokens");
    std::fs::write(&file, "read 0123456789abcdef\nadmin fedcba9876543210\n").unwrap();
    let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    let flags = ["--http-tokens", file.to_str().unwrap()];

    mode(0o644);
    let address = free().to_string();
    let config = Config::from_flags([&["--http", &address][..], &flags].concat()).unwrap();
    let build = |app: &App| {
        app.source("none", anabranch::source::empty::<i64>()).sink("out", sink::null());
        Ok(())
    };
    let refused = run_until(&config, build, &Drain::default()).unwrap_err().to_string();
    assert!(refused.contains("has mode 644") && refused.contains("chmod 600"), "{refused}");

    mode(0o600);
    let program = Program::begin(&flags);
    program.wait_for("/api/v1/health", |answer| answer.status == 200);
    let as_who = |token: &str| {
        let headers = [("Authorization", token), ("Host", "any.example")];
        program.ask_as("GET", "/api/v1/counters", &headers).unwrap()
    };
    assert_eq!(as_who("Bearer 0123456789abcdef").status, 200);
    assert_eq!(as_who("Bearer fedcba9876543210").status, 200);
    for wrong in ["Bearer 0123456789abcdeg", "Bearer ", "Bearer", "Basic 0123456789abcdef", ""] {
        let answer = as_who(wrong);
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(!answer.body.contains("0123456789"), "{}", answer.body);
    }
    assert_eq!(program.get("/metrics").status, 401);
    drop(program);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn who_connects_and_says_nothing_keeps_nobody_out() {
    let program = Program::start(&[]);
    let connect = |_| TcpStream::connect(program.address);
    let mut slow: Vec<TcpStream> = (0..300).map(connect).collect::<Result<_, _>>().unwrap();
    for (index, stream) in slow.iter_mut().enumerate() {
        if index % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: lo").unwrap();
        }
    }
    assert_eq!(program.get("/api/v1/health").status, 200);
}
