//! [`Contents`]: all rows of all tables at a boundary, as a checkpoint has them or as a replay left
//! them.
//!
//! Invariant: rows are MessagePack, whatever codec a table has, so those of equal content are equal.

use std::rc::Rc;

use hashbrown::HashMap;

use super::Common;
use crate::checkpoint::{Restored, Rows};
use crate::durable::load;
use crate::state::Hasher;
use crate::trace::Step;
use crate::{Error, Result, program};

/// The key of a row: its table's index, its key and its sub-key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RowKey {
    pub(super) table: u16,
    pub(super) key: Vec<u8>,
    pub(super) sub_key: Option<Vec<u8>>,
}

/// Rows by their keys. No order of it decides anything: the least key does.
#[derive(Debug, Default)]
pub(super) struct Contents(HashMap<RowKey, Vec<u8>, Hasher>);

impl Contents {
    /// What a checkpoint has, as this program reads it.
    pub(super) fn of(common: &Common, restored: &Restored) -> Result<Self> {
        let config = &common.config;
        let plan = program::plan(&common.build, 1, config.partitions() as usize)?;
        load(restored, &plan.stores, 0..config.partitions(), false)?;
        let mut contents = Self::default();
        let tables: Vec<_> = plan.stores.snapshots().map(|(_, table)| Rc::clone(table)).collect();
        for (index, table) in (0_u16..).zip(tables) {
            table.speak_message_pack();
            table.each(&mut |row| {
                let (key, sub_key) = (row.key.to_vec(), row.sub_key.map(<[u8]>::to_vec));
                let value = row.value.unwrap_or_default().to_vec();
                contents.0.insert(RowKey { table: index, key, sub_key }, value);
                Ok(())
            })?;
        }
        Ok(contents)
    }

    /// Goes on by what came of an epoch; gives how many rows changed.
    pub(super) fn apply(&mut self, step: &Step) -> Result<u64> {
        let mut changed = 0;
        for (key, value) in rows(step)? {
            changed += 1;
            match value {
                Some(value) => drop(self.0.insert(key, value)),
                None => drop(self.0.remove(&key)),
            }
        }
        Ok(changed)
    }

    pub(super) fn get(&self, key: &RowKey) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    /// The least key of which the two have different rows.
    pub(super) fn first_difference<'a>(&'a self, other: &'a Self) -> Option<&'a RowKey> {
        let differs = |key: &&RowKey| self.get(key) != other.get(key);
        let keys = self.0.keys().chain(other.0.keys());
        keys.filter(differs).min()
    }
}

/// The rows that changed in an epoch, with what they are since.
pub(super) fn rows(step: &Step) -> Result<Vec<(RowKey, Option<Vec<u8>>)>> {
    let malformed = |_| Error::Data("a replay told of a row that has no end".to_string());
    let mut found = Vec::new();
    for (table, bytes) in &step.rows {
        for row in Rows::read(bytes) {
            let row = row.map_err(malformed)?;
            let (key, sub_key) = (row.key.to_vec(), row.sub_key.map(<[u8]>::to_vec));
            let key = RowKey { table: *table, key, sub_key };
            found.push((key, row.value.map(<[u8]>::to_vec)));
        }
    }
    Ok(found)
}
