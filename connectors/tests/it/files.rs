//! Files as sources and sinks: exact frames, offsets and stamps; bounded; errors that name the file.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use anabranch::config::Config;
use anabranch::{Time, sink, source};
use anabranch_connectors::inlet;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{Folder, Got, Sink, Source};

fn frame(offset: u64, text: &str) -> Got {
    Got { offset, stamp: None, columns: None, bytes: text.into(), refusal: None }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn failure(url: &str) -> String {
    let error = inlet(url).unwrap().partitions().unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn each_line_is_a_frame_and_its_number_the_offset() {
    let folder = Folder::new();
    let url = folder.file("a.jsonl", "{\"a\":1}\n\n  \n{\"a\":2}\r\nnot JSON\n{\"a\":3}");
    let frames = Source::open(&url).read_all();
    let expected = [(0, "{\"a\":1}"), (3, "{\"a\":2}"), (4, "not JSON"), (5, "{\"a\":3}")];
    assert_eq!(frames, expected.map(|(offset, text)| frame(offset, text)));
}

#[test]
fn each_file_is_a_partition_in_the_order_of_names() {
    let folder = Folder::new();
    for name in ["b-2.jsonl", "b-1.jsonl", "a.jsonl", "c.txt"] {
        folder.file(name, name);
    }
    let url =
        format!("{},{}?line_max=1KiB", folder.url("b-?.jsonl"), folder.path("a.jsonl").display());
    let source = inlet(&url).unwrap();
    assert_eq!(source.partitions().unwrap(), 3);
    for (partition, name) in ["a.jsonl", "b-1.jsonl", "b-2.jsonl"].iter().enumerate() {
        let mut source = Source::try_open(&url, partition).unwrap();
        assert_eq!(source.read_all(), [frame(0, name)]);
    }
    assert!(Source::try_open(&url, 3).is_err());
}

#[test]
fn what_is_no_file_is_refused_by_name() {
    let folder = Folder::new();
    assert!(failure(&folder.url("missing.jsonl")).contains("missing.jsonl"));
    assert!(failure(&folder.url("*.jsonl")).contains("*.jsonl` matches no file"));
    let directory = format!("file:{}", folder.as_ref().display());
    assert!(failure(&directory).contains("is a directory"));
    assert!(failure("file:/dev/null").contains("`-`"));
    let fifo = folder.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(failure(&folder.url("fifo")).contains("`-`"));
    let error = Sink::try_open(&folder.url("fifo")).err().unwrap();
    assert!(error.to_string().contains("fifo"), "{error}");
}

#[test]
fn csv_rows_come_with_their_columns_and_exact_bytes() {
    let folder = Folder::new();
    let text =
        "\"symbol\",price,note\r\n\"BTC\",1.50,\"two\r\nlines, \"\"quoted\"\"\"\r\n\r\nETH,2,\r\n";
    for (name, bytes) in [
        ("a.csv", text.as_bytes().to_vec()),
        ("a.csv.gz", gzip(text.as_bytes())),
        ("a.csv.zst", zstd::encode_all(text.as_bytes(), 3).unwrap()),
    ] {
        let frames = Source::open(&folder.file(name, bytes)).read_all();
        let columns = Some(["symbol", "price", "note"].map(str::to_owned).to_vec());
        let row = |offset, text: &str| Got { columns: columns.clone(), ..frame(offset, text) };
        let first = row(0, "\"BTC\",1.50,\"two\r\nlines, \"\"quoted\"\"\"");
        assert_eq!(frames, [first, row(1, "ETH,2,")]);
    }
    assert_eq!(Source::open(&folder.file("empty.csv", "")).read_all(), []);
    let lines = Source::open(&(folder.file("b.csv", "a,b\n1,2\n") + "?format=lines")).read_all();
    assert_eq!(lines, [frame(0, "a,b"), frame(1, "1,2")]);
}

#[test]
fn a_recording_gives_stamps_and_skips_notes_but_counts_their_lines() {
    let folder = Folder::new();
    let seconds = "wss://feed <-> 1618677816.8434298\n\
        wss://feed <- 1618677817.020616: {\"type\":\"subscribe\"}\n\
        1618677817.061845: {\"n\":1}\n\
        \n\
        {\"n\":2}\n\
        1618677817.0208309: not JSON, but received\n";
    let mut source = Source::open(&folder.file("a.txt", seconds));
    let stamp = |nanos| Some(Time::from_nanos(nanos));
    let expected = [
        Got { stamp: stamp(1_618_677_817_061_845_000), ..frame(2, "{\"n\":1}") },
        frame(4, "{\"n\":2}"),
        Got { stamp: stamp(1_618_677_817_020_830_900), ..frame(5, "not JSON, but received") },
    ];
    assert_eq!(source.read_all(), expected);
    assert_eq!(source.count("notes"), 2);

    let nanos = "1723161253937085768 {\"n\":1}\n1723161254036059768 {\"n\":2}\n";
    let expected = [
        Got { stamp: stamp(1_723_161_253_937_085_768), ..frame(0, "{\"n\":1}") },
        Got { stamp: stamp(1_723_161_254_036_059_768), ..frame(1, "{\"n\":2}") },
    ];
    assert_eq!(Source::open(&folder.file("b.gz", gzip(nanos.as_bytes()))).read_all(), expected);
}

/// Nothing is skipped in a file that is no recording, whatever it begins with.
#[test]
fn a_text_with_numbers_is_no_recording() {
    let folder = Folder::new();
    let text = "2024 was a year\n12: a dozen\nwss://feed <-> 1618677816.8434298\n";
    assert_eq!(Source::open(&folder.file("a.txt", text)).read_all().len(), 3);
    let forced = folder.url("a.txt") + "?format=recording";
    assert_eq!(Source::open(&forced).read_all()[0].text(), "a dozen");
}

#[test]
fn compressed_files_read_as_what_they_hold_several_members_included() {
    let folder = Folder::new();
    let text: String = (0..50_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let (front, back) = text.as_bytes().split_at(123_456);
    let plain = Source::open(&folder.file("a.jsonl", &text)).read_all();
    assert_eq!(plain.len(), 50_000);
    let zst = [zstd::encode_all(front, 1).unwrap(), zstd::encode_all(back, 1).unwrap()].concat();
    for (name, bytes) in [("a.jsonl.gz", [gzip(front), gzip(back)].concat()), ("a.jsonl.zst", zst)]
    {
        assert!(Source::open(&folder.file(name, bytes)).read_all() == plain, "{name}");
    }
}

#[test]
fn a_truncated_file_gives_its_whole_lines_and_then_an_error_with_its_name() {
    let folder = Folder::new();
    let text: String = (0..50_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    for (name, mut bytes) in
        [("a.gz", gzip(text.as_bytes())), ("a.zst", zstd::encode_all(text.as_bytes(), 1).unwrap())]
    {
        bytes.truncate(bytes.len() * 2 / 3);
        let (frames, result) = Source::open(&folder.file(name, bytes)).read_to(usize::MAX);
        let error = result.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(frames.len() > 10_000 && frames.len() < 50_000, "{}", frames.len());
        for (n, got) in frames.iter().enumerate() {
            assert_eq!(got.text(), format!("{{\"n\":{n}}}"));
        }
    }
    let url = folder.file("b.gz", "this is no gzip file\n");
    let error = Source::try_open(&url, 0).and_then(|mut source| source.read_to(1).1).err();
    assert!(error.unwrap().to_string().contains("b.gz"));
}

#[test]
fn a_line_above_the_cap_is_refused_counted_and_does_not_shift_the_others() {
    let folder = Folder::new();
    let long = "x".repeat(1 << 20);
    let text = format!("{{\"n\":0}}\n{{\"{long}\":1}}\n{{\"n\":2}}\n");
    let mut source = Source::open(&(folder.file("a.jsonl", text) + "?line_max=100KiB"));
    let frames = source.read_all();
    assert_eq!(frames.iter().map(|got| got.offset).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((frames[1].bytes.len(), frames[2].text()), (64 << 10, "{\"n\":2}"));
    assert_eq!(source.count("oversized"), 1);
    let refusal = frames[1].refusal.as_ref().unwrap();
    assert!(refusal.contains("102400 bytes") && refusal.contains("`line_max`"), "{refusal}");
    assert!(frames[0].refusal.is_none() && frames[2].refusal.is_none());
    let rows = folder.file("a.csv", format!("a,b\n1,{long}\n2,3\n")) + "?line_max=100KiB";
    let frames = Source::open(&rows).read_all();
    assert!(frames[0].refusal.is_some());
    assert_eq!((frames[1].text(), &frames[1].refusal), ("2,3", &None));
}

#[test]
fn a_file_may_be_one_frame() {
    let folder = Folder::new();
    let whole = |name, text: String| folder.file(name, text) + "?format=whole&line_max=100KiB";
    let frames = Source::open(&whole("a.json", "[1,\n\n 2]\n".to_owned())).read_all();
    assert_eq!(frames.iter().map(|got| got.text()).collect::<Vec<_>>(), ["[1,\n\n 2]\n"]);
    assert!(Source::open(&whole("b.json", "\n \n".to_owned())).read_all().is_empty());
    let frames = Source::open(&whole("c.json", "[\n1]".repeat(1 << 17))).read_all();
    assert_eq!(frames.len(), 1);
    assert!(frames[0].refusal.as_ref().unwrap().contains("102400 bytes"));
}

/// The beginning of a long line is a text like any other; no decoder is asked about it.
#[test]
fn a_decoder_that_takes_any_text_does_not_get_a_part_of_a_line() {
    let folder = Folder::new();
    let long = "x".repeat(1 << 20);
    let url = folder.file("a.txt", format!("one\n{long}\nthree\n")) + "?line_max=100KiB";
    let counters = anabranch::run(&Config::default(), move |app| {
        let lines = source::frames(inlet(&url)?, || source::Text);
        app.source("lines", lines).sink("out", sink::null());
        app.dead_letters(sink::null());
        Ok(())
    });
    let counts = counters.unwrap().snapshot();
    assert_eq!((counts["lines.records"], counts["out.records"]), (2, 2));
    assert_eq!((counts["lines.dead_letters"], counts["dead-letters.records"]), (1, 1));
}

/// Of the folder that `ANABRANCH_RECORDINGS` names: real feeds, which are not in the repository.
#[test]
fn real_recordings_read_whole() {
    let Some(folder) = std::env::var_os("ANABRANCH_RECORDINGS").map(PathBuf::from) else {
        return println!("skipped: ANABRANCH_RECORDINGS names no folder of recordings");
    };
    let read = |name| Source::open(&format!("file:{}", folder.join(name).display())).read_all();
    let coinbase = read("coinbase-exchange-2021-04-17.txt.gz");
    assert_eq!(coinbase.len(), 9_946);
    assert!(coinbase.iter().all(|got| got.stamp.is_some() && got.bytes.starts_with(b"{")));
    let binance = read("binance-spot-btcusdt-2024-08-08.gz");
    // 28,040 + 9,757 + 3,451 stream messages and one snapshot.
    assert_eq!(binance.len(), 41_249);
    assert_eq!(binance[0].stamp, Some(Time::from_nanos(1_723_161_253_937_085_768)));
    let trades = read("btc-usd-trades-2023-09-05.csv");
    assert_eq!(trades.len(), 3_900);
    let columns = ["symbol", "side", "price", "amount", "timestamp"];
    assert_eq!(trades[0].columns.as_ref().unwrap(), &columns);
}

#[test]
fn a_file_sink_writes_a_line_a_frame_and_truncates() {
    let folder = Folder::new();
    let url = folder.file("out.jsonl", "what was there before\n");
    let mut sink = Sink::open(&url);
    for n in 0..10_000 {
        sink.write(format!("{{\"n\":{n}}}").as_bytes());
    }
    sink.close().unwrap();
    let expected: String = (0..10_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    assert_eq!(std::fs::read_to_string(folder.path("out.jsonl")).unwrap(), expected);
}

/// A slow stream and a burst give the same file, compressed or not.
#[test]
fn a_file_has_the_same_bytes_however_the_frames_came() {
    let folder = Folder::new();
    for end in ["jsonl", "jsonl.gz", "jsonl.zst"] {
        let mut written = Vec::new();
        for (pace, options) in [(1, ""), (700, ""), (20_000, "?queue_records=2&queue_bytes=100")] {
            let name = format!("{pace}.{end}");
            let mut sink = Sink::open(&(folder.url(&name) + options));
            for n in 0..20_000_u64 {
                sink.write(
                    format!("{{\"n\":{}}}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).as_bytes(),
                );
                if n % pace == 0 {
                    sink.flush().unwrap();
                }
            }
            sink.close().unwrap();
            written.push(std::fs::read(folder.path(&name)).unwrap());
            let read = Source::open(&folder.url(&name)).read_all();
            assert_eq!((read.len(), read[1].text()), (20_000, "{\"n\":11400714819323198485}"));
        }
        assert!(written.iter().all(|file| *file == written[0]), "{end}");
    }
}

#[test]
fn a_full_disk_is_an_error_with_the_path() {
    if File::open("/dev/full").is_err() {
        return println!("skipped: this system has no /dev/full");
    }
    let mut sink = Sink::open("file:/dev/full");
    let written = (0..).find_map(|_| sink.try_write(&[b'x'; 4096]).err());
    let text = written.unwrap().to_string();
    assert!(text.contains("/dev/full"), "{text}");
    assert!(sink.close().is_err(), "what was lost is not forgotten");
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_with_the_path() {
    let folder = Folder::new();
    let error = Sink::try_open(&folder.url("missing/out.jsonl")).err().unwrap();
    assert!(error.to_string().contains("missing/out.jsonl"), "{error}");
}

#[test]
fn null_takes_everything_and_counts() {
    let mut sink = Sink::open("null:");
    for _ in 0..1000 {
        sink.write(b"abc");
    }
    sink.close().unwrap();
    assert_eq!((sink.count("frames"), sink.count("bytes")), (1000, 3000));
}
