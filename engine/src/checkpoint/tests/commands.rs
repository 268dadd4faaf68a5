//! Looking at checkpoints.

use super::memory::{Failing, Memory};
use super::model::PARTITIONS;
use crate::checkpoint::*;
use crate::config::CheckpointCommand;

fn schema(name: &str, sub_key: Option<&str>, codec: Codec) -> TableSchema {
    TableSchema {
        name: name.into(),
        key: "String".into(),
        sub_key: sub_key.map(Into::into),
        value: "Value".into(),
        codec,
    }
}

fn packed(value: &rmpv::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

/// Two checkpoints of three tables, the second with changes.
fn kept() -> Memory {
    let memory = Memory::new(Failing::Never, false);
    let store = memory.store();
    let writer = Writer { generation: 3, program: "prices".into(), partitions: PARTITIONS };
    let mut checkpointer = Checkpointer::new(&store, writer, None);
    let (plain, map, fast) = (
        schema("plain", None, Codec::MessagePack),
        schema("map", Some("u8"), Codec::MessagePack),
        schema("fast", None, Codec::Bitcode),
    );
    let key = packed(&"BTC".into());
    let gone = packed(&"gone".into());
    let value = packed(&rmpv::Value::Map(vec![
        ("name".into(), "B".into()),
        ("bytes".into(), rmpv::Value::Binary(vec![0, 255])),
        ("price".into(), rmpv::Value::F32(0.1)),
        ("odd".into(), rmpv::Value::Map(vec![(1.into(), rmpv::Value::Nil)])),
        ("worst".into(), rmpv::Value::F64(f64::NAN)),
    ]));
    let (one, sub) = (packed(&1.into()), packed(&7.into()));
    let row = |key, sub_key, value| RowBytes { partition: 5, key, sub_key, value };
    let first = [
        (&plain, vec![row(&key, None, Some(&one)), row(&gone, None, Some(&one))]),
        (&map, vec![row(&key, Some(&sub), Some(&one))]),
        (&fast, vec![row(&key, None, Some(&[1]))]),
    ];
    let second = [
        (&plain, vec![row(&key, None, Some(&value)), row(&gone, None, None)]),
        (&map, vec![]),
        (&fast, vec![]),
    ];
    for (epoch, tables) in [(10, first), (20, second)] {
        let mut part = WorkerPart::default();
        for (schema, given) in tables {
            let mut rows = Rows::default();
            given.iter().for_each(|row| rows.push(*row));
            let mut writer = TableWriter::new(&store, schema, epoch, 3, 0, 0..PARTITIONS).unwrap();
            writer.block(&rows).unwrap();
            let (schema, files) = (schema.clone(), writer.finish().unwrap());
            part.tables.push(TablePart { schema, files, replaces: false });
        }
        part.sources.push(SourcePosition {
            source: "in".into(),
            next_offset: 8,
            ..Default::default()
        });
        part.sinks.push(SinkPosition { name: "out".into(), position: vec![1, 2], released: None });
        checkpointer.commit(epoch, vec![part], serde_json::Value::Null).unwrap();
    }
    memory
}

fn said(memory: &Memory, command: &CheckpointCommand) -> (String, Result<(), String>) {
    let mut out = Vec::new();
    let result = run(&memory.store(), command, &mut out).map_err(|e| e.to_string());
    (String::from_utf8(out).unwrap(), result)
}

#[test]
fn export_prints_what_is_there_as_json_lines() {
    let memory = kept();
    let export = |epoch, table: &str| {
        let table = Some(table.to_owned()).filter(|name| !name.is_empty());
        said(&memory, &CheckpointCommand::Export { epoch, table })
    };
    let value = r#"{"bytes":"AP8=","name":"B","odd":[[1,null]],"price":0.1,"worst":"NaN"}"#;
    let plain =
        format!("{{\"key\":\"BTC\",\"partition\":5,\"table\":\"plain\",\"value\":{value}}}\n");
    assert_eq!(export(None, "plain"), (plain.clone(), Ok(())));
    let map = "{\"key\":\"BTC\",\"partition\":5,\"sub_key\":7,\"table\":\"map\",\"value\":1}\n";
    let (all, refused) = export(Some(20), "");
    assert_eq!(all, format!("{map}{plain}"), "what can be read is, whatever else cannot");
    let refused = refused.unwrap_err();
    assert!(refused.contains("`fast` are encoded by bitcode"), "{refused}");
    assert!(refused.contains("only the program that wrote them, prices"), "{refused}");
    assert_eq!(export(Some(10), "plain").0.lines().count(), 2);
    let unknown = export(None, "nope").1.unwrap_err();
    assert!(unknown.contains("has no table `nope`; it has: fast, map, plain"), "{unknown}");
}

#[test]
fn ls_show_and_verify_say_what_is_there_and_what_is_damaged() {
    let memory = kept();
    let (list, _) = said(&memory, &CheckpointCommand::List);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("20  generation 3  ") && lines[0].contains("3 tables, 4 files"));
    let (show, _) = said(&memory, &CheckpointCommand::Show { epoch: None });
    for wanted in [
        "epoch 20, generation 3",
        "made from checkpoint 10 of generation 3",
        "16 partitions by xxh3",
        "table map: (String, u8) -> Value, message-pack; 1 files, 1 rows",
        "source in, partition 0: next offset 8",
        "sink out: a position of 2 bytes",
    ] {
        assert!(show.contains(wanted), "{wanted}: {show}");
    }
    let verify = |memory, epoch| said(memory, &CheckpointCommand::Verify { epoch });
    assert_eq!(verify(&memory, None).1, Ok(()));
    let none = verify(&memory, Some(11)).1.unwrap_err();
    assert!(none.contains("there is no checkpoint 11"), "{none}");
    let empty = said(&Memory::new(Failing::Never, false), &CheckpointCommand::List).1.unwrap_err();
    assert!(empty.contains("there is no checkpoint in memory:"), "{empty}");

    let mut files = memory.files();
    let name =
        files.keys().find(|path| path.contains("020-0000000003-w00000-plain")).unwrap().clone();
    files.get_mut(&name).unwrap()[200] ^= 4;
    let broken = Memory::of(files);
    let (text, refused) = verify(&broken, None);
    assert!(
        text.contains(&name) && text.contains("checkpoint 10 of generation 3: whole"),
        "{text}"
    );
    assert_eq!(refused.unwrap_err(), "1 of 2 checkpoints cannot be loaded");
}
