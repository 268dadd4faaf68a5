//! The command against a running program: what it holds and how it does is printed, what is asked for is done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::source::Json;
use anabranch::{Drain, Undo, run_until, sink, source};
use anabranch_connectors::inlet;
use serde_json::Value;

const SUMS: Table<u64, u64> = Table::new("sums");
const SEEN: MapTable<u64, u64, bool> = MapTable::new("seen");

/// A program that sums numbers from a stream, and the folder in which it keeps them.
struct Program {
    folder: PathBuf,
    url: String,
    drain: Drain,
    thread: Option<JoinHandle<Result<()>>>,
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn command(args: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    for name in ["ANABRANCH_STREAMS", "ANABRANCH_AT", "ANABRANCH_TOKEN_FILE", "NO_COLOR"] {
        command.env_remove(name);
    }
    let told = command.args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: told.status.code().unwrap(), out: text(told.stdout), err: text(told.stderr) }
}

impl Program {
    fn start() -> Self {
        let mut random = [0; 8];
        anabranch::clock::entropy(&mut random).unwrap();
        let name = format!("anabranch-cli-{:016x}", u64::from_le_bytes(random));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let streams = folder.join("streams").to_str().unwrap().to_string();
        let made = command(&["stream", "--dir", &streams, "create", "numbers"]);
        assert_eq!((made.code, made.err.as_str()), (0, ""));

        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let data = folder.join("data").to_str().unwrap().to_string();
        let flags = ["--http", &free, "--data-dir", &data, "--checkpoint-interval", "50ms"];
        let config = Config::from_flags([&flags[..], &["-w", "2"]].concat()).unwrap();
        let drain = Drain::default();
        let wish = drain.clone();
        let build = move |app: &App| {
            let numbers = inlet(&format!("stream:numbers?dir={streams}&follow=true"))?;
            app.source("numbers", source::frames(numbers, || Json))
                .key_by(|n: &u64| n % 7)
                .try_compute("add", (SUMS, SEEN), |n, (mut sum, mut seen), out| {
                    if *n == 13 {
                        return Err(Undo::fail("thirteen is refused"));
                    }
                    *sum += n;
                    seen.insert(*n, true);
                    out.emit(*sum);
                    Ok(())
                })
                .sink("out", sink::null());
            app.dead_letters(sink::null());
            app.view("by-sum", SUMS, |t| t.map(|(key, sum)| (sum, key)));
            Ok(())
        };
        let thread = std::thread::spawn(move || run_until(&config, build, &wish).map(drop));
        let program = Self { folder, url: format!("http://{free}"), drain, thread: Some(thread) };
        program.until(&["status"], |told| told.code == 0);
        program
    }

    fn append(&self, numbers: std::ops::Range<u64>) {
        let streams = self.folder.join("streams").to_str().unwrap().to_string();
        for number in numbers {
            let args =
                ["stream", "--dir", &streams, "append", "numbers", "--record", &number.to_string()];
            assert_eq!(command(&args).code, 0);
        }
    }

    fn run(&self, args: &[&str]) -> Ended {
        command(&[args, &["--at", &self.url]].concat())
    }

    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let told = self.run(args);
        assert_eq!(told.code, 0, "{args:?}: {}", told.err);
        told.out
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[args, &["--json"]].concat())).unwrap()
    }

    #[track_caller]
    fn until(&self, args: &[&str], is_so: impl Fn(&Ended) -> bool) -> Ended {
        for _ in 0..2_000 {
            let told = self.run(args);
            if is_so(&told) {
                return told;
            }
        }
        let told = self.run(args);
        panic!("{args:?} never said so: {} {} {}", told.code, told.out, told.err);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.drain.request();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap().unwrap();
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn what_a_program_holds_is_shown() {
    let program = Program::start();
    program.append(0..30);
    // 1 + 8 + 15 + 22 + 29
    program.until(&["state", "get", "sums", "1"], |told| told.out == "75\n");
    assert_eq!(program.json(&["state", "get", "sums", "1"])["value"], 75);
    let entries = program.says(&["state", "get", "seen", "1", "--from", "9"]);
    assert_eq!(entries, "15\ttrue\n22\ttrue\n29\ttrue\n");
    let sum = |key: u64| (0..30).filter(|n| n % 7 == key && *n != 13).sum::<u64>();
    let line = |key: u64| format!("{key}\t{}\n", sum(key));
    let sums: String = (0..7).map(line).collect();
    program.until(&["state", "scan", "sums"], |told| told.out == sums);
    let page = program.run(&["state", "scan", "sums", "--after", "2", "--limit", "2"]);
    assert_eq!((page.code, page.out), (0, line(3) + &line(4)));
    assert!(page.err.contains("go on with --after '4'"), "{}", page.err);
    let least = format!("[{},2]\t1\n", sum(2));
    program.until(&["state", "view", "by-sum", "--limit", "1"], |told| told.out == least);
    let listed = program.says(&["state", "ls"]);
    let words: Vec<Vec<&str>> =
        listed.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let expected: [&[&str]; 3] = [
        &["table", "seen", "u64,", "u64", "bool"],
        &["table", "sums", "u64", "u64"],
        &["view", "by-sum"],
    ];
    assert_eq!(words, expected);
    let hot = program.says(&["state", "hot", "sums"]);
    assert!(hot.contains("add") && hot.contains("rows by worker: ["), "{hot}");

    for (args, code, said) in [
        (["state", "get", "sums", "9"], 2, "there is no row of that key"),
        (["state", "get", "sums", "x"], 2, "no key of this table"),
        (["state", "get", "none", "1"], 2, "there are: "),
        (["state", "get", "../secret", "1"], 2, "there is no such table"),
    ] {
        let told = program.run(&args);
        assert_eq!((told.code, told.out.as_str()), (code, ""), "{args:?}");
        assert!(told.err.contains(said), "{args:?}: {}", told.err);
    }
}

#[test]
fn what_is_asked_for_is_done() {
    let mut program = Program::start();
    let paused = program.says(&["pause", "numbers"]);
    assert_eq!(paused, "SOURCE    STATE\nnumbers  paused\n");
    program.append(0..20);
    assert_eq!(program.json(&["status"])["status"]["counters"]["numbers.records"], 0);
    program.says(&["resume", "numbers"]);
    program.until(&["dead-letters", "ls"], |told| told.out.contains("thirteen is refused"));
    let groups = program.json(&["dead-letters", "groups"]);
    assert_eq!((&groups[0]["count"], &groups[0]["computation"]), (&1.into(), &"add".into()));
    let letter = program.json(&["dead-letters", "ls"])["letters"][0]["id"].clone();
    let letter = letter.as_str().unwrap();
    let edited = program.says(&["dead-letters", "edit", letter, "20"]);
    assert_eq!(edited, "edit: 1 dead letters\n");
    let nothing = program.run(&["dead-letters", "retry"]);
    assert!(nothing.code == 2 && nothing.err.contains("say which"), "{}", nothing.err);
    let taken = program.json(&["checkpoint", "take"])["boundary"].clone();
    assert!(taken.as_u64().unwrap() > 0);
    let listed = program.json(&["checkpoint", "ls"]);
    assert!(listed.as_array().unwrap().iter().any(|it| it["boundary"] == taken), "{listed}");
    program.until(&["dead-letters", "retry", "--all"], |told| told.out.starts_with("retry: 1"));
    // 6 and 20; 13 is not there.
    program.until(&["state", "get", "sums", "6"], |told| told.out == "26\n");

    let told = program.says(&["top", "--times", "2", "--every", "1ms"]);
    assert!(told.contains("workers: 2 running") && told.contains("rate    numbers"), "{told}");
    let lines = program.says(&["top", "--times", "2", "--every", "1ms", "--json"]);
    for line in lines.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["workers"][0]["worker"], 0);
    }
    // An embedded program has no supervisor.
    let refused = program.run(&["rescale", "-w", "4"]);
    assert!(refused.code == 1 && refused.err.contains("--data-dir"), "{}", refused.err);

    program.says(&["stop"]);
    program.thread.take().unwrap().join().unwrap().unwrap();
    let gone = program.run(&["status"]);
    assert!(gone.code == 1 && gone.err.contains("--http"), "{}", gone.err);
}
