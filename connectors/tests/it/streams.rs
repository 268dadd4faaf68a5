//! Durable streams as a library: what is appended, read, consumed and dropped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anabranch::{Error, Time};
use anabranch_connectors::stream::{
    BATCH_FRAMES_MAX, Entry, FRAME_BYTES_MAX, From, GROUPS_MAX, Reader, SEGMENTS_MAX, STREAMS_MAX,
    Stream, Streams, WriterOptions,
};

use crate::support::Folder;

pub(crate) const SMALL: WriterOptions = WriterOptions { segment_bytes: 4 << 10 };

pub(crate) fn stream(folder: &Folder) -> Stream {
    Streams::open(folder.path("streams")).unwrap().stream_or_create("s").unwrap()
}

pub(crate) fn rest(reader: &mut Reader) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(Entry { offset, bytes, .. }) = reader.next_entry().unwrap() {
        all.push((offset, bytes.to_vec()));
    }
    all
}

pub(crate) fn from(stream: &Stream, from: From) -> Vec<(u64, Vec<u8>)> {
    rest(&mut stream.read(from).unwrap())
}

pub(crate) fn texts(stream: &Stream) -> Vec<String> {
    let all = from(stream, From::Beginning);
    all.into_iter().map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect()
}

pub(crate) fn times(stream: &Stream) -> Vec<Time> {
    let mut reader = stream.read(From::Beginning).unwrap();
    let mut times = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        times.push(entry.time);
    }
    times
}

pub(crate) fn segments(folder: &Folder) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder.path("streams/s"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "frames"))
        .collect();
    paths.sort();
    paths
}

#[track_caller]
pub(crate) fn refused<T>(result: Result<T, Error>, words: &[&str]) -> String {
    let Err(error) = result else { panic!("accepted, without: {words:?}") };
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
    text
}

#[test]
fn mb_01_what_is_appended_is_there_after_a_restart() {
    let folder = Folder::new();
    let writer = stream(&folder).writer().unwrap();
    assert_eq!(writer.append(br#"{"foo":"bar1"}"#).unwrap(), 0);
    assert_eq!(writer.append(br#"{"foo":"bar2"}"#).unwrap(), 1);
    drop(writer);
    // Another program would open it just so.
    let stream = Streams::open(folder.path("streams")).unwrap().stream("s").unwrap();
    let both = [r#"{"foo":"bar1"}"#, r#"{"foo":"bar2"}"#];
    assert_eq!(texts(&stream), both);
    assert_eq!((stream.first().unwrap(), stream.end().unwrap()), (0, 2));
    let writer = stream.writer().unwrap();
    assert_eq!(writer.append(b"").unwrap(), 2, "offsets go on, and an empty frame is one");
    assert_eq!(texts(&stream), [both[0], both[1], ""]);
}

#[test]
fn mb_27_streams_of_one_folder_have_nothing_to_do_with_each_other() {
    let folder = Folder::new();
    let streams = Streams::open(folder.path("streams")).unwrap();
    let (b, a) = (streams.create("b").unwrap(), streams.create("a").unwrap());
    let (in_a, in_b) = (a.writer().unwrap(), b.writer().unwrap());
    in_a.append(b"1").unwrap();
    in_b.append(b"2").unwrap();
    assert_eq!((texts(&a), texts(&b)), (vec!["1".to_owned()], vec!["2".to_owned()]));
    assert_eq!(streams.list().unwrap(), ["a", "b"]);
    // What is one stream's is never taken for the other's.
    drop(in_a);
    let segment = |name: &str| folder.path(&format!("streams/{name}/{:020}.frames", 0));
    std::fs::copy(segment("b"), segment("a")).unwrap();
    refused(a.writer(), &["a/00000000000000000000.frames", "damaged at byte 0"]);
    assert_eq!(texts(&b), ["2"]);
}

#[test]
fn mb_28_a_batch_is_visible_as_soon_as_it_is_durable() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let mut reader = stream.read(From::Beginning).unwrap();
    let writer = stream.writer().unwrap();
    assert_eq!(reader.next_entry().unwrap(), None);
    for round in 0..5_u64 {
        let batch: Vec<String> = (0..round).map(|n| format!("{round}-{n}")).collect();
        let offsets = writer.append_batch(&batch).unwrap();
        assert_eq!(offsets.end - offsets.start, round);
        // By the reader that was there before, without a flush and whatever the size.
        let expected: Vec<_> =
            offsets.zip(batch.iter().map(|text| text.clone().into_bytes())).collect();
        assert_eq!(rest(&mut reader), expected);
    }
    assert_eq!(stream.end().unwrap(), 10);
}

/// A writer that died between the sync and telling of it: the frames are not invisible until the
/// next one comes.
#[test]
fn mb_28_what_no_writer_told_is_seen_when_nobody_writes() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let mut reader = stream.read(From::Beginning).unwrap();
    let writer = stream.writer_with(&SMALL).unwrap();
    writer.append(b"one").unwrap();
    let told = std::fs::read(folder.path("streams/s/end")).unwrap();
    for n in 0..30 {
        writer.append(&[n; 1000]).unwrap();
    }
    std::fs::write(folder.path("streams/s/end"), &told).unwrap();
    assert_eq!(rest(&mut reader).len(), 1, "a writer lives: only what it told is durable");
    drop(writer);
    assert_eq!(rest(&mut reader).len(), 30);
    for told in [&told[..], b""] {
        std::fs::write(folder.path("streams/s/end"), told).unwrap();
        assert_eq!(from(&stream, From::Beginning).len(), 31);
    }
    std::fs::remove_file(folder.path("streams/s/end")).unwrap();
    assert_eq!(stream.end().unwrap(), 31);
}

#[test]
fn reading_begins_where_it_is_asked_to() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let writer = stream.writer_with(&SMALL).unwrap();
    let mut model: Vec<Vec<u8>> = Vec::new();
    for n in 0..60_u64 {
        let batch: Vec<_> = (0..n % 4).map(|k| format!("{n}-{k}-{}", "x".repeat(300))).collect();
        writer.append_batch(&batch).unwrap();
        model.extend(batch.into_iter().map(String::into_bytes));
    }
    assert!(segments(&folder).len() > 3, "over several segments");
    let all: Vec<_> = (0..).zip(model).collect();
    let times = times(&stream);
    assert!(times.is_sorted());
    for offset in 0..=all.len() {
        assert_eq!(from(&stream, From::Offset(offset as u64)), all[offset..]);
    }
    for asked in times.iter().copied().chain([Time::BEGIN, Time::END]) {
        let expected = times.iter().take_while(|time| **time < asked).count();
        assert_eq!(from(&stream, From::Time(asked)), all[expected..]);
    }
    let mut end = stream.read(From::End).unwrap();
    assert_eq!(end.next_entry().unwrap(), None);
    writer.append(b"new").unwrap();
    assert_eq!(rest(&mut end), [(90, b"new".to_vec())]);
    refused(stream.read(From::Offset(92)), &["up to 91", "from 92"]);
}

#[test]
fn one_writes_and_who_comes_second_is_told_who() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let writer = stream.writer().unwrap();
    let this = format!("process {}", std::process::id());
    refused(stream.writer(), &["writer.lock", "locked", &this]);
    drop(writer);
    stream.writer().unwrap().append(b"one").unwrap();
}

#[test]
fn names_are_names_and_no_paths() {
    let folder = Folder::new();
    let streams = Streams::open(folder.path("streams")).unwrap();
    let long = "x".repeat(129);
    for wrong in ["", ".", "..", "a/b", "/a", "../a", ".a", "a b", "a\0", "ä", "a\\b", &long] {
        refused(streams.create(wrong), &["is no name of a stream"]);
        refused(streams.stream(wrong), &["is no name of a stream"]);
        refused(streams.stream_or_create(wrong), &["is no name of a stream"]);
        let of = streams.stream_or_create("s").unwrap();
        refused(of.consume(wrong, From::Beginning, Duration::ZERO), &["is no name of a group"]);
        refused(of.pending(wrong), &["is no name of a group"]);
    }
    let long = "x".repeat(128);
    for right in ["a", "A-1_b.c", "0", &long] {
        streams.create(right).unwrap();
        refused(streams.create(right), &["already"]);
    }
    refused(streams.stream("missing"), &["no stream `missing`", "sink `stream:missing`"]);
    assert_eq!(streams.list().unwrap(), ["0", "A-1_b.c", "a", "s", &long]);
}

#[test]
fn frames_and_batches_have_bounds_and_a_refused_one_changes_nothing() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let writer = stream.writer().unwrap();
    writer.append(b"one").unwrap();
    refused(writer.append(&vec![0; FRAME_BYTES_MAX + 1]), &["16777217 bytes", "16777216 at most"]);
    let many = vec![b""; BATCH_FRAMES_MAX + 1];
    refused(writer.append_batch(&many), &["65537 frames", "at most 65536"]);
    let large = vec![vec![0; 12 << 20]; 3];
    refused(writer.append_batch(&large), &["a batch of 37748748 bytes", "at most 33554432"]);
    assert_eq!(writer.append_batch::<&[u8]>(&[]).unwrap(), 1..1);
    assert_eq!(writer.append(&vec![7; FRAME_BYTES_MAX]).unwrap(), 1, "as long as can be");
    assert_eq!(writer.append_batch(&many[1..]).unwrap(), 2..65_538, "as many as can be");
    let all = from(&stream, From::Offset(1));
    assert_eq!((all.len(), all[0].1.len()), (65_537, FRAME_BYTES_MAX));
    for wrong in [(4 << 10) - 1, (256 << 20) + 1] {
        let options = WriterOptions { segment_bytes: wrong };
        refused(stream.writer_with(&options), &["segment_bytes", "4 KiB"]);
    }
}

/// Threads that append at the same time share syncs; each has its offsets, in its own order.
#[test]
fn several_threads_append_and_nothing_is_lost_or_mixed() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let writer = Arc::new(stream.writer_with(&WriterOptions { segment_bytes: 8 << 10 }).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let writer = Arc::clone(&writer);
            std::thread::spawn(move || {
                let append = |n| {
                    let frames = [format!("{thread}-{n}-a"), format!("{thread}-{n}-b")];
                    let offsets = writer.append_batch(&frames).unwrap();
                    assert!(stream_has(writer.stream(), offsets.start, &frames[0]));
                    (offsets.start, frames)
                };
                (0..100).map(append).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut model = vec![String::new(); 800];
    for thread in threads {
        let appended = thread.join().unwrap();
        assert!(appended.is_sorted_by_key(|(offset, _)| *offset));
        for (offset, [a, b]) in appended {
            model[offset as usize] = a;
            model[offset as usize + 1] = b;
        }
    }
    assert_eq!(texts(&stream), model);
}

/// What was acknowledged is seen at once, also by others.
fn stream_has(stream: &Stream, offset: u64, text: &str) -> bool {
    let mut reader = stream.read(From::Offset(offset)).unwrap();
    reader.next_entry().unwrap().is_some_and(|entry| entry.bytes == text.as_bytes())
}

#[test]
fn mbf_7_a_group_has_one_owner_and_goes_on_where_it_committed() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let writer = stream.writer().unwrap();
    writer.append_batch(&["0", "1", "2", "3"]).unwrap();
    let consume = |group: &str, within| stream.consume(group, From::Beginning, within);
    let take = |group: &str| {
        let mut consumer = consume(group, Duration::ZERO).unwrap();
        let mut two = Vec::new();
        for _ in 0..2 {
            two.push(consumer.next_entry().unwrap().unwrap().offset);
        }
        let this = format!("process {}", std::process::id());
        refused(consume(group, Duration::ZERO), &["locked by another process", &this]);
        consumer.commit().unwrap();
        two
    };
    // Never the same two, and another group has its own.
    assert_eq!([take("a"), take("a")], [[0, 1], [2, 3]]);
    assert_eq!(take("b"), [0, 1]);
    assert_eq!(stream.groups().unwrap(), [("a".to_owned(), 4), ("b".to_owned(), 2)]);
    assert_eq!((stream.pending("a").unwrap(), stream.pending("b").unwrap()), (0, 2));
    refused(stream.pending("c"), &["no group `c`"]);
    // What was not committed comes again.
    let mut b = consume("b", Duration::ZERO).unwrap();
    b.next_entry().unwrap();
    assert_eq!((b.committed(), b.pending().unwrap()), (2, 2));
    drop(b);
    let mut b = consume("b", Duration::ZERO).unwrap();
    assert_eq!(b.next_entry().unwrap().unwrap().offset, 2);
    // Who waits gets it when the other one ends, and goes on behind it.
    let waiting = std::thread::spawn({
        let stream = stream.clone();
        move || {
            let mut b = stream.consume("b", From::Beginning, Duration::from_secs(30)).unwrap();
            b.next_entry().unwrap().unwrap().offset
        }
    });
    b.commit().unwrap();
    drop(b);
    assert_eq!(waiting.join().unwrap(), 3);
    // A new one begins where it is told to, and only then.
    writer.append(b"4").unwrap();
    let mut late = stream.consume("late", From::End, Duration::ZERO).unwrap();
    assert_eq!(late.next_entry().unwrap(), None);
    drop(late);
    writer.append(b"5").unwrap();
    let mut late = stream.consume("late", From::End, Duration::ZERO).unwrap();
    assert_eq!(late.next_entry().unwrap().unwrap().offset, 5);
}

#[test]
fn streams_groups_and_segments_are_bounded() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let groups = folder.path("streams/s/groups");
    for n in 0..GROUPS_MAX {
        std::fs::write(groups.join(format!("g{n}.json")), r#"{"next":0}"#).unwrap();
    }
    refused(stream.consume("g", From::Beginning, Duration::ZERO), &["has 1024 groups, the most"]);
    drop(stream.consume("g7", From::Beginning, Duration::ZERO).unwrap());
    // As many segments as can be: all but the first and the last are there by name alone.
    let writer = stream.writer_with(&SMALL).unwrap();
    writer.append_batch(&vec![b""; SEGMENTS_MAX]).unwrap();
    writer.append(&[0; 5000]).unwrap();
    drop(writer);
    for n in 1..SEGMENTS_MAX - 1 {
        std::fs::write(folder.path(&format!("streams/s/{n:020}.frames")), "").unwrap();
    }
    let writer = stream.writer_with(&SMALL).unwrap();
    refused(writer.append(b"more"), &["4096 segments, the most", "Writer::trim"]);
    let about = std::fs::read(folder.path("streams/s/stream.json")).unwrap();
    for n in 1..STREAMS_MAX {
        let path = folder.own(&format!("streams/s{n}"));
        std::fs::write(path.join("stream.json"), &about).unwrap();
    }
    let streams = Streams::open(folder.path("streams")).unwrap();
    refused(streams.create("more"), &["has 1024 streams, the most"]);
}
