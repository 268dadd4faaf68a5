//! The HTTP interface of a running program, asked by a client that is as plain as can be.

#[path = "http/client.rs"]
pub(crate) mod client;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::source::Nature;
use anabranch::{Drain, Undo, run_until, sink};
use serde_json::Value;

use self::client::{Answer, Client, free};
use crate::support::Memory;

/// How many records came in before anybody asks.
const RECORDS: usize = 500;
const KEYS: i64 = 7;
const SUMS: Table<i64, i64> = Table::new("sums");

/// A program that has had its records and waits, until this is dropped.
struct Program {
    client: Client,
    drain: Drain,
    /// Lets a computation that is told to wait go on.
    released: Arc<AtomicBool>,
    /// Has it fail on some records.
    fails: Arc<AtomicBool>,
    /// Lets the last record come.
    more: Arc<AtomicBool>,
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
        Self::begin_so(flags, false)
    }

    fn begin_so(flags: &[&str], fails: bool) -> Self {
        let address = free();
        let http = address.to_string();
        let flags = [&["--http", &http], flags].concat();
        let config = Config::from_flags(flags).unwrap();
        let (drain, released) = (Drain::default(), Arc::new(AtomicBool::new(true)));
        let fails = Arc::new(AtomicBool::new(fails));
        let (wish, goes_on, broken) = (drain.clone(), Arc::clone(&released), Arc::clone(&fails));
        let more: Arc<AtomicBool> = Arc::default();
        let comes = Arc::clone(&more);
        let records = (0..=RECORDS as i64).map(|n| (None, n)).collect();
        let memory = Memory {
            nature: Nature::Live,
            last_when: Some(Arc::new(move || comes.load(Ordering::SeqCst))),
            ..Memory::new(vec![records])
        };
        let build = move |app: &App| {
            let (waits, broken) = (Arc::clone(&goes_on), Arc::clone(&broken));
            let numbers = app.source("numbers", memory.clone());
            numbers
                .key_by(|n: &i64| n % KEYS)
                .try_compute("add", SUMS, move |n, mut sum, out| {
                    while !waits.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    *sum += n;
                    out.emit(*sum);
                    if broken.load(Ordering::SeqCst) && is_bad(*n) {
                        return Err(Undo::fail("told to fail"));
                    }
                    Ok(())
                })
                .sink("out", sink::null());
            app.dead_letters(sink::null());
            app.view("by-key", SUMS, |t| t.map(|(key, sum)| (key, sum)));
            Ok(())
        };
        let thread = std::thread::spawn(move || run_until(&config, build, &wish).map(drop));
        Self { client: Client { address }, drain, released, fails, more, thread: Some(thread) }
    }
}

impl Deref for Program {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
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

fn is_bad(n: i64) -> bool {
    n % 100 == 13
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
    let out = format!("\nanabranch_records_total{{name=\"out\",process=\"0\"}} {RECORDS}\n");
    assert!(metrics.contains(&out), "{metrics}");
    assert!(metrics.contains("\n# TYPE anabranch_records_total counter\n"), "{metrics}");
    let port = program.address.port();
    let port = format!("anabranch_port{{name=\"http\",process=\"0\"}} {port}\n");
    assert!(metrics.contains(&port), "{metrics}");

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
    program.more.store(true, Ordering::SeqCst);
    program.wait_for("/api/v1/health", |answer| {
        answer.status == 503 && answer.body.contains("worker 0 has taken no step")
    });
    assert_eq!(program.get("/api/v1/ready").status, 503);
    program.released.store(true, Ordering::SeqCst);
}

#[test]
fn the_dashboard_is_whole_and_may_do_little() {
    let program = Program::start(&[]);
    let page = program.get("/");
    assert!(page.status == 200 && page.head.contains("content-type: text/html"), "{}", page.head);
    let mut waiting: Vec<String> = page.body.split('"').map(str::to_owned).collect();
    waiting.retain(|it| it.starts_with("/assets/"));
    assert!(waiting.len() >= 5, "{}", page.body);
    let mut seen = std::collections::BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let file = program.get(&path);
        assert_eq!(file.status, 200, "{path}");
        for wanted in ["script-src 'self'; style-src 'self'", "etag: ", "nosniff", "no-cache"] {
            assert!(file.head.contains(wanted), "{path}: {}", file.head);
        }
        let imported = file.body.split("from \"./").skip(1);
        waiting.extend(imported.map(|it| format!("/assets/{}", it.split('"').next().unwrap())));
    }
    assert!(seen.len() >= 15, "{seen:?}");
    assert_eq!(program.get("/api/v1/pages").json(), serde_json::json!([]));
}

#[test]
fn every_address_is_described_and_every_mistake_explained() {
    let program = Program::start(&[]);
    let description = program.get("/api/v1/openapi.json").json();
    let paths = description["paths"].as_object().unwrap();
    assert!(paths.len() >= 10, "{description}");
    for (path, methods) in paths {
        let named = path
            .replace("{view}", "by-key")
            .replace("{table}", "sums")
            .replace("{source}", "numbers");
        let (view, of) = (named.replace("{key}", "3"), methods.as_object().unwrap());
        if path.contains("/changes") {
            let several = format!("{view}?of=%5B%7B%22status%22%3A%7B%7D%7D%5D");
            let view = if path.ends_with("/changes") { &several } else { &view };
            assert!(program.watch(view).next().is_some(), "{path}");
            continue;
        }
        for method in of.keys().filter(|_| path != "/api/v1/stop") {
            let answer = program.ask_as(&method.to_uppercase(), &view, &[]).unwrap();
            // Nothing is kept; nothing is said about which letters.
            let is_kept = path.contains("dead-letters") || path.contains("checkpoints");
            let takes_json = path.contains("dead-letters") || path.ends_with("rescale");
            let expected = match (method.as_str(), is_kept, takes_json) {
                ("get", true, _) | ("post", true, false) => 409,
                ("post", _, true) => 415,
                _ => 200,
            };
            assert_eq!(answer.status, expected, "{method} {path}: {}", answer.body);
            assert!(answer.head.contains("x-content-type-options: nosniff"), "{}", answer.head);
            assert!(!answer.head.contains("access-control-allow"), "{}", answer.head);
        }
        assert_eq!(program.ask_as("DELETE", path, &[]).unwrap().status, 405, "{path}");
    }
    for (path, status, said) in [
        ("/none", 404, "nothing at this address"),
        ("/assets/none.js", 404, "the dashboard is at /"),
        ("/assets/%2e%2e%2fapi.rs", 404, "the dashboard is at /"),
        ("/api/v1/changes", 400, "`of`"),
        ("/api/v1/views/none", 404, "there is no such view"),
        ("/api/v1/views/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, "there is no such view"),
        ("/api/v1/tables/none", 404, "there are: sums"),
        ("/api/v1/tables/none/1", 404, "there are: sums"),
        ("/api/v1/tables/sums/7", 404, "no row of that key"),
        ("/api/v1/tables/sums/x", 400, "`x` is no key of this table, which are of type i64"),
        ("/api/v1/tables/sums?limit=0", 400, "`limit` is from 1 to 1000"),
        ("/api/v1/tables/sums?from=1&after=1", 400, "give one"),
        ("/api/v1/tables/sums?from=x", 400, "is no key of this table"),
        ("/api/v1/views/by-key?limit=0", 400, "`limit` is from 1 to 1000"),
        ("/api/v1/views/by-key?limit=1001", 400, "`limit` is from 1 to 1000"),
        ("/api/v1/views/by-key?from=-1", 400, "invalid digit"),
        ("/api/v1/views/by-key?from=100001", 400, "`from` is at most 100000"),
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

#[test]
fn a_body_beyond_its_bound_is_refused_and_not_read() {
    let program = Program::start(&[]);
    let post = |head: &str, chunk: &[u8], chunks: usize| {
        let mut stream = TcpStream::connect(program.address).unwrap();
        let host = program.address;
        let head = format!(
            "POST /api/v1/dead-letters/retry HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Type: application/json\r\n{head}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // It hangs up when it has said what it thinks of this.
        let sent = (0..chunks).take_while(|_| stream.write_all(chunk).is_ok()).count();
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told);
        (sent * chunk.len(), String::from_utf8_lossy(&told).into_owned())
    };
    let gigabyte = 1_usize << 30;
    let megabyte = vec![b' '; 1 << 20];
    let (sent, told) = post(&format!("Content-Length: {gigabyte}"), &megabyte, 1 << 10);
    assert!(sent < gigabyte / 4, "{sent} bytes were taken");
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 413"), "{told}");
    let chunk = [format!("{:x}\r\n", 1 << 20).as_bytes(), &megabyte, b"\r\n"].concat();
    let (sent, told) = post("Transfer-Encoding: chunked", &chunk, 1 << 10);
    assert!(sent < gigabyte / 4, "{sent} bytes were taken");
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 413"), "{told}");
    assert_eq!(program.get("/api/v1/health").status, 200);
}

/// What a program that reads the format refuses.
fn check_metrics(text: &str) {
    let is_name = |name: &str| {
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let (mut family, mut kind) = (String::new(), String::new());
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').unwrap();
            assert!(seen.insert(name.to_string()), "two families of one name: {line}");
            assert!(is_name(name), "{line}");
            assert_eq!(of == "counter", name.ends_with("_total"), "{line}");
            (family, kind) = (name.to_string(), of.to_string());
        } else if !line.starts_with("# HELP ") {
            let (series, number) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(series.to_string()), "twice: {line}");
            assert!(number.parse::<f64>().is_ok(), "{line}");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let plain = name.strip_suffix("_sum").or(name.strip_suffix("_count")).unwrap_or(name);
            assert!(name == family || kind == "summary" && plain == family, "{line}");
            let labels = labels.trim_end_matches('}').split("\",").filter(|it| !it.is_empty());
            labels.for_each(|label| {
                let (label, _) = label.split_once("=\"").unwrap();
                assert!(is_name(label), "{line}");
            });
        }
    }
    assert!(text.ends_with('\n') && !seen.is_empty());
}

#[test]
fn metrics_are_as_prometheus_reads_them() {
    for flags in [&["-w", "1"][..], &["-w", "3"]] {
        let program = Program::start(flags);
        check_metrics(&program.get("/metrics").body);
    }
}

#[test]
fn dead_letters_are_looked_at_edited_ignored_and_tried_again() {
    let folder = std::env::temp_dir().join(format!("anabranch-letters-{}", std::process::id()));
    let data = folder.to_str().unwrap();
    let program = Program::begin_so(&["--data-dir", data, "--checkpoint-interval", "20ms"], true);
    let is_there = |answer: &Answer| answer.json()["total"].as_u64() == Some(5);
    program.wait_for("/api/v1/dead-letters", is_there);
    let groups = program.get("/api/v1/dead-letters/groups").json();
    assert_eq!(groups.as_array().unwrap().len(), 1, "{groups}");
    let (group, computation) = (&groups[0]["group"], &groups[0]["computation"]);
    assert_eq!((&groups[0]["count"], computation), (&5.into(), &"add".into()));
    let page = program.get("/api/v1/dead-letters?from=1&limit=2").json();
    let names: Vec<&Value> =
        page["letters"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    let [second, third] = names[..] else { panic!("{page}") };
    assert_eq!(page["letters"][0]["letter"]["reason"], "told to fail");
    let none = program.get("/api/v1/dead-letters?kind=none").json();
    assert_eq!(none["total"], 0);

    let edit = |record: &str, status| {
        let edited = serde_json::json!({"id": second, "record": record});
        program.tell("POST", "/api/v1/dead-letters/edit", &edited, status)
    };
    assert_eq!(edit("114", 200)["done"], 1);
    let wrong = edit("1,", 400);
    assert!(wrong["detail"].as_str().unwrap().contains("must be JSON"), "{wrong}");
    let third = serde_json::json!({"ids": [third]});
    assert_eq!(program.tell("POST", "/api/v1/dead-letters/ignore", &third, 200)["done"], 1);
    for (body, said) in [
        (serde_json::json!({}), "say which"),
        (serde_json::json!({"ids": ["none"]}), "there is no dead letter `none`"),
        (third, "it was ignored"),
    ] {
        let refused = program.tell("POST", "/api/v1/dead-letters/retry", &body, 400);
        assert!(refused["detail"].as_str().unwrap().contains(said), "{refused}");
    }
    program.tell("POST", "/api/v1/dead-letters/retry", &serde_json::json!({"id": "x"}), 422);

    // Those that no checkpoint has yet are left out until one has.
    program.fails.store(false, Ordering::SeqCst);
    let all = serde_json::json!({"group": group});
    for _ in 0..6_000 {
        program.tell("POST", "/api/v1/dead-letters/retry", &all, 200);
        if program.get("/api/v1/dead-letters").json()["total"] == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let all = program.get("/api/v1/dead-letters?all=true").json();
    let status = |it: &Value| it["status"].as_str().unwrap().to_string();
    let ended: Vec<String> = all["letters"].as_array().unwrap().iter().map(status).collect();
    assert_eq!(ended, ["closed", "closed", "ignored", "closed", "closed"]);
    let mut expected = sums();
    expected[113 % KEYS as usize].1 += 1;
    expected[213 % KEYS as usize].1 -= 213;
    let rows = program.get("/api/v1/views/by-key").json()["rows"].clone();
    let rows = rows.as_array().unwrap().iter().map(|it| it["row"].clone());
    let rows: Vec<(i64, i64)> = rows.map(|row| serde_json::from_value(row).unwrap()).collect();
    assert_eq!(rows, expected);
    drop(program);
    std::fs::remove_dir_all(&folder).unwrap();
}
