//! What becomes of tables of an earlier version of the program.

use serde::{Deserialize, Serialize};

use super::*;
use crate::checkpoint::Rows;
use crate::metrics::Counters;
use crate::pipeline::Placement;
use crate::{App, source};

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    cents: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Average {
    count: u64,
    cents: u64,
}

const SUMS: Table<String, Sum> = Table::new("sums");
const AVERAGES: Table<String, Average> = Table::new("averages");
const OLD_BOOK: MapTable<String, u32, Sum> = MapTable::new("book");
const BOOK: MapTable<String, u32, Average> = MapTable::new("book");

fn average(old: Sum) -> Average {
    Average { count: 1, cents: old.cents }
}

/// What a checkpoint of that store has.
fn kept(store: &dyn Snapshot) -> (TableSchema, Rows) {
    let mut rows = Rows::default();
    let mut add = |row: RowBytes<'_>| {
        rows.push(row);
        Ok(())
    };
    store.each(&mut add).unwrap();
    (store.schema(), rows)
}

fn sums<K: Key, V: Value>(table: Table<K, V>, row: &(K, V)) -> (TableSchema, Rows) {
    let store = Stores::default().store(table);
    let bytes = |value: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        value(&mut bytes);
        bytes
    };
    let key = bytes(&|bytes| bytes.extend(rmp_serde::to_vec_named(&row.0).unwrap()));
    let value = bytes(&|bytes| bytes.extend(rmp_serde::to_vec_named(&row.1).unwrap()));
    let row = RowBytes { partition: 0, key: &key, sub_key: None, value: Some(&value) };
    store.load(Stored { codec: Codec::MessagePack, migrate: false }, row).unwrap();
    store.loaded();
    kept(&*store)
}

fn load(stores: &Stores, (schema, rows): &(TableSchema, Rows)) -> Result<Vec<String>> {
    let fates = stores.restore(std::slice::from_ref(schema))?;
    let [Fate::Restored(restoring)] = &fates[..] else { return Ok(vec!["dropped".into()]) };
    assert_eq!(restoring.rewrites, !restoring.changes.is_empty());
    for row in Rows::read(rows.bytes()) {
        restoring.load_row(row.unwrap())?;
    }
    restoring.table.loaded();
    Ok(restoring.changes.clone())
}

#[test]
fn a_table_is_renamed_migrated_and_dropped_as_declared() {
    let (key, old) = ("a".to_string(), Sum { cents: 7 });
    let stored = sums(SUMS, &(key.clone(), old));

    let mut stores = Stores::default();
    stores.store(AVERAGES);
    let problem = load(&stores, &stored).unwrap_err().to_string();
    assert!(problem.contains("app.renamed(\"sums\", TABLE)"), "{problem}");

    stores.rename("sums", AVERAGES.table_name());
    AVERAGES.migrate(&mut stores, average);
    let changes = load(&stores, &stored).unwrap();
    assert_eq!(changes, ["renamed from `sums`", "values migrated from Sum to Average"]);
    assert_eq!(stores.get(AVERAGES, &key), Some(Average { count: 1, cents: 7 }));

    // The next checkpoint has it as it is now, and that is not migrated again.
    let now = kept(&**stores.snapshot("averages").unwrap());
    let mut later = Stores::default();
    later.rename("sums", AVERAGES.table_name());
    AVERAGES.migrate(&mut later, average);
    assert!(load(&later, &now).unwrap().is_empty());
    assert_eq!(later.get(AVERAGES, &key), Some(Average { count: 1, cents: 7 }));
    // Both at once are two answers to one question.
    let problem = later.restore(&[stored.0.clone(), now.0]).err().unwrap().to_string();
    assert!(problem.contains("two tables for `averages`"), "{problem}");

    let mut without = Stores::default();
    without.drop_table("sums");
    assert_eq!(load(&without, &stored).unwrap(), ["dropped"]);
}

#[test]
fn entries_of_a_map_table_are_migrated() {
    let old = Stores::default().map_store(OLD_BOOK);
    let (key, sub_key) = (rmp_serde::to_vec(&"a").unwrap(), rmp_serde::to_vec(&3).unwrap());
    let value = rmp_serde::to_vec_named(&Sum { cents: 9 }).unwrap();
    let (sub_key, value) = (Some(&*sub_key), Some(&*value));
    let row = RowBytes { partition: 0, key: &key, sub_key, value };
    old.load(Stored { codec: Codec::MessagePack, migrate: false }, row).unwrap();
    let mut stores = Stores::default();
    BOOK.migrate(&mut stores, average);
    assert_eq!(load(&stores, &kept(&*old)).unwrap(), ["values migrated from Sum to Average"]);
    let row = stores.entries(BOOK, &"a".to_string()).unwrap();
    assert!(row.iter().eq([(&3, &Average { count: 1, cents: 9 })]));
}

#[test]
fn a_codec_can_change_and_a_type_only_where_the_old_codec_can_tell() {
    const NOW: Table<String, Sum> = Table::new("sums").codec(Codec::Bitcode);
    const WIDER: Table<String, Average> = Table::new("sums");
    let row = ("a".to_string(), Sum { cents: 7 });
    let stored = sums(SUMS, &row);
    let mut stores = Stores::default();
    stores.store(NOW);
    assert_eq!(load(&stores, &stored).unwrap(), ["codec changed from MessagePack to Bitcode"]);
    assert_eq!(stores.get(NOW, &row.0), Some(row.1));

    let by_bitcode = kept(&**stores.snapshot("sums").unwrap());
    assert_eq!(by_bitcode.0.codec, Codec::Bitcode);
    let mut later = Stores::default();
    later.store(WIDER);
    let problem = load(&later, &by_bitcode).unwrap_err().to_string();
    assert!(problem.contains("values of type Sum"), "{problem}");
    let mut later = Stores::default();
    WIDER.migrate(&mut later, average);
    assert_eq!(load(&later, &by_bitcode).unwrap().len(), 2);
    assert_eq!(later.get(WIDER, &row.0), Some(Average { count: 1, cents: 7 }));
}

#[test]
fn what_cannot_be_read_is_named_with_what_to_do() {
    const COUNTS: Table<String, u64> = Table::new("sums");
    const AS_MAP: MapTable<String, u32, Sum> = MapTable::new("sums");
    let stored = sums(SUMS, &("a".to_string(), Sum { cents: 7 }));
    let mut stores = Stores::default();
    stores.store(COUNTS);
    let problem = load(&stores, &stored).unwrap_err().to_string();
    for part in ["the value of a row of table `sums`", "key a161 in hex", "app.migrated"] {
        assert!(problem.contains(part), "{problem}");
    }
    let mut stores = Stores::default();
    stores.map_store(AS_MAP);
    let problem = load(&stores, &stored).unwrap_err().to_string();
    assert!(problem.contains("a plain table in the checkpoint and a map table"), "{problem}");
    let mut stores = Stores::default();
    COUNTS.migrate(&mut stores, |old: Average| old.count);
    let problem = load(&stores, &stored).unwrap_err().to_string();
    assert!(problem.contains("start a version between"), "{problem}");
}

/// What is wrong with an application that uses `AVERAGES` and declares that.
fn mistake(declare: impl Fn(&App)) -> String {
    let drawn = crate::app::draw(Placement::new(8, 1, 0, 0..1), Counters::default(), |app| {
        app.source("names", source::empty::<String>()).key_by(Clone::clone).compute(
            "count",
            AVERAGES,
            |_, mut row, _: &mut crate::Context<'_, ()>| row.count += 1,
        );
        declare(app);
        Ok(())
    });
    drawn.err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn declarations_that_cannot_be_meant_are_refused_when_the_application_is_drawn() {
    assert_eq!(mistake(|app| app.migrated(AVERAGES, average)), "");
    assert_eq!(mistake(|app| app.renamed("sums", AVERAGES)), "");
    assert_eq!(mistake(|app| app.dropped("sums")), "");
    type Declare = fn(&App);
    let refused: [(Declare, &str); 7] = [
        (|app| app.renamed("old", SUMS), "`sums` is declared to be renamed or migrated"),
        (|app| app.migrated(SUMS, |old: u64| Sum { cents: old }), "no computation uses it"),
        (|app| app.dropped("averages"), "`averages` is declared to be renamed or dropped"),
        (|app| app.renamed("averages", AVERAGES), "`averages` is declared to be renamed"),
        (
            |app| {
                app.renamed("old", AVERAGES);
                app.dropped("old");
            },
            "renamed and dropped",
        ),
        (|app| app.migrated(AVERAGES, |old: Average| old), "an old and a new type of one name"),
        (
            |app| app.migrated(AVERAGES.codec(Codec::Bitcode), average),
            "has the codec Bitcode here and MessagePack elsewhere",
        ),
    ];
    for (declare, expected) in refused {
        let problem = mistake(declare);
        assert!(problem.contains(expected), "{problem:?} should have {expected:?}");
    }
}

#[test]
fn of_many_rows_the_last_one_of_a_key_is_what_it_is() {
    let store = Stores::default().store(Table::<u64, u64>::new("many"));
    let mut model = std::collections::BTreeMap::new();
    let mut x = 1_u64;
    store.expect(500);
    for value in 0..5000_u64 {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (key, gone) = ((x >> 33) % 700, (x >> 20).is_multiple_of(5));
        let (key_bytes, value_bytes) =
            (rmp_serde::to_vec(&key).unwrap(), rmp_serde::to_vec(&value).unwrap());
        let there = (!gone).then_some(&*value_bytes);
        let row = RowBytes { partition: 0, key: &key_bytes, sub_key: None, value: there };
        store.load(Stored { codec: Codec::MessagePack, migrate: false }, row).unwrap();
        if gone {
            model.remove(&key)
        } else {
            model.insert(key, value)
        };
    }
    store.loaded();
    assert!(model.len() > 400);
    assert!((0..700).all(|key| store.get(&key) == model.get(&key).copied()));
}
