//! A view is, at the end of every epoch, what its tables would make of it if it were made anew; and what it
//! tells is the same on any number of workers, and however often the program was ended and started.

use std::collections::{BTreeMap, BTreeSet};

use anabranch::prelude::*;
use anabranch::sink;
use anabranch::source::{self, Nature, Source};
use anabranch::{Change, Shared, Span, TestDriver, Undo, View, ViewData, run, verify};

use crate::durability::{Folder, in_pieces_of};
use crate::support::{Lines, Memory, Sequence, bounded, uninterrupted};

/// Of each user the team.
const TEAMS: Table<u8, u8> = Table::new("teams");
/// Of each user what was bought, by number, for how much.
const ITEMS: MapTable<u8, u8, u64> = MapTable::new("items");
/// Who knows whom.
const KNOWS: MapTable<u8, u8, ()> = MapTable::new("knows");

/// What is done, to which user, with what number, and an amount.
type Order = (u8, u8, u8, u64);

/// What a computation makes of an order; some fail half-way.
fn apply(order: &Order, (mut teams, mut items): Rows<'_>) -> Result<(), Undo> {
    let (what, _, number, amount) = *order;
    match what {
        0..=3 => drop(items.insert(number, amount)),
        4 => drop(items.remove(&number)),
        5 => *items.entry(number) += amount,
        6 => drop(items.update(&number, |it| *it = amount)),
        7 => drop(items.pop_first()),
        8 => items.clear(),
        9 | 10 => *teams = number % 4,
        14 => drop(teams.remove()),
        11 => {
            items.insert(number, amount);
            items.pop_last();
            *teams = number;
            return Err(Undo::fail("told to fail"));
        }
        12 => {
            items.clear();
            teams.remove();
            panic!("told to panic");
        }
        _ => {
            *teams = 9;
            items.update(&number, |it| *it += 1);
            return Err(Undo::Ignore);
        }
    }
    Ok(())
}

type Rows<'a> = (Row<'a, u8>, MapRow<'a, u8, u64>);

/// The tables, as maps.
#[derive(Clone, Default)]
struct Maps {
    teams: BTreeMap<u8, u8>,
    items: BTreeMap<(u8, u8), u64>,
    knows: BTreeSet<(u8, u8)>,
    latest: BTreeMap<u8, u64>,
}

impl Maps {
    fn apply(&mut self, (what, user, number, amount): Order) {
        let items = &mut self.items;
        let first = items.range((user, 0)..=(user, u8::MAX)).next().map(|(key, _)| *key);
        match what {
            0..=3 => drop(items.insert((user, number), amount)),
            4 => drop(items.remove(&(user, number))),
            5 => *items.entry((user, number)).or_default() += amount,
            6 => drop(items.get_mut(&(user, number)).map(|it| *it = amount)),
            7 => drop(first.map(|first| items.remove(&first))),
            8 => items.retain(|(of, _), _| *of != user),
            9 | 10 => drop(self.teams.insert(user, number % 4)),
            11..=13 => {}
            14 => drop(self.teams.remove(&user)),
            15 => drop(self.knows.insert((user, number))),
            16 => drop(self.knows.remove(&(user, number))),
            17 | 18 => drop(self.latest.insert(user, amount)),
            _ => drop(self.latest.remove(&user)),
        }
    }

    fn of_user(&self, user: u8) -> impl DoubleEndedIterator<Item = (u8, u64)> {
        self.items
            .range((user, 0)..=(user, u8::MAX))
            .map(|((_, number), amount)| (*number, *amount))
    }
}

/// Rows of a view, by name, as text.
type Expected = BTreeMap<&'static str, BTreeMap<String, i64>>;

/// All views, made anew.
fn anew(maps: &Maps) -> Expected {
    let mut expected = Expected::new();
    let mut add = |view, row: String, times| {
        let rows = expected.entry(view).or_default();
        let known: &mut i64 = rows.entry(row.clone()).or_default();
        *known += times;
        if *known == 0 {
            rows.remove(&row);
        }
    };
    for user in 0..=u8::MAX {
        let bought: Vec<u64> = maps.of_user(user).map(|(_, amount)| amount).collect();
        if !bought.is_empty() {
            add("count", format!("{:?}", (user, bought.len() as i64)), 1);
        }
        let mut sorted = bought.clone();
        sorted.sort_unstable();
        sorted.iter().rev().take(2).for_each(|it| add("top-2", format!("{:?}", (user, it)), 1));
        sorted.iter().take(1).for_each(|it| add("least", format!("{:?}", (user, it)), 1));
        let joined = maps.teams.contains_key(&user);
        for amount in &bought {
            let view = if joined { "with-team" } else { "without-team" };
            add(view, format!("{:?}", (user, amount)), 1);
        }
        if let Some(team) = maps.teams.get(&user) {
            for amount in &bought {
                add("joined", format!("{:?}", (user, (*team, *amount))), 1);
            }
        }
    }
    let amounts: BTreeSet<u64> = maps.items.values().copied().collect();
    amounts.iter().for_each(|amount| add("amounts", format!("{amount:?}"), 1));
    let mut of_teams: BTreeMap<u8, u64> = BTreeMap::new();
    for ((user, _), amount) in &maps.items {
        if let Some(team) = maps.teams.get(user) {
            *of_teams.entry(*team).or_default() += amount;
        }
    }
    of_teams.iter().for_each(|sum| add("team-sums", format!("{sum:?}"), 1));
    for amount in maps.latest.values() {
        add("latest", format!("{:?}", amount % 5), 1);
        add("latest", format!("{:?}", amount % 3), 1);
    }
    for from in maps.knows.iter().map(|(from, _)| *from).collect::<BTreeSet<_>>() {
        let (mut there, mut next) = (BTreeSet::from([from]), vec![from]);
        while let Some(at) = next.pop() {
            let to = maps.knows.range((at, 0)..=(at, u8::MAX)).map(|(_, to)| *to);
            next.extend(to.filter(|to| there.insert(*to)));
        }
        there.iter().for_each(|to| add("reach", format!("{:?}", (from, to)), 1));
    }
    expected
}

/// Tells `told` of the changes of a view, as text.
fn tell<D: ViewData>(name: &str, view: &View<D>, told: &mut impl FnMut(&str, Shared<String>)) {
    let text = |Change { record, epoch, diff }| format!("{epoch} {diff} {record:?}");
    told(name, view.changes().map(text).share());
}

/// Draws the tables, and all views of them.
fn draw(app: &App, orders: impl Source<Item = Order>, mut told: impl FnMut(&str, Shared<String>)) {
    let orders = app.source("orders", orders).share();
    let of = |range: std::ops::RangeInclusive<u8>| {
        let orders = orders.clone();
        orders.filter(move |(what, ..)| range.contains(what)).key_by(|(_, user, ..)| *user)
    };
    of(0..=14).try_compute("apply", (TEAMS, ITEMS), |order, rows, _: &mut Context<'_, ()>| {
        apply(order, rows)
    });
    of(15..=16).compute("meet", KNOWS, |(what, _, whom, _), mut knows, _: &mut Context<'_, ()>| {
        match what {
            15 => drop(knows.insert(whom, ())),
            _ => drop(knows.remove(&whom)),
        }
    });
    let latest =
        of(17..=19).collect_into("latest", |(what, _, _, amount)| (what < 19).then_some(amount));
    let (count, top) = app.view_pair(["count", "top-2"], ITEMS, |t| {
        let by_user = t.map(|(user, _, amount)| (user, amount)).arrange();
        (by_user.count_by_key(), by_user.top_k(2))
    });
    tell("count", &count, &mut told);
    tell("top-2", &top, &mut told);
    let tables = (TEAMS, ITEMS.select(|user, _, amount| Some((*user, *amount))));
    let (with, without) = app.view_pair(["with-team", "without-team"], tables, |t| {
        let (teams, items) = &**t;
        let teams = teams.map(|(user, _)| user);
        (items.semijoin(&teams), items.antijoin(&teams))
    });
    tell("with-team", &with, &mut told);
    tell("without-team", &without, &mut told);
    let (joined, sums) = app.view_pair(["joined", "team-sums"], (TEAMS, ITEMS), |t| {
        let (teams, items) = &**t;
        let joined = teams.join(&items.map(|(user, _, amount)| (user, amount)).arrange());
        let sums = joined.map(|(_, pair)| pair).reduce(|_, amounts| {
            [amounts.iter().map(|(amount, times)| **amount * *times as u64).sum::<u64>()]
        });
        (joined, sums)
    });
    tell("joined", &joined, &mut told);
    tell("team-sums", &sums, &mut told);
    let amounts = app.view("amounts", ITEMS, |t| t.map(|(_, _, amount)| amount).distinct());
    tell("amounts", &amounts, &mut told);
    let least = app.view("least", ITEMS, |t| {
        let least = t.map(|(user, _, amount)| (user, amount)).bottom_k(1);
        // And what comes and goes at once.
        least.concat(&least.filter(|_| true)).concat(&least.negate())
    });
    tell("least", &least, &mut told);
    let latest = app.view("latest", latest, |t| t.flat_map(|(_, amount)| [amount % 5, amount % 3]));
    tell("latest", &latest, &mut told);
    let reach = app.view("reach", KNOWS.select(|from, to, ()| Some((*from, *to))), |t| {
        let knows = Clone::clone(&**t);
        t.map(|(from, _)| (from, from)).distinct().iterate(|round, there| {
            let by_way = there.map(|(from, at)| (at, from));
            by_way
                .join(&round.enter(&knows))
                .map(|(_, (from, to))| (from, to))
                .concat(there)
                .distinct()
        })
    });
    tell("reach", &reach, &mut told);
}

const VIEWS: [&str; 10] = [
    "count",
    "top-2",
    "with-team",
    "without-team",
    "joined",
    "team-sums",
    "amounts",
    "least",
    "latest",
    "reach",
];

fn order(sequence: &mut Sequence) -> Order {
    let what = sequence.below(20) as u8;
    // Few who know each other, or everybody would know everybody.
    let bound = if (15..=16).contains(&what) { 12 } else { 6 };
    (what, sequence.below(bound) as u8, sequence.below(bound) as u8, sequence.below(9))
}

/// What was told of a view so far, added up; and that it was told in order.
#[derive(Default)]
struct Told {
    rows: BTreeMap<String, i64>,
    last: Option<(u64, bool)>,
}

impl Told {
    fn add(&mut self, line: &str) {
        let mut parts = line.splitn(3, ' ');
        let mut number = || parts.next().unwrap().parse::<i64>().unwrap();
        let (epoch, diff) = (number() as u64, number());
        let row = parts.next().unwrap().to_string();
        assert_ne!(diff, 0);
        assert!(self.last.is_none_or(|last| last <= (epoch, diff > 0)), "{line}");
        self.last = Some((epoch, diff > 0));
        let times = self.rows.entry(row.clone()).or_default();
        *times += diff;
        if *times == 0 {
            self.rows.remove(&row);
        }
    }
}

fn rows_of<D: ViewData>(driver: &TestDriver, view: &str) -> BTreeMap<String, i64> {
    let rows = driver.view::<D>(view).unwrap();
    assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0), "{view}");
    rows.into_iter().map(|(row, times)| (format!("{row:?}"), times)).collect()
}

fn seen(driver: &TestDriver, view: &str) -> BTreeMap<String, i64> {
    match view {
        "count" => rows_of::<(u8, i64)>(driver, view),
        "joined" => rows_of::<(u8, (u8, u64))>(driver, view),
        "amounts" | "latest" => rows_of::<u64>(driver, view),
        "reach" => rows_of::<(u8, u8)>(driver, view),
        _ => rows_of::<(u8, u64)>(driver, view),
    }
}

#[test]
fn a_view_is_what_its_tables_make_of_it() {
    for seed in 0..24 {
        let mut sequence = Sequence(seed);
        let build = |app: &App| {
            draw(app, source::empty(), |name, told| drop(told.sink(name, sink::null())));
            Ok(())
        };
        let workers = 1 + seed as usize % 4;
        let mut driver = TestDriver::new(build).workers(workers).seed(seed).start().unwrap();
        let (mut maps, mut told) = (Maps::default(), BTreeMap::<&str, Told>::new());
        for epoch in 0..30 {
            for _ in 0..sequence.below(12) {
                let order = order(&mut sequence);
                driver.send("orders", order).unwrap();
                maps.apply(order);
            }
            driver.run().unwrap();
            let mut expected = anew(&maps);
            for view in VIEWS {
                let told = told.entry(view).or_default();
                driver.outputs::<String>(view).iter().for_each(|line| told.add(line));
                let expected = expected.remove(view).unwrap_or_default();
                let context = format!("{view}, epoch {epoch}, seed {seed}, {workers} workers");
                assert_eq!(seen(&driver, view), expected, "{context}");
                assert_eq!(told.rows, expected, "{context}");
            }
            assert!(expected.is_empty());
        }
    }
}

/// What all views tell, as one stream of lines that begin with their names.
fn all(app: &App, orders: impl Source<Item = Order>) -> Shared<String> {
    let mut streams = Vec::new();
    draw(app, orders, |name, told| {
        let name = name.to_string();
        streams.push(told.map(move |line| format!("{name} {line}")).share());
    });
    while streams.len() > 1 {
        let mut pairs = streams.into_iter();
        let mut merged = Vec::new();
        while let Some(first) = pairs.next() {
            merged.push(match pairs.next() {
                Some(second) => first.merge(second),
                None => first,
            });
        }
        streams = merged;
    }
    streams.pop().unwrap()
}

fn orders(seed: u64, nature: Nature, partitions: usize, count: usize) -> Memory<Order> {
    let mut sequence = Sequence(seed);
    let partitions = (0..partitions).map(|_| {
        let mut time = 0;
        let mut stamped = || {
            time += sequence.below(3) as i64;
            (Some(time), order(&mut sequence))
        };
        (0..count).map(|_| stamped()).collect()
    });
    Memory { nature, ..Memory::new(partitions.collect()) }
}

#[test]
fn what_views_tell_is_the_same_however_often_the_program_is_started() {
    let input = orders(3, Nature::Recorded, 3, 6_000);
    let on = |count: usize| {
        let input = input.clone();
        uninterrupted::<String>(count, move |app, sink| {
            all(app, input.clone()).sink("told", sink);
            Ok(())
        })
    };
    let once = on(1);
    assert!(once.len() > 300, "{} lines prove little", once.len());
    assert!(on(3) == once);
    let steps = [(2, 90), (1, 1), (4, 90), (3, 30), (1, 70), (2, usize::MAX)];
    let folder = Folder::new("views-recorded");
    // Later starts go on from a checkpoint.
    let (held_from, last_when) = (Some(2_000), Some(folder.checkpointed()));
    let input = Memory { held_from, last_when, ..input };
    let pieces = in_pieces_of(&folder, &steps, move |app, released| {
        all(app, input.clone()).sink("told", released);
    });
    let differs = pieces.iter().zip(&once).find(|(piece, once)| piece != once);
    assert_eq!((differs, pieces.len()), (None, once.len()));
}

#[test]
fn what_views_of_live_input_told_adds_up_to_their_tables() {
    let input = orders(4, Nature::Live, 1, 9_000);
    let mut maps = Maps::default();
    input.partitions[0].iter().for_each(|(_, order)| maps.apply(*order));
    let steps = [(1, 100), (3, 1), (2, 500), (4, 200), (1, usize::MAX)];
    let folder = Folder::new("views-live");
    let (held_from, last_when) = (Some(2_000), Some(folder.checkpointed()));
    let input = Memory { held_from, last_when, ..input };
    let lines = in_pieces_of(&folder, &steps, move |app, released| {
        all(app, input.clone()).sink("told", released);
    });
    let mut told = BTreeMap::<&str, Told>::new();
    for line in &lines {
        let mut parts = line.splitn(3, ['"', ' ']);
        let id = parts.next().unwrap();
        assert!(id.starts_with("view-"), "{line}");
        let (view, change) = line.split_once(" \"").unwrap().1.split_once(' ').unwrap();
        told.entry(view).or_default().add(change.strip_suffix('"').unwrap());
    }
    for (view, rows) in anew(&maps) {
        assert_eq!(told[view].rows, rows, "{view}");
    }
}

#[test]
fn what_views_tell_is_verified() {
    for (nature, name) in [(Nature::Recorded, "verify-recorded"), (Nature::Live, "verify-live")] {
        let mut folder = Folder::new(name);
        folder.1 = "forever";
        let config = folder.config(2);
        bounded(move || {
            let input = orders(5, nature, 2, 3_000);
            let build = move |app: &App| {
                all(app, input.clone()).sink("told", Lines::default().sink::<String>());
                Ok(())
            };
            run(&config, build.clone()).unwrap();
            let found = verify(&config, Span::default(), build.clone()).unwrap();
            assert_eq!(found.difference, None, "{nature:?}");
            assert!(found.outputs > 100, "{found:?}");
            drop(folder);
        });
    }
}
