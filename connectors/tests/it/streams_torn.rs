//! Durable streams after crashes and damage: an end that was torn is cut, and everything else that is not as
//! it was written is named and refused.

use std::path::{Path, PathBuf};

use anabranch::Error;
use anabranch_connectors::stream::{From, Stream, WriterOptions};
use proptest::prelude::*;

use crate::streams::{rest, stream};
use crate::support::Folder;

const HEADER: usize = 40;
const SMALL: WriterOptions = WriterOptions { segment_bytes: 4 << 10 };

fn last_segment(folder: &Path) -> PathBuf {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "frames")).max().unwrap()
}

/// All frames, by their offsets.
fn all(stream: &Stream) -> Vec<Vec<u8>> {
    let mut reader = stream.read(From::Beginning).unwrap();
    let all = rest(&mut reader);
    assert!(all.iter().zip(0..).all(|((offset, _), n)| *offset == n), "dense");
    all.into_iter().map(|(_, frame)| frame).collect()
}

/// What a power cut leaves of the file that is not synced.
fn forget_end(folder: &Path) {
    std::fs::remove_file(folder.join("end")).unwrap();
}

/// After each batch that a stream was given: its last segment, the bytes of that, and how many frames it
/// has.
type Ends = Vec<(PathBuf, usize, usize)>;

fn write(stream: &Stream, folder: &Path, batches: &[Vec<Vec<u8>>], ends: &mut Ends) {
    let writer = stream.writer_with(&SMALL).unwrap();
    for batch in batches {
        let count = writer.append_batch(batch).unwrap().end as usize;
        let segment = last_segment(folder);
        if ends.last().is_none_or(|(last, ..)| *last != segment) {
            ends.push((segment.clone(), HEADER, count - batch.len()));
        }
        let length = std::fs::metadata(&segment).unwrap().len();
        ends.push((segment, length as usize, count));
    }
}

/// Writes, and gives the bytes of the last segment, and how many frames there were, after each batch.
fn written(stream: &Stream, folder: &Path, batches: &[Vec<Vec<u8>>]) -> Vec<(usize, usize)> {
    let mut ends = Vec::new();
    write(stream, folder, batches, &mut ends);
    of_last(&ends)
}

fn of_last(ends: &Ends) -> Vec<(usize, usize)> {
    let last = &ends.last().unwrap().0;
    ends.iter().filter(|(of, ..)| of == last).map(|(_, bytes, count)| (*bytes, *count)).collect()
}

fn batches() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let frame = proptest::collection::vec(any::<u8>(), 0..12);
    proptest::collection::vec(proptest::collection::vec(frame, 1..3), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    /// Beside a plain list: whatever was appended, and wherever the last segment was torn, whole appends
    /// are there and no parts of one; and what is appended then follows them.
    #[test]
    fn a_torn_end_is_cut_at_the_last_whole_append(first in batches(), second in batches()) {
        let folder = Folder::new();
        let stream = stream(&folder);
        let path = folder.path("streams/s");
        let mut model: Vec<Vec<u8>> = first.iter().flatten().cloned().collect();
        let mut ends = Vec::new();
        write(&stream, &path, &first, &mut ends);
        // Opened again, and gone on.
        write(&stream, &path, &second, &mut ends);
        let ends = of_last(&ends);
        model.extend(second.iter().flatten().cloned());
        prop_assert_eq!(&all(&stream), &model);
        let segment = last_segment(&path);
        let whole = std::fs::read(&segment).unwrap();
        for length in HEADER..=whole.len() {
            std::fs::write(&segment, &whole[..length]).unwrap();
            forget_end(&path);
            let kept = ends.iter().rfind(|(end, _)| *end <= length).map_or(0, |(_, count)| *count);
            // Who only reads sees the same, and changes nothing.
            prop_assert_eq!(&all(&stream)[..], &model[..kept]);
            prop_assert_eq!(std::fs::metadata(&segment).unwrap().len(), length as u64);
            let writer = stream.writer_with(&SMALL).unwrap();
            prop_assert_eq!(writer.append(b"after").unwrap(), kept as u64);
            drop(writer);
            let mut expected = model[..kept].to_vec();
            expected.push(b"after".to_vec());
            prop_assert_eq!(all(&stream), expected);
        }
    }

    /// Any byte of what was acknowledged: it is named, and no wrong frame is given.
    #[test]
    fn a_changed_byte_is_named_and_refused(batches in batches(), bit in 0..8_u32) {
        let folder = Folder::new();
        let stream = stream(&folder);
        let path = folder.path("streams/s");
        written(&stream, &path, &batches);
        let model: Vec<Vec<u8>> = batches.iter().flatten().cloned().collect();
        let segment = last_segment(&path);
        let whole = std::fs::read(&segment).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            std::fs::write(&segment, &changed).unwrap();
            let mut seen = Vec::new();
            let read = stream.read(From::Beginning).and_then(|mut reader| loop {
                match reader.next_entry()? {
                    Some(entry) => seen.push(entry.bytes.to_vec()),
                    None => return Ok(()),
                }
            });
            prop_assert!(model.starts_with(&seen));
            let read = read.expect_err("damaged");
            let write = stream.writer().err().expect("damaged");
            for error in [read, write] {
                prop_assert!(matches!(error, Error::Data(_)));
                let text = error.to_string();
                prop_assert!(text.contains("00000000000000000000.frames is damaged at byte"), "{}", text);
            }
            prop_assert_eq!(&std::fs::read(&segment).unwrap(), &changed, "nothing was changed");
        }
    }
}

/// What was told to be durable is missed, not cut.
#[test]
fn an_end_that_was_acknowledged_and_is_gone_is_refused() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let path = folder.path("streams/s");
    written(&stream, &path, &[vec![b"one".to_vec()], vec![b"two".to_vec()]]);
    let segment = last_segment(&path);
    let whole = std::fs::read(&segment).unwrap();
    for length in [0, 39, 40, 50, whole.len() - 1] {
        std::fs::write(&segment, &whole[..length]).unwrap();
        let text = stream.writer().err().unwrap().to_string();
        assert!(text.contains("frames is damaged at byte"), "{length}: {text}");
        assert!(text.contains("Nothing was changed"), "{length}: {text}");
        assert_eq!(std::fs::metadata(&segment).unwrap().len(), length as u64);
    }
    std::fs::write(&segment, &whole).unwrap();
    assert_eq!(stream.writer().unwrap().append(b"three").unwrap(), 2);
}

/// Also when nothing tells up to where it was durable: a later append does.
#[test]
fn damage_in_the_middle_is_not_taken_for_a_torn_end() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let path = folder.path("streams/s");
    let frames: Vec<Vec<Vec<u8>>> = (0..5).map(|n| vec![vec![n; 20]]).collect();
    let ends = written(&stream, &path, &frames);
    let segment = last_segment(&path);
    let whole = std::fs::read(&segment).unwrap();
    for block in 0..5 {
        for at in [ends[block].0, ends[block].0 + 40, ends[block + 1].0 - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&segment, &changed).unwrap();
            let _ = std::fs::remove_file(path.join("end"));
            if block == 4 {
                // The last one may have been torn: nobody knows better.
                assert_eq!(stream.writer().unwrap().append(b"again").unwrap(), 4);
                continue;
            }
            let text = stream.writer().err().unwrap().to_string();
            assert!(text.contains(&format!("damaged at byte {}", ends[block].0)), "{text}");
            assert!(text.contains(&format!("frame {block} ")), "{text}");
            assert_eq!(std::fs::read(&segment).unwrap(), changed);
        }
    }
}

/// What a reader has read ahead of what is durable is not what the next writer puts there.
#[test]
fn a_reader_that_stood_before_a_torn_end_reads_what_is_written_in_its_place() {
    let folder = Folder::new();
    let stream = stream(&folder);
    stream.writer().unwrap().append(b"one").unwrap();
    let segment = last_segment(&folder.path("streams/s"));
    let mut torn = std::fs::read(&segment).unwrap();
    torn.extend([7; 200]);
    std::fs::write(&segment, &torn).unwrap();
    let mut reader = stream.read(From::Beginning).unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().bytes, b"one");
    assert_eq!(reader.next_entry().unwrap(), None);
    let writer = stream.writer().unwrap();
    for frame in [&b"two"[..], &[3; 500], b"four"] {
        writer.append(frame).unwrap();
        assert_eq!(reader.next_entry().unwrap().unwrap().bytes, frame);
    }
}

/// A frame may hold what looks like blocks, of this stream or another.
#[test]
fn what_looks_like_a_block_within_a_frame_is_none() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let path = folder.path("streams/s");
    let writer = stream.writer().unwrap();
    writer.append(b"one").unwrap();
    let inside = std::fs::read(last_segment(&path)).unwrap();
    writer.append(&inside).unwrap();
    drop(writer);
    let segment = last_segment(&path);
    let whole = std::fs::read(&segment).unwrap();
    for length in inside.len()..whole.len() {
        std::fs::write(&segment, &whole[..length]).unwrap();
        forget_end(&path);
        assert_eq!(stream.writer().unwrap().append(b"two").unwrap(), 1);
        assert_eq!(all(&stream), [&b"one"[..], b"two"]);
    }
}

/// A crash while a segment was being made.
#[test]
fn a_segment_without_a_whole_header_is_removed_unless_it_was_told_of() {
    for garbage in [&b""[..], b"abstr", &[0; 40]] {
        let folder = Folder::new();
        let stream = stream(&folder);
        let path = folder.path("streams/s");
        std::fs::write(path.join(format!("{:020}.frames", 0)), garbage).unwrap();
        assert_eq!(stream.end().unwrap(), 0);
        assert_eq!(stream.writer().unwrap().append(b"one").unwrap(), 0);
        let torn = path.join(format!("{:020}.frames", 1));
        std::fs::write(&torn, garbage).unwrap();
        assert_eq!(all(&stream), [b"one"]);
        assert_eq!(stream.writer().unwrap().append(b"two").unwrap(), 1);
        assert!(!torn.exists());
        assert_eq!(all(&stream), [b"one", b"two"]);
        std::fs::write(path.join(format!("{:020}.frames", 0)), garbage).unwrap();
        let text = stream.writer().err().unwrap().to_string();
        assert!(text.contains("frames is damaged at byte 0"), "{text}");
    }
}

/// Of several segments, one in the middle is gone or too short.
#[test]
fn a_segment_that_is_missing_or_short_is_named() {
    let folder = Folder::new();
    let stream = stream(&folder);
    let path = folder.path("streams/s");
    written(&stream, &path, &(0..40).map(|n| vec![vec![n; 500]]).collect::<Vec<_>>());
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "frames"))
        .collect();
    segments.sort();
    let middle = &segments[segments.len() / 2];
    let name = middle.file_name().unwrap().to_str().unwrap();
    let whole = std::fs::read(middle).unwrap();
    let read = || {
        let mut reader = stream.read(From::Beginning).unwrap();
        loop {
            match reader.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("as if nothing were missing"),
                Err(error) => break error.to_string(),
            }
        }
    };
    for content in [None, Some(&whole[..0]), Some(&whole[..whole.len() - 7])] {
        match content {
            None => std::fs::remove_file(middle).unwrap(),
            Some(content) => std::fs::write(middle, content).unwrap(),
        }
        let text = read();
        assert!(text.contains("damaged"), "{text}");
        assert!(content.is_none() || text.contains(name), "{text}");
        // What is behind it can be read, and appending goes on.
        let mut behind = stream.read(From::Offset(38)).unwrap();
        assert_eq!(rest(&mut behind).len(), stream.end().unwrap() as usize - 38);
        stream.writer_with(&SMALL).unwrap().append(b"more").unwrap();
    }
    std::fs::write(middle, &whole).unwrap();
    assert_eq!(all(&stream).len(), 43);
}
