//! Dead letters by the command line: each is tried again once for each time it was asked for, whatever is killed
//! meanwhile, and what comes of it is released once.

use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;

use crate::run::{Ended, Running, ended, program};
use crate::sockets::{dial, framed};
use crate::support::{Folder, Words, assert_same, until};

const FRAMES: usize = 3_000;

fn is_bad(index: usize) -> bool {
    index % 3 == 2
}

/// Which of those that are bad somebody corrects.
fn corrected(index: usize) -> Option<String> {
    (index % 150 == 149).then(|| format!("again {index} w3"))
}

struct World {
    folder: Folder,
}

impl World {
    fn start(&self, layout: &[&str]) -> Running {
        let text = format!("tcp-listen://:0?port_file={}", self.folder.name("port"));
        let counts = format!("file:{}", self.folder.name("counts"));
        let data = self.folder.name("data");
        let flags = ["--text", &text, "--counts", &counts, "--data-dir", &data];
        let flags = [&flags[..], &["--checkpoint-interval", "50ms"], layout].concat();
        Running::start(&mut program("word-count", flags))
    }

    fn command(&self, words: &[&str]) -> Ended {
        let data = self.folder.name("data");
        let words = [&["dead-letters"], words, &["--data-dir", &data, "-q"]].concat();
        ended(&mut program("word-count", words))
    }

    /// All letters, as JSON.
    fn letters(&self) -> Vec<Value> {
        let Ended { code, output, errors } = self.command(&["export"]);
        assert_eq!(code, Some(0), "{errors}");
        output.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn count(&self, status: &str) -> usize {
        self.letters().iter().filter(|letter| letter["status"] == status).count()
    }
}

#[test]
fn tried_again_once_while_the_program_is_killed() {
    let world = World { folder: Folder::new() };
    let running = world.start(&["-w", "2"]);
    let mut sender = dial(world.folder.port("port"));
    for index in 0..FRAMES {
        let frame = match is_bad(index) {
            true => vec![0xff, index as u8],
            false => format!("w{} of {index}", index % 7).into_bytes(),
        };
        sender.write_all(&framed(frame)).unwrap();
    }
    until("all letters are there", || (world.letters().len() == FRAMES / 3).then_some(()));
    let edits: Vec<(String, String)> = (0..FRAMES)
        .filter_map(|index| Some((format!("text-0-{index}"), corrected(index)?)))
        .collect();
    assert_eq!(edits.len(), 20);
    for (id, record) in &edits {
        let told = world.command(&["edit", id, "--record", record]);
        assert_eq!(told.code, Some(0), "{}", told.errors);
    }
    // A checkpoint that has the last one has all.
    let (last, _) = &edits[19];
    until("a checkpoint has the last", || {
        (world.command(&["retry", last]).code == Some(0)).then_some(())
    });
    running.signal("KILL");
    drop(running);
    let told = world.command(&["retry", "--all"]).output;
    assert!(told.starts_with("999 to be tried again"), "{told}");
    for layout in [["-w", "3"], ["-n", "2"], ["-w", "1"]] {
        let running = world.start(&layout);
        world.folder.port("port");
        let before = world.count("retrying");
        until("some are tried again", || {
            let now = world.count("retrying");
            (now == 0 || now < before).then_some(())
        });
        running.signal("KILL");
    }
    let mut running = world.start(&["-w", "2"]);
    // The port of an earlier start is in the file until this one listens.
    until("it listens", || TcpStream::connect(("127.0.0.1", world.folder.port("port"))).ok());
    until("all are tried again", || (world.count("retrying") == 0).then_some(()));
    running.signal("TERM");
    running.succeeds();

    for letter in world.letters() {
        let id = letter["id"].as_str().unwrap();
        let is_corrected = edits.iter().any(|(corrected, _)| corrected == id);
        let (status, tries) = if is_corrected { ("closed", 0) } else { ("open", 1) };
        assert_eq!(
            (letter["status"].as_str(), letter["tries"].as_u64()),
            (Some(status), Some(tries))
        );
    }
    let good = (0..FRAMES).filter(|index| !is_bad(*index));
    let good: Vec<String> = good.map(|index| format!("w{} of {index}", index % 7)).collect();
    // In the order in which it was asked.
    let again = edits.iter().map(|(_, record)| record.as_str());
    let again = std::iter::once(edits[19].1.as_str()).chain(again.take(19));
    let wanted = Words::of(good.iter().map(String::as_str).chain(again));
    let counts = std::fs::read(world.folder.path("counts")).unwrap();
    assert_same("what was released", &counts, wanted.as_bytes());
    let groups = world.command(&["ls", "--group"]).output;
    assert!(groups.lines().count() == 1 && groups.contains("  980  text: refused"), "{groups}");
}
