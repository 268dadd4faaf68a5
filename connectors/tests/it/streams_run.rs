//! Whole programs that read and write durable streams: on several workers, killed and started again, and one
//! after the other.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::{Drain, sink, source};
use anabranch_connectors::stream::{From, Retention, Stream, Streams};
use anabranch_connectors::{inlet, outlet};

use crate::streams::rest;
use crate::support::{Folder, Sink, Source, eventually, resume};

const COUNTS: Table<String, u64> = Table::new("counts");
/// Of the program that is killed: its folder, workers, and at which record it dies.
const CHILD: &str = "ANABRANCH_TEST_STREAMS";
/// Of the program that holds a stream: its folder.
const HOLDER: &str = "ANABRANCH_TEST_STREAM_HOLDER";
const KEYS: usize = 7;

/// Counts what comes, by key: the output depends on all input before.
fn counting(app: &App, from: &str, to: &str, each: impl Fn() + Clone + 'static) -> Result<()> {
    app.source("in", source::frames(inlet(from)?, || source::Text))
        .inspect(move |_: &String| each())
        .key_by(|text: &String| text.clone())
        .compute("count", COUNTS, |text, mut count, out| {
            *count += 1;
            out.emit(format!("{text} {}", *count));
        })
        .sink("out", sink::frames(outlet(to)?, || sink::Text));
    Ok(())
}

/// As a plain loop makes it.
fn counted(input: &[String]) -> Vec<String> {
    let mut counts = std::collections::BTreeMap::new();
    let count = |text: &String| {
        let count = counts.entry(text.clone()).or_insert(0);
        *count += 1;
        format!("{text} {count}")
    };
    input.iter().map(count).collect()
}

fn input(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key{}", n * n % KEYS)).collect()
}

fn texts(stream: &Stream) -> Vec<String> {
    let all = rest(&mut stream.read(From::Beginning).unwrap());
    all.into_iter().map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect()
}

fn url(folder: &Path, name: &str, options: &str) -> String {
    format!("stream:{name}?dir={}{options}", folder.join("streams").display())
}

fn config(folder: &Path, workers: usize) -> Config {
    let data = folder.join("data").display().to_string();
    let (workers, interval) = (workers.to_string(), "--checkpoint-interval");
    let in_flight = ["--in-flight-records", "1000"];
    let flags = ["-w", &workers, "--data-dir", &data, interval, "10ms", "--quiet"];
    Config::from_flags(flags.into_iter().chain(in_flight)).unwrap()
}

fn streams(folder: &Folder) -> Streams {
    Streams::open(folder.path("streams")).unwrap()
}

/// Reads the stream `in` and writes the stream `out`; calls `each` for every record.
fn run(folder: &Path, workers: usize, each: impl Fn() + Clone + Send + Sync + 'static) {
    // Little may be on its way, so that much has left when it is killed.
    let (from, to) = (url(folder, "in", ""), url(folder, "out", "&queue_records=256"));
    let build = move |app: &App| counting(app, &from, &to, each.clone());
    anabranch::run(&config(folder, workers), build).unwrap();
}

/// The program that another test kills; alone it does nothing.
#[test]
fn a_program_that_is_killed() {
    let Ok(how) = std::env::var(CHILD) else { return };
    let [folder, workers, dies] = how.split(';').collect::<Vec<_>>()[..] else { panic!("{how}") };
    let (workers, dies) = (workers.parse().unwrap(), dies.parse::<usize>().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    run(Path::new(folder), workers, move || {
        if seen.fetch_add(1, Ordering::SeqCst) + 1 == dies {
            std::process::abort();
        }
    });
}

fn run_until_killed(folder: &Folder, workers: usize, dies: usize) {
    let how = format!("{};{workers};{dies}", folder.as_ref().display());
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "streams_run::a_program_that_is_killed"])
        .env(CHILD, how)
        .output()
        .unwrap();
    assert!(!ended.status.success(), "it was to die at record {dies}");
}

/// Started again on other numbers of workers, after it was killed again and again.
#[test]
fn a_program_from_stream_to_stream_is_killed_and_each_frame_is_there_once() {
    let folder = Folder::new();
    let all = input(20_000);
    let writer = streams(&folder).create("in").unwrap().writer().unwrap();
    let (first, last) = all.split_at(12_000);
    writer.append_batch(first).unwrap();
    let expected = counted(&all);
    for (workers, dies) in [(1, 6000), (2, 4000), (4, 5000)] {
        run_until_killed(&folder, workers, dies);
        let there = texts(&streams(&folder).stream("out").unwrap());
        eprintln!("{} frames when it was killed", there.len());
        assert!(expected.starts_with(&there), "a prefix, after {} of {workers}", there.len());
        assert!(there.len() > 2000, "it was killed before it wrote: {}", there.len());
    }
    run(folder.as_ref(), 2, || ());
    let out = streams(&folder).stream("out").unwrap();
    assert_eq!(texts(&out), expected[..12_000]);
    // To the end of what has come since, with what others have written in between.
    writer.append_batch(last).unwrap();
    out.writer().unwrap().append(b"of another program").unwrap();
    for workers in [4, 1] {
        run(folder.as_ref(), workers, || ());
        let mut there = texts(&out);
        assert_eq!(there.remove(12_000), "of another program");
        assert!(there == expected, "{} of {workers}", there.len());
    }
}

#[test]
fn on_any_number_of_workers_the_output_is_that_of_a_plain_loop_and_times_are_recorded() {
    let all = input(3000);
    for workers in [1, 2, 4] {
        let folder = Folder::new();
        let writer = streams(&folder).create("in").unwrap().writer().unwrap();
        for part in all.chunks(170) {
            writer.append_batch(part).unwrap();
        }
        let (from, to) = (url(folder.as_ref(), "in", "&from=500"), url(folder.as_ref(), "out", ""));
        let build = move |app: &App| counting(app, &from, &to, || ());
        let config = Config::from_flags(["-w", &workers.to_string()]).unwrap();
        anabranch::run(&config, build).unwrap();
        let out = streams(&folder).stream("out").unwrap();
        assert_eq!(texts(&out), counted(&all[500..]));
    }
}

/// The process that writes and consumes while another test tries to; alone it does nothing.
#[test]
fn a_process_that_holds_a_stream() {
    let Ok(folder) = std::env::var(HOLDER) else { return };
    let stream = Streams::open(folder).unwrap().stream("s").unwrap();
    let mut group = stream.consume("g", From::Beginning, Duration::ZERO).unwrap();
    let writer = stream.writer().unwrap();
    writer.append_batch(&["one", "two"]).unwrap();
    group.next_entry().unwrap();
    group.commit().unwrap();
    // Until the other side ends.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    std::process::abort();
}

#[test]
fn mbf_7_another_process_that_writes_and_consumes_is_named_and_what_it_does_is_seen() {
    let folder = Folder::new();
    let stream = streams(&folder).create("s").unwrap();
    let mut reader = stream.read(From::Beginning).unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "streams_run::a_process_that_holds_a_stream"])
        .env(HOLDER, folder.path("streams"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("what it appends is seen", || reader.next_entry().unwrap().is_some());
    assert_eq!(reader.next_entry().unwrap().unwrap().bytes, b"two");
    eventually("what it consumes is seen", || stream.pending("g").is_ok_and(|count| count == 1));
    let who = format!("process {} ", holder.id());
    let text = stream.writer().err().unwrap().to_string();
    assert!(text.contains(&who), "{text}");
    let text = stream.consume("g", From::Beginning, Duration::ZERO).err().unwrap().to_string();
    assert!(text.contains(&who), "{text}");
    // It dies without giving anything back.
    drop(holder.stdin.take());
    assert!(!holder.wait().unwrap().success());
    let mut group = stream.consume("g", From::Beginning, Duration::from_secs(30)).unwrap();
    assert_eq!(group.next_entry().unwrap().unwrap().bytes, b"two");
    assert_eq!(stream.writer().unwrap().append(b"three").unwrap(), 2);
    assert_eq!(texts(&stream), ["one", "two", "three"]);
}

/// A frame of a recorded stream brings its offset and its time.
#[test]
fn a_source_gives_offsets_and_times_of_the_stream_and_ends_where_it_was_opened() {
    let folder = Folder::new();
    let stream = streams(&folder).create("in").unwrap();
    let writer = stream.writer().unwrap();
    writer.append_batch(&["0", "1"]).unwrap();
    writer.append(b"2").unwrap();
    let mut reader = stream.read(From::Beginning).unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        entries.push((entry.offset, Some(entry.time)));
    }
    let url = url(folder.as_ref(), "in", "");
    let mut source = Source::open(&url);
    writer.append(b"too late").unwrap();
    let got: Vec<_> = source.read_all().iter().map(|got| (got.offset, got.stamp)).collect();
    assert_eq!(got, entries);
    // A restart goes on, and is to find the same stream.
    let state = folder.own("state");
    let mut source = Source::resume(&url, resume(&state, 0, b"")).unwrap();
    assert_eq!(source.texts(4), ["0", "1", "2", "too late"]);
    let mut source = Source::resume(&url, resume(&state, 2, b"")).unwrap();
    assert_eq!(source.texts(2), ["2", "too late"]);
    drop(writer);
    std::fs::remove_dir_all(folder.path("streams/in")).unwrap();
    streams(&folder).create("in").unwrap();
    let text = Source::resume(&url, resume(&state, 2, b"")).err().unwrap().to_string();
    assert!(text.contains("another one") && text.contains("former"), "{text}");
}

/// What was there before the first start is never read, and what came while it was down is.
#[test]
fn from_the_end_stays_where_the_first_start_began() {
    let folder = Folder::new();
    let stream = streams(&folder).create("in").unwrap();
    let writer = stream.writer().unwrap();
    writer.append(b"before").unwrap();
    let url = url(folder.as_ref(), "in", "&from=end&follow=true");
    let state = folder.own("state");
    drop(Source::resume(&url, resume(&state, 0, b"")).unwrap());
    writer.append(b"while down").unwrap();
    let mut source = Source::resume(&url, resume(&state, 0, b"")).unwrap();
    assert_eq!(source.read(1)[0].text(), "while down");
    // It waits, and is woken.
    let later = std::thread::spawn(move || writer.append(b"later").unwrap());
    let got = source.read(1);
    assert_eq!((got[0].offset, got[0].text()), (2, "later"));
    later.join().unwrap();
}

#[test]
fn a_source_that_wants_what_was_dropped_says_so() {
    let folder = Folder::new();
    let stream = streams(&folder).create("in").unwrap();
    let writer = stream.writer().unwrap();
    writer.append_batch(&["0", "1"]).unwrap();
    let all = Retention { max_bytes: Some(0), drop_unread: true, ..Default::default() };
    writer.retain(&all, anabranch::clock::now()).unwrap();
    writer.append(b"2").unwrap();
    let state = folder.own("state");
    let early = Source::resume(&url(folder.as_ref(), "in", "&from=1"), resume(&state, 0, b""));
    let error = early.err().unwrap();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("the first that is there is 2"), "{error}");
    let mut source = Source::open(&url(folder.as_ref(), "in", ""));
    assert_eq!(source.texts(1), ["2"]);
}

/// One program writes a stream while another one reads it, live.
#[test]
fn two_programs_one_writes_and_the_other_follows() {
    let folder = Folder::new();
    streams(&folder).create("between").unwrap();
    let all = input(5000);
    let lines: String = all.iter().map(|text| format!("{text}\n")).collect();
    let input = folder.file("in.txt", lines);
    let (drain, path) = (Arc::new(Drain::default()), folder.path("data").join("second"));
    let follower = std::thread::spawn({
        let from = url(folder.as_ref(), "between", "&follow=true");
        let (to, drain) = (folder.url("out.txt"), Arc::clone(&drain));
        move || {
            let build = move |app: &App| counting(app, &from, &to, || ());
            let flags = ["-w", "2", "--data-dir", path.to_str().unwrap(), "--quiet"];
            anabranch::run_until(&Config::from_flags(flags).unwrap(), build, &drain)
        }
    });
    let to = url(folder.as_ref(), "between", "");
    let first = move |app: &App| {
        app.source("lines", source::frames(inlet(&input)?, || source::Text))
            .sink("between", sink::frames(outlet(&to)?, || sink::Text));
        Ok(())
    };
    anabranch::run(&config(&folder.path("data"), 1), first).unwrap();
    let expected: String = counted(&all).iter().map(|line| format!("{line}\n")).collect();
    let out = folder.path("out.txt");
    eventually("the follower has read all", || {
        std::fs::metadata(&out).is_ok_and(|file| file.len() >= expected.len() as u64)
    });
    drain.request();
    follower.join().unwrap().unwrap();
    assert!(std::fs::read_to_string(&out).unwrap() == expected);
}

/// At every frame where a checkpoint may be, and every frame where a crash may come.
#[test]
fn a_sink_that_is_given_frames_again_appends_each_once() {
    let frames: Vec<String> = (0..9).map(|n| "x".repeat(n)).collect();
    let folder = Folder::new();
    let mut name = 0;
    for checkpoint in 0..=9 {
        for crash in checkpoint..=9 {
            name += 1;
            let url = url(folder.as_ref(), &format!("out{name}"), "");
            let stream = streams(&folder).create(&format!("out{name}")).unwrap();
            stream.writer().unwrap().append(b"before").unwrap();
            let state = folder.own(&format!("state{name}"));
            let mut sink = Sink::resume(&url, resume(&state, 0, b""), 0).unwrap();
            frames[..checkpoint].iter().for_each(|frame| sink.write(frame.as_bytes()));
            let position = if checkpoint > 0 { sink.position() } else { Vec::new() };
            frames[checkpoint..crash].iter().for_each(|frame| sink.write(frame.as_bytes()));
            sink.close().unwrap();
            drop(sink);
            stream.writer().unwrap().append(b"between").unwrap();
            let mut sink = Sink::resume(&url, resume(&state, 0, &position), 0).unwrap();
            frames[checkpoint..].iter().for_each(|frame| sink.write(frame.as_bytes()));
            sink.close().unwrap();
            let mut expected = frames.clone();
            expected.insert(crash, "between".to_owned());
            expected.insert(0, "before".to_owned());
            assert_eq!(texts(&stream), expected, "{checkpoint} {crash}");
        }
    }
}

#[test]
fn a_sink_refuses_what_differs_and_another_stream() {
    let folder = Folder::new();
    let (url, state) = (url(folder.as_ref(), "out", ""), folder.own("state"));
    let mut sink = Sink::resume(&url, resume(&state, 0, b""), 0).unwrap();
    sink.write(b"one");
    let position = sink.position();
    sink.write(b"two");
    sink.close().unwrap();
    drop(sink);
    let mut sink = Sink::resume(&url, resume(&state, 0, &position), 0).unwrap();
    let failed = sink.try_write(b"TWO").and_then(|()| sink.close());
    let text = failed.unwrap_err().to_string();
    assert!(
        text.contains("offset 1") && text.contains("`two`") && text.contains("`TWO`"),
        "{text}"
    );
    drop(sink);
    let out = streams(&folder).stream("out").unwrap();
    assert_eq!(texts(&out), ["one", "two"]);
    // Dropped meanwhile, or no stream's position.
    for (position, word) in [(&9_u64.to_le_bytes()[..], "offset 9"), (b"x", "not that of a stream")]
    {
        let text = Sink::resume(&url, resume(&state, 0, position), 0).err().unwrap().to_string();
        assert!(text.contains(word), "{text}");
    }
    std::fs::remove_dir_all(folder.path("streams/out")).unwrap();
    let text = Sink::resume(&url, resume(&state, 0, &position), 0).err().unwrap().to_string();
    assert!(text.contains("another one") && text.contains("former"), "{text}");
}

#[test]
fn a_frame_that_is_longer_than_a_stream_takes_ends_the_program_by_name() {
    let folder = Folder::new();
    let mut sink = Sink::open(&url(folder.as_ref(), "out", ""));
    sink.write(b"one");
    let text = sink.try_write(&vec![0; (16 << 20) + 1]).unwrap_err().to_string();
    assert!(text.contains("16777217 bytes") && text.contains("test-0-1"), "{text}");
    sink.close().unwrap();
    let out = streams(&folder).stream("out").unwrap();
    let mut group = out.consume("g", From::Beginning, Duration::ZERO).unwrap();
    assert_eq!(group.next_entry().unwrap().unwrap().bytes, b"one");
}
