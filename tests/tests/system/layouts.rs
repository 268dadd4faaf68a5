//! The same recorded files give the same bytes, whatever the layout: those of a plain loop.

use std::fs::File;
use std::io::{Read, Write};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::run::{Running, program};
use crate::support::{Dice, Folder, LAYOUTS, Words, assert_same};

const LINES: usize = 4_000;

fn lines(seed: u64) -> Vec<String> {
    let mut dice = Dice(seed);
    (0..LINES).map(|_| dice.line()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What `word-count` makes of `text` in one layout, through a file.
fn counted(text: &str, layout: &[&str], folder: &Folder, to: &str) -> Vec<u8> {
    let counts = format!("file:{}", folder.name(to));
    let arguments = [&["--text", text, "--counts", &counts], layout].concat();
    Running::start(&mut program("word-count", arguments)).succeeds();
    std::fs::read(folder.path(to)).unwrap()
}

/// Files without times: all of the first, then all of the second.
#[test]
fn words_of_several_files_by_commas_and_globs_compressed_or_not() {
    let folder = Folder::new();
    let texts: Vec<Vec<String>> = (1..=5).map(lines).collect();
    let joined: Vec<String> = texts.iter().map(|lines| lines.join("\n") + "\n").collect();
    folder.write("a-1.txt", &joined[0]);
    folder.write("a-2.txt.gz", gzip(joined[1].as_bytes()));
    folder.write("a-3.txt.zst", zstd::encode_all(joined[2].as_bytes(), 0).unwrap());
    // Without a newline at its end, with Windows's at the others.
    folder.write("b.txt", texts[3].join("\r\n"));
    folder.write("c.txt", &joined[4]);
    let wanted = Words::of(texts.iter().flatten().map(String::as_str));
    let names = ["a-*", "b.txt", "c.txt"].map(|name| folder.name(name));
    let text = format!("file:{}", names.join(","));
    let mut compressed = Vec::new();
    for layout in LAYOUTS {
        let plain = counted(&text, layout, &folder, "counts.txt");
        assert_same(&format!("{layout:?}"), &plain, wanted.as_bytes());
        compressed.push(counted(&text, layout, &folder, "counts.txt.gz"));
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(compressed[0].as_slice()).read_to_end(&mut unpacked).unwrap();
    assert_same("unpacked", &unpacked, wanted.as_bytes());
    for (compressed_bytes, layout) in compressed.iter().zip(LAYOUTS) {
        assert!(*compressed_bytes == compressed[0], "{layout:?} compresses to other bytes");
    }
}

/// Recordings are merged by their stamps, raised to the running maximum of each.
#[test]
fn words_of_stamped_recordings_are_merged_by_time() {
    let folder = Folder::new();
    let mut dice = Dice(77);
    let mut merged = Vec::new();
    for partition in 0..4_usize {
        // One is shorter than the others, one nearly stands still.
        let (count, pace) = [(LINES, 3), (LINES / 50, 3), (LINES, 1), (2 * LINES, 2)][partition];
        let mut file = File::create(folder.path(&format!("{partition}.txt"))).unwrap();
        let (mut clock, mut time) = (1_700_000_000_000_u64, 0);
        for index in 0..count {
            clock += dice.below(pace);
            // Sometimes a receipt stamp goes back.
            let stamp = clock - 500 * u64::from(dice.below(20) == 0);
            time = stamp.max(time);
            let line = format!("[ {}]", dice.line());
            writeln!(file, "{}.{:03}: {line}", stamp / 1000, stamp % 1000).unwrap();
            if dice.below(50) == 0 {
                writeln!(file, "a note of the recorder").unwrap();
            }
            merged.push((time, partition, index, line));
        }
    }
    merged.sort();
    let wanted = Words::of(merged.iter().map(|(.., line)| line.as_str()));
    let text = format!("file:{}", folder.name("*.txt"));
    for layout in LAYOUTS {
        let counts = counted(&text, layout, &folder, "counts");
        assert_same(&format!("{layout:?}"), &counts, wanted.as_bytes());
    }
    // Nor do the other ways to cut the work change anything.
    for odd in [["--partitions", "1"], ["--partitions", "7"], ["--in-flight-records", "1"]] {
        let counts = counted(&text, &[&odd[..], &["-w", "2"]].concat(), &folder, "counts");
        assert_same(&format!("{odd:?}"), &counts, wanted.as_bytes());
    }
}
