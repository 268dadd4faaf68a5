//! [`run`]: looking at checkpoints, without the application that made them.
//!
//! Invariant: nothing in a store is changed; what cannot be read is said, and the rest is done.

use std::collections::BTreeSet;
use std::io::Write;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rmpv::Value as Packed;
use serde_json::{Map, Value};

use super::compact::{PASS_BYTES, merged, passes};
use super::{CheckpointId, Codec, Manifest, Store, TableEntry, verify};
use crate::config::CheckpointCommand;
use crate::{Error, Result};

/// Does what `checkpoint ls`, `show`, `verify` and `export` do, and prints it to `out`.
///
/// # Errors
/// When there is no such checkpoint, something is damaged or cannot be read, or `out` fails.
pub fn run(store: &Store, command: &CheckpointCommand, out: &mut dyn Write) -> Result<()> {
    match command {
        CheckpointCommand::List => list(store, out),
        CheckpointCommand::Show { epoch } => {
            let manifest = Manifest::load(store, find(store, *epoch)?)?;
            print(out, &describe(&manifest))
        }
        CheckpointCommand::Verify { epoch } => {
            let ids = match epoch {
                Some(_) => vec![find(store, *epoch)?],
                None => some(store)?,
            };
            verify_all(store, &ids, out)
        }
        CheckpointCommand::Export { epoch, table } => {
            let manifest = Manifest::load(store, find(store, *epoch)?)?;
            export(store, &manifest, table.as_deref(), out)
        }
    }?;
    out.flush().map_err(wrote)
}

fn wrote(error: std::io::Error) -> Error {
    Error::io("cannot write to standard output", error)
}

fn print(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(wrote)
}

/// All checkpoints, the newest first; at least one.
fn some(store: &Store) -> Result<Vec<CheckpointId>> {
    let ids = Manifest::list(store)?;
    if ids.is_empty() {
        return Err(Error::Data(format!("there is no checkpoint in {}", store.name(""))));
    }
    Ok(ids)
}

/// The checkpoint at that boundary; the newest if none is named.
pub(crate) fn find(store: &Store, epoch: Option<u64>) -> Result<CheckpointId> {
    let mut ids = some(store)?.into_iter();
    let found = ids.find(|id| epoch.is_none_or(|epoch| id.epoch == epoch));
    found.ok_or_else(|| {
        Error::Data(format!(
            "there is no checkpoint {} in {}; `checkpoint ls` lists those there are",
            epoch.unwrap_or_default(),
            store.name("")
        ))
    })
}

fn list(store: &Store, out: &mut dyn Write) -> Result<()> {
    for id in some(store)? {
        let line = match Manifest::load(store, id) {
            Err(error) => format!("{}  generation {}  {error}\n", id.epoch, id.generation),
            Ok(manifest) => {
                let bytes: u64 = manifest.files().map(|file| file.bytes).sum();
                format!(
                    "{}  generation {}  {}  {} tables, {} files, {bytes} bytes\n",
                    id.epoch,
                    id.generation,
                    manifest.time,
                    manifest.tables.len(),
                    manifest.files().count()
                )
            }
        };
        print(out, &line)?;
    }
    Ok(())
}

fn describe(manifest: &Manifest) -> String {
    let parent = manifest.parent.map_or_else(|| "none".into(), |parent| parent.to_string());
    let mut lines = vec![
        format!("epoch {}, generation {}", manifest.epoch, manifest.generation),
        format!(
            "written {} by {} (anabranch {})",
            manifest.time, manifest.program, manifest.engine
        ),
        format!("made from {parent}"),
        format!("{} partitions by {}", manifest.partitions, manifest.hash),
    ];
    for TableEntry { schema, files } in &manifest.tables {
        let key = match &schema.sub_key {
            Some(sub_key) => format!("{}, {sub_key}", schema.key),
            None => schema.key.clone(),
        };
        let (rows, bytes) =
            files.iter().fold((0, 0), |(rows, bytes), file| (rows + file.rows, bytes + file.bytes));
        lines.push(format!(
            "table {}: ({key}) -> {}, {}; {} files, {rows} rows with changes, {bytes} bytes",
            schema.name,
            schema.value,
            codec(schema.codec),
            files.len()
        ));
    }
    lines.extend(manifest.sources.iter().map(|source| {
        let time = source.last_time.map_or_else(|| "never".into(), |time| time.to_string());
        let (name, partition, next) = (&source.source, source.partition, source.next_offset);
        format!("source {name}, partition {partition}: next offset {next}, last record {time}")
    }));
    lines.extend(
        manifest
            .sinks
            .iter()
            .map(|sink| format!("sink {}: a position of {} bytes", sink.name, sink.position.len())),
    );
    lines.join("\n") + "\n"
}

fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::MessagePack => "message-pack",
        Codec::Bitcode => "bitcode",
        Codec::Abomonation => "abomonation",
    }
}

fn verify_all(store: &Store, ids: &[CheckpointId], out: &mut dyn Write) -> Result<()> {
    let mut damaged = 0;
    for id in ids {
        let verified = Manifest::load(store, *id).and_then(|manifest| verify(store, &manifest));
        let line = match verified {
            Ok(()) => format!("{id}: whole\n"),
            Err(error) => {
                damaged += 1;
                format!("{id}: {error}\n")
            }
        };
        print(out, &line)?;
    }
    if damaged > 0 {
        out.flush().map_err(wrote)?;
        let all = ids.len();
        return Err(Error::Data(format!("{damaged} of {all} checkpoints cannot be loaded")));
    }
    Ok(())
}

fn export(
    store: &Store,
    manifest: &Manifest,
    only: Option<&str>,
    out: &mut dyn Write,
) -> Result<()> {
    if let Some(name) = only.filter(|name| manifest.table(name).is_none()) {
        let names: Vec<&str> = manifest.tables.iter().map(|it| it.schema.name.as_str()).collect();
        return Err(Error::Data(format!(
            "{} has no table `{name}`; it has: {}",
            manifest.id(),
            names.join(", ")
        )));
    }
    let mut unreadable = Vec::new();
    for table in &manifest.tables {
        if only.is_some_and(|name| name != table.schema.name) {
            continue;
        }
        if table.schema.codec == Codec::MessagePack {
            export_table(store, manifest.partitions, table, out)?;
        } else {
            unreadable.push(format!(
                "the rows of `{}` are encoded by {}: only the program that wrote them, {}, can read \
                 them",
                table.schema.name,
                codec(table.schema.codec),
                manifest.program
            ));
        }
    }
    if unreadable.is_empty() {
        return Ok(());
    }
    out.flush().map_err(wrote)?;
    Err(Error::Data(unreadable.join("; ")))
}

/// The rows of a table by partition and key, a range of partitions in memory at a time.
fn export_table(
    store: &Store,
    partitions: u32,
    table: &TableEntry,
    out: &mut dyn Write,
) -> Result<()> {
    let name = &table.schema.name;
    for range in passes(&table.files, 0..partitions, PASS_BYTES) {
        for ((partition, key, sub_key), value) in merged(store, &table.files, &range)? {
            let Some(value) = value else { continue };
            let read = |what: &str, bytes: &[u8]| {
                unpack(bytes).ok_or_else(|| {
                    Error::Data(format!(
                        "a {what} of the table `{name}` in partition {partition} is not MessagePack"
                    ))
                })
            };
            let mut line = Map::new();
            line.insert("table".into(), name.as_str().into());
            line.insert("partition".into(), partition.into());
            line.insert("key".into(), read("key", &key)?);
            if let Some(sub_key) = sub_key {
                line.insert("sub_key".into(), read("sub-key", &sub_key)?);
            }
            line.insert("value".into(), read("value", &value)?);
            print(out, &format!("{}\n", Value::Object(line)))?;
        }
    }
    Ok(())
}

/// MessagePack as JSON; none if it is none.
pub(crate) fn unpack(mut bytes: &[u8]) -> Option<Value> {
    let value = rmpv::decode::read_value(&mut bytes).ok()?;
    bytes.is_empty().then(|| to_json(value))
}

fn to_json(value: Packed) -> Value {
    let text = |bytes: &[u8]| Value::String(BASE64_STANDARD.encode(bytes));
    match value {
        Packed::Nil => Value::Null,
        Packed::Boolean(is) => is.into(),
        Packed::Integer(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => Value::Null,
        },
        // As short as it can be and still be the same: 0.1 is not 0.10000000149011612.
        Packed::F32(number) => number.to_string().parse().map_or(Value::Null, float),
        Packed::F64(number) => float(number),
        Packed::String(string) => match string.as_str() {
            Some(string) => string.into(),
            None => text(string.as_bytes()),
        },
        Packed::Binary(bytes) => text(&bytes),
        Packed::Array(items) => items.into_iter().map(to_json).collect(),
        Packed::Map(entries) => {
            // JSON's keys are texts, each once; other maps are lists of pairs.
            let keys = entries.iter().map(|(key, _)| key.as_str());
            let is_object = keys.collect::<Option<BTreeSet<_>>>().map(|keys| keys.len());
            if is_object == Some(entries.len()) {
                let entries = entries.into_iter();
                return entries
                    .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), to_json(value))))
                    .collect();
            }
            let pair = |(key, value)| Value::Array(vec![to_json(key), to_json(value)]);
            entries.into_iter().map(pair).collect()
        }
        Packed::Ext(kind, bytes) => Value::Object(Map::from_iter([
            ("ext".into(), kind.into()),
            ("data".into(), text(&bytes)),
        ])),
    }
}

/// JSON has no number for what is not finite.
fn float(number: f64) -> Value {
    serde_json::Number::from_f64(number)
        .map_or_else(|| Value::String(number.to_string()), Value::Number)
}
