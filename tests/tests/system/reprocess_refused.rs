//! What `reprocess` says when it cannot be done: what is the matter, and what to do.
//!
//! Invariant: what is refused leaves no order: the next start goes on as if nobody had asked.

use std::io::Write;
use std::net::TcpStream;

use crate::bills;
use crate::run::{Ended, Running, ended, program};
use crate::sockets::{dial, framed};
use crate::support::{Dice, Folder, until};

struct World {
    folder: Folder,
    /// What the program is asked, without its data directory.
    own: Vec<String>,
    sent: u64,
}

impl World {
    fn new() -> Self {
        let folder = Folder::new();
        let orders = format!("tcp-listen://:0?ack=true&port_file={}", folder.name("port"));
        let prices = format!("file:{}", folder.name("prices"));
        let own = ["--orders", &orders, "--prices", &prices, "--counts", "null:"];
        let own = own.map(str::to_owned).into_iter().chain(bills::arguments(1)).collect();
        Self { folder, own, sent: 0 }
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned());
        words.chain(self.own.iter().cloned()).collect()
    }

    /// Starts it on a data directory; no checkpoint is made but at its end.
    fn start(&self) -> (Running, TcpStream) {
        let _ = std::fs::remove_file(self.folder.path("port"));
        let (data, kept) = (self.folder.name("data"), ["--keep-journal", "forever"]);
        let kept = [&["--data-dir", &data, "--checkpoint-interval", "1h"], &kept[..]].concat();
        let running = Running::start(&mut program("pricing", self.words(&kept)));
        let sender = dial(self.folder.port("port"));
        (running, sender)
    }

    /// Sends an order, and waits until it is durable; it is told before.
    fn send(&mut self, sender: &mut TcpStream) {
        let order = bills::Order::some(&mut Dice(self.sent), 0, format!("r{}", self.sent));
        self.sent += 1;
        sender.write_all(&framed(order.json())).unwrap();
        std::io::Read::read_exact(sender, &mut [0; 8]).unwrap();
    }

    fn command(&self, words: &[&str]) -> Ended {
        let data = self.folder.name("data");
        ended(&mut program("pricing", self.words(&[words, &["--data-dir", &data]].concat())))
    }

    fn has_order(&self) -> bool {
        self.folder.path("data/reprocess.json").exists()
    }
}

/// Of that code, and with all these in its one line.
#[track_caller]
fn refused(Ended { code, output, errors }: &Ended, wanted: i32, says: &[&str]) {
    assert_eq!((*code, output.as_str()), (Some(wanted), ""), "{errors}");
    let line = errors.lines().find(|line| line.starts_with("error: "));
    let line = line.unwrap_or_else(|| panic!("no error in: {errors}"));
    for text in says {
        assert!(line.contains(text), "`{text}` is not in: {line}");
    }
}

#[test]
fn without_a_data_directory_that_is_one() {
    let world = World::new();
    let nowhere = ended(&mut program("pricing", world.words(&["reprocess"])));
    refused(&nowhere, 2, &["add --data-dir DIR"]);
    let store = ["reprocess", "--store", &world.folder.name("store")];
    refused(&ended(&mut program("pricing", world.words(&store))), 2, &["add --data-dir DIR"]);
    refused(
        &world.command(&["reprocess"]),
        2,
        &["data is no data directory", "name the --data-dir"],
    );
    std::fs::create_dir(world.folder.path("data")).unwrap();
    refused(
        &world.command(&["reprocess"]),
        2,
        &["data is no data directory", "name the --data-dir"],
    );
    let to = ["reprocess", "--to", "2026-01-01T00:00:00Z"];
    refused(&world.command(&to), 2, &["--to", "--from also with `reprocess`"]);
    assert!(
        std::fs::read_dir(world.folder.path("data")).unwrap().next().is_none(),
        "it was touched"
    );
}

#[test]
fn without_records_that_have_an_identity() {
    let folder = Folder::new();
    let text = format!("file:{}", folder.write("text", "to be or not to be\n"));
    let (counts, data) = (format!("file:{}", folder.name("counts")), folder.name("data"));
    let own = ["--text", &text, "--counts", &counts, "--data-dir", &data];
    Running::start(&mut program("word-count", own)).succeeds();
    let ended = ended(&mut program("word-count", [&["reprocess"], &own[..]].concat()));
    refused(&ended, 2, &["has an identity", "say `identified_by` before `try_compute`"]);
    assert!(!folder.path("data/reprocess.json").exists());
}

#[test]
fn of_a_program_that_runs_or_has_not_ended_in_order() {
    let mut world = World::new();
    let (mut running, mut sender) = world.start();
    world.send(&mut sender);
    refused(&world.command(&["reprocess"]), 1, &["is in use"]);
    running.signal("KILL");
    running.code();
    // As long as a child of it is there, it is in use.
    let says = until("it is no more in use", || {
        Some(world.command(&["reprocess"])).filter(|ended| ended.code != Some(1))
    });
    refused(&says, 2, &["has no checkpoint yet", "just start the program"]);

    // It ends in order, goes on, and is killed.
    let (mut running, sender) = world.start();
    running.signal("TERM");
    drop(sender);
    running.succeeds();
    let (mut running, mut sender) = world.start();
    world.send(&mut sender);
    running.signal("KILL");
    running.code();
    let says = until("it is no more in use", || {
        Some(world.command(&["reprocess"])).filter(|ended| ended.code != Some(1))
    });
    refused(&says, 2, &["has gone on after checkpoint", "start it as it was and end it in order"]);
    assert!(!world.has_order());

    // What it says is what helps.
    let (mut running, sender) = world.start();
    running.signal("TERM");
    drop(sender);
    running.succeeds();
    let ordered = world.command(&["reprocess"]);
    assert_eq!(ordered.code, Some(0), "{}", ordered.errors);
    let begins =
        "the next start of this program computes anew from the beginning of its input up to";
    assert!(ordered.output.starts_with(begins), "{}", ordered.output);
    assert!(world.has_order());
    refused(&world.command(&["verify"]), 2, &["`reprocess` was asked for", "start the program"]);
    let (mut running, sender) = world.start();
    running.signal("TERM");
    drop(sender);
    running.succeeds();
    let verified = world.command(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.output, verified.errors);
    let prices = std::fs::read_to_string(world.folder.path("prices")).unwrap();
    // The same version has nothing to correct.
    let mut bills = bills::Bills::new(1);
    for sent in 0..world.sent {
        bills.price(&bills::Order::some(&mut Dice(sent), 0, format!("r{sent}")));
    }
    let told: Vec<&str> = bills.told.iter().map(|(_, line)| line.as_str()).collect();
    assert!(!told.is_empty() && prices.lines().eq(told), "{prices}");
}

#[test]
fn help_says_that_there_is_one() {
    let help = ended(&mut program("pricing", ["--help"]));
    assert_eq!(help.code, Some(0));
    assert!(help.output.contains("\n  reprocess "), "{}", help.output);
}
