//! A log against a plain list, with torn ends, damage and removal; not the sockets that it serves.

use std::ops::Range;

use proptest::prelude::*;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let mut random = [0; 8];
        anabranch::clock::entropy(&mut random).unwrap();
        let name = format!("anabranch-log-{:016x}", u64::from_le_bytes(random));
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self, bytes_max: u64, position: u64) -> Result<Log> {
        Log::open(&self.0, bytes_max, position, "test", Arc::new(|_| false))
    }

    fn segments(&self) -> Vec<PathBuf> {
        find(&self.0).unwrap().into_iter().map(|(_, path)| path).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn id(n: u64) -> Vec<u8> {
    format!("prices-0-{n}").into_bytes()
}

fn payload(n: u64) -> Vec<u8> {
    let id = id(n);
    let frame = vec![b'x'; (n * 7 % 50) as usize];
    [&(id.len() as u16).to_le_bytes()[..], &id, &frame].concat()
}

/// Gives these records; says how many were new.
fn give(log: &mut Log, records: Range<u64>) -> usize {
    let new = records.filter(|n| log.take(&payload(*n)).unwrap()).count();
    log.sync().unwrap();
    new
}

/// What a subscriber gets that has everything up to `after`: the records, and the gap.
fn read(log: &Log, after: u64) -> (Vec<Vec<u8>>, Option<Option<Vec<u8>>>) {
    let mut reader = LogReader::new(log.segments());
    let gap = match reader.seek(&id(after), log.next()).unwrap() {
        Chunk::Gone(first) => Some(first),
        Chunk::Records(_) => None,
    };
    let mut all = Vec::new();
    while reader.cursor() < log.next() {
        match reader.read(log.next(), 200).unwrap() {
            Chunk::Records(records) => all.extend(records),
            Chunk::Gone(_) => panic!("nothing is removed meanwhile"),
        }
    }
    (all, gap)
}

fn payloads(records: Range<u64>) -> Vec<Vec<u8>> {
    records.map(payload).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Against the list of all records: whatever crashes, the log is the end of it, and who comes
    /// back gets exactly what it lacks.
    #[test]
    fn a_log_is_the_end_of_what_was_given(
        bytes_max in 500..20_000_u64,
        runs in proptest::collection::vec((1..120_u64, 0..60_u64, 0..200_u64), 1..5),
    ) {
        let folder = Folder::new();
        let (mut position, mut end) = (0, 0);
        for (count, checkpointed, torn) in runs {
            let mut log = folder.open(bytes_max, position).unwrap();
            prop_assert!(log.next() <= end);
            let from = log.next();
            let last = end.max(position) + count;
            prop_assert_eq!(give(&mut log, position..last) as u64, last - from);
            end = last;
            let kept = log.segments().lock().iter().map(|segment| segment.bytes).sum::<u64>();
            prop_assert!(kept <= bytes_max + bytes_max / SEGMENTS + 200, "{} of {}", kept, bytes_max);
            let oldest = log.segments().lock()[0].first;
            for after in [0, oldest, oldest + 1, end - 1, end / 2] {
                let (records, gap) = read(&log, after);
                let has = (oldest..end).contains(&after);
                let first = if has { after + 1 } else { oldest };
                prop_assert_eq!(records, payloads(first..end));
                prop_assert_eq!(gap, (!has).then(|| Some(id(oldest))));
            }
            drop(log);
            // A crash tears some of what no checkpoint knows of.
            let path = folder.segments().pop().unwrap();
            let first: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            let length = std::fs::metadata(&path).unwrap().len();
            File::options().write(true).open(&path).unwrap()
                .set_len(length.saturating_sub(torn)).unwrap();
            let left = segment::scan(&path, first, &mut |_, _| ()).unwrap().next;
            position = left.saturating_sub(checkpointed).max(position.min(left));
        }
    }
}

#[test]
fn every_torn_end_is_cut_and_comes_again() {
    let folder = Folder::new();
    let mut log = folder.open(1 << 20, 0).unwrap();
    give(&mut log, 0..8);
    drop(log);
    let path = folder.segments().pop().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        for zeros in [0, 100] {
            let mut torn = bytes[..cut].to_vec();
            torn.resize(cut + zeros, 0);
            std::fs::write(&path, torn).unwrap();
            let mut log = folder.open(1 << 20, 0).unwrap();
            give(&mut log, 0..8);
            drop(log);
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "{cut} {zeros}");
        }
    }
}

#[test]
fn a_log_that_lacks_what_a_checkpoint_knows_is_refused() {
    let folder = Folder::new();
    let mut log = folder.open(1 << 20, 0).unwrap();
    give(&mut log, 0..20);
    drop(log);
    let error = folder.open(1 << 20, 21).err().unwrap().to_string();
    assert!(error.contains("record 20") && error.contains("21"), "{error}");
    // What the message says helps.
    std::fs::remove_dir_all(&folder.0).unwrap();
    let mut log = folder.open(1 << 20, 21).unwrap();
    assert_eq!(give(&mut log, 21..25), 4);
    assert_eq!(read(&log, 20), (payloads(21..25), Some(Some(id(21)))));
}

#[test]
fn damage_before_the_end_is_put_aside_and_the_rest_is_good() {
    let folder = Folder::new();
    let mut log = folder.open(2000, 0).unwrap();
    give(&mut log, 0..40);
    drop(log);
    let before = folder.segments();
    assert!(before.len() > 4);
    let mut bytes = std::fs::read(&before[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&before[1], bytes).unwrap();
    let mut log = folder.open(2000, 38).unwrap();
    assert_eq!(give(&mut log, 38..41), 1);
    let oldest = log.segments().lock()[0].first;
    assert_eq!(format!("{oldest:020}.seg"), before[2].file_name().unwrap().to_str().unwrap());
    assert!(before[1].with_extension("damaged").exists());
    assert_eq!(read(&log, 0), (payloads(oldest..41), Some(Some(id(oldest)))));
}

#[test]
fn another_record_than_before_is_an_error_that_names_it() {
    let folder = Folder::new();
    let mut log = folder.open(1 << 20, 0).unwrap();
    give(&mut log, 0..20);
    drop(log);
    let mut log = folder.open(1 << 20, 5).unwrap();
    assert!(!log.take(&payload(5)).unwrap());
    let error = log.take(&payload(7)).unwrap_err().to_string();
    assert!(error.contains("number 6") && error.contains("prices-0-7"), "{error}");
}

#[test]
fn an_empty_log_has_a_gap_and_no_records() {
    let folder = Folder::new();
    let log = folder.open(1 << 20, 0).unwrap();
    assert_eq!(read(&log, 3), (Vec::new(), Some(None)));
}

/// The reader is slower than the log's end moves on.
#[test]
fn what_goes_while_it_is_read_is_said() {
    let folder = Folder::new();
    let mut log = folder.open(2000, 0).unwrap();
    give(&mut log, 0..10);
    let mut reader = LogReader::new(log.segments());
    reader.seek(&id(0), 10).unwrap();
    assert_eq!(reader.read(10, 1).unwrap(), Chunk::Records(payloads(1..2)));
    give(&mut log, 10..300);
    let oldest = log.segments().lock()[0].first;
    let mut got = Vec::new();
    let gone = loop {
        match reader.read(300, 100).unwrap() {
            Chunk::Records(records) => got.extend(records),
            Chunk::Gone(first) => break first,
        }
    };
    // What it had open it reads to its end.
    assert_eq!(got, payloads(2..2 + got.len() as u64));
    assert_eq!(gone, Some(id(oldest)));
    assert_eq!(reader.read(300, 1).unwrap(), Chunk::Records(payloads(oldest..oldest + 1)));
}
