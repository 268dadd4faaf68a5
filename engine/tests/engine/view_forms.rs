//! What can be had of a view (upserts, streams, views of what is computed of them), views of rows that expire, and
//! mistakes in drawing views.

use std::collections::{BTreeMap, BTreeSet};

use anabranch::prelude::*;
use anabranch::window::ttl::Ttl;
use anabranch::{Expiring, Op, TestDriver, Upsert, run, sink, source};

use crate::support::{Memory, Sequence, bounded, workers};

/// Of each user the team.
const TEAMS: Table<u8, u8> = Table::new("teams");
const COUNTS: Table<u8, i64> = Table::new("counts");

/// Counts per key, as upserts; and how the changes of the counts were counted by a computation, of which there
/// is a view again.
fn counted(app: &App) -> Result<()> {
    let counts = app
        .source("keys", source::empty::<(u8, bool)>())
        .key_by(|(key, _)| *key)
        .collect_into("keys", |(key, there)| there.then_some(key));
    let view = app.view("by-rest", counts, |t| t.map(|(key, _)| key % 3).count());
    view.sink("upserts", sink::null());
    view.upserts()
        .key_by(|upsert| upsert.key)
        .compute("count", COUNTS, |upsert: Upsert<u8, i64>, mut count, out| {
            *count += 1;
            out.emit((upsert.key, *count, out.now()));
        })
        .sink("counts", sink::null());
    app.view("often", COUNTS, |t| t.filter(|(_, count)| *count > 2));
    Ok(())
}

#[test]
fn upserts_say_what_became_of_each_key() {
    for seed in 0..8 {
        let mut sequence = Sequence(seed);
        let workers = 1 + seed as usize % 4;
        let mut driver = TestDriver::new(counted).workers(workers).seed(seed).start().unwrap();
        let (mut keys, mut counts) = (BTreeSet::new(), BTreeMap::<u8, i64>::new());
        let of = |keys: &BTreeSet<u8>| {
            let mut of = BTreeMap::<u8, i64>::new();
            keys.iter().for_each(|key| *of.entry(key % 3).or_default() += 1);
            of
        };
        for _ in 0..40 {
            let before = of(&keys);
            for _ in 0..sequence.below(4) {
                let (key, there) = (sequence.below(9) as u8, sequence.below(2) == 0);
                driver.send("keys", (key, there)).unwrap();
                if there {
                    keys.insert(key)
                } else {
                    keys.remove(&key)
                };
            }
            let now = driver.now();
            driver.run().unwrap();
            let after = of(&keys);
            let expected: Vec<Upsert<u8, i64>> = (0..3)
                .filter_map(|key| {
                    let (before, value) = (before.get(&key).copied(), after.get(&key).copied());
                    let op = match (before, value) {
                        (None, Some(_)) => Op::Insert,
                        (Some(_), None) => Op::Delete,
                        (before, value) if before != value => Op::Update,
                        _ => return None,
                    };
                    Some(Upsert { op, key, value, before })
                })
                .collect();
            assert_eq!(driver.outputs::<Upsert<u8, i64>>("upserts"), expected, "seed {seed}");
            let counted = expected.iter().map(|upsert| {
                let count = counts.entry(upsert.key).or_default();
                *count += 1;
                (upsert.key, *count, now)
            });
            let counted: Vec<_> = counted.collect();
            assert_eq!(driver.outputs::<(u8, i64, Time)>("counts"), counted, "seed {seed}");
            let often = counts.iter().filter(|(_, count)| **count > 2);
            let often: Vec<_> = often.map(|(key, count)| ((*key, *count), 1)).collect();
            assert_eq!(driver.view::<(u8, i64)>("often").unwrap(), often);
        }
    }
}

#[test]
fn an_upsert_is_one_document() {
    let upsert = Upsert { op: Op::Delete, key: 7, value: None, before: Some(2) };
    let json = serde_json::to_string(&upsert).unwrap();
    assert_eq!(json, r#"{"op":"delete","key":7,"value":null,"before":2}"#);
}

const VISITS: Expiring<Table<u8, u64>> =
    Table::new("visits").expiring(Ttl::since_write(std::time::Duration::from_millis(20)));

#[test]
fn rows_that_expire_leave_their_views() {
    let build = |app: &App| {
        app.source("visits", source::empty::<u8>()).key_by(|user| *user).compute(
            "visit",
            VISITS,
            |_, mut visits, _: &mut Context<'_, ()>| *visits += 1,
        );
        app.view("visits", VISITS, |t| Clone::clone(&**t));
        Ok(())
    };
    for seed in 0..6 {
        let mut sequence = Sequence(seed);
        let mut driver =
            TestDriver::new(build).workers(1 + seed as usize % 4).seed(seed).start().unwrap();
        for _ in 0..60 {
            driver.advance(std::time::Duration::from_millis(sequence.below(9)));
            driver.send("visits", sequence.below(5) as u8).unwrap();
            driver.run().unwrap();
            let there = (0..5)
                .filter_map(|user| Some(((user, driver.get(VISITS.table(), &user).unwrap()?), 1)));
            let there: Vec<((u8, u64), i64)> = there.collect();
            assert_eq!(driver.view::<(u8, u64)>("visits").unwrap(), there, "seed {seed}");
        }
    }
}

/// The error that a program ends with, or is refused for.
fn refused(build: impl Fn(&App) -> Result<()> + Send + Sync + 'static) -> String {
    bounded(move || run(&workers(2), build).unwrap_err().to_string())
}

/// Writes [`TEAMS`].
fn write_teams(app: &App) {
    let input = Memory::new(vec![vec![(Some(1), (1_u8, 2_u8)), (Some(2), (3, 4))]]);
    app.source("teams", input).key_by(|(user, _)| *user).compute(
        "join-team",
        TEAMS,
        |(_, team), mut row, _: &mut Context<'_, ()>| *row = team,
    );
}

#[test]
fn mistakes_are_named() {
    let unused = refused(|app| {
        write_teams(app);
        app.view("nobody", COUNTS, |t| t.map(|(key, _)| key));
        Ok(())
    });
    assert!(unused.contains("view `nobody`") && unused.contains("table `counts`"), "{unused}");
    let twice = refused(|app| {
        write_teams(app);
        app.view("a", TEAMS, |t| t.map(|(user, _)| user));
        app.view("a", TEAMS, |t| t.map(|(_, team)| team));
        Ok(())
    });
    assert!(twice.contains("two views are named `a`"), "{twice}");
    let arrival = refused(|app| {
        write_teams(app);
        app.view("a", TEAMS, |t| t.map(|(user, _)| user));
        app.order(anabranch::Order::Arrival);
        Ok(())
    });
    assert!(arrival.contains("Order::Arrival"), "{arrival}");
    let returns = refused(|app| {
        write_teams(app);
        app.view("a", TEAMS, |t| t.map(|(user, _)| user))
            .changes()
            .key_by(|change| change.record)
            .compute("back", TEAMS, |_, mut team, _: &mut Context<'_, ()>| *team += 1);
        Ok(())
    });
    assert!(returns.contains("returns") && returns.contains("view `a`"), "{returns}");
    let several = refused(|app| {
        write_teams(app);
        let view =
            app.view("several", TEAMS, |t| t.flat_map(|(user, team)| [(7_u8, user), (7, team)]));
        view.sink("several", sink::null());
        Ok(())
    });
    assert!(several.contains("view `several`: key 7 has not one value"), "{several}");
    let panics = refused(|app| {
        write_teams(app);
        app.view("panics", TEAMS, |t| t.filter(|(user, _)| *user < 3 || panic!("no {user}")));
        Ok(())
    });
    assert!(panics.contains("view `panics` panicked: no 3"), "{panics}");
}
