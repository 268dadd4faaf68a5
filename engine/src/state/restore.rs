//! What becomes of tables that a checkpoint holds: renamed, dropped, migrated, or loaded as they are.
//!
//! Invariant: state belongs to names. A table of a checkpoint is restored as the table of its name,
//! or as the application declared; one of which nothing is known is never silently left out.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use serde::de::DeserializeOwned;

use super::snapshot::{Snapshot, Stored};
use super::store::migration;
use super::table::short;
use super::{MapTable, Stores, SubKey, Table, Value};
use crate::checkpoint::{Codec, Restored, RowBytes, TableSchema};
use crate::failpoint::hit;
use crate::{Error, Key, Result};

/// A [`Table`] or a [`MapTable`], where what matters is its name and its values.
pub trait AnyTable: Copy + 'static {
    /// What a row holds; of a map table, what an entry holds.
    type Value: Value;

    /// Its name.
    #[doc(hidden)]
    fn table_name(self) -> &'static str;
    /// Declares that a checkpoint may hold values of type `Old`.
    #[doc(hidden)]
    fn migrate<Old: DeserializeOwned + 'static>(
        self,
        stores: &mut Stores,
        migrate: impl Fn(Old) -> Self::Value + 'static,
    );
}

impl<K: Key, V: Value> AnyTable for Table<K, V> {
    type Value = V;

    fn table_name(self) -> &'static str {
        self.name
    }
    fn migrate<Old: DeserializeOwned + 'static>(
        self,
        stores: &mut Stores,
        migrate: impl Fn(Old) -> V + 'static,
    ) {
        stores.declare(self.name, short::<Old>() != short::<V>());
        stores.store(self).migrate(migration(migrate));
    }
}

impl<K: Key, S: SubKey, V: Value> AnyTable for MapTable<K, S, V> {
    type Value = V;

    fn table_name(self) -> &'static str {
        self.name
    }
    fn migrate<Old: DeserializeOwned + 'static>(
        self,
        stores: &mut Stores,
        migrate: impl Fn(Old) -> V + 'static,
    ) {
        stores.declare(self.name, short::<Old>() != short::<V>());
        stores.map_store(self).migrate(migration(migrate));
    }
}

/// What becomes of a table of a checkpoint.
pub(crate) enum Fate {
    /// It is left out, as declared.
    Dropped,
    /// It is loaded.
    Restored(Restoring),
}

/// A table that is being loaded.
pub(crate) struct Restoring {
    /// Where its rows go.
    pub(crate) table: Rc<dyn Snapshot>,
    stored: Stored,
    /// What is not as it was stored, for people.
    pub(crate) changes: Vec<String>,
    /// Whether rows stored as they were cannot be the base of rows stored as they are now: the next
    /// checkpoint must have all ([`Snapshot::all`]).
    pub(crate) rewrites: bool,
}

impl Restoring {
    /// Loads the rows of `partitions` from the table that `restored` has as `name`.
    ///
    /// # Errors
    /// When one cannot be read or decoded.
    pub(crate) fn load(
        &self,
        restored: &Restored,
        name: &str,
        partitions: Range<u32>,
    ) -> Result<()> {
        self.table.expect(restored.about_rows(name, &partitions));
        restored.rows(name, partitions, |row| self.load_row(row))?;
        self.table.loaded();
        Ok(())
    }

    fn load_row(&self, row: RowBytes<'_>) -> Result<()> {
        hit("restore::row").map_err(|e| Error::io("restoring a row", e))?;
        self.table.load(self.stored, row)
    }
}

impl Stores {
    /// Declares that rows of the table `old` belong to the table `new` now.
    pub(crate) fn rename(&mut self, old: &str, new: &'static str) {
        self.declare(new, true);
        if self.renamed.insert(old.to_string(), new).is_some() {
            self.complain(format!("table `{old}` is renamed twice; say once what it is now"));
        }
    }

    /// Declares that rows of the table `old` are not needed any more.
    pub(crate) fn drop_table(&mut self, old: &str) {
        self.dropped.insert(old.to_string());
    }

    fn declare(&mut self, table: &'static str, types_differ: bool) {
        self.declared.insert(table);
        if !types_differ {
            self.complain(format!(
                "the migration of table `{table}` has an old and a new type of one name, so that \
                 nothing tells their rows apart; rename one of the types"
            ));
        }
    }

    /// What is wrong with the declarations, given the tables that computations use.
    pub(crate) fn check_declared(&self, used: &BTreeSet<&str>) -> Option<String> {
        if let Some(name) = self.declared.iter().find(|name| !used.contains(**name)) {
            return Some(format!(
                "table `{name}` is declared to be renamed or migrated, and no computation uses it; \
                 use it, or take the declaration away"
            ));
        }
        let olds = self.renamed.keys().chain(&self.dropped);
        if let Some(name) = olds.into_iter().find(|name| used.contains(name.as_str())) {
            return Some(format!(
                "table `{name}` is declared to be renamed or dropped, and a computation uses a \
                 table of that name; give the new one another name"
            ));
        }
        let twice = self.renamed.keys().find(|name| self.dropped.contains(*name))?;
        Some(format!("table `{twice}` is declared to be renamed and dropped; decide for one"))
    }

    /// What becomes of the tables of a checkpoint in this program, in their order.
    ///
    /// # Errors
    /// When one of them cannot be restored, with what can be done.
    pub(crate) fn restore(&self, stored: &[TableSchema]) -> Result<Vec<Fate>> {
        let mut taken = BTreeSet::new();
        stored
            .iter()
            .map(|stored| {
                let fate = self.fate(stored).map_err(Error::Data)?;
                if let Fate::Restored(restoring) = &fate
                    && !taken.insert(restoring.table.schema().name)
                {
                    return Err(Error::Data(format!(
                        "the checkpoint has two tables for `{}`, one under an old name; take away \
                         `app.renamed`, and declare the other one by `app.dropped`",
                        restoring.table.schema().name
                    )));
                }
                Ok(fate)
            })
            .collect()
    }

    fn fate(&self, stored: &TableSchema) -> Result<Fate, String> {
        let old = &stored.name;
        if self.dropped.contains(old) {
            return Ok(Fate::Dropped);
        }
        let name = self.renamed.get(old).copied().unwrap_or(old);
        let Some(table) = self.snapshot(name).cloned() else {
            return Err(format!(
                "the checkpoint has a table `{old}`, which this program does not have; declare \
                 `app.renamed(\"{old}\", TABLE)` or `app.dropped(\"{old}\")`"
            ));
        };
        let now = table.schema();
        if stored.sub_key.is_some() != now.sub_key.is_some() {
            return Err(format!(
                "table `{old}` is a plain table in the checkpoint and a map table in this program, \
                 or the other way round; give the new one another name, and declare \
                 `app.dropped(\"{old}\")`"
            ));
        }
        let migrate = match table.migrates_from() {
            Some(from) if stored.value == from => true,
            Some(from) if stored.value != now.value => {
                return Err(format!(
                    "table `{old}` has values of type {} in the checkpoint; `app.migrated` knows \
                     {from}, and the program {}; start a version between the two first",
                    stored.value, now.value
                ));
            }
            _ => false,
        };
        let mut changes = Vec::new();
        if name != old {
            changes.push(format!("renamed from `{old}`"));
        }
        if migrate {
            changes.push(format!("values migrated from {} to {}", stored.value, now.value));
        }
        let types = [
            ("keys", Some(&stored.key), Some(&now.key)),
            ("sub-keys", stored.sub_key.as_ref(), now.sub_key.as_ref()),
            ("values", Some(&stored.value).filter(|_| !migrate), Some(&now.value)),
        ];
        for (part, was, is) in types {
            let (Some(was), Some(is)) = (was, is) else { continue };
            if was == is {
                continue;
            }
            if stored.codec != Codec::MessagePack {
                return Err(format!(
                    "table `{old}` has {part} of type {was} in the checkpoint, in a form that only \
                     this type can read, and this program has {is}; declare `app.migrated` for \
                     values, or keep the type"
                ));
            }
            changes.push(format!("{part} of type {was} read as {is}"));
        }
        if stored.codec != now.codec {
            changes.push(format!("codec changed from {:?} to {:?}", stored.codec, now.codec));
        }
        let rewrites = !changes.is_empty();
        let stored = Stored { codec: stored.codec, migrate };
        Ok(Fate::Restored(Restoring { table, stored, changes, rewrites }))
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "fixture_tests.rs"]
mod fixture_tests;
