//! SIGKILL at any moment of a program that computes anew what an earlier version of it has computed: what was told
//! is corrected once, and it goes on as if the present version had always run.
//!
//! Invariant: the files are all that is looked at, beside the program's own commands. A small dose by default; the
//! full one is `ANABRANCH_CRASHES=1000 cargo test -p anabranch-system-tests --test system reprocess -- --nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::bills::{self, Bills, Order, taken_down, told};
use crate::ledger::Connection;
use crate::lives::{Dose, Life, Start, Victim};
use crate::producer::{Producers, Transport};
use crate::run::{Ended, ended, program};
use crate::support::{Dice, Folder, assert_same, free_ports, until};

const LAYOUTS: [&[&str]; 4] = [&["-w", "1"], &["-n", "2"], &["-w", "3"], &["-n", "2", "-w", "2"]];
/// The files of prices and of how many there were.
const FILES: [&str; 2] = ["prices", "counts"];
/// Records that recorded input grows by before each version.
const RECORDS: usize = 15_000;
/// Records that producers send to each version, at least.
const SENT: u64 = 20_000;
/// How often one version is killed.
const FAULTS_OF_A_VERSION: u64 = 4;

/// A program of several versions, and what was released.
struct World {
    folder: Folder,
    orders: String,
    start: Start<'static>,
    version: u64,
    layouts: usize,
    /// Whole lines of the files; and how many bytes of them are of earlier versions.
    released: [Vec<u8>; 2],
    earlier: [usize; 2],
    /// The newest checkpoint when this version began.
    at: Option<(u64, u64)>,
    /// Kills before a checkpoint of this version, and those of them when corrections were there.
    caught: [u64; 2],
}

impl World {
    fn new(orders: impl FnOnce(&Folder) -> String, layouts: usize) -> Self {
        let folder = Folder::new();
        let orders = orders(&folder);
        let start = Start::new("pricing", &folder, &[], "10ms");
        let (released, earlier) = <([Vec<u8>; 2], _)>::default();
        Self {
            folder,
            orders,
            start,
            version: 0,
            layouts,
            released,
            earlier,
            at: None,
            caught: [0; 2],
        }
    }

    /// What the program is asked, whatever it is to do.
    fn own(&self) -> Vec<String> {
        let outputs = FILES.map(|name| format!("file:{}", self.folder.name(name)));
        let own = ["--orders", &self.orders, "--prices", &outputs[0], "--counts", &outputs[1]];
        own.map(str::to_owned).into_iter().chain(bills::arguments(self.version)).collect()
    }

    /// Changes the program, which does not run, and orders it to compute anew.
    fn change(&mut self) {
        self.version += 1;
        let own = self.own();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let kept = ["--keep-journal", "forever"];
        self.start = Start::new("pricing", &self.folder, &[&own[..], &kept].concat(), "10ms");
        self.at = self.start.checkpoints().last().copied();
        self.earlier = self.released.each_ref().map(Vec::len);
        if self.version > 1 {
            let said = self.command("reprocess");
            assert!(
                said.starts_with("the next start of this program computes anew from"),
                "{said}"
            );
        }
    }

    /// Whether a life that was killed had come further than the last, which was told to end.
    fn has_come_further(&self) -> bool {
        let ended = self.asked("reprocess");
        assert!(matches!(ended.code, Some(0 | 2)), "{}", ended.errors);
        let further = ended.errors.contains("start it as it was and end it in order");
        assert_eq!(further, ended.code == Some(2), "{}", ended.errors);
        further
    }

    /// What a command says that looks at the data directory.
    #[track_caller]
    fn command(&self, word: &str) -> String {
        let ended = self.asked(word);
        assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
        ended.output
    }

    fn asked(&self, word: &str) -> Ended {
        let dir = ["--data-dir".to_owned(), self.start.dir.clone()];
        ended(&mut program("pricing", [&[word.to_owned()], &self.own()[..], &dir].concat()))
    }

    /// Starts it in the next layout.
    fn begin(&mut self) -> Life {
        self.layouts += 1;
        self.start.begin(LAYOUTS[self.layouts % LAYOUTS.len()])
    }

    /// Waits until what was computed is likely to be computed anew, or corrected; or some while if that is over.
    /// False if the program has ended by then.
    fn moment(&self, life: &mut Life, dice: &mut Dice) -> bool {
        if life.generation().is_none() {
            return false;
        }
        let within = match dice.below(2) {
            _ if !self.is_open() && !life.checkpoint(&self.start) => return false,
            _ if !self.is_open() => 60,
            0 => 60,
            _ => {
                until("it tells something", || {
                    let is = std::fs::metadata(self.folder.path(FILES[0]));
                    let tells = is.is_ok_and(|is| is.len() > self.earlier[0] as u64);
                    (tells || !life.running.is_running()).then_some(())
                });
                10
            }
        };
        std::thread::sleep(Duration::from_micros(dice.below(within * 1000)));
        life.running.is_running()
    }

    /// Whether this version has made no checkpoint yet.
    fn is_open(&self) -> bool {
        self.start.checkpoints().last().copied() == self.at
    }

    /// Starts it, and kills it again and again. Gives what runs then.
    fn storm(&mut self, dose: &mut Dose, what: &str) -> Life {
        let mut life = self.begin();
        let before = dose.made;
        while !dose.is_over() && dose.made < before + FAULTS_OF_A_VERSION {
            let victim = dose.victim();
            if !self.moment(&mut life, &mut dose.dice) || !life.kill(victim, &mut dose.dice) {
                break;
            }
            dose.made(what);
            self.check(&format!("after {victim:?}\n{}", life.running.errors()));
            if self.version > 1 && self.is_open() {
                self.caught[0] += 1;
                self.caught[1] += u64::from(self.released[0].len() > self.earlier[0]);
            }
            if matches!(victim, Victim::Supervisor | Victim::All) {
                life = self.begin();
            }
        }
        life
    }

    /// What was released before is there.
    #[track_caller]
    fn check(&mut self, after: &str) {
        for (name, released) in FILES.iter().zip(&mut self.released) {
            let mut is = std::fs::read(self.folder.path(name)).unwrap_or_default();
            is.truncate(is.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
            assert!(is.len() >= released.len(), "{after}: {name} is shorter than it was");
            assert_same(after, &is[..released.len()], released);
            *released = is;
        }
    }

    /// What this version has released.
    fn lines(&self) -> [Vec<&str>; 2] {
        let of = |file: usize| {
            let bytes = &self.released[file][self.earlier[file]..];
            std::str::from_utf8(bytes).unwrap().lines().collect()
        };
        [of(0), of(1)]
    }

    /// All upserts, taken down, are what the present version makes of the input; a replay finds the same.
    #[track_caller]
    fn complete(&self, bills: &Bills) {
        let lines = std::str::from_utf8(&self.released[0]).unwrap();
        assert!(taken_down(lines) == bills.all(), "not what a loop makes of the input");
        let verified = self.command("verify");
        assert!(verified.starts_with("the same on 1, 2 and 4 workers: "), "{verified}");
    }

    /// The dead letters that are open: their names and what they are of.
    fn letters(&self) -> Vec<(String, Value)> {
        let words = ["dead-letters", "export", "--data-dir", &self.start.dir, "-q"];
        let ended = ended(&mut program("pricing", words));
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        let letters = ended.output.lines().map(|line| line.parse::<Value>().unwrap());
        let open = letters.filter(|letter| letter["status"] == "open").map(|letter| {
            let text: Value = letter["letter"]["text"].as_str().unwrap().parse().unwrap();
            (letter["id"].as_str().unwrap().to_owned(), text["by"].clone())
        });
        open.collect()
    }

    /// What the faults have hit: a storm that never hits what is computed anew proves nothing.
    #[track_caller]
    fn say(&self, faults: u64) {
        let [anew, told] = self.caught;
        println!("{anew} of {faults} faults before a checkpoint, {told} of them after corrections");
        assert!(anew > 0 || faults < 4, "none of {faults} faults was before a checkpoint");
    }
}

/// An order, with its partition and offset.
type Place = (usize, usize, Order);

/// Orders in the order of their times, each with its partition and offset; and what is added to each partition.
fn chunk(dice: &mut Dice, version: u64, offsets: &mut [usize; 3]) -> (Vec<Place>, [String; 3]) {
    let (mut orders, mut texts) = (Vec::new(), <[String; 3]>::default());
    for index in 0..RECORDS {
        let partition = dice.below(3) as usize;
        // Times come often, in all partitions; none of this chunk is of another.
        let time = 1_700_000_000_000_000_000 + version * RECORDS as u64 + index as u64 / 5;
        let order = Order::some(dice, 0, format!("v{version}r{index}"));
        writeln!(texts[partition], "{time} {}", order.json()).unwrap();
        orders.push((time, partition, offsets[partition], order));
        offsets[partition] += 1;
    }
    orders.sort_by_key(|(time, partition, offset, _)| (*time, *partition, *offset));
    (
        orders
            .into_iter()
            .map(|(_, partition, offset, order)| (partition, offset, order))
            .collect(),
        texts,
    )
}

/// Where this version may have ended, which has released what there is, if an earlier one has ended at one of those:
/// several, as it tells nothing of an order that it refuses.
fn ends(world: &World, orders: &[Place], begins: &BTreeSet<usize>) -> BTreeSet<usize> {
    let [prices, counts] = world.lines();
    let of = |version, end| Bills::of(version, orders[..end].iter().map(|(.., order)| order));
    let mut ends = BTreeSet::new();
    for begin in begins {
        let mut bills = of(world.version, *begin);
        let corrections = match world.version {
            1 => BTreeSet::new(),
            version => bills.corrections(&of(version - 1, *begin)),
        };
        let (told, counted) = (bills.told.len(), bills.counted.len());
        let (corrected, rest) = prices.split_at(corrections.len().min(prices.len()));
        if corrected.iter().map(|line| (*line).to_owned()).collect::<BTreeSet<_>>() != corrections {
            continue;
        }
        for end in *begin..=orders.len() {
            if bills.told.len() - told == rest.len()
                && is_same(rest, &bills.told[told..])
                && is_same(&counts, &bills.counted[counted..])
            {
                ends.insert(end);
            }
            if let Some((.., order)) = orders.get(end) {
                bills.price(order);
            }
        }
    }
    ends
}

fn is_same(is: &[&str], wanted: &[(u8, String)]) -> bool {
    is.iter().copied().eq(wanted.iter().map(|(_, line)| line.as_str()))
}

#[test]
fn recorded_input_is_computed_anew_once_whatever_is_killed() {
    let what = "computing recorded input anew";
    let mut dose = Dose::new(what, 12);
    let mut layouts = 0;
    while !dose.is_over() {
        let name = |n: usize| format!("orders-{n}");
        let mut world = World::new(
            |folder| format!("file:{}", [0, 1, 2].map(|n| folder.write(&name(n), "")).join(",")),
            layouts,
        );
        let (mut orders, mut offsets): (Vec<Place>, _) = (Vec::new(), [0; 3]);
        let mut begins = BTreeSet::from([0]);
        let before = dose.made;
        for version in 1..=3 {
            let (more, texts) = chunk(&mut dose.dice, version, &mut offsets);
            for (n, text) in texts.iter().enumerate() {
                let path = world.folder.path(&name(n));
                let mut file = std::fs::File::options().append(true).open(path).unwrap();
                file.write_all(text.as_bytes()).unwrap();
            }
            orders.extend(more);
            world.change();
            let mut life = world.storm(&mut dose, what);
            // It comes to the end of its input, or is told to end before.
            let mut is_asked =
                version < 3 && dose.dice.below(2) == 0 && life.checkpoint(&world.start);
            if is_asked {
                life.running.signal("TERM");
            }
            life.succeeds();
            if is_asked && world.has_come_further() {
                // As it is told.
                is_asked = false;
                world.begin().succeeds();
            }
            world.check("the end of a version");
            begins = ends(&world, &orders, &begins);
            assert!(!begins.is_empty(), "version {version} has told something else");
            if is_asked && !begins.contains(&orders.len()) {
                continue;
            }
            assert!(begins.contains(&orders.len()), "version {version} has not told all");
            begins = BTreeSet::from([orders.len()]);
            let refused = orders.iter().filter(|(.., order)| order.is_refused(version));
            let names: BTreeSet<String> =
                refused.map(|(n, offset, _)| format!("orders-{n}-{offset}/price")).collect();
            let letters: Vec<String> = world.letters().into_iter().map(|(name, _)| name).collect();
            assert_eq!(letters.len(), names.len());
            assert_eq!(letters.into_iter().collect::<BTreeSet<_>>(), names);
        }
        world.complete(&Bills::of(3, orders.iter().map(|(.., order)| order)));
        world.say(dose.made - before);
        layouts = world.layouts;
    }
}

/// What a producer sends to the first version, and to the second.
fn order(version: u64, producer: usize, connection: usize, record: u64) -> Order {
    let name = format!("v{version}p{producer}c{connection}r{record}");
    // The same on whatever connection.
    let mut dice = Dice(record * 1000 + producer as u64 * 10 + version);
    dice.below(2);
    let mut order = Order::some(&mut dice, producer as u8 * 5, name);
    // It is told by name, so that what has come can be told from the output.
    order.price += u64::from(version == 2 && order.price % 10 == version);
    order
}

fn first(producer: usize, connection: usize, record: u64) -> String {
    order(1, producer, connection, record).json()
}

fn second(producer: usize, connection: usize, record: u64) -> String {
    order(2, producer, connection, record).json()
}

#[test]
fn live_input_is_computed_anew_once_whatever_is_killed() {
    let what = "computing live input anew";
    let mut dose = Dose::new(what, 8);
    let mut layouts = 1;
    while !dose.is_over() {
        let [port] = free_ports();
        let url = format!("tcp-listen://127.0.0.1:{port}?ack=true");
        let mut world = World::new(|_| url, layouts);
        world.change();
        let mut life = world.begin();
        let producers = Producers::sending(first, 2, Transport::Tcp, port);
        until("enough is sent", || (producers.acknowledged() > SENT).then_some(()));
        let earlier = producers.finish();
        life.running.signal("TERM");
        life.succeeds();
        world.check("the end of the first version");
        let before = dose.made;
        world.change();
        let producers = Producers::sending(second, 2, Transport::Tcp, port);
        let mut life = world.storm(&mut dose, what);
        let acknowledged = producers.acknowledged();
        until("progress resumes", || {
            assert!(life.running.is_running(), "{}", life.running.errors());
            (producers.acknowledged() > acknowledged + 100).then_some(())
        });
        let later = producers.finish();
        life.running.signal("TERM");
        life.succeeds();
        world.check("the end");
        check_live(&world, &earlier, &later);
        world.say(dose.made - before);
        layouts = world.layouts;
    }
}

/// Producers without a fault have sent one connection's records; of later ones the output says which have come.
#[track_caller]
fn check_live(world: &World, earlier: &[Vec<Connection>], later: &[Vec<Connection>]) {
    let orders: Vec<Order> = earlier
        .iter()
        .enumerate()
        .flat_map(|(producer, connections)| {
            assert_eq!(connections.len(), 1, "nothing was killed");
            (0..connections[0].sent).map(move |record| order(1, producer, 0, record))
        })
        .collect();
    let was = Bills::of(1, &orders);
    let mut bills = Bills::of(2, &orders);
    let [prices, counts] = world.lines();
    let corrections = bills.corrections(&was);
    let (corrected, rest) = prices.split_at(corrections.len().min(prices.len()));
    let corrected: BTreeSet<String> = corrected.iter().map(|line| (*line).to_owned()).collect();
    assert!(corrected == corrections, "other corrections than a loop tells");
    let (told_before, counted_before) = (bills.told.len(), bills.counted.len());
    let mut named: Vec<String> = rest.iter().filter_map(|line| told(line).1).collect();
    named.dedup();
    let mut last: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for name in &named {
        let (producer, connection, record) = parts(name);
        let Connection { first, sent, .. } = later[producer][connection];
        let next = last.get(&(producer, connection)).map_or(first, |last| last + 1);
        let between = (next..record).map(|record| order(2, producer, connection, record));
        assert!(between.clone().all(|order| order.is_refused(2)), "{name}: gaps before it");
        assert!((next..first + sent).contains(&record), "{name} was never sent, or came again");
        last.insert((producer, connection), record);
        bills.price(&order(2, producer, connection, record));
    }
    // Those of a shop are of one producer, so their order is known.
    let by_shop = |lines: &[(u8, String)]| {
        let mut shops: BTreeMap<u8, Vec<String>> = BTreeMap::new();
        lines.iter().for_each(|(shop, line)| shops.entry(*shop).or_default().push(line.clone()));
        shops
    };
    let rest: Vec<(u8, String)> =
        rest.iter().map(|line| (told(line).0, (*line).to_owned())).collect();
    assert!(by_shop(&rest) == by_shop(&bills.told[told_before..]), "told something else");
    let shop = |line: &str| line.split(' ').next().unwrap().parse::<u8>().unwrap();
    let counts: Vec<(u8, String)> =
        counts.iter().map(|line| (shop(line), (*line).to_owned())).collect();
    assert!(by_shop(&counts) == by_shop(&bills.counted[counted_before..]), "counted otherwise");
    world.complete(&bills);

    let refused = orders.iter().filter(|order| order.is_refused(2)).map(|order| order.by.clone());
    let mut least: BTreeSet<String> = refused.collect();
    let mut most = least.clone();
    for (producer, connections) in later.iter().enumerate() {
        for (connection, known) in connections.iter().enumerate() {
            let Connection { first, sent, acknowledged } = *known;
            let seen = last.get(&(producer, connection)).map_or(0, |last| last + 1 - first);
            for at in 0..sent {
                let order = order(2, producer, connection, first + at);
                if order.is_refused(2) {
                    most.insert(order.by.clone());
                    if at < acknowledged.max(seen) {
                        least.insert(order.by);
                    }
                } else {
                    assert!(at >= acknowledged || at < seen, "{} is not there", order.by);
                }
            }
        }
    }
    let letters = world.letters();
    let names: BTreeSet<String> =
        letters.iter().map(|(_, by)| by.as_str().unwrap().to_owned()).collect();
    assert_eq!(letters.len(), names.len(), "some letter is there twice");
    assert!(least.is_subset(&names) && names.is_subset(&most), "not those that it refuses");
}

/// Producer, connection and record, of a name.
fn parts(name: &str) -> (usize, usize, u64) {
    let (producer, rest) = name.strip_prefix("v2p").unwrap().split_once('c').unwrap();
    let (connection, record) = rest.split_once('r').unwrap();
    (producer.parse().unwrap(), connection.parse().unwrap(), record.parse().unwrap())
}
