//! Tables that are looked at while a program runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::source::Nature;
use anabranch::{Drain, run_until, sink};
use serde_json::{Value, json};

use crate::http::client::{Client, free};
use crate::support::Memory;

const ACCOUNTS: i64 = 50;
const BALANCES: Table<i64, i64> = Table::new("balances");
/// The amounts of each account, by the numbers of their transfers.
const BOOKS: MapTable<i64, i64, i64> = MapTable::new("books");

/// What a transfer is: so much from one account to another, at most so many accounts.
fn transfer(n: i64) -> [(i64, i64); 2] {
    let (from, to, amount) = (n * 7 % ACCOUNTS, (n * 11 + 3) % ACCOUNTS, n % 13 + 1);
    [(from, -amount), (to, amount)]
}

/// A program that moves money while it is looked at: so many transfers, and then one when it is told to end.
struct Bank {
    client: Client,
    drain: Drain,
    applied: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Bank {
    fn open(transfers: i64, flags: &[&str]) -> Self {
        let address = free();
        let http = address.to_string();
        let config = Config::from_flags([&["--http", &http], flags].concat()).unwrap();
        let drain = Drain::default();
        // The last one is kept back.
        let records = (0..=transfers).map(|n| (None, n)).collect();
        let memory = Memory {
            nature: Nature::Live,
            last_when: Some(Arc::new(|| false)),
            ..Memory::new(vec![records])
        };
        let applied: Arc<AtomicU64> = Arc::default();
        let (count, wish) = (Arc::clone(&applied), drain.clone());
        let build = move |app: &App| {
            let count = Arc::clone(&count);
            app.source("transfers", memory.clone())
                .flat_map(|n| transfer(n).map(|(account, amount)| (n, account, amount)))
                .key_by(|(_, account, _): &(i64, i64, i64)| *account)
                .compute("book", (BALANCES, BOOKS), move |record, (mut balance, mut book), out| {
                    let (n, _, amount) = record;
                    *balance += amount;
                    book.insert(n, amount);
                    count.fetch_add(1, Ordering::Relaxed);
                    out.emit(amount);
                })
                .sink("out", sink::null());
            Ok(())
        };
        let thread = std::thread::spawn(move || run_until(&config, build, &wish).map(drop));
        let bank = Self { client: Client { address }, drain, applied, thread: Some(thread) };
        bank.client.wait_for("/api/v1/ready", |answer| answer.status == 200);
        bank
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.client.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// All rows of `balances`, by pages of that many.
    fn pages(&self, limit: usize) -> BTreeMap<i64, i64> {
        let mut all = BTreeMap::new();
        let mut after = String::new();
        loop {
            let page = self.get(&format!("/api/v1/tables/balances?limit={limit}{after}"));
            let rows = page["rows"].as_array().unwrap();
            for row in rows {
                let (key, value) = (row["key"].as_i64().unwrap(), row["value"].as_i64().unwrap());
                assert!(all.last_key_value().is_none_or(|(last, _)| *last < key), "{page}");
                all.insert(key, value);
            }
            if page["more"] == false {
                assert_eq!(page["total"], all.len());
                return all;
            }
            assert_eq!(rows.len(), limit);
            after = format!("&after={}", all.last_key_value().unwrap().0);
        }
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.drain.request();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

#[test]
fn rows_are_those_of_one_epoch_while_records_come() {
    for flags in [&["-w", "1"][..], &["-w", "2"], &["-w", "4", "--partitions", "16"]] {
        let bank = Bank::open(400_000, flags);
        let (mut seen, mut before) = (0, 0);
        while bank.applied.load(Ordering::Relaxed) < 800_000 {
            let page = bank.get("/api/v1/tables/balances?limit=1000");
            let rows = page["rows"].as_array().unwrap();
            let sum: i64 = rows.iter().map(|row| row["value"].as_i64().unwrap()).sum();
            assert_eq!(sum, 0, "money came or went: {page}");
            assert!(page["before"].as_u64().unwrap() >= before, "time went back");
            before = page["before"].as_u64().unwrap();
            seen += usize::from(!rows.is_empty());
        }
        assert!(seen > 0, "it was too fast to be seen");
    }
}

#[test]
fn rows_and_entries_are_found_whoever_owns_them() {
    const TRANSFERS: i64 = 1_000;
    let (mut balances, mut books) = (BTreeMap::new(), BTreeMap::<i64, BTreeMap<i64, i64>>::new());
    for n in 0..TRANSFERS {
        for (account, amount) in transfer(n) {
            *balances.entry(account).or_insert(0) += amount;
            books.entry(account).or_default().insert(n, amount);
        }
    }
    for flags in [&["-w", "1"][..], &["-w", "3"]] {
        let bank = Bank::open(TRANSFERS, flags);
        bank.client.wait_for("/api/v1/counters", |answer| {
            answer.json()["out.records"].as_i64() == Some(2 * TRANSFERS)
        });
        let tables = bank.get("/api/v1/tables");
        assert_eq!(
            tables,
            json!([
                {"name": "balances", "key": "i64", "sub_key": null, "value": "i64"},
                {"name": "books", "key": "i64", "sub_key": "i64", "value": "i64"},
            ])
        );
        for limit in [1, 7, 50, 1000] {
            assert_eq!(bank.pages(limit), balances, "by pages of {limit}");
        }
        for (account, balance) in &balances {
            let row = bank.get(&format!("/api/v1/tables/balances/{account}"));
            assert_eq!(row["value"], *balance, "{account}");
            let row = bank.get(&format!("/api/v1/tables/books/{account}?limit=1000"));
            let entries = row["entries"].as_array().unwrap().iter();
            let entries: BTreeMap<i64, i64> = entries
                .map(|it| (it["key"].as_i64().unwrap(), it["value"].as_i64().unwrap()))
                .collect();
            assert_eq!(&entries, &books[account], "{account}");
            assert_eq!((&row["total"], &row["more"]), (&entries.len().into(), &false.into()));
        }
        let some = bank.get("/api/v1/tables/balances?from=10&to=13");
        let keys: Vec<i64> =
            some["rows"].as_array().unwrap().iter().map(|it| it["key"].as_i64().unwrap()).collect();
        let expected: Vec<i64> = balances.range(10..13).map(|(key, _)| *key).collect();
        assert_eq!((keys, &some["more"]), (expected, &false.into()));
        let page = bank.get("/api/v1/tables/books?limit=1");
        let (first, entries) = books.first_key_value().unwrap();
        let expected = json!([{"key": first, "value": entries.len()}]);
        assert_eq!((&page["rows"], &page["more"]), (&expected, &true.into()));
    }
}

#[test]
fn a_table_that_nothing_came_into_is_empty() {
    let bank = Bank::open(0, &["-w", "2"]);
    assert_eq!(bank.get("/api/v1/tables/balances")["rows"], json!([]));
    assert_eq!(bank.client.get("/api/v1/tables/balances/1").status, 404);
}

/// Rows by their keys, changed as an event says.
fn apply(rows: &mut BTreeMap<i64, i64>, name: &str, event: &Value) {
    if name == "snapshot" {
        rows.clear();
    }
    for row in event["rows"].as_array().unwrap() {
        rows.insert(row["key"].as_i64().unwrap(), row["value"].as_i64().unwrap());
    }
    for key in event["gone"].as_array().into_iter().flatten() {
        rows.remove(&key.as_i64().unwrap());
    }
}

#[test]
fn who_watches_sees_a_snapshot_and_every_change_after_it() {
    const TRANSFERS: i64 = 300_000;
    let bank = Bank::open(TRANSFERS, &["-w", "2"]);
    let mut rows = BTreeMap::new();
    let mut balances = BTreeMap::new();
    (0..TRANSFERS).flat_map(transfer).for_each(|(account, amount)| {
        *balances.entry(account).or_insert(0) += amount;
    });
    let events = bank.client.watch("/api/v1/changes/tables/balances?limit=1000");
    for (place, (name, event)) in events.enumerate() {
        assert_eq!(name, if place == 0 { "snapshot" } else { "change" });
        apply(&mut rows, &name, &event);
        assert_eq!(rows.values().sum::<i64>(), 0, "each event is of one epoch");
        assert_eq!(event["total"], rows.len());
        if rows == balances {
            break;
        }
    }
    let (account, balance) = balances.first_key_value().unwrap();
    let mut row = bank.client.watch(&format!("/api/v1/changes/tables/balances/{account}"));
    assert_eq!(row.next().unwrap().1["value"], *balance);
    let mut none = bank.client.watch("/api/v1/changes/tables/balances/-1");
    assert_eq!(none.next().unwrap(), ("snapshot".to_string(), Value::Null));
    let mut status = bank.client.watch("/api/v1/changes/status");
    assert_eq!(status.next().unwrap().1["counters"]["out.records"], 2 * TRANSFERS);
    drop(bank);
    assert_eq!(row.next(), None, "the program has ended");
}

/// As a part of an address.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn several_things_are_watched_by_one_connection() {
    let bank = Bank::open(10, &["-w", "2"]);
    let (account, _) = transfer(0).into_iter().next().unwrap();
    let of = format!(
        r#"[{{"status":{{}}}},{{"table":{{"name":"balances","key":"{account}"}}}},{{"table":{{"name":"none"}}}},
            {{"table":{{"name":"balances","limit":2}}}},{{"view":{{"name":"none"}}}}]"#
    );
    let (mut counters, mut rows, mut row, mut refused) = (false, false, false, 0);
    for (name, event) in bank.client.watch(&format!("/api/v1/changes?of={}", encoded(&of))) {
        counters |= event["counters"].is_object();
        rows |= event["rows"].as_array().is_some_and(|rows| rows.len() == 2);
        row |= event["value"].is_i64();
        refused += usize::from(name == "refused" && event["status"] == 404);
        if counters && rows && row && refused == 2 {
            break;
        }
    }
    let many = vec![r#"{"status":{}}"#; 17].join(",");
    for wrong in ["[]", "{}", "[{}]", r#"[{"status":{"more":1}}]"#, &format!("[{many}]")] {
        let answer = bank.client.get(&format!("/api/v1/changes?of={}", encoded(wrong)));
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.body);
    }
}

#[test]
fn no_more_may_watch_than_there_are_places() {
    let bank = Bank::open(10, &[]);
    let path = "/api/v1/changes/tables/balances/1";
    let watching: Vec<_> = (0..64).map(|_| bank.client.watch(path)).collect();
    let refused = bank.client.get(path);
    assert!(refused.status == 503 && refused.body.contains("64 watch already"), "{}", refused.body);
    drop(watching);
    while bank.client.lines(path).0 != 200 {
        std::thread::yield_now();
    }
}

#[test]
fn many_who_ask_at_once_are_all_answered() {
    let bank = Bank::open(1_000, &["-w", "2"]);
    std::thread::scope(|scope| {
        for asker in 0..16 {
            let bank = &bank;
            scope.spawn(move || {
                for n in 0..50 {
                    let path = format!("/api/v1/tables/balances/{}", (asker * 50 + n) % ACCOUNTS);
                    let status = bank.client.get(&path).status;
                    assert!(status == 200 || status == 404, "{path}: {status}");
                }
            });
        }
    });
}
