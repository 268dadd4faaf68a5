//! Sources that go on where an earlier run stopped.

use std::io::Write as _;

use anabranch::source::{Intake, OpenContext, Progress, Resume, Source as _, Waker};
use anabranch_connectors::market;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Folder, Got, Source, connect, tcp};

fn from(from: u64, position: &[u8]) -> Resume {
    Resume { from, position: position.to_vec(), ..Resume::default() }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Reads `first` frames, and the rest after a restart: with the position, and by skipping.
#[track_caller]
fn split(url: &str, first: usize) -> Vec<Vec<Got>> {
    let mut source = Source::open(url);
    let (front, result) = source.read_to(first);
    result.unwrap();
    let next = front.last().map_or(0, |got| got.offset + 1);
    let mut ways = vec![Vec::new()];
    ways.push(source.position());
    let rest = |position: &Vec<u8>| {
        let mut source = Source::resume(url, from(next, position)).unwrap();
        front.iter().cloned().chain(source.read_all()).collect()
    };
    ways.iter().map(rest).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is in a file, and wherever the run stopped, the frames are the same.
    #[test]
    fn a_file_is_read_as_if_it_had_not_been_interrupted(
        text in "[ab,\"\r\n ]{0,80}",
        recording: bool,
        mark: bool,
        name in prop_oneof![
            Just("a.txt"), Just("a.csv"), Just("a.txt.gz"), Just("a.csv.gz"), Just("a.txt.zst")
        ],
        line_max in prop_oneof![Just(3), Just(1000)],
        first in 1..12_usize,
    ) {
        let mut text = text;
        if recording {
            text = format!("a note\n1618677817.06: {{\"n\":1}}\n{text}\n1618677818.5: [2]\nnote\n");
        }
        if mark {
            text.insert(0, '\u{feff}');
        }
        let bytes = match name.rsplit('.').next() {
            Some("gz") => gzip(text.as_bytes()),
            Some("zst") => zstd::encode_all(text.as_bytes(), 1).unwrap(),
            _ => text.clone().into_bytes(),
        };
        let folder = Folder::new();
        let url = format!("{}?line_max={line_max}", folder.file(name, bytes));
        // The columns of a row that is too long are refused, and there is nothing to read.
        let (whole, result) = match Source::try_open(&url, 0) {
            Ok(mut source) => source.read_to(usize::MAX),
            Err(_) => return Ok(()),
        };
        prop_assert_eq!(result.unwrap(), Progress::End);
        for read in split(&url, first) {
            prop_assert_eq!(&read, &whole);
        }
    }
}

#[test]
fn a_large_file_is_taken_up_in_its_middle() {
    let folder = Folder::new();
    let text: String = (0..200_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let url = folder.file("a.jsonl", text);
    for read in split(&url, 123_456) {
        assert_eq!(read.len(), 200_000);
        assert!(read.iter().zip(0..).all(|(got, n)| got.offset == n));
        assert_eq!(read[123_456].text(), "{\"n\":123456}");
    }
}

/// With the position of frames before `from`, as a crash may leave them, nothing is missing.
#[test]
fn a_position_that_lags_is_good_and_one_that_leads_is_not_used() {
    let folder = Folder::new();
    let url = folder.file("a.txt", "zero\none\n\ntwo\nthree\n");
    let mut source = Source::open(&url);
    source.read(1);
    let early = source.position();
    source.read(2);
    let late = source.position();
    for position in [&early[..], &late, b"", b"no position at all"] {
        let rest = Source::resume(&url, from(3, position)).unwrap().texts(2);
        assert_eq!(rest, ["two", "three"]);
    }
}

#[test]
fn a_file_that_shrank_is_an_error_that_says_so() {
    let folder = Folder::new();
    for (name, text) in [("a.txt", "one\ntwo\nthree\nfour\n"), ("a.csv", "n\none\ntwo\nthree\n")] {
        let url = folder.file(name, text);
        let mut source = Source::open(&url);
        source.read(3);
        let position = source.position();
        folder.file(name, &text[..8]);
        for position in [&position[..], b""] {
            let failed = match Source::resume(&url, from(3, position)) {
                Ok(mut source) => source.read_to(usize::MAX).1.err(),
                Err(error) => Some(error),
            };
            let text = failed.unwrap().to_string();
            assert!(text.contains(name) && text.contains("changed"), "{text}");
        }
    }
    // The same length and other lines.
    let url = folder.file("b.txt", "one\ntwo\nthree\n");
    let mut source = Source::open(&url);
    source.read(1);
    let position = source.position();
    folder.file("b.txt", "onetwo\n\nthree\n");
    let text = Source::resume(&url, from(1, &position)).err().unwrap().to_string();
    assert!(text.contains("changed"), "{text}");
}

#[test]
fn a_made_market_goes_on() {
    let url = "gen:?seed=7&keys=20&count=5000&partitions=3";
    let read = |from_offset| {
        let mut context = OpenContext::new("test", Waker::new(|| ()), Default::default());
        context.resume = from(from_offset, b"");
        let market = market::parse(url).unwrap();
        let mut reader = market.open(1, &context).unwrap();
        let mut intake = Intake::detached(100_000, 1 << 30);
        let result = loop {
            match reader.read(&mut intake) {
                Ok(Progress::End) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        result.map(|()| intake.take().into_iter().map(|trade| trade.unwrap()).collect::<Vec<_>>())
    };
    let all = read(0).unwrap();
    assert!(all.len() > 1000);
    assert_eq!(read(700).unwrap(), all[700..]);
    assert_eq!(read(all.len() as u64).unwrap(), []);
    assert!(read(all.len() as u64 + 1).unwrap_err().to_string().contains("gen:"));
}

#[test]
fn live_sources_number_their_frames_from_where_they_were() {
    let mut source = Source::resume("ws-listen://:0/", from(1000, b"")).unwrap();
    let mut socket = connect(source.port(), "/");
    socket.send(Message::text("a")).unwrap();
    socket.send(Message::text("b")).unwrap();
    let offsets: Vec<u64> = source.read(2).iter().map(|got| got.offset).collect();
    assert_eq!(offsets, [1000, 1001]);
    let mut source = Source::resume("tcp-listen://:0", from(7, b"")).unwrap();
    tcp(source.port()).write_all(&[0, 0, 0, 1, b'x']).unwrap();
    assert_eq!(source.read(1)[0].offset, 7);
}
