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
use crate::plan::Plan;
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
        return Err(Error::Checkpoint(format!(
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
    refused.map_or(Ok(()), Err)
}

/// The checkpoint, if it is whole.
fn open(store: &Store, which: Restore) -> Result<Restored> {
    match which {
        Restore::Latest => newest(store, |_| true)?.ok_or_else(|| {
            Error::Checkpoint(format!(
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
    restored.rows(old, 0..restored.manifest.partitions, |row| restoring.load(row))?;
    let mut said = match &restoring.changes[..] {
        [] => "loads as it is".to_string(),
        changes => format!("loads: {}", changes.join("; ")),
    };
    if restoring.rewrites {
        said.push_str("; the next checkpoint has all its rows anew");
    }
    Ok((restoring.table.schema().name, said))
}

fn sources(manifest: &Manifest, plan: &Plan) -> String {
    let mut text = String::new();
    for position in &manifest.sources {
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
    for position in &manifest.sinks {
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
