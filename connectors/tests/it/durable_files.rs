//! The sink `file:` of a program with a data directory: whatever a crash leaves, the file ends as
//! that of a run without faults.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anabranch::Result;

use crate::support::{Folder, Sink, resume};

const ENDS: [&str; 3] = ["jsonl", "jsonl.gz", "jsonl.zst"];

/// Of unequal lengths; a few hold what a line may hold.
fn lines() -> Vec<String> {
    let text =
        ["", "grün ✓", "\r", "\0\0\0", "and a somewhat longer line that compresses less: 8f1c"];
    (0..12).map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}", text[n % text.len()])).collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let mut text = String::new();
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => {
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        }
        "zst" => text = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap(),
        _ => text = String::from_utf8(bytes).unwrap(),
    }
    text
}

fn write(sink: &mut Sink, lines: &[String]) {
    for line in lines {
        sink.write(line.as_bytes());
    }
}

/// A file that a sink wrote, and its positions after some lines.
struct Written {
    folder: Folder,
    url: String,
    name: String,
    lines: Vec<String>,
    bytes: Vec<u8>,
    /// After how many lines, the length of the file, and the position.
    positions: Vec<(usize, usize, Vec<u8>)>,
}

impl Written {
    fn new(end: &str) -> Self {
        let (folder, lines, name) = (Folder::new(), lines(), format!("out.{end}"));
        let url = folder.url(&name);
        let mut positions = vec![(0, 0, Vec::new())];
        let mut sink = Sink::resume(&url, resume(&folder.own("state"), 0, b""), 0).unwrap();
        let mut done = 0;
        for until in [4, 4, 9] {
            write(&mut sink, &lines[done..until]);
            let position = sink.position();
            let length = std::fs::metadata(folder.path(&name)).unwrap().len() as usize;
            positions.push((until, length, position));
            done = until;
        }
        write(&mut sink, &lines[done..]);
        sink.close().unwrap();
        let bytes = std::fs::read(folder.path(&name)).unwrap();
        let written = Self { folder, url, name, lines, bytes, positions };
        assert_eq!(read(&written.path()), text(&written.lines));
        written
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path(&self.name)
    }

    /// What a crash leaves.
    fn leave(&self, bytes: &[u8]) {
        std::fs::write(self.path(), bytes).unwrap();
    }

    fn open(&self, position: &[u8]) -> Result<Sink> {
        Sink::resume(&self.url, resume(&self.folder.own("state"), 0, position), 0)
    }

    /// Gives the lines from `from` on again, to the end.
    fn finish(&self, from: usize, position: &[u8]) {
        let mut sink = self.open(position).unwrap();
        write(&mut sink, &self.lines[from..]);
        sink.close().unwrap();
        assert_eq!(read(&self.path()), text(&self.lines));
    }
}

#[test]
fn the_first_start_empties_the_file_and_no_later_one_does() {
    for end in ENDS {
        let folder = Folder::new();
        let url = folder.file(&format!("out.{end}"), "what was there before\n");
        let state = folder.own("state");
        let mut sink = Sink::resume(&url, resume(&state, 0, b""), 0).unwrap();
        sink.write(b"one");
        sink.close().unwrap();
        drop(sink);
        // Without a checkpoint everything is given again.
        let mut sink = Sink::resume(&url, resume(&state, 0, b""), 0).unwrap();
        sink.write(b"one");
        sink.write(b"two");
        let position = sink.position();
        drop(sink);
        let mut sink = Sink::resume(&url, resume(&state, 0, &position), 2).unwrap();
        sink.write(b"three");
        sink.close().unwrap();
        assert_eq!(read(&folder.path(&format!("out.{end}"))), "one\ntwo\nthree\n");
    }
}

#[test]
fn every_truncation_ends_as_the_run_without_faults() {
    for end in ENDS {
        let written = Written::new(end);
        for (lines, length, position) in &written.positions {
            for cut in *length..=written.bytes.len() {
                written.leave(&written.bytes[..cut]);
                written.finish(*lines, position);
            }
            // What a checkpoint knows of is not made up.
            for cut in [0, length / 2, length.saturating_sub(1)] {
                written.leave(&written.bytes[..cut]);
                match written.open(position) {
                    Ok(_) => assert_eq!(cut, *length),
                    Err(error) => {
                        let error = error.to_string();
                        assert!(cut < *length && error.contains(&written.name), "{error}");
                        assert_eq!(std::fs::read(written.path()).unwrap(), &written.bytes[..cut]);
                    }
                }
            }
        }
    }
}

/// Of a line that was released nothing is lost by the repair, also before it is given again.
#[test]
fn at_any_moment_the_file_is_a_prefix_and_keeps_its_complete_lines() {
    for end in ENDS {
        let written = Written::new(end);
        let (lines, length, position) = written.positions[1].clone();
        let expected = text(&written.lines);
        for cut in (length..written.bytes.len()).step_by(7) {
            written.leave(&written.bytes[..cut]);
            let mut decoded = Vec::new();
            let torn = &written.bytes[..cut];
            match end {
                "jsonl" => decoded = torn.to_vec(),
                "jsonl.gz" => _ = flate2::read::MultiGzDecoder::new(torn).read_to_end(&mut decoded),
                _ => _ = zstd::Decoder::new(torn).unwrap().read_to_end(&mut decoded),
            }
            let complete = decoded.iter().rposition(|b| *b == b'\n').map_or(0, |last| last + 1);
            let mut sink = written.open(&position).unwrap();
            let now = if end == "jsonl" {
                String::from_utf8_lossy(torn).into_owned()
            } else {
                read(&written.path())
            };
            assert!(now.len() >= complete, "{end} {cut}: {} of {complete} bytes", now.len());
            assert!(expected.starts_with(&now) || end == "jsonl");
            // And again a crash, in the middle of what is given again.
            write(&mut sink, &written.lines[lines..lines + 2]);
            let position = sink.position();
            drop(sink);
            written.finish(lines + 2, &position);
        }
    }
}

#[test]
fn what_is_all_zero_after_a_power_cut_is_written_again() {
    for end in ENDS {
        let written = Written::new(end);
        let (lines, length, position) = &written.positions[1];
        for cut in *length..=written.bytes.len() {
            let mut bytes = written.bytes[..cut].to_vec();
            bytes.resize(cut + 100_000, 0);
            written.leave(&bytes);
            written.finish(*lines, position);
        }
    }
}

#[test]
fn a_difference_is_an_error_that_shows_both() {
    for end in ENDS {
        let written = Written::new(end);
        let (lines, _, position) = &written.positions[1];
        let mut sink = written.open(position).unwrap();
        write(&mut sink, &written.lines[*lines..lines + 3]);
        sink.write(b"{\"n\":7,\"text\":\"other\"}");
        let error = sink.try_position().unwrap_err().to_string();
        assert_eq!(written.lines[7], "{\"n\":7,\"text\":\"\r\"}");
        let offset = text(&written.lines[..7]).len() + "{\"n\":7,\"text\":\"".len();
        for part in [
            &written.path().display().to_string(),
            &format!("at byte {offset}"),
            "`{\"n\":7,\"text\":\"\r\"}`",
            "`{\"n\":7,\"text\":\"other\"}`",
            "not deterministic",
            "`verify`",
        ] {
            assert!(error.contains(part), "{part} in: {error}");
        }
        drop(sink);
        assert_eq!(read(&written.path()), text(&written.lines), "nothing is changed");
    }
}

#[test]
fn a_position_asked_for_while_lines_are_given_again_holds() {
    for end in ENDS {
        let written = Written::new(end);
        let (first, _, position) = &written.positions[1];
        let mut position = position.clone();
        // One line a start, each time on: the file is read again from the same member.
        for line in *first..written.lines.len() {
            let mut sink = written.open(&position).unwrap();
            write(&mut sink, &written.lines[line..=line]);
            position = sink.position();
        }
        assert_eq!(read(&written.path()), text(&written.lines));
        written.finish(written.lines.len(), &position);
    }
}

#[test]
fn another_file_or_a_lost_marker_is_refused() {
    let written = Written::new("jsonl");
    let state = written.folder.own("state");
    let (_, _, position) = &written.positions[3];
    let other = written.folder.file("other.jsonl", "precious\n");
    let error = Sink::resume(&other, resume(&state, 0, position), 0).err().unwrap();
    assert!(error.to_string().contains("other.jsonl"), "{error}");
    assert_eq!(std::fs::read_to_string(written.folder.path("other.jsonl")).unwrap(), "precious\n");

    std::fs::remove_file(state.join("file.json")).unwrap();
    let error = written.open(position).err().unwrap();
    assert!(error.to_string().contains("file.json"), "{error}");
    assert_eq!(std::fs::read(written.path()).unwrap(), written.bytes);

    let state = written.folder.own("another");
    let error = Sink::resume(&written.url, resume(&state, 0, b"no position"), 0).err().unwrap();
    assert!(error.to_string().contains("position"), "{error}");
}

#[test]
fn a_changed_file_is_refused() {
    let written = Written::new("jsonl");
    let (_, length, position) = &written.positions[1];
    let mut bytes = written.bytes.clone();
    bytes[length - 1] = b'x';
    written.leave(&bytes);
    let error = written.open(position).err().unwrap().to_string();
    assert!(error.contains(&format!("no line ends at byte {length}")), "{error}");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let folder = Folder::new();
    if File::open("/dev/null").is_err() {
        return println!("skipped: this system has no /dev/null");
    }
    let refused = Sink::resume("file:/dev/null", resume(&folder.own("state"), 0, b""), 0);
    let error = refused.err().unwrap();
    assert!(error.exit_code() == 2 && error.to_string().contains("/dev/null"), "{error}");
}

/// Large enough that the file is read and compared in many pieces.
#[test]
fn much_output_is_compared_as_it_comes() {
    let lines: Vec<String> = (0..60_000_u64)
        .map(|n| format!("{{\"n\":{n},\"x\":{}}}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    for end in ENDS {
        let folder = Folder::new();
        let (name, state) = (format!("out.{end}"), folder.own("state"));
        let mut sink = Sink::resume(&folder.url(&name), resume(&state, 0, b""), 0).unwrap();
        write(&mut sink, &lines[..10_000]);
        let position = sink.position();
        write(&mut sink, &lines[10_000..50_000]);
        sink.close().unwrap();
        drop(sink);
        let path = folder.path(&name);
        let length = std::fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length - 1000).unwrap();
        let mut sink = Sink::resume(&folder.url(&name), resume(&state, 0, &position), 0).unwrap();
        write(&mut sink, &lines[10_000..]);
        sink.close().unwrap();
        assert!(read(&path) == text(&lines), "{end}");
    }
}
