//! Acting on a running program over HTTP: pausing and resuming, checkpoints, ending; and how it says it does.

use std::path::PathBuf;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::source::Nature;
use anabranch::{Drain, run_until, sink};
use serde_json::{Value, json};

use crate::http::client::{Client, free};
use crate::support::Memory;

/// More than a chunk of recorded input.
const RECORDS: u64 = 2_000;
const SUMS: Table<u64, u64> = Table::new("sums");

struct Program {
    client: Client,
    drain: Drain,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Program {
    /// Sums numbers of two sources of that nature, and waits for more.
    fn start(nature: Nature, flags: &[&str]) -> Self {
        let address = free();
        let http = address.to_string();
        let config = Config::from_flags([&["--http", &http], flags].concat()).unwrap();
        let drain = Drain::default();
        let wish = drain.clone();
        let build = move |app: &App| {
            for name in ["left", "right"] {
                // The last one is kept back.
                let records = (0..=RECORDS).map(|n| (Some(n as i64), n));
                let memory = Memory {
                    nature,
                    last_when: Some(std::sync::Arc::new(|| false)),
                    ..Memory::new(vec![records.collect()])
                };
                app.source(name, memory)
                    .key_by(|n: &u64| n % 7)
                    .compute(&format!("sum-{name}"), SUMS, |n, mut sum, out| {
                        *sum += n;
                        out.emit(*sum);
                    })
                    .sink(&format!("out-{name}"), sink::null());
            }
            Ok(())
        };
        let thread = std::thread::spawn(move || run_until(&config, build, &wish).map(drop));
        Self { client: Client { address }, drain, thread: Some(thread) }
    }

    fn counter(&self, name: &str) -> u64 {
        self.client.get("/api/v1/counters").json()[name].as_u64().unwrap_or_default()
    }

    fn wait_for(&self, name: &str, number: u64) {
        self.client.wait_for("/api/v1/counters", |answer| answer.json()[name] == number);
    }

    fn act(&self, path: &str, status: u16) -> Value {
        self.client.tell("POST", path, &json!({}), status)
    }

    fn end(&mut self) -> Result<()> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.drain.request();
        let Some(thread) = self.thread.take() else { return };
        let ended = thread.join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("anabranch-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn states(left: &str, right: &str) -> Value {
    json!([{"source": "left", "state": left}, {"source": "right", "state": right}])
}

#[test]
fn a_source_that_is_paused_is_not_read_until_it_is_resumed() {
    for workers in ["1", "2", "3"] {
        let program = Program::start(Nature::Live, &["-w", workers, "--paused", "right"]);
        program.wait_for("out-left.records", RECORDS);
        for _ in 0..50 {
            // Each answer comes after every worker had its turn.
            let rows = program.client.get("/api/v1/tables/sums").json();
            assert_eq!(rows["total"], 7);
        }
        assert_eq!(program.counter("out-right.records"), 0);
        let pipelines = program.client.get("/api/v1/pipelines").json();
        assert_eq!(pipelines, states("running", "paused"));
        let resumed = program.act("/api/v1/pipelines/right/resume", 200);
        assert_eq!(resumed, states("running", "running"));
        program.wait_for("out-right.records", RECORDS);
        let paused = program.act("/api/v1/pipelines/left/pause", 200);
        assert_eq!(paused, states("paused", "running"));
        let unknown = program.act("/api/v1/pipelines/middle/pause", 404);
        assert!(unknown["detail"].as_str().unwrap().contains("there are: left, right"));
    }
}

#[test]
fn of_recorded_sources_all_wait_for_the_one_that_is_paused() {
    let program = Program::start(Nature::Recorded, &["-w", "2", "--paused", "left"]);
    program.client.wait_for("/api/v1/ready", |answer| answer.status == 200);
    for _ in 0..50 {
        assert_eq!(program.client.get("/api/v1/tables/sums").json()["total"], 0);
    }
    program.act("/api/v1/pipelines/left/resume", 200);
    program.client.wait_for("/api/v1/tables/sums", |answer| answer.json()["total"] == 7);
}

#[test]
fn what_is_paused_stays_so_when_the_program_starts_again() {
    let folder = folder("paused");
    let flags = ["--data-dir", folder.to_str().unwrap()];
    let program = Program::start(Nature::Live, &flags);
    program.wait_for("out-right.records", RECORDS);
    program.act("/api/v1/pipelines/left/pause", 200);
    drop(program);
    let program = Program::start(Nature::Live, &flags);
    program.client.wait_for("/api/v1/ready", |answer| answer.status == 200);
    let pipelines = program.client.get("/api/v1/pipelines").json();
    assert_eq!(pipelines, states("paused", "running"));
    program.act("/api/v1/pipelines/left/resume", 200);
    drop(program);
    // What was said last comes before the option.
    let program = Program::start(Nature::Live, &[&flags[..], &["--paused", "right"]].concat());
    program.client.wait_for("/api/v1/ready", |answer| answer.status == 200);
    let pipelines = program.client.get("/api/v1/pipelines").json();
    assert_eq!(pipelines, states("running", "running"));
    drop(program);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_source_that_there_is_not_cannot_be_paused() {
    let mut program = Program::start(Nature::Live, &["--paused", "middle"]);
    let error = program.end().unwrap_err().to_string();
    assert!(error.contains("no source `middle`") && error.contains("left, right"), "{error}");
}

#[test]
fn a_checkpoint_is_made_when_it_is_asked_for() {
    let folder = folder("asked");
    let flags = ["--data-dir", folder.to_str().unwrap(), "--checkpoint-interval", "24h", "-w", "2"];
    let program = Program::start(Nature::Live, &flags);
    program.wait_for("out-left.records", RECORDS);
    program.wait_for("out-right.records", RECORDS);
    assert_eq!(program.client.get("/api/v1/checkpoints").json(), json!([]));
    let taken = program.act("/api/v1/checkpoints", 200);
    let boundary = taken["boundary"].as_u64().unwrap();
    let listed = program.client.get("/api/v1/checkpoints").json();
    assert_eq!((&listed[0]["boundary"], &listed[0]["tables"]), (&boundary.into(), &1.into()));
    assert!(listed[0]["bytes"].as_u64().unwrap() > 0 && listed[0]["problem"].is_null(), "{listed}");
    let again = program.act("/api/v1/checkpoints", 200);
    assert_eq!(again["boundary"], boundary, "nothing was read since");
    drop(program);
    std::fs::remove_dir_all(&folder).unwrap();

    let keeps_nothing = Program::start(Nature::Live, &[]);
    keeps_nothing.client.wait_for("/api/v1/ready", |answer| answer.status == 200);
    let refused = keeps_nothing.act("/api/v1/checkpoints", 409);
    assert!(refused["detail"].as_str().unwrap().contains("--data-dir"), "{refused}");
}

#[test]
fn a_program_that_is_asked_to_stop_completes_what_it_has() {
    for workers in ["1", "3"] {
        let mut program = Program::start(Nature::Live, &["-w", workers]);
        program.wait_for("out-left.records", RECORDS);
        program.act("/api/v1/stop", 202);
        program.end().unwrap();
        assert!(program.client.ask("/api/v1/health").is_none());
    }
}

#[test]
fn it_is_told_how_long_records_take_and_who_works() {
    let program = Program::start(Nature::Live, &["-w", "2"]);
    program.wait_for("out-left.records", RECORDS);
    program.wait_for("out-right.records", RECORDS);
    let status = program.client.get("/api/v1/status").json();
    let latency = &status["latencies"]["out-left"];
    assert_eq!(latency["count"], RECORDS, "{status}");
    let percentile = |name: &str| latency[name].as_f64().unwrap();
    assert!(percentile("p50") > 0.0 && percentile("p50") <= percentile("p99"), "{status}");
    assert!(percentile("p999") <= percentile("max"), "{status}");
    let sizes = status["tables"]["sums"].as_array().unwrap();
    let rows: u64 = sizes.iter().map(|size| size.as_u64().unwrap()).sum();
    assert_eq!((sizes.len(), rows), (2, 7), "{status}");
    let workers = status["workers"].as_array().unwrap().iter();
    let counted = workers.map(|worker| worker["counters"]["sum-left.records"].as_u64().unwrap());
    assert_eq!(counted.sum::<u64>(), RECORDS, "{status}");
    for operator in ["sources", "sum-left, sum-right", "out-left"] {
        let shares = status["busy"][operator].as_array().unwrap();
        let is_share = |share: &Value| (0.0..=1.0).contains(&share.as_f64().unwrap());
        assert!(shares.len() == 2 && shares.iter().all(is_share), "{status}");
    }
    let hot = program.client.get("/api/v1/hot-keys/sums").json();
    for computation in ["sum-left", "sum-right"] {
        let keys = hot[computation]["keys"].as_array().unwrap();
        assert!(!keys.is_empty() && keys.len() <= 7, "{hot}");
        let counted: u64 = keys.iter().map(|key| key[1].as_u64().unwrap()).sum();
        assert_eq!(hot[computation]["sampled"], counted, "of seven keys none was left out: {hot}");
    }
    let metrics = program.client.get("/metrics").body;
    let count = "\nanabranch_latency_seconds_count{name=\"out-left\",process=\"0\"}";
    assert!(metrics.contains(&format!("{count} {RECORDS}\n")), "{metrics}");
    let busy = "\n# TYPE anabranch_operator_busy_seconds_total counter\n";
    assert!(metrics.contains(busy), "{metrics}");
}
