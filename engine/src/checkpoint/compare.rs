//! [`compare`]: what a program would do to the tables of a checkpoint.
//!
//! Invariant: looks at what tables are said to be, never at rows; a row that does not decode is found
//! when it is loaded.

use std::fmt;

use super::{Manifest, TableSchema};

/// What an application declares about tables of earlier versions of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes<'a> {
    /// Old and new names.
    pub renamed: &'a [(String, String)],
    /// Tables, by their new names, whose rows a function makes new.
    pub migrated: &'a [String],
}

/// What would become of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It loads as it is.
    AsItIs,
    /// It loads under another name.
    Renamed {
        /// Its name in the checkpoint.
        from: String,
    },
    /// A function makes its rows new.
    Migrated,
    /// The checkpoint does not have it: it begins empty.
    New,
    /// The program does not have it: its rows are gone after the next checkpoint.
    Dropped,
    /// It does not load.
    Fails {
        /// Why, and what to do.
        why: String,
    },
}

/// What would become of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableVerdict {
    /// Its name: the program's, or the checkpoint's if only that has it.
    pub table: String,
    /// What would become of it.
    pub verdict: Verdict,
}

impl fmt::Display for TableVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        match &self.verdict {
            Verdict::AsItIs => write!(f, "{table}: loads as it is"),
            Verdict::Renamed { from } => write!(f, "{table}: loads; it was called {from}"),
            Verdict::Migrated => write!(f, "{table}: loads through its migration"),
            Verdict::New => write!(f, "{table}: is new, and begins empty"),
            Verdict::Dropped => write!(f, "{table}: is dropped; the program has no such table"),
            Verdict::Fails { why } => write!(f, "{table}: does not load: {why}"),
        }
    }
}

/// What a program with the tables `schemas` would do to those of `manifest`; by name.
pub fn compare(
    manifest: &Manifest,
    schemas: &[TableSchema],
    changes: Changes<'_>,
) -> Vec<TableVerdict> {
    let old_name = |new: &str| {
        let renamed = changes.renamed.iter().find(|(_, to)| to == new);
        renamed.map(|(from, _)| from.as_str()).filter(|from| manifest.table(from).is_some())
    };
    let mut used = Vec::new();
    let mut verdicts: Vec<TableVerdict> = Vec::new();
    for schema in schemas {
        let from = old_name(&schema.name);
        let name = from.unwrap_or(&schema.name);
        let is_migrated = changes.migrated.contains(&schema.name);
        let verdict = match manifest.table(name) {
            None => Verdict::New,
            Some(_) if from.is_some() && manifest.table(&schema.name).is_some() => Verdict::Fails {
                why: format!(
                    "it is declared to have been called {name}, but the checkpoint has a table of \
                     either name; take the declaration out"
                ),
            },
            Some(_) if is_migrated => Verdict::Migrated,
            Some(old) => match (difference(&old.schema, schema), from) {
                (Some(why), _) => Verdict::Fails { why },
                (None, Some(from)) => Verdict::Renamed { from: from.to_owned() },
                (None, None) => Verdict::AsItIs,
            },
        };
        used.push(name.to_owned());
        verdicts.push(TableVerdict { table: schema.name.clone(), verdict });
    }
    let dropped = manifest.tables.iter().filter(|table| !used.contains(&table.schema.name));
    verdicts.extend(
        dropped.map(|table| TableVerdict {
            table: table.schema.name.clone(),
            verdict: Verdict::Dropped,
        }),
    );
    verdicts.sort_by(|one, other| one.table.cmp(&other.table));
    verdicts
}

/// Why rows of `old` are none of `new`.
fn difference(old: &TableSchema, new: &TableSchema) -> Option<String> {
    let none = || "none".to_owned();
    let old_sub_key = old.sub_key.clone().unwrap_or_else(none);
    let new_sub_key = new.sub_key.clone().unwrap_or_else(none);
    let (old_codec, new_codec) = (format!("{:?}", old.codec), format!("{:?}", new.codec));
    let pairs = [
        ("keys", &old.key, &new.key),
        ("sub-keys", &old_sub_key, &new_sub_key),
        ("values", &old.value, &new.value),
        ("codec", &old_codec, &new_codec),
    ];
    let differing: Vec<String> = pairs
        .iter()
        .filter(|(_, old, new)| old != new)
        .map(|(what, old, new)| {
            format!("its {what}: {old} in the checkpoint, {new} in the program")
        })
        .collect();
    let why = differing.join("; ");
    (!why.is_empty()).then(|| why + "; declare a migration, or give the new table another name")
}
