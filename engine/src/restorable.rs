//! `check --restore`: what this program would do to a checkpoint, without starting anything.
//!
//! Invariant: the answer is found by what a start does: it asks the same tables what becomes of those
//! of the checkpoint, and decodes every row. No source and no sink is opened, nothing is written.

use std::collections::BTreeSet;
use std::io::Write;

use crate::checkpoint::{
    CheckpointId, Manifest, Restored, Store, TableEntry, find, newest, verify,
};
use crate::config::{Config, Restore};
use crate::data_dir::DataDir;
use crate::durable::{RECORDED_EPOCHS, other_kind};
use crate::letters::{LETTERS, RETRIES};
use crate::plan::Plan;
use crate::source::Nature;
use crate::state::Fate;
use crate::{Error, Result};

/// Prints to `out` what the program of `plan` would do to a checkpoint.
///
/// # Errors
/// When there is none, it is damaged, or the program cannot load it: says what to do.
pub(crate) fn check(
    config: &Config,
    plan: &Plan,
    which: Restore,
    out: &mut dyn Write,
) -> Result<()> {
    if let Some(path) = config.data_dir() {
        DataDir::look(path, config.program(), config.partitions())?;
    }
    // The command line is not taken without one of the two.
    let Some(store) = Store::of_config(config)? else { return Ok(()) };
    let restored = open(&store, which)?;
    let manifest = &restored.manifest;
    print(out, &format!("\nRestore: {}\n", heading(manifest)))?;
    if manifest.partitions != config.partitions() {
        return Err(Error::Data(format!(
            "{} has tables of {} partitions, which are fixed for good: start with --partitions {}",
            manifest.id(),
            manifest.partitions,
            manifest.partitions
        )));
    }
    let refused = tables(&restored, plan, out)?;
    print(out, &sources(manifest, plan))?;
    print(out, &sinks(manifest, plan))?;
    out.flush().map_err(wrote)?;
    refused.or(kind_of_input(manifest, plan)).map_or(Ok(()), Err)
}

/// The checkpoint, if it is whole.
fn open(store: &Store, which: Restore) -> Result<Restored> {
    match which {
        Restore::Latest => newest(store, |_| true)?.ok_or_else(|| {
            Error::Data(format!(
                "there is no checkpoint in {} yet: a start has nothing to load but what the journal \
                 has",
                store.name("")
            ))
        }),
        Restore::Epoch(epoch) => {
            let id: CheckpointId = find(store, Some(epoch))?;
            let restored = Restored::open(store, id)?;
            verify(store, &restored.manifest)?;
            Ok(restored)
        }
    }
}

fn heading(manifest: &Manifest) -> String {
    let Manifest { time, program, engine, .. } = manifest;
    format!("{}, written {time} by {program} (anabranch {engine})", manifest.id())
}

/// Says what becomes of each table, and gives the first that cannot be loaded.
fn tables(restored: &Restored, plan: &Plan, out: &mut dyn Write) -> Result<Option<Error>> {
    let stored = &restored.manifest.tables;
    let mut refused = None;
    let mut loaded = BTreeSet::new();
    for entry in stored {
        let (name, said) = match table(restored, plan, entry) {
            Ok((name, said)) => (name, said),
            Err(error) => {
                let said = format!("cannot be loaded: {error}");
                refused.get_or_insert(error);
                (entry.schema.name.clone(), said)
            }
        };
        print(out, &format!("  table {name}: {said}\n"))?;
        loaded.insert(name);
    }
    for (name, _) in plan.stores.snapshots().filter(|(name, _)| !loaded.contains(*name)) {
        print(out, &format!("  table {name}: is new, and begins empty\n"))?;
    }
    // Together they may be wrong though each is right.
    let schemas: Vec<_> = stored.iter().map(|entry| entry.schema.clone()).collect();
    let together = plan.stores.restore(&schemas).err();
    Ok(refused.or(together))
}

/// What becomes of one table: its name in the program, and what to say of it.
fn table(restored: &Restored, plan: &Plan, entry: &TableEntry) -> Result<(String, String)> {
    let old = &entry.schema.name;
    let mut fates = plan.stores.restore(std::slice::from_ref(&entry.schema))?;
    let Some(Fate::Restored(restoring)) = fates.pop() else {
        return Ok((old.clone(), "is dropped, as the program declares".to_string()));
    };
    restoring.load(restored, old, 0..restored.manifest.partitions)?;
    let mut said = match &restoring.changes[..] {
        [] => "loads as it is".to_string(),
        changes => format!("loads: {}", changes.join("; ")),
    };
    if restoring.rewrites {
        said.push_str("; the next checkpoint has all its rows anew");
    }
    Ok((restoring.table.schema().name, said))
}

/// What is wrong if the program's input is recorded and that before the checkpoint was not, or the
/// other way round.
fn kind_of_input(manifest: &Manifest, plan: &Plan) -> Option<Error> {
    let recorded = plan.sources.iter().all(|it| it.source.nature() == Nature::Recorded);
    let position = manifest.sources.first()?;
    ((manifest.epoch < RECORDED_EPOCHS) != recorded).then(|| other_kind(&position.source, recorded))
}

fn sources(manifest: &Manifest, plan: &Plan) -> String {
    let mut text = String::new();
    for position in manifest.sources.iter().filter(|position| position.source != RETRIES) {
        let (name, partition) = (&position.source, position.partition);
        let said = if plan.sources.iter().any(|planned| planned.name == *name) {
            format!("goes on at offset {}", position.next_offset)
        } else {
            "the program has no source of that name: nothing more of it is read, what was journaled of \
             it after the checkpoint included; give a source its old name if that is not meant"
                .to_string()
        };
        text += &format!("  source {name}, partition {partition}: {said}\n");
    }
    for planned in &plan.sources {
        if !manifest.sources.iter().any(|position| position.source == planned.name) {
            text += &format!("  source {}: is new, and begins as on a first start\n", planned.name);
        }
    }
    text
}

fn sinks(manifest: &Manifest, plan: &Plan) -> String {
    let mut text = String::new();
    for position in manifest.sinks.iter().filter(|position| position.name != LETTERS) {
        let name = &position.name;
        let said = if plan.sinks.iter().any(|planned| planned.name == *name) {
            "goes on where it was"
        } else {
            "the program has no sink of that name: nothing more is written to it"
        };
        text += &format!("  sink {name}: {said}\n");
    }
    for planned in &plan.sinks {
        if !manifest.sinks.iter().any(|position| position.name == planned.name) {
            text += &format!("  sink {}: is new, and gets what follows\n", planned.name);
        }
    }
    text
}

fn print(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(wrote)
}

fn wrote(error: std::io::Error) -> Error {
    Error::io("cannot write to standard output", error)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::checkpoint::{
        Checkpointer, Codec, Rows, SinkPosition, SourcePosition, TablePart, TableSchema,
        TableWriter, WorkerPart, Writer,
    };
    use crate::metrics::Counters;
    use crate::pipeline::Placement;
    use crate::{App, Table, app, sink, source};

    const SUMS: Table<String, u64> = Table::new("sums");
    const NAMES: Table<String, String> = Table::new("names");

    fn count(app: &App, source_name: &str, sink_name: &str) {
        app.source(source_name, source::empty::<String>())
            .key_by(Clone::clone)
            .compute("count", (SUMS, NAMES), |word, (mut sum, mut name), out| {
                *sum += 1;
                name.clone_from(&word);
                out.emit(word);
            })
            .sink(sink_name, sink::null());
    }

    fn plan(build: impl Fn(&App)) -> Plan {
        let drawn = app::draw(Placement::new(8, 1, 0, 0..1), Counters::default(), |app| {
            build(app);
            Ok(())
        });
        drawn.unwrap().into_plan().unwrap()
    }

    struct Kept(PathBuf);

    impl Kept {
        /// A checkpoint with rows of `tables`, named with the type of their values.
        fn new(name: &str, tables: &[(&str, &str, u64)]) -> Self {
            Self::at(7, name, tables)
        }

        fn at(epoch: u64, name: &str, tables: &[(&str, &str, u64)]) -> Self {
            let name = format!("anabranch-restorable-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            let _ = std::fs::remove_dir_all(&folder);
            let store = Store::directory(&folder);
            let mut part = WorkerPart::default();
            for (table, value, row) in tables {
                let schema = TableSchema {
                    name: (*table).into(),
                    key: "String".into(),
                    sub_key: None,
                    value: (*value).into(),
                    codec: Codec::MessagePack,
                };
                let key = rmp_serde::to_vec_named("a").unwrap();
                let value = rmp_serde::to_vec_named(row).unwrap();
                let mut rows = Rows::default();
                rows.push(crate::checkpoint::RowBytes {
                    partition: 0,
                    key: &key,
                    sub_key: None,
                    value: Some(&value),
                });
                let mut writer = TableWriter::new(&store, &schema, epoch, 1, 0, 0..8).unwrap();
                writer.block(&rows).unwrap();
                let files = writer.finish().unwrap();
                part.tables.push(TablePart { schema, files, replaces: false });
            }
            part.sources.push(SourcePosition {
                source: "words".into(),
                next_offset: 8,
                ..SourcePosition::default()
            });
            part.sinks.push(SinkPosition { name: "out".into(), ..SinkPosition::default() });
            let writer = Writer { generation: 1, program: "counts".into(), partitions: 8 };
            Checkpointer::new(&store, writer, None)
                .commit(epoch, vec![part], serde_json::Value::Null)
                .unwrap();
            Self(folder)
        }

        fn check(&self, which: Restore, plan: &Plan, partitions: &str) -> (String, Result<()>) {
            let folder = self.0.to_str().unwrap();
            let data = format!("{folder}-data");
            let flags = ["--store", folder, "--data-dir", &data, "--partitions", partitions];
            let config = Config::from_flags(flags).unwrap();
            DataDir::open(&data, config.program(), config.partitions()).unwrap();
            let mut out = Vec::new();
            let checked = check(&config, plan, which, &mut out);
            std::fs::remove_dir_all(data).unwrap();
            (String::from_utf8(out).unwrap(), checked)
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn it_says_what_becomes_of_each_table_source_and_sink() {
        let kept = Kept::new("said", &[("old", "u64", 5), ("gone", "u64", 5)]);
        let plan = plan(|app| {
            count(app, "words", "out");
            app.source("more", source::empty::<u8>()).sink("new", sink::null());
            app.renamed("old", SUMS);
            app.dropped("gone");
        });
        for which in [Restore::Latest, Restore::Epoch(7)] {
            let (said, checked) = kept.check(which, &plan, "8");
            checked.unwrap();
            let mut lines = said.lines().skip(2);
            let expected = [
                "  table gone: is dropped, as the program declares",
                "  table sums: loads: renamed from `old`; the next checkpoint has all its rows anew",
                "  table names: is new, and begins empty",
                "  source words, partition 0: goes on at offset 8",
                "  source more: is new, and begins as on a first start",
                "  sink out: goes on where it was",
                "  sink new: is new, and gets what follows",
            ];
            assert!(lines.by_ref().eq(expected), "{said}");
            assert!(
                said.starts_with("\nRestore: checkpoint 7 of generation 1, written "),
                "{said}"
            );
        }
    }

    #[test]
    fn what_cannot_be_loaded_is_refused_with_what_to_do() {
        let kept = Kept::new("refused", &[("lost", "u64", 5), ("names", "String", 5)]);
        let renamed = plan(|app| count(app, "other", "elsewhere"));
        let (said, checked) = kept.check(Restore::Latest, &renamed, "8");
        let error = checked.unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("app.dropped(\"lost\")"), "{error}");
        // A row that does not decode, though the types have one name.
        assert!(said.contains("table names: cannot be loaded: the value of a row"), "{said}");
        assert!(said.contains("source words, partition 0: the program has no source"), "{said}");
        assert!(said.contains("sink out: the program has no sink of that name"), "{said}");

        let (_, checked) = kept.check(Restore::Epoch(8), &renamed, "8");
        assert!(checked.unwrap_err().to_string().contains("there is no checkpoint 8"));
        let (_, checked) = kept.check(Restore::Latest, &renamed, "9");
        assert!(checked.unwrap_err().to_string().contains("start with --partitions 8"));
        let empty = Kept(kept.0.with_extension("none"));
        let (_, checked) = empty.check(Restore::Latest, &renamed, "8");
        let error = checked.unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("there is no checkpoint in"), "{error}");
    }

    #[test]
    fn two_old_tables_are_not_one_new_one() {
        let kept = Kept::new("two", &[("old", "u64", 5), ("sums", "u64", 6)]);
        let plan = plan(|app| {
            count(app, "words", "out");
            app.renamed("old", SUMS);
        });
        let (_, checked) = kept.check(Restore::Latest, &plan, "8");
        assert!(checked.unwrap_err().to_string().contains("two tables for `sums`"));
    }

    #[test]
    fn recorded_input_does_not_go_on_from_live_input() {
        let kept = Kept::at(1 << 60, "kind", &[]);
        let recorded = plan(|app| count(app, "words", "out"));
        let (_, checked) = kept.check(Restore::Latest, &recorded, "8");
        let error = checked.unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("is stamped when it is read"), "{error}");
    }
}
