//! A full disk: said, waited for, and nothing is lost.
//!
//! Invariant: the disk is a small one of this test (a `tmpfs`, which root may mount). Where that is not
//! possible, the tests say that they are skipped.

use std::process::Command;

use crate::ledger::{Ledger, check_live};
use crate::lives::Start;
use crate::producer::{Producers, Transport};
use crate::support::{Dice, Folder, Words, free_ports, until};

/// A small disk; gone with its test.
struct Disk<'a>(&'a Folder);

impl<'a> Disk<'a> {
    fn mount(folder: &'a Folder, size: &str) -> Option<Self> {
        std::fs::create_dir(folder.path("disk")).unwrap();
        let options = ["-t", "tmpfs", "-o", size, "none"];
        let mounted = Command::new("mount").args(options).arg(folder.path("disk")).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            other => {
                println!("skipped: no small disk could be mounted: {other:?}");
                None
            }
        }
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,{size}");
        let path = self.0.path("disk");
        let status = Command::new("mount").args(["-o", &options]).arg(path).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path("disk")).status();
    }
}

/// MBF-5: an output that cannot be written is not lost.
#[test]
fn mbf_5_output_waits_for_room() {
    let folder = Folder::new();
    let Some(disk) = Disk::mount(&folder, "size=1m") else { return };
    let mut dice = Dice(46);
    let lines: Vec<String> = (0..100_000).map(|_| dice.line()).collect();
    let text = format!("file:{}", folder.write("text", lines.join("\n")));
    let counts = format!("file:{}", folder.name("disk/counts"));
    let wanted = Words::of(lines.iter().map(String::as_str));
    let start = Start::new("word-count", &folder, &["--text", &text, "--counts", &counts], "20ms");
    let mut ledger = Ledger::new(folder.path("disk/counts"), wanted);
    let mut life = start.begin(&["-w", "2"]);
    life.running.logs("no room to write");
    let full = ledger.check("full");
    // Also if it dies meanwhile.
    life.kill(crate::lives::Victim::Children, &mut dice);
    until("it is full again", || {
        let told = life.running.errors().matches("no room to write").count();
        assert!(life.running.is_running(), "{}", life.running.errors());
        (told > 1).then_some(())
    });
    assert_eq!(ledger.check("full again"), full);
    disk.grow("size=64m");
    life.running.logs("there is room again");
    life.succeeds();
    ledger.complete("room");
    drop((life, disk));
}

/// Intake stops, so producers feel it; and goes on by itself.
#[test]
fn a_full_journal_stops_intake_until_there_is_room() {
    let folder = Folder::new();
    let Some(disk) = Disk::mount(&folder, "size=1m") else { return };
    let [port] = free_ports();
    let text = format!("tcp-listen://127.0.0.1:{port}?ack=true");
    let counts = format!("file:{}", folder.name("counts"));
    let mut start =
        Start::new("word-count", &folder, &["--text", &text, "--counts", &counts], "1h");
    start.arguments.extend(["--data-dir".to_owned(), folder.name("disk/data")]);
    let at = start.arguments.iter().position(|argument| argument == "--data-dir").unwrap();
    start.arguments.drain(at..at + 2);
    let mut life = start.begin(&["-w", "2"]);
    let producers = Producers::start(2, Transport::Tcp, port);
    life.running.logs("until then nothing more is taken in");
    until("nothing more is acknowledged", || {
        let before = producers.acknowledged();
        std::thread::sleep(std::time::Duration::from_millis(300));
        (producers.acknowledged() == before).then_some(())
    });
    let before = producers.acknowledged();
    assert!(before > 0, "nothing was acknowledged before");
    disk.grow("size=256m");
    life.running.logs("there is room again");
    until("producers go on", || (producers.acknowledged() > before + 1000).then_some(()));
    let producers = producers.finish();
    life.running.signal("TERM");
    life.succeeds();
    check_live(&std::fs::read(folder.path("counts")).unwrap(), &producers);
    drop((life, disk));
}
