//! [`Looked`]: rows of a table as JSON, for those who look at it from outside.
//!
//! Invariant: looking changes nothing and decides no output. Rows come in the order of their keys as JSON, whatever
//! order the map has: numbers before text, lists by their items.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::{RawValue, to_raw_value};

use super::form::encode_message_pack;
use super::map_row::Entries;
use super::map_store::MapStore;
use super::store::Store;
use super::{SubKey, Value};
use crate::Key;
use crate::checkpoint::unpack;

/// Which rows of a table, or entries of a row; keys are JSON, or the text of a key that is text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// The first key.
    pub(crate) from: Option<String>,
    /// Without that key itself.
    pub(crate) after: bool,
    /// The key that is too far.
    pub(crate) to: Option<String>,
    /// How many at most.
    pub(crate) most: usize,
}

/// What one worker has of what was asked for, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Keys with what is there: a row, an entry of one, or of a row of a map table how many entries it has.
    pub(crate) rows: Vec<(Json, Box<RawValue>)>,
    /// How many there are in all, whatever was asked for.
    pub(crate) total: usize,
    /// Whether there are more of those that were asked for.
    pub(crate) more: bool,
}

/// A table that is looked at.
pub(crate) trait Looked {
    /// The hash by which the row of a key is placed.
    ///
    /// # Errors
    /// When the text is no key of this table, with what it should be.
    fn place(&self, key: &str) -> Result<u64, String>;
    /// The row of a key, if there is one: of a map table some of its entries.
    ///
    /// # Errors
    /// When a key is none of this table, or something has no form as JSON.
    fn row(&self, key: &str, entries: &Span) -> Result<Option<Found>, String>;
    /// About how many rows there are: with those that are gone, and not yet forgotten.
    fn size(&self) -> usize;
    /// Some of the rows. It takes time in proportion to the table.
    ///
    /// # Errors
    /// As for [`row`](Self::row).
    fn rows(&self, which: &Span) -> Result<Found, String>;
}

impl<K: Key, V: Value> Looked for Store<K, V> {
    fn place(&self, key: &str) -> Result<u64, String> {
        parse::<K>(key).map(|key| key.placement_hash())
    }

    fn row(&self, key: &str, _: &Span) -> Result<Option<Found>, String> {
        let key = parse::<K>(key)?;
        let shelf = self.shelf().borrow();
        let Some(value) = shelf.get(&key) else { return Ok(None) };
        Ok(Some(Found { rows: vec![(json(&key)?, raw(value)?)], total: 1, more: false }))
    }

    fn size(&self) -> usize {
        self.shelf().borrow().size()
    }

    fn rows(&self, which: &Span) -> Result<Found, String> {
        least(self.shelf().borrow().live(), which, |value| raw(*value))
    }
}

impl<K: Key, S: SubKey, V: Value> Looked for MapStore<K, S, V> {
    fn place(&self, key: &str) -> Result<u64, String> {
        parse::<K>(key).map(|key| key.placement_hash())
    }

    fn row(&self, key: &str, which: &Span) -> Result<Option<Found>, String> {
        let key = parse::<K>(key)?;
        let shelf = self.shelf().borrow();
        let Some(entries) = shelf.get(&key) else { return Ok(None) };
        let from = which.from.as_deref().map(parse::<S>).transpose()?;
        let to = which.to.as_deref().map(parse::<S>).transpose()?;
        let nothing = matches!((&from, &to), (Some(from), Some(to)) if from >= to);
        let most = if nothing { 0 } else { which.most.saturating_add(1) };
        let from = match (from.filter(|_| !nothing), which.after) {
            (None, _) => Bound::Unbounded,
            (Some(from), false) => Bound::Included(from),
            (Some(from), true) => Bound::Excluded(from),
        };
        let to = to.filter(|_| !nothing).map_or(Bound::Unbounded, Bound::Excluded);
        let some = entries.range((from, to)).take(most);
        let rows: Result<Vec<_>, String> =
            some.map(|(sub_key, value)| Ok((json(sub_key)?, raw(value)?))).collect();
        let mut rows = rows?;
        let more = rows.len() > which.most;
        rows.truncate(which.most);
        Ok(Some(Found { rows, total: entries.len(), more }))
    }

    fn size(&self) -> usize {
        self.shelf().borrow().size()
    }

    fn rows(&self, which: &Span) -> Result<Found, String> {
        let shelf = self.shelf().borrow();
        least(shelf.rows(), which, |entries: &&Entries<S, V>| raw(&entries.len()))
    }
}

/// Of all rows those that are asked for, at most so many, the least keys first.
fn least<'a, K: Key, T>(
    all: impl Iterator<Item = (&'a K, T)>,
    which: &Span,
    show: impl Fn(&T) -> Result<Box<RawValue>, String>,
) -> Result<Found, String> {
    let bound = |text: &Option<String>| text.as_deref().map(bound::<K>).transpose();
    let (from, to) = (bound(&which.from)?, bound(&which.to)?);
    let is_early = |key: &Ordered| match from.as_ref().map(|from| key.cmp(from)) {
        Some(Ordering::Less) => true,
        Some(Ordering::Equal) => which.after,
        Some(Ordering::Greater) | None => false,
    };
    let mut kept: BinaryHeap<Kept<T>> = BinaryHeap::new();
    let (mut total, mut more) = (0, false);
    for (key, value) in all {
        total += 1;
        let key = Ordered(json(key)?);
        if is_early(&key) || to.as_ref().is_some_and(|to| key >= *to) {
            continue;
        }
        if kept.len() >= which.most {
            more = true;
            if kept.peek().is_none_or(|last| key >= last.key) {
                continue;
            }
            kept.pop();
        }
        kept.push(Kept { key, value });
    }
    let rows = kept.into_sorted_vec().into_iter();
    let rows: Result<_, String> =
        rows.map(|Kept { key, value }| Ok((key.0, show(&value)?))).collect();
    Ok(Found { rows: rows?, total, more })
}

/// A row among those that are found so far.
struct Kept<T> {
    key: Ordered,
    value: T,
}

impl<T> PartialEq for Kept<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Kept<T> {}

impl<T> PartialOrd for Kept<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Kept<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

/// JSON, in an order.
struct Ordered(Json);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

/// The order of JSON: nothing, false, true, numbers, texts, lists by their items, objects by their text.
pub(crate) fn compare(one: &Json, other: &Json) -> Ordering {
    let kind = |json: &Json| match json {
        Json::Null => 0,
        Json::Bool(_) => 1,
        Json::Number(_) => 2,
        Json::String(_) => 3,
        Json::Array(_) => 4,
        Json::Object(_) => 5,
    };
    match (one, other) {
        (Json::Bool(one), Json::Bool(other)) => one.cmp(other),
        (Json::Number(one), Json::Number(other)) => compare_numbers(one, other),
        (Json::String(one), Json::String(other)) => one.cmp(other),
        (Json::Array(one), Json::Array(other)) => {
            let unlike = one.iter().zip(other).map(|(one, other)| compare(one, other));
            let unlike = unlike.into_iter().find(|order| order.is_ne());
            unlike.unwrap_or_else(|| one.len().cmp(&other.len()))
        }
        (Json::Object(_), Json::Object(_)) => one.to_string().cmp(&other.to_string()),
        _ => kind(one).cmp(&kind(other)),
    }
}

fn compare_numbers(one: &serde_json::Number, other: &serde_json::Number) -> Ordering {
    let whole = |number: &serde_json::Number| {
        number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from))
    };
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => {
            let float = |number: &serde_json::Number| number.as_f64().unwrap_or(f64::NAN);
            float(one).total_cmp(&float(other))
        }
    }
}

/// A key as people read it.
pub(crate) fn json<T: Serialize>(key: &T) -> Result<Json, String> {
    serde_json::to_value(key).or_else(|_| packed(key))
}

/// A value as people read it.
fn raw<T: Serialize>(value: &T) -> Result<Box<RawValue>, String> {
    to_raw_value(value)
        .or_else(|_| to_raw_value(&packed(value).map_err(serde::ser::Error::custom)?))
        .map_err(|error| error.to_string())
}

/// What has no form as JSON by itself, such as maps from numbers, as `checkpoint export` shows it.
fn packed<T: Serialize>(value: &T) -> Result<Json, String> {
    let mut bytes = Vec::new();
    encode_message_pack(value, &mut bytes)?;
    unpack(&bytes).ok_or_else(|| "it has no form as JSON".to_string())
}

/// The key that is written as JSON, or as the text that it is.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let of_json = serde_json::from_str(text);
    of_json.or_else(|_| serde_json::from_value(Json::String(text.to_string()))).map_err(|error| {
        let what = super::table::short::<T>();
        format!("`{text}` is no key of this table, which are of type {what}: {error}")
    })
}

/// The bound of a range: a key, or the beginning of one that is a list.
fn bound<K: Key>(text: &str) -> Result<Ordered, String> {
    match (parse::<K>(text), serde_json::from_str::<Json>(text)) {
        (Ok(key), _) => json(&key).map(Ordered),
        (Err(_), Ok(list @ Json::Array(_))) => Ok(Ordered(list)),
        (Err(wrong), _) => Err(wrong),
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
