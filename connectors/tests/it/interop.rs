//! Against an independent WebSocket implementation: Python's `websockets`, both directions.
//!
//! The tests install nothing: `pip install -r connectors/tests/requirements.txt` does. Without the
//! package they say that they are skipped.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::{Folder, Sink, Source, resume};

fn have_websockets() -> bool {
    let found = Command::new("python3")
        .args(["-c", "import websockets"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        println!("skipped: `python3 -c 'import websockets'` fails");
    }
    found
}

/// A run of `interop.py`, ended with this value.
struct Python {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Python {
    fn run(arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn finish(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_python_producer_feeds_the_listener() {
    if !have_websockets() {
        return;
    }
    let mut source = Source::open("ws-listen://:0/updates");
    let url = format!("ws://127.0.0.1:{}/updates", source.port());
    let python = Python::run(&["produce", &url]);
    let frames = source.read(103);
    for (n, got) in frames.iter().take(100).enumerate() {
        assert_eq!(got.text(), format!("{{\"n\":{n},\"text\":\"grün ✓\"}}"));
    }
    assert_eq!(frames[100].bytes, [0, 255, 128]);
    assert_eq!(frames[101].text(), "in fragments");
    assert_eq!(frames[102].bytes, vec![b'x'; 500_000]);
    python.finish();
}

#[test]
fn a_python_subscriber_gets_the_broadcast_and_the_goodbye() {
    if !have_websockets() {
        return;
    }
    let mut sink = Sink::open("ws-listen://:0/notify");
    let url = format!("ws://127.0.0.1:{}/notify", sink.port());
    let mut python = Python::run(&["subscribe", &url]);
    assert_eq!(python.line(), "connected");
    for n in 0..100 {
        sink.write(format!("{{\"n\":{n}}}").as_bytes());
    }
    sink.write(&[0, 255]);
    sink.close().unwrap();
    for n in 0..100 {
        assert_eq!(python.line(), format!("str {{\"n\":{n}}}"));
    }
    assert_eq!(python.line(), "bytes 00ff");
    assert_eq!(python.line(), "closed 1000");
    python.finish();
}

#[test]
fn the_client_reads_a_python_server_and_comes_back_to_it() {
    if !have_websockets() {
        return;
    }
    let mut python = Python::run(&["serve"]);
    let port = python.line();
    let mut source = Source::open(&format!(
        "ws://127.0.0.1:{port}/feed?subscribe={{%22type%22:%22subscribe%22}}&ping=100ms"
    ));
    for round in 0..3 {
        assert_eq!(python.line(), "subscribed {\"type\":\"subscribe\"}");
        let texts = source.texts(101);
        assert_eq!(texts[0], "{\"n\":0}");
        assert_eq!(texts[99], "{\"n\":99}");
        assert_eq!(texts[100].len(), 5_000_000);
        // The server closes, with another code each time.
        python.say(["1000", "1001", "1011"][round]);
    }
    assert_eq!(python.line(), "subscribed {\"type\":\"subscribe\"}");
    assert_eq!(source.count("reconnects"), 3);
    drop(source);
    python.say("end");
    python.finish();
}

#[test]
fn a_python_producer_is_told_what_is_durable() {
    if !have_websockets() {
        return;
    }
    let folder = Folder::new();
    let resume = resume(&folder.own("state"), 7, b"");
    let mut source = Source::resume("ws-listen://:0/updates?ack=true", resume).unwrap();
    let url = format!("ws://127.0.0.1:{}/updates", source.port());
    let mut python = Python::run(&["acknowledged", &url]);
    for count in [30, 1, 69] {
        let last = source.read(count).pop().unwrap();
        source.durable(last.offset + 1);
    }
    assert_eq!(python.line(), "acknowledged 100");
    python.finish();
}

#[test]
fn a_python_subscriber_comes_back_for_what_it_missed() {
    if !have_websockets() {
        return;
    }
    let folder = Folder::new();
    let resume = resume(&folder.own("state"), 0, b"");
    let mut sink = Sink::resume("ws-listen://:0/notify", resume, 0).unwrap();
    for n in 0..100 {
        sink.write(format!("{{\"n\":{n}}}").as_bytes());
    }
    sink.position();
    let url = format!("ws://127.0.0.1:{}/notify?after=test-0-49", sink.port());
    let mut python = Python::run(&["subscribe", &url]);
    assert_eq!(python.line(), "connected");
    for n in 50..100 {
        assert_eq!(python.line(), format!("str {{\"n\":{n}}}"));
    }
    sink.close().unwrap();
    assert_eq!(python.line(), "closed 1000");
    python.finish();
}
