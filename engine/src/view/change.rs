//! [`Change`], and [`Upsert`]s: what views release.
//!
//! Invariant: what is released of an epoch is a function of what the epoch changed in the view: in the order of
//! records, what goes before what comes.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::collection::ViewData;
use crate::pipeline::{Hub, Tagged};
use crate::{Origin, Upsert};

/// A record that came into a view, or went from it; see [`View::changes`](crate::View::changes).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change<D> {
    /// Which.
    pub record: D,
    /// In which epoch: a number of the epoch if input is recorded, its time in nanoseconds if it is live.
    pub epoch: u64,
    /// How often more it is there now; less, if it is negative.
    pub diff: i64,
}

/// Releases what changes in a view, in some form.
pub(crate) trait Teller<D> {
    /// An epoch has changed the view so; the records are in order, each once. They are released with what
    /// `origin` makes of their place among them; without it they are only taken down, as they were
    /// before this start.
    ///
    /// # Errors
    /// When they cannot have this form, with the reason.
    fn tell(
        &mut self,
        epoch: u64,
        changes: &[(D, i64)],
        origin: Option<&dyn Fn(u32) -> Origin>,
    ) -> Result<(), String>;
}

/// How many records are handed on at once.
const BATCH: usize = 1 << 10;

/// Hands on `records`, in order.
fn dispatch<T: Clone>(
    hub: &Hub<T>,
    records: impl Iterator<Item = T>,
    origin: &dyn Fn(u32) -> Origin,
) {
    let mut batch = Vec::new();
    for (place, record) in (0..).zip(records) {
        batch.push(Tagged { origin: origin(place), record });
        if batch.len() >= BATCH {
            hub.dispatch(&mut batch);
        }
    }
    hub.dispatch(&mut batch);
}

pub(crate) struct TellChanges<D>(pub(crate) Rc<Hub<Change<D>>>);

impl<D: ViewData> Teller<D> for TellChanges<D> {
    fn tell(
        &mut self,
        epoch: u64,
        changes: &[(D, i64)],
        origin: Option<&dyn Fn(u32) -> Origin>,
    ) -> Result<(), String> {
        let Some(origin) = origin else { return Ok(()) };
        let of = |goes: bool| changes.iter().filter(move |(_, diff)| (*diff < 0) == goes);
        let both = of(true).chain(of(false)).map(|(record, diff)| {
            let record = record.clone();
            Change { record, epoch, diff: *diff }
        });
        dispatch(&self.0, both, origin);
        Ok(())
    }
}

pub(crate) struct TellUpserts<K, V> {
    hub: Rc<Hub<Upsert<K, V>>>,
    /// The value of each key.
    values: BTreeMap<K, V>,
}

impl<K, V> TellUpserts<K, V> {
    pub(crate) fn new(hub: Rc<Hub<Upsert<K, V>>>) -> Self {
        Self { hub, values: BTreeMap::new() }
    }
}

impl<K: ViewData, V: ViewData> TellUpserts<K, V> {
    /// What becomes of the first key of `changes`, by all that follow of it.
    fn upsert(&mut self, changes: &[((K, V), i64)]) -> Result<Option<Upsert<K, V>>, String> {
        let Some(((key, _), _)) = changes.first() else { return Ok(None) };
        let before = self.values.remove(key);
        let mut now = before.clone();
        let several = |key: &K| {
            format!(
                "key {key:?} has not one value but several, or one several times; let the view have one \
                 record a key, for example by `reduce` or `top_k(1)`, or take its `changes`"
            )
        };
        let one = |goes: bool| changes.iter().filter(move |(_, diff)| (*diff < 0) == goes);
        for ((key, value), diff) in one(true).chain(one(false)) {
            now = match (diff, now) {
                (-1, Some(there)) if there == *value => None,
                (1, None) => Some(value.clone()),
                _ => return Err(several(key)),
            };
        }
        if let Some(value) = &now {
            self.values.insert(key.clone(), value.clone());
        }
        Ok(Upsert::of(key.clone(), before, now))
    }
}

impl<K: ViewData, V: ViewData> Teller<(K, V)> for TellUpserts<K, V> {
    fn tell(
        &mut self,
        _: u64,
        changes: &[((K, V), i64)],
        origin: Option<&dyn Fn(u32) -> Origin>,
    ) -> Result<(), String> {
        let mut upserts = Vec::new();
        for of_key in changes.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
            upserts.extend(self.upsert(of_key)?);
        }
        if let Some(origin) = origin {
            dispatch(&self.hub, upserts.into_iter(), origin);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    fn told(teller: &mut TellUpserts<u8, u8>, changes: &[((u8, u8), i64)]) -> Result<(), String> {
        teller.tell(0, changes, None)
    }

    #[test]
    fn a_key_has_one_value() {
        let mut teller = TellUpserts::new(Hub::new());
        told(&mut teller, &[((1, 5), 1), ((2, 5), 1)]).unwrap();
        // The new value may come before or after the old one, in order.
        let both = [[((1, 4), 1), ((1, 5), -1)], [((1, 4), -1), ((1, 6), 1)]];
        for changes in both {
            let upsert = teller.upsert(&changes).unwrap().unwrap();
            assert_eq!(upsert.op, Op::Update);
        }
        assert_eq!(teller.values, BTreeMap::from([(1, 6), (2, 5)]));
        let upsert = teller.upsert(&[((2, 5), -1)]).unwrap().unwrap();
        assert_eq!((upsert.op, upsert.before, upsert.value), (Op::Delete, Some(5), None));
        for wrong in [[((3, 1), 2)].as_slice(), &[((1, 7), 1)], &[((3, 1), 1), ((3, 2), 1)]] {
            let problem = told(&mut teller, wrong).unwrap_err();
            assert!(problem.contains("has not one value"), "{problem}");
        }
    }
}
