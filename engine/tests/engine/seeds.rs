//! Any schedule of any number of workers is the plain loop: outputs and tables, over many seeds of
//! the scheduler; and a seed is a schedule, so a failure can be repeated.
//!
//! 200 seeds run by default. More of them, with progress on standard error:
//! `ANABRANCH_SEEDS=20000 cargo test --release -p anabranch --test engine seeds -- --nocapture`

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::{TestDriver, sink, source};

use crate::support::Sequence;

const BALANCES: Table<u8, i64> = Table::new("balances");
const ORDERS: MapTable<u8, u64, i64> = MapTable::new("orders");
const TOTALS: Table<u8, (u64, i64)> = Table::new("totals");

/// An account, an amount.
type Entry = (u8, i64);

/// Two pipelines that share two tables, and a third table under another key behind them.
fn bank(app: &App) -> Result<()> {
    let settled = app
        .source("payments", source::empty::<Entry>())
        .filter(|(_, amount)| amount % 11 != 0)
        .key_by(|(account, _)| *account)
        .compute(
            "settle",
            (BALANCES, ORDERS),
            |(account, amount), (mut balance, mut orders), out| {
                *balance += amount;
                while let Some((limit, order)) = orders.first().map(|(l, o)| (*l, *o))
                    && (limit as i64) <= *balance
                {
                    orders.remove(&limit);
                    *balance -= order;
                    out.emit((account, order));
                }
            },
        )
        .sink("settled", sink::null());
    settled
        .key_by(|(account, _)| account / 4)
        .compute("total", TOTALS, |(_, order), mut total, out| {
            total.0 += 1;
            total.1 = total.1.wrapping_mul(31).wrapping_add(order);
            out.emit(*total);
        })
        .sink("totals", sink::null());
    app.source("orders", source::empty::<Entry>())
        .flat_map(|(account, amount)| (0..amount % 3).map(move |i| (account, amount + i)))
        .key_by(|(account, _)| *account)
        .compute("order", (ORDERS, BALANCES.read()), |(_, amount), (mut orders, balance), out| {
            *orders.entry(amount as u64) += amount + *balance % 5;
            out.emit(orders.len() as u64);
        })
        .sink("open", sink::null());
    Ok(())
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    settled: Vec<Entry>,
    totals: Vec<(u64, i64)>,
    open: Vec<u64>,
    balances: BTreeMap<u8, i64>,
    orders: BTreeMap<u8, Vec<(u64, i64)>>,
    total_rows: BTreeMap<u8, (u64, i64)>,
}

const ACCOUNTS: u8 = 10;

/// What is sent at which nanosecond: in the order of sending.
fn script(seed: u64) -> Vec<(u64, bool, Entry)> {
    let mut random = Sequence(seed);
    let mut now = 0;
    (0..40 + random.below(80))
        .map(|_| {
            now += random.below(3);
            let entry = (random.below(u64::from(ACCOUNTS)) as u8, random.below(200) as i64 - 60);
            (now, random.below(3) == 0, entry)
        })
        .collect()
}

fn oracle(script: &[(u64, bool, Entry)]) -> Outcome {
    let mut sorted: Vec<_> = script.iter().enumerate().collect();
    sorted.sort_by_key(|(index, (time, is_order, _))| (*time, *is_order, *index));
    let mut outcome = Outcome::default();
    let mut orders: BTreeMap<u8, BTreeMap<u64, i64>> = BTreeMap::new();
    for (_, (_, is_order, (account, amount))) in sorted {
        let row = orders.entry(*account).or_default();
        if *is_order {
            for i in 0..amount % 3 {
                let balance = outcome.balances.get(account).copied().unwrap_or(0);
                *row.entry((amount + i) as u64).or_default() += amount + i + balance % 5;
                outcome.open.push(row.len() as u64);
            }
        } else if amount % 11 != 0 {
            let balance = outcome.balances.entry(*account).or_default();
            *balance += amount;
            while let Some((limit, order)) = row.first_key_value().map(|(l, o)| (*l, *o)) {
                if limit as i64 > *balance {
                    break;
                }
                row.remove(&limit);
                *balance -= order;
                outcome.settled.push((*account, order));
                let total = outcome.total_rows.entry(account / 4).or_default();
                *total = (total.0 + 1, total.1.wrapping_mul(31).wrapping_add(order));
                outcome.totals.push(*total);
            }
        }
    }
    for (account, row) in orders {
        outcome.orders.insert(account, row.into_iter().collect());
    }
    outcome.orders.retain(|_, row| !row.is_empty());
    outcome
}

fn drive(script: &[(u64, bool, Entry)], workers: usize, seed: u64) -> Result<Outcome> {
    let mut random = Sequence(seed ^ 0x5eed);
    let mut driver = TestDriver::new(bank).workers(workers).seed(seed).start()?;
    let mut outcome = Outcome::default();
    let mut collect = |driver: &mut TestDriver| {
        outcome.settled.append(&mut driver.outputs("settled"));
        outcome.totals.append(&mut driver.outputs("totals"));
        outcome.open.append(&mut driver.outputs("open"));
    };
    let mut before = 0;
    for (time, is_order, entry) in script {
        // A run in between moves time by one nanosecond, so it may only come where time moves.
        if *time > before && random.below(6) == 0 {
            driver.run()?;
            collect(&mut driver);
            before += 1;
        }
        driver.advance(Duration::from_nanos(time - before));
        before = *time;
        driver.send(if *is_order { "orders" } else { "payments" }, *entry)?;
    }
    driver.run()?;
    collect(&mut driver);
    for account in 0..ACCOUNTS {
        if let Some(balance) = driver.get(BALANCES, &account)? {
            outcome.balances.insert(account, balance);
        }
        let orders = driver.entries(ORDERS, &account)?;
        if !orders.is_empty() {
            outcome.orders.insert(account, orders);
        }
        if let Some(total) = driver.get(TOTALS, &account)? {
            outcome.total_rows.insert(account, total);
        }
    }
    driver.finish()?;
    Ok(outcome)
}

#[test]
fn every_seed_is_the_plain_loop() {
    let asked = std::env::var("ANABRANCH_SEEDS").ok();
    let seeds: u64 =
        asked.as_deref().map_or(200, |n| n.parse().expect("ANABRANCH_SEEDS: a number"));
    let mut settled = 0;
    for seed in 0..seeds {
        let script = script(seed);
        let workers = 1 + (seed % 5) as usize;
        let expected = oracle(&script);
        let outcome = drive(&script, workers, seed).unwrap();
        assert_eq!(outcome, expected, "seed {seed} on {workers} workers; it fails again alone");
        settled += outcome.settled.len();
        if asked.is_some() && seed % 500 == 499 {
            eprintln!("{} of {seeds} seeds, {settled} orders settled", seed + 1);
        }
    }
    assert!(settled > 0, "the scripts do something");
}

/// In which order which worker's steps and computations ran, over all workers.
fn history(workers: usize, seed: u64) -> Vec<(usize, u64)> {
    let steps: Arc<Mutex<Vec<(ThreadId, u64)>>> = Arc::default();
    let noted = Arc::clone(&steps);
    let build = move |app: &App| {
        let note = |noted: &Arc<Mutex<Vec<(ThreadId, u64)>>>, n| {
            noted.lock().unwrap().push((std::thread::current().id(), n));
        };
        for name in ["one", "two", "three"] {
            let (read, applied) = (Arc::clone(&noted), Arc::clone(&noted));
            app.source(name, source::empty::<u64>())
                .inspect(move |n| note(&read, *n))
                .key_by(|n| *n)
                .compute(name, (), |n, (), out| out.emit(n))
                .inspect(move |n| note(&applied, 1000 + n))
                .share();
        }
        Ok(())
    };
    let mut driver = TestDriver::new(build).workers(workers).seed(seed).start().unwrap();
    for n in 0..40_u64 {
        driver.send(["one", "two", "three"][n as usize % 3], n).unwrap();
        if n % 7 == 0 {
            driver.run().unwrap();
        }
    }
    driver.run().unwrap();
    driver.finish().unwrap();
    // Threads by the order of their first step.
    let steps = steps.lock().unwrap();
    let mut threads: Vec<ThreadId> = Vec::new();
    let mut history = Vec::new();
    for (thread, n) in steps.iter() {
        let index = threads.iter().position(|known| known == thread).unwrap_or_else(|| {
            threads.push(*thread);
            threads.len() - 1
        });
        history.push((index, *n));
    }
    history
}

#[test]
fn a_seed_is_a_history() {
    let mut histories = std::collections::BTreeSet::new();
    for seed in 0..12 {
        let first = history(4, seed);
        assert_eq!(first.len(), 80, "every record was read and applied once");
        for _ in 0..3 {
            assert_eq!(history(4, seed), first, "seed {seed}");
        }
        histories.insert(first);
    }
    assert!(histories.len() > 3, "seeds are different schedules: {}", histories.len());
}
