//! A checkpoint of version 1, as it was written once: manifest, files of rows, and rows of both codecs
//! that do not depend on memory. It must load for ever.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::*;
use crate::checkpoint::{
    Checkpointer, Rows, SinkPosition, SourcePosition, Store as Place, TablePart, TableWriter,
    WorkerPart, Writer, newest,
};

const PARTITIONS: u32 = 1024;
/// The last row of each table was there at the first boundary, and is gone at the second.
const ROWS: u32 = 40;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Side {
    #[default]
    Buy,
    Sell {
        limit: Option<i64>,
    },
}

/// Something of everything that rows are made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Trade {
    name: String,
    at: crate::Time,
    count: i64,
    ratio: f64,
    side: Side,
    tags: Vec<String>,
    parent: Option<(u8, u128)>,
}

const NAMED: Table<String, Trade> = Table::new("named");
const BITS: Table<u32, Trade> = Table::new("bits").codec(Codec::Bitcode);
const NAMED_MAP: MapTable<u32, String, Trade> = MapTable::new("named-map");
const BITS_MAP: MapTable<u32, String, Trade> = MapTable::new("bits-map").codec(Codec::Bitcode);

fn trade(number: u32) -> Trade {
    Trade {
        name: format!("tråde {number}"),
        at: crate::Time::from_nanos(i64::from(number) * 1_001 - 7),
        count: i64::from(number) - 3,
        ratio: f64::from(number) / 8.0,
        side: if number.is_multiple_of(3) { Side::Buy } else { Side::Sell { limit: Some(-5) } },
        tags: vec!["tag".into(); number as usize % 3],
        parent: number.is_multiple_of(2).then_some((number as u8, u128::MAX - u128::from(number))),
    }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoint-1")
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

/// A table's rows as it keeps them, in the order of their keys. `number` is what the values are made of.
fn rows(store: &dyn Snapshot, of: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>, u32)>) -> Rows {
    store.track(PARTITIONS);
    let stored = Stored { codec: Codec::MessagePack, migrate: false };
    for (key, sub_key, number) in of {
        let value = bytes(&trade(number));
        let sub_key = sub_key.as_deref();
        let row = RowBytes { partition: 0, key: &key, sub_key, value: Some(&value) };
        store.load(stored, row).unwrap();
    }
    store.loaded();
    let mut kept = Vec::new();
    let mut add = |row: RowBytes<'_>| {
        let sub_key = row.sub_key.map(<[u8]>::to_vec);
        kept.push((row.partition, row.key.to_vec(), sub_key, row.value.map(<[u8]>::to_vec)));
        Ok(())
    };
    store.each(&mut add).unwrap();
    kept.sort();
    let mut rows = Rows::default();
    for (partition, key, sub_key, value) in &kept {
        let (sub_key, value) = (sub_key.as_deref(), value.as_deref());
        rows.push(RowBytes { partition: *partition, key, sub_key, value });
    }
    rows
}

/// What one boundary adds: rows, those of `later` numbers, and at the second one row less.
fn part(place: &Place, epoch: u64) -> WorkerPart {
    let numbers = || if epoch == 10 { 0..ROWS / 2 } else { ROWS / 2 - 3..ROWS };
    // A later boundary writes some keys again: with the value of another number.
    let value = |number: u32| if epoch == 10 { number } else { number + 100 };
    let named = Stores::default().store(NAMED);
    let bits = Stores::default().store(BITS);
    let (named_map, bits_map) =
        (Stores::default().map_store(NAMED_MAP), Stores::default().map_store(BITS_MAP));
    let plain = || numbers().map(|n| (bytes(&format!("key {n}")), None, value(n)));
    let short = || numbers().map(|n| (bytes(&n), None, value(n)));
    let map = || numbers().map(|n| (bytes(&(n % 5)), Some(bytes(&format!("sub {n}"))), value(n)));
    let tables: [(TableSchema, Rows); 4] = [
        (named.schema(), rows(&*named, plain())),
        (bits.schema(), rows(&*bits, short())),
        (named_map.schema(), rows(&*named_map, map())),
        (bits_map.schema(), rows(&*bits_map, map())),
    ];
    let tables = tables.into_iter().map(|(schema, mut rows)| {
        if epoch > 10 && schema.sub_key.is_none() {
            // The first key of the first boundary is gone.
            let (partition, key) = gone(&schema.name);
            rows.push(RowBytes { partition, key: &key, sub_key: None, value: None });
        }
        let mut writer = TableWriter::new(place, &schema, epoch, 3, 0, 0..PARTITIONS).unwrap();
        writer.block(&rows).unwrap();
        TablePart { schema, files: writer.finish().unwrap(), replaces: false }
    });
    let source = SourcePosition {
        source: "trades".into(),
        partition: 2,
        next_offset: epoch * 100,
        state: vec![0, 255, 7],
        ..SourcePosition::default()
    };
    let sink =
        SinkPosition { name: "out".into(), position: vec![1, 2, 3], ..SinkPosition::default() };
    WorkerPart { tables: tables.collect(), sources: vec![source], sinks: vec![sink] }
}

/// The partition and the key of a row that is gone, as its table has them.
fn gone(name: &str) -> (u32, Vec<u8>) {
    let (store, key): (std::rc::Rc<dyn Snapshot>, _) = match name {
        "named" => (Stores::default().store(NAMED), bytes(&"key 0")),
        _ => (Stores::default().store(BITS), bytes(&0_u32)),
    };
    let rows = rows(&*store, std::iter::once((key, None, 0)));
    let row = Rows::read(rows.bytes()).next().unwrap().unwrap();
    (row.partition, row.key.to_vec())
}

fn write(folder: &Path) {
    let place = Place::directory(folder);
    let writer = Writer { generation: 3, program: "fixture".into(), partitions: PARTITIONS };
    let mut checkpointer = Checkpointer::new(&place, writer, None);
    for epoch in [10, 20] {
        let extra = serde_json::json!({ "said": "at a boundary" });
        checkpointer.commit(epoch, vec![part(&place, epoch)], extra).unwrap();
    }
}

/// What the table has of each number, at the second boundary.
fn expected(number: u32, plain: bool) -> Option<Trade> {
    match number {
        0 if plain => None,
        number if number < ROWS / 2 - 3 => Some(trade(number)),
        number => Some(trade(number + 100)),
    }
}

#[track_caller]
fn check(folder: &Path) {
    let restored = newest(&Place::directory(folder), |_| true).unwrap().unwrap();
    let manifest = &restored.manifest;
    assert_eq!((manifest.version, manifest.generation, manifest.epoch), (1, 3, 20));
    assert_eq!((manifest.program.as_str(), manifest.partitions), ("fixture", PARTITIONS));
    assert_eq!(manifest.parent.map(|parent| parent.epoch), Some(10));
    assert_eq!(
        (manifest.sources[0].next_offset, &manifest.sources[0].state[..]),
        (2_000, &[0, 255, 7][..])
    );
    assert_eq!(manifest.sinks[0].position, [1, 2, 3]);
    assert_eq!(manifest.extra["said"], "at a boundary");
    let mut stores = Stores::default();
    stores.store(NAMED);
    stores.store(BITS);
    stores.map_store(NAMED_MAP);
    stores.map_store(BITS_MAP);
    let schemas: Vec<_> = manifest.tables.iter().map(|table| table.schema.clone()).collect();
    assert_eq!(schemas.len(), 4);
    for (schema, fate) in schemas.iter().zip(stores.restore(&schemas).unwrap()) {
        let Fate::Restored(restoring) = fate else { panic!("{schema:?} is dropped") };
        assert!(restoring.changes.is_empty(), "{:?}", restoring.changes);
        restoring.load(&restored, &schema.name, 0..PARTITIONS).unwrap();
    }
    for number in 0..ROWS + 2 {
        let is_there = number < ROWS;
        let plain = expected(number, true).filter(|_| is_there);
        assert_eq!(stores.get(NAMED, &format!("key {number}")), plain, "{number}");
        assert_eq!(stores.get(BITS, &number), plain, "{number}");
    }
    for (map, key) in
        [NAMED_MAP, BITS_MAP].into_iter().flat_map(|map| (0..5).map(move |k| (map, k)))
    {
        let row = stores.entries(map, &key).unwrap();
        let mut is: Vec<(String, Trade)> =
            row.iter().map(|(s, v)| (s.clone(), v.clone())).collect();
        is.sort_by(|a, b| a.0.cmp(&b.0));
        let of_key = (0..ROWS).filter(|number| number % 5 == key);
        let mut wanted: Vec<(String, Trade)> =
            of_key.map(|n| (format!("sub {n}"), expected(n, false).unwrap())).collect();
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(is, wanted, "{key}");
    }
}

#[test]
fn version_1_of_a_checkpoint_loads_and_is_still_written() {
    check(&fixture());
    let folder =
        std::env::temp_dir().join(format!("anabranch-checkpoint-1-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    write(&folder);
    check(&folder);
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for part in ["tables", "manifests"] {
        assert_eq!(names(&folder.join(part)), names(&fixture().join(part)), "{part}");
    }
    // Manifests say when they were made; files of rows are the same to the byte.
    for name in names(&fixture().join("tables")) {
        let [kept, now] =
            [fixture(), folder.clone()].map(|folder| folder.join("tables").join(&name));
        assert_eq!(std::fs::read(kept).unwrap(), std::fs::read(now).unwrap(), "{name:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Makes the fixture anew, only when the format has a new version: `cargo test -- --ignored fixture`.
#[test]
#[ignore = "writes into the source tree"]
fn make_the_fixture() {
    let _ = std::fs::remove_dir_all(fixture());
    write(&fixture());
}
