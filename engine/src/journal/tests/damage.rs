//! Truncation and changed bytes: the same frames, a prefix, or a refusal by name; never another frame.

use super::*;
use crate::journal::frame::HEAD;

/// Three segments of two generations, with a few frames each; all frames, and the segments.
fn journal(folder: &Folder) -> (Vec<Kept>, Vec<PathBuf>) {
    let mut all = Vec::new();
    let mut epoch = 0;
    for (generation, sizes) in [(1, [30_usize, 0, 600, 50]), (2, [0, 200, 10, 1_500])] {
        let (journal, woken) = start(&folder.path, generation);
        let mut journal = journal.with_limits(0, 700);
        for bytes in sizes {
            epoch += 1;
            let first = all.last().map_or(0, |kept: &Kept| kept.head.next);
            let kept = frame(epoch, first, 2, bytes);
            append(&mut journal, 0, &kept);
            all.push(kept);
            // Every second one is known to be on the disk when the next one is made.
            if epoch % 2 == 0 {
                journal.commit(epoch + 1);
                until_durable(&journal, &woken, epoch + 1);
            }
        }
        journal.close().unwrap();
    }
    let segments = folder.segments(&lane(0));
    assert_eq!(segments.len(), 3);
    (all, segments)
}

/// Refusals name the file.
fn named(error: &Error, segments: &[PathBuf]) {
    let text = error.to_string();
    let file = |path: &PathBuf| text.contains(path.file_name().unwrap().to_str().unwrap());
    assert!(segments.iter().any(file) && text.contains("offset"), "{text}");
}

#[test]
fn every_truncation_is_a_prefix_or_a_refusal() {
    let folder = Folder::new();
    let (all, segments) = journal(&folder);
    for (index, path) in segments.iter().enumerate() {
        let whole = fs::read(path).unwrap();
        let last = index + 1 == segments.len();
        let mut prefixes = 0;
        for length in 0..whole.len() {
            fs::write(path, &whole[..length]).unwrap();
            match look(&folder.path, &lane(0), 0) {
                Ok(read) => {
                    assert!(last && read.len() < all.len(), "{length} of segment {index}");
                    assert_eq!(read, all[..read.len()]);
                    prefixes += 1;
                }
                Err(error) => {
                    assert!(!last, "{error}");
                    named(&error, &segments);
                }
            }
        }
        assert_eq!(prefixes > 0, last);
        fs::write(path, &whole).unwrap();
    }
    assert_eq!(look(&folder.path, &lane(0), 0).unwrap(), all);
}

#[test]
fn a_torn_tail_is_cut_once_and_written_on() {
    let folder = Folder::new();
    let (mut all, segments) = journal(&folder);
    let last = segments.last().unwrap();
    let whole = fs::read(last).unwrap();
    fs::write(last, &whole[..whole.len() - 1]).unwrap();
    let reached = all.last().unwrap().head.next;
    let known =
        |reached, access| LaneReader::open(&folder.path, &lane(0), 0, Some(reached), access);
    let refused = known(reached, Access::Recover).err().unwrap();
    named(&refused, &segments[2..]);
    assert!(refused.to_string().contains(&format!("come to offset {reached}")), "{refused}");
    assert_eq!(fs::read(last).unwrap().len(), whole.len() - 1, "a refusal changes nothing");
    all.pop();
    let reached = all.last().unwrap().head.next;
    known(reached, Access::Look).unwrap();
    assert_eq!(fs::read(last).unwrap().len(), whole.len() - 1, "looking changes nothing");
    let mut reader = known(reached, Access::Recover).unwrap();
    assert_eq!(rest(&mut reader).unwrap(), all);
    assert!(fs::read(last).unwrap().len() < whole.len() - HEAD);
    let (mut journal, _woken) = start(&folder.path, 3);
    let next = frame(20, reached, 1, 5);
    append(&mut journal, 0, &next);
    journal.close().unwrap();
    all.push(next);
    assert_eq!(look(&folder.path, &lane(0), 0).unwrap(), all);
}

#[test]
fn a_segment_without_its_header_was_never_there() {
    let folder = Folder::new();
    let (all, segments) = journal(&folder);
    let torn = segments[0].with_file_name("00000000000000000008-0000000003.seg");
    let header = fs::read(&segments[2]).unwrap();
    for bytes in [&[] as &[u8], &header[..50], &header[..100], &[0; 4096]] {
        fs::write(&torn, bytes).unwrap();
        assert_eq!(look(&folder.path, &lane(0), 0).unwrap(), all);
        assert!(torn.exists());
        assert_eq!(rest(&mut open(&folder.path, &lane(0), 0).unwrap()).unwrap(), all);
        assert!(!torn.exists());
    }
}

#[test]
fn what_is_missing_or_misplaced_is_named() {
    let folder = Folder::new();
    let (all, segments) = journal(&folder);
    let middle = fs::read(&segments[1]).unwrap();
    fs::remove_file(&segments[1]).unwrap();
    named(&look(&folder.path, &lane(0), 0).unwrap_err(), &segments[1..2]);
    assert_eq!(look(&folder.path, &lane(0), 8).unwrap(), all[7..], "it is not needed for that");
    fs::copy(&segments[0], &segments[1]).unwrap();
    named(&look(&folder.path, &lane(0), 0).unwrap_err(), &segments[1..2]);
    fs::write(&segments[1], middle).unwrap();
    let other = lane(1).folder(&folder.path);
    fs::create_dir_all(&other).unwrap();
    fs::copy(&segments[0], other.join(segments[0].file_name().unwrap())).unwrap();
    let refused = look(&folder.path, &lane(1), 0).unwrap_err();
    assert!(refused.to_string().contains("partition 0 of source `prices.eu`"), "{refused}");
    fs::write(segments[0].with_file_name("copy of it.seg"), "").unwrap();
    assert!(look(&folder.path, &lane(0), 0).unwrap_err().to_string().contains("copy of it.seg"));
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// How many changes a test of damage makes; the full dose is `ANABRANCH_CHANGES=10000`.
fn changes_to_try() -> usize {
    std::env::var("ANABRANCH_CHANGES").map_or(2_000, |text| text.parse().unwrap())
}

#[test]
fn changed_bytes_never_give_other_frames() {
    let folder = Folder::new();
    let (all, segments) = journal(&folder);
    let whole: Vec<_> = segments.iter().map(|path| fs::read(path).unwrap()).collect();
    let mut numbers = Numbers(3);
    let (mut refusals, mut prefixes) = (0, 0);
    for _ in 0..changes_to_try() {
        let index = numbers.below(segments.len());
        let mut bytes = whole[index].clone();
        let changes = 1 + numbers.below(3);
        for _ in 0..changes {
            let at = numbers.below(bytes.len());
            bytes[at] ^= u8::try_from(1 + numbers.below(255)).unwrap();
        }
        fs::write(&segments[index], bytes).unwrap();
        match look(&folder.path, &lane(0), 0) {
            Ok(read) => {
                // Of one change only the last frame of all has nothing after it that shows it.
                assert!(index + 1 == segments.len() && read.len() < all.len());
                assert!(changes > 1 || read.len() + 1 == all.len(), "{read:?}");
                assert_eq!(read, all[..read.len()]);
                prefixes += 1;
            }
            Err(error) => {
                named(&error, &segments[index..=index]);
                refusals += 1;
            }
        }
        fs::write(&segments[index], &whole[index]).unwrap();
    }
    println!("{refusals} refusals, {prefixes} prefixes");
    assert!(refusals > 500 && prefixes > 50, "{refusals} {prefixes}");
}

/// One that says how long the header is, too: the whole file is not taken for one that was being made.
#[test]
fn no_changed_bit_of_a_header_goes_unseen() {
    let folder = Folder::new();
    let (_, segments) = journal(&folder);
    let path = segments.last().unwrap();
    let whole = fs::read(path).unwrap();
    let header = usize::try_from(u32::from_le_bytes(*whole[12..].first_chunk().unwrap())).unwrap();
    assert!(header > 96, "{header}");
    for at in 0..header {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            fs::write(path, bytes).unwrap();
            let refused = look(&folder.path, &lane(0), 0);
            let Err(refused) = refused else { panic!("bit {bit} of byte {at}: {refused:?}") };
            named(&refused, &segments[2..]);
        }
    }
}

/// A write of many frames of which some blocks never came to the disk.
#[test]
fn a_hole_is_torn_unless_it_was_on_the_disk() {
    let folder = Folder::new();
    let (mut journal, woken) = start(&folder.path, 1);
    let all: Vec<_> = (0..9).map(|n| frame(n + 1, n, 1, 2_000)).collect();
    for kept in &all[..4] {
        append(&mut journal, 0, kept);
    }
    journal.commit(5);
    until_durable(&journal, &woken, 5);
    for kept in &all[4..] {
        append(&mut journal, 0, kept);
    }
    journal.close().unwrap();
    let path = folder.segments(&lane(0)).remove(0);
    let whole = fs::read(&path).unwrap();
    let starts: Vec<_> =
        whole.windows(4).enumerate().filter(|(_, four)| *four == b"ANBF").collect();
    let starts: Vec<_> = starts.into_iter().map(|(at, _)| at).collect();
    assert_eq!(starts.len(), all.len());
    for (frame, start) in starts.iter().enumerate() {
        let hole = (start + HEAD).next_multiple_of(512);
        let mut bytes = whole.clone();
        bytes[hole..hole + 512].fill(0);
        fs::write(&path, &bytes).unwrap();
        let read = look(&folder.path, &lane(0), 0);
        if frame < 4 {
            named(&read.unwrap_err(), std::slice::from_ref(&path));
        } else {
            assert_eq!(read.unwrap(), all[..frame]);
        }
        // The same place with other bytes is damage, unless nothing is after it.
        bytes[hole..hole + 512].fill(255);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(look(&folder.path, &lane(0), 0).is_ok(), frame == 8);
    }
}

/// A payload that is a journal itself is not taken for one.
#[test]
fn a_journal_within_a_torn_frame_is_not_read() {
    let folder = Folder::new();
    let (_, segments) = journal(&folder);
    let inner = fs::read(&segments[0]).unwrap();
    let outer = Folder::new();
    let (mut journal, _woken) = start(&outer.path, 1);
    let mut kept = frame(1, 0, 1, 1);
    kept.payload = inner;
    append(&mut journal, 0, &kept);
    journal.close().unwrap();
    let path = outer.segments(&lane(0)).remove(0);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(look(&outer.path, &lane(0), 0).unwrap(), []);
}
