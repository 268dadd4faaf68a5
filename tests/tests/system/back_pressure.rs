//! A slow receiver slows the producer, and memory stays flat; nothing is lost by it.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anabranch::clock;

use crate::run::{Running, memory_most, program};
use crate::sockets::read_frame;
use crate::support::{Folder, until};

const WORDS: u64 = 100;
/// Without the end of the line.
const LINE_BYTES: usize = 999;
/// Far less than what goes through.
const MEMORY_MAX: u64 = 200 << 20;
/// A producer that has not come further for so long is blocked.
const BLOCKED: Duration = Duration::from_millis(700);

/// Which word line `index` of any length of input has.
fn word(index: u64) -> usize {
    usize::try_from((index * index) % WORDS).unwrap()
}

/// Line `index`: one long word.
fn line(index: u64) -> &'static str {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    let lines = LINES.get_or_init(|| (0..WORDS).map(|w| format!("{w:0>LINE_BYTES$}")).collect());
    &lines[word(index)]
}

/// Checks the output of so many lines, one by one.
struct Expected {
    counts: [u64; WORDS as usize],
    next: u64,
}

impl Expected {
    fn new() -> Self {
        Self { counts: [0; WORDS as usize], next: 0 }
    }

    fn check(&mut self, got: &str) {
        let count = &mut self.counts[word(self.next)];
        *count += 1;
        assert!(
            got.strip_prefix(line(self.next)).and_then(|rest| rest.strip_prefix(' '))
                == Some(count.to_string().as_str()),
            "line {}: {got}",
            self.next
        );
        self.next += 1;
    }
}

/// Writes lines on demand and counts them; gives `to` back.
fn produce<W: Write + Send + 'static>(
    to: W,
    lines: u64,
) -> (Arc<AtomicU64>, std::thread::JoinHandle<W>) {
    let written = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&written);
    let writing = std::thread::spawn(move || {
        let mut to = BufWriter::with_capacity(LINE_BYTES + 1, to);
        for index in 0..lines {
            to.write_all(line(index).as_bytes()).unwrap();
            to.write_all(b"\n").unwrap();
            counter.store(index + 1, Ordering::Relaxed);
        }
        to.into_inner().ok().unwrap()
    });
    (written, writing)
}

/// Waits until the producer comes no further.
#[track_caller]
fn blocked(written: &AtomicU64) -> u64 {
    let (mut last, mut since) = (0, clock::instant());
    until("the producer is blocked", || {
        let now = written.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, clock::instant());
        }
        (now > 0 && since.elapsed() > BLOCKED).then_some(now)
    })
}

#[track_caller]
fn assert_flat(running: &Running, processes: usize) {
    let mut pids = vec![running.pid()];
    if processes > 1 {
        pids = running.children(processes);
    }
    for pid in pids {
        let memory = memory_most(pid);
        assert!(memory < MEMORY_MAX, "{} MiB", memory >> 20);
    }
}

/// Half a gigabyte from standard input to standard output.
fn through_standard_streams(layout: &[&str], processes: usize, lines: u64) {
    let mut running = Running::start(program("word-count", layout).stdin(Stdio::piped()));
    let (written, producing) = produce(running.input(), lines);
    let at = blocked(&written);
    assert!(at < lines, "all {at} lines were taken although nobody reads");
    assert_flat(&running, processes);
    let (mut output, mut expected) = (BufReader::new(running.output()), Expected::new());
    let mut got = String::new();
    for _ in 0..lines {
        got.clear();
        output.read_line(&mut got).unwrap();
        expected.check(got.trim_end_matches('\n'));
    }
    assert_flat(&running, processes);
    drop(producing.join().unwrap());
    assert_eq!(output.read_to_string(&mut got).unwrap(), 0);
    running.succeeds();
}

#[test]
fn an_output_that_is_not_read_slows_the_input() {
    through_standard_streams(&["-w", "2"], 1, 520_000);
}

#[test]
fn between_processes_too() {
    through_standard_streams(&["-n", "2"], 2, 260_000);
}

#[test]
fn a_receiver_that_does_not_read_slows_senders() {
    let folder = Folder::new();
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!("tcp-listen://:0?port_file={}", folder.name("port"));
    let counts = format!("tcp://{}", receiver.local_addr().unwrap());
    let mut running =
        Running::start(&mut program("word-count", ["--text", &text, "--counts", &counts]));
    let lines = 260_000;
    let sender = crate::sockets::dial(folder.port("port"));
    let written = Arc::new(AtomicU64::new(0));
    let (counter, mut sending) = (Arc::clone(&written), sender.try_clone().unwrap());
    let producing = std::thread::spawn(move || {
        for index in 0..lines {
            sending.write_all(&crate::sockets::framed(line(index))).unwrap();
            counter.store(index + 1, Ordering::Relaxed);
        }
    });
    let mut received = BufReader::new(receiver.accept().unwrap().0);
    let at = blocked(&written);
    assert!(at < lines, "all {at} lines were taken although nobody reads");
    assert_flat(&running, 1);
    let mut expected = Expected::new();
    for _ in 0..lines {
        expected.check(&read_frame(&mut received).unwrap());
    }
    assert_flat(&running, 1);
    producing.join().unwrap();
    sender.shutdown(Shutdown::Both).unwrap();
    running.signal("TERM");
    assert_eq!(read_frame(&mut received), None);
    drop(received);
    running.succeeds();
}

/// Recorded input is read ahead by a bounded amount, also where a partition waits for another
/// one: without times all of the first file comes before the second.
#[test]
fn recorded_input_is_not_read_ahead_without_bound() {
    let folder = Folder::new();
    let lines = 260_000;
    for name in ["a.zst", "b.zst"] {
        let file = std::fs::File::create(folder.path(name)).unwrap();
        let mut encoder = zstd::Encoder::new(file, 1).unwrap();
        for index in 0..lines {
            encoder.write_all(line(index).as_bytes()).unwrap();
            encoder.write_all(b"\n").unwrap();
        }
        encoder.finish().unwrap();
    }
    let text = format!("file:{}", folder.name("*.zst"));
    let flags = ["--text", &text, "-w", "2", "--in-flight-bytes", "16MiB"];
    let mut running = Running::start(&mut program("word-count", flags));
    let mut output = BufReader::new(running.output());
    // Nobody reads for a while; then it goes on.
    output.fill_buf().unwrap();
    let memory = {
        let (mut last, mut since) = (0, clock::instant());
        until("the program waits", || {
            let now = memory_most(running.pid());
            if now != last {
                (last, since) = (now, clock::instant());
            }
            (since.elapsed() > BLOCKED).then_some(now)
        })
    };
    assert!(memory < MEMORY_MAX, "{} MiB", memory >> 20);
    let mut expected = Expected::new();
    let mut got = String::new();
    for _ in 0..2 {
        for _ in 0..lines {
            got.clear();
            output.read_line(&mut got).unwrap();
            expected.check(got.trim_end_matches('\n'));
        }
        assert_flat(&running, 1);
        // The same words in the same order again: the second file goes on counting.
        expected.next = 0;
    }
    assert_eq!(output.read_to_string(&mut got).unwrap(), 0);
    running.succeeds();
}
