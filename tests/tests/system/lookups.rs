//! SIGKILL at any moment of a program that asks an outside service: whatever dies, each record is answered once, what
//! was released of it stays, and nobody is asked about it again.
//!
//! Invariant: the service and the files are all that is looked at. A small dose by default; the full one is
//! `ANABRANCH_CRASHES=1000 cargo test -p anabranch-system-tests --test system lookups -- --nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::ledger::Connection;
use crate::lives::{Dose, Life, Start, Victim};
use crate::producer::{Producers, Transport};
use crate::run::{ended, program};
use crate::service::{Question, Service, refuses};
use crate::support::{Folder, assert_same, free_ports, until};

const LAYOUTS: [&[&str]; 4] = [&["-w", "2"], &["-n", "2"], &["-w", "3"], &["-w", "1"]];
/// The files of what was answered, and of what was not.
const FILES: [&str; 2] = ["answers", "letters"];
/// How many of its arguments are the program's own.
const OWN: usize = 8;
/// Records of a partition of a recording; there are three.
const RECORDS: u64 = 10_000;
/// How often a program with live input is killed, before another begins with nothing.
const FAULTS_OF_A_LIFE: u64 = 100;

/// A program, its service, and what was released.
struct World {
    folder: Folder,
    service: Service,
    start: Start<'static>,
    /// Whole lines of the files.
    released: [Vec<u8>; 2],
    /// How many questions waited for an answer when a process was killed.
    caught: usize,
    layouts: usize,
}

/// What was released of a record.
#[derive(Clone, Debug)]
struct Told {
    question: Question,
    /// What the service has said.
    number: u64,
    /// What all answers of its key have come to; none of one that was refused.
    fold: Option<u64>,
}

fn answer(line: &str) -> Told {
    let words: Vec<&str> = line.split(' ').collect();
    let [record, numbers @ ..] = words.as_slice() else { panic!("{line}") };
    let numbers: Vec<u64> = numbers.iter().map(|word| word.parse().unwrap()).collect();
    let [place, number, fold] = numbers[..] else { panic!("{line}") };
    Told { question: ((*record).to_string(), place), number, fold: Some(fold) }
}

fn letter(line: &str) -> Told {
    let letter: Value = line.parse().unwrap();
    assert_eq!(letter["computation"], "ask", "{line}");
    let said = letter["reason"].as_str().unwrap().strip_prefix("the service says no ");
    let words: Vec<&str> = said.unwrap_or_else(|| panic!("{line}")).split(' ').collect();
    let question: Question = (words[1].to_string(), words[2].parse().unwrap());
    assert_eq!(letter["text"], serde_json::to_string(&question).unwrap(), "{line}");
    Told { question, number: words[0].parse().unwrap(), fold: None }
}

/// As the program makes it of a record.
fn key(record: &str) -> u8 {
    record.bytes().fold(0, |sum: u8, byte| sum.wrapping_mul(7).wrapping_add(byte)) % 17
}

impl World {
    fn new(lines: impl FnOnce(&Folder) -> String, more: &[&str]) -> Self {
        let (folder, service) = (Folder::new(), Service::start());
        let lines = lines(&folder);
        let [answers, letters] = FILES.map(|name| format!("file:{}", folder.name(name)));
        let outputs = ["--answers", &answers, "--letters", &letters];
        let input = ["--lines", &lines, "--service", &service.address];
        let start = Start::new("asking", &folder, &[&input, &outputs, more].concat(), "10ms");
        Self { folder, service, start, released: Default::default(), caught: 0, layouts: 0 }
    }

    /// Starts it in the next layout.
    fn begin(&mut self) -> Life {
        self.layouts += 1;
        self.start.begin(LAYOUTS[self.layouts % LAYOUTS.len()])
    }

    /// Kills it, half of the times when questions are known to wait for an answer. False if it has come to its
    /// end before.
    fn kill(&mut self, life: &mut Life, victim: Victim, dose: &mut Dose) -> bool {
        let holds = dose.dice.below(2) == 0 && self.service.hold(|| !life.running.is_running());
        let waiting = self.service.waiting();
        let killed = life.kill(victim, &mut dose.dice);
        self.service.release();
        if killed && holds {
            self.caught += waiting;
        }
        killed
    }

    /// What was released before is there, nothing is there twice, and all of it was said by the service, of
    /// the record beside which it is.
    #[track_caller]
    fn check(&mut self, after: &str) {
        for (name, released) in FILES.iter().zip(&mut self.released) {
            let mut is = std::fs::read(self.folder.path(name)).unwrap_or_default();
            is.truncate(is.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
            assert!(is.len() >= released.len(), "{after}: {name} is shorter than it was");
            assert_same(after, &is[..released.len()], released);
            for line in std::str::from_utf8(&is[released.len()..]).unwrap().lines() {
                let told = if *name == "answers" { answer(line) } else { letter(line) };
                let said = self.service.said(told.number);
                assert_eq!(said, Some((told.question.clone(), told.fold.is_some())), "{after}");
                assert!(self.service.settle(&told.question.0), "{after}: twice: {line}");
            }
            *released = is;
        }
        let again = self.service.asked_again();
        assert!(again.is_empty(), "{after}: asked about again though it was released: {again:?}");
    }

    /// All that was released, answers before letters, each in its order.
    fn told(&self) -> [Vec<Told>; 2] {
        let [answers, letters] = self.released.each_ref();
        let lines = |bytes| std::str::from_utf8(bytes).unwrap().lines();
        [lines(answers).map(answer).collect(), lines(letters).map(letter).collect()]
    }

    /// Each record was counted once, refused if the service refuses it, and each answer has been used once.
    #[track_caller]
    fn complete(&mut self) {
        self.check("the end");
        let [answers, letters] = self.told();
        assert!(answers.iter().all(|told| !refuses(&told.question.0)));
        assert!(letters.iter().all(|told| refuses(&told.question.0)));
        let mut places: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
        for Told { question: (record, place), .. } in answers.iter().chain(&letters) {
            assert!(places.entry(key(record)).or_default().insert(*place), "{record}: {place}");
        }
        for (key, places) in places {
            assert!(places.iter().copied().eq(1..=places.len() as u64), "of key {key}");
        }
        let mut folds = BTreeMap::new();
        for told in &answers {
            let fold: &mut u64 = folds.entry(key(&told.question.0)).or_default();
            *fold = fold.wrapping_mul(31).wrapping_add(told.number);
            assert_eq!(told.fold, Some(*fold), "{told:?}");
        }
        let calls = self.service.calls();
        self.replay();
        assert_eq!(self.service.calls(), calls, "a replay asks nobody");
    }

    /// A replay gives what was released, and `verify` finds it the same.
    #[track_caller]
    fn replay(&self) {
        let own = self.start.arguments.iter().take(OWN).map(String::as_str);
        let own: Vec<&str> = own.chain(["--data-dir", &self.start.dir]).collect();
        let outputs = FILES.map(|name| format!("file:{}", self.folder.name(name)));
        for workers in ["-w1", "-w3"] {
            let again = own.iter().map(|word| match outputs.iter().any(|output| output == word) {
                true => format!("{word}.again"),
                false => (*word).to_string(),
            });
            let words = ["replay", workers].map(str::to_string).into_iter().chain(again);
            let replayed = ended(&mut program("asking", words));
            assert_eq!(replayed.code, Some(0), "{}", replayed.errors);
            for (name, released) in FILES.iter().zip(&self.released) {
                let again = self.folder.path(&format!("{name}.again"));
                assert_same("replayed", &std::fs::read(&again).unwrap(), released);
                std::fs::remove_file(again).unwrap();
            }
        }
        let verified = ended(&mut program("asking", [&["verify"], &own[..]].concat()));
        assert_eq!(verified.code, Some(0), "{}{}", verified.output, verified.errors);
        assert!(verified.output.starts_with("the same on 1, 2 and 4 workers: "));
    }
}

/// A recording of each partition, and all records in the order of their times.
fn recordings() -> ([String; 3], Vec<String>) {
    let mut order = Vec::new();
    let texts = [0, 1, 2].map(|partition| {
        let mut text = String::new();
        for index in 0..RECORDS {
            // Times come often, in all partitions.
            let time = 1_700_000_000_000_000_000 + (index * (5 + partition) / 7);
            let record = format!("{{\"record\":{}}}", index * 3 + partition);
            writeln!(text, "{time} {record}").unwrap();
            order.push((time, partition, index, record));
        }
        text
    });
    order.sort_unstable();
    (texts, order.into_iter().map(|(.., record)| record).collect())
}

/// Whether something is in the order of something, of which it is a part.
fn is_part_of(part: &[Told], whole: &[String], which: impl Fn(&String) -> bool) -> bool {
    let part = part.iter().map(|told| &told.question.0);
    part.eq(whole.iter().filter(|record| which(record)))
}

#[test]
fn recorded_input_is_asked_about_until_it_is_answered_and_never_again() {
    let (texts, order) = recordings();
    let mut dose = Dose::new("look-ups of recordings", 8);
    while !dose.is_over() {
        let recordings = |folder: &Folder| {
            let names = [0, 1, 2].map(|n| folder.write(&format!("lines-{n}"), &texts[n]));
            format!("file:{}", names.join(","))
        };
        let mut world = World::new(recordings, &["--keep-journal", "forever"]);
        let mut life = world.begin();
        let before = dose.made;
        while !dose.is_over() && life.moment(&world.start, 60, &mut dose.dice) {
            let victim = dose.victim();
            if !world.kill(&mut life, victim, &mut dose) {
                break;
            }
            dose.made("look-ups of recordings");
            world.check(&format!("after {victim:?}\n{}", life.running.errors()));
            if matches!(victim, Victim::Supervisor | Victim::All) {
                life = world.begin();
            }
        }
        life.succeeds();
        world.complete();
        let [answers, letters] = world.told();
        assert!(is_part_of(&answers, &order, |record| !refuses(record)));
        assert!(is_part_of(&letters, &order, |record| refuses(record)));
        say(&world, dose.made - before);
    }
}

/// What the faults have hit: a storm that never catches a question proves nothing.
#[track_caller]
fn say(world: &World, faults: u64) {
    let (calls, more) = (world.service.calls(), world.service.asked_more_than_once());
    println!("{faults} faults caught {} questions; {calls} calls, {more} repeated", world.caught);
    assert!(world.caught > 0 || faults < 4, "no question was waiting at any of {faults} faults");
}

#[test]
fn live_input_is_asked_about_until_it_is_answered_and_never_again() {
    let mut dose = Dose::new("look-ups of live input", 8);
    while !dose.is_over() {
        let [port] = free_ports();
        let url = format!("tcp-listen://127.0.0.1:{port}?ack=true");
        let more = ["--keep-journal", "forever", "--in-flight-records", "1000"];
        let mut world = World::new(|_| url, &more);
        let mut life = world.begin();
        let producers = Producers::start(2, Transport::Tcp, port);
        let (mut left, before) = (FAULTS_OF_A_LIFE, dose.made);
        loop {
            let acknowledged = producers.acknowledged();
            until("progress resumes", || {
                assert!(life.running.is_running(), "{}", life.running.errors());
                (producers.acknowledged() > acknowledged + 100).then_some(())
            });
            if dose.is_over() || left == 0 {
                break;
            }
            left -= 1;
            assert!(life.moment(&world.start, 60, &mut dose.dice), "{}", life.running.errors());
            let victim = dose.victim();
            assert!(world.kill(&mut life, victim, &mut dose));
            dose.made("look-ups of live input");
            world.check(&format!("after {victim:?}\n{}", life.running.errors()));
            if matches!(victim, Victim::Supervisor | Victim::All) {
                life = world.begin();
            }
        }
        let producers = producers.finish();
        life.running.signal("TERM");
        life.succeeds();
        world.complete();
        all_that_was_acknowledged(&world, &producers);
        say(&world, dose.made - before);
    }
}

/// Of each connection a beginning is there, in its order, with all that its producer was told to be durable.
#[track_caller]
fn all_that_was_acknowledged(world: &World, producers: &[Vec<Connection>]) {
    let name = |told: &Told| -> (usize, usize, u64) {
        let (producer, rest) = told.question.0[1..].split_once('c').unwrap();
        let (connection, record) = rest.split_once('r').unwrap();
        (producer.parse().unwrap(), connection.parse().unwrap(), record.parse().unwrap())
    };
    let mut there: BTreeMap<(usize, usize), BTreeSet<u64>> = BTreeMap::new();
    for told in world.told() {
        let mut last = BTreeMap::new();
        for (producer, connection, record) in told.iter().map(name) {
            let before = last.insert(producer, (connection, record));
            assert!(before < Some((connection, record)), "p{producer}: {before:?}, {record}");
            there.entry((producer, connection)).or_default().insert(record);
        }
    }
    for (producer, connections) in producers.iter().enumerate() {
        for (connection, known) in connections.iter().enumerate() {
            let is = there.remove(&(producer, connection)).unwrap_or_default();
            let Connection { first, sent, acknowledged } = *known;
            let count = is.len() as u64;
            assert!(is.into_iter().eq(first..first + count), "p{producer}c{connection}: gaps");
            assert!(acknowledged <= count && count <= sent, "{count} of {known:?}");
        }
    }
    assert!(there.is_empty(), "never sent: {there:?}");
}
