//! Durable streams: what is dropped of them, and what is not.

use std::time::Duration;

use anabranch::{Error, Time, clock};
use anabranch_connectors::stream::{From, Retention, Stream, Writer};

use crate::streams::{SMALL, from, refused, segments, stream, texts, times};
use crate::support::Folder;

#[test]
fn mb_17_what_all_groups_have_consumed_is_reclaimed() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let writer = stream.writer_with(&SMALL).unwrap();
    writer.append(b"one").unwrap();
    assert_eq!(writer.trim().unwrap().first, 0, "nobody has consumed anything");
    writer.append(b"two").unwrap();
    let mut slow = stream.consume("slow", From::Beginning, Duration::ZERO).unwrap();
    let mut fast = stream.consume("fast", From::Beginning, Duration::ZERO).unwrap();
    for round in 1..=2 {
        fast.next_entry().unwrap();
        fast.commit().unwrap();
        assert_eq!(writer.trim().unwrap().first, round - 1, "one group is behind");
        slow.next_entry().unwrap();
        slow.commit().unwrap();
        let trimmed = writer.trim().unwrap();
        assert_eq!((trimmed.first, trimmed.dropped, trimmed.dropped_unread), (round, 1, 0));
    }
    assert_eq!((stream.first().unwrap(), stream.end().unwrap()), (2, 2));
    assert_eq!(texts(&stream), [""; 0]);
    let [only] = &segments(&folder)[..] else { panic!("the room is not free") };
    assert_eq!(std::fs::metadata(only).unwrap().len(), 40, "a segment without frames");
    // Offsets, times and groups go on, before and after a restart.
    let last = times_after(&stream, &writer, b"three");
    drop(writer);
    let writer = stream.writer_with(&SMALL).unwrap();
    assert!(times_after(&stream, &writer, b"four") >= last);
    assert_eq!(slow.next_entry().unwrap().unwrap().offset, 2);
    let dropped =
        refused(stream.read(From::Offset(1)), &["frame 1", "dropped", "first that is there is 2"]);
    assert!(dropped.contains("`s`"), "{dropped}");
    refused(stream.read(From::Time(Time::ZERO)), &["dropped", "first that is there is 2"]);
}

fn times_after(stream: &Stream, writer: &Writer, frame: &[u8]) -> Time {
    let offset = writer.append(frame).unwrap();
    let mut reader = stream.read(From::Offset(offset)).unwrap();
    reader.next_entry().unwrap().unwrap().time
}

#[test]
fn mb_18_by_age_unread_frames_stay_and_are_counted_unless_dropping_them_is_asked_for() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let writer = stream.writer().unwrap();
    for n in 0..3 {
        writer.append(&[n]).unwrap();
    }
    let age = Duration::from_millis(500);
    let old = Retention { max_age: Some(age), ..Retention::default() };
    let last = times(&stream)[2];
    let young = writer.retain(&old, times(&stream)[0]).unwrap();
    assert_eq!((young.first, young.dropped, young.retained_unread), (0, 0, 0), "not old yet");
    // A second later, without any consumer.
    let later = last.after(Duration::from_secs(1));
    let blocked = writer.retain(&old, later).unwrap();
    assert_eq!((blocked.first, blocked.dropped, blocked.retained_unread), (0, 0, 3));
    assert_eq!(from(&stream, From::Beginning).len(), 3);
    // With one that has read a part.
    let mut group = stream.consume("g", From::Beginning, Duration::ZERO).unwrap();
    group.next_entry().unwrap();
    group.commit().unwrap();
    let part = writer.retain(&old, later).unwrap();
    assert_eq!((part.first, part.dropped, part.dropped_unread, part.retained_unread), (1, 1, 0, 2));
    assert_eq!(stream.dropped_unread().unwrap(), 0);
    let anyway = Retention { drop_unread: true, ..old };
    let gone = writer.retain(&anyway, later).unwrap();
    assert_eq!((gone.first, gone.dropped, gone.dropped_unread, gone.retained_unread), (3, 2, 2, 0));
    assert_eq!(from(&stream, From::Beginning).len(), 0);
    // The group is told, and the count is for good.
    drop((writer, group));
    let again = stream.consume("g", From::Beginning, Duration::ZERO);
    refused(again, &["frame 1", "dropped", "is 3", "Stream::reset"]);
    assert_eq!(stream.dropped_unread().unwrap(), 2);
    assert_eq!(stream.reset("g", From::Beginning, Duration::ZERO).unwrap(), 3);
    assert_eq!(stream.consume("g", From::End, Duration::ZERO).unwrap().pending().unwrap(), 0);
    let writer = stream.writer().unwrap();
    assert_eq!(writer.append(b"new").unwrap(), 3);
}

/// Beside a plain list of what is in which block.
#[test]
fn mb_18_retention_by_age_and_by_size_drops_what_a_plain_list_says() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let writer = stream.writer_with(&SMALL).unwrap();
    let mut blocks = Vec::new();
    for n in 0..80_u64 {
        let batch = vec![vec![7_u8; (n % 7) as usize * 60]; 1 + n as usize % 3];
        let offsets = writer.append_batch(&batch).unwrap();
        let bytes = 64 + batch.iter().map(|frame| frame.len() as u64 + 4).sum::<u64>();
        blocks.push((offsets, bytes));
    }
    let times = times(&stream);
    let total: u64 = blocks.iter().map(|(_, bytes)| bytes).sum();
    let count = segments(&folder).len();
    assert!(count > 5);
    let mut first = 0;
    for step in 1..=10 {
        let limit = total * (10 - step) / 10;
        let cut_at = |limit: u64| {
            let mut kept = total;
            for (offsets, bytes) in &blocks {
                if kept <= limit {
                    return offsets.start;
                }
                kept -= bytes;
            }
            times.len() as u64
        };
        let keep = Retention { max_bytes: Some(limit), drop_unread: true, ..Default::default() };
        let done = writer.retain(&keep, clock::now()).unwrap();
        assert_eq!((done.first, done.dropped), (cut_at(limit), cut_at(limit) - first), "{limit}");
        first = done.first;
        let rest = from(&stream, From::Beginning);
        assert_eq!(rest.first().map_or(first, |(offset, _)| *offset), first);
        assert_eq!(rest.len() as u64, times.len() as u64 - first);
    }
    assert_eq!(segments(&folder).len(), 1, "the room is free");
    assert_eq!(stream.dropped_unread().unwrap(), times.len() as u64);

    let folder = Folder::new();
    let stream = crate::streams::stream(&folder);
    let writer = stream.writer_with(&SMALL).unwrap();
    for n in 0..100_u8 {
        writer.append(&[n; 200]).unwrap();
    }
    let times = crate::streams::times(&stream);
    for time in times.iter().step_by(9) {
        let old =
            Retention { max_age: Some(Duration::from_secs(1)), drop_unread: true, max_bytes: None };
        let done = writer.retain(&old, time.after(Duration::from_secs(1))).unwrap();
        let expected = times.iter().filter(|other| *other <= time).count();
        assert_eq!(done.first, expected as u64);
        refused(stream.read(From::Time(*time)), &["dropped"]);
    }
}

/// A reader that was there before is told too, and its open segment is not cut under it.
#[test]
fn a_reader_that_is_overtaken_by_retention_is_told_what_is_gone() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let writer = stream.writer_with(&SMALL).unwrap();
    for n in 0..100_u64 {
        writer.append(&[n as u8; 300]).unwrap();
    }
    let mut reader = stream.read(From::Beginning).unwrap();
    reader.next_entry().unwrap();
    let all = Retention { max_bytes: Some(0), drop_unread: true, ..Default::default() };
    writer.retain(&all, clock::now()).unwrap();
    let mut next = 1;
    let error = loop {
        match reader.next_entry() {
            Ok(Some(entry)) => assert_eq!((entry.offset, entry.bytes[0]), (next, next as u8)),
            Ok(None) => panic!("silently at the end, after {next}"),
            Err(error) => break error,
        }
        next += 1;
    };
    let text = error.to_string();
    assert!(text.contains("dropped") && text.contains("is 100"), "{text}");
    assert!(matches!(error, Error::Data(_)));
}
