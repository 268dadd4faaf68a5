//! [`Views`]: the rows of views, to look at from outside.
//!
//! Invariant: what is seen of a view is its rows at the end of an epoch, all of it or nothing; looking decides
//! no output. It is kept on the worker that gathers the view, and is as large as the view.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value as Json;

use super::collection::ViewData;
use crate::{Error, Result};

/// The views of a process, by name; cheap to clone, and to be looked at from any thread.
///
/// Of several processes each has the views that one of its workers gathers.
#[derive(Clone, Default)]
pub struct Views(Arc<Mutex<BTreeMap<String, Arc<dyn AnyRows>>>>);

/// A part of a view's rows.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Page {
    /// They are those at the end of the last epoch before this one.
    pub before: u64,
    /// How many rows the view has.
    pub total: usize,
    /// The rows in their order, each with how often it is there.
    pub rows: Vec<(Json, i64)>,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Views {
    /// The names of the views.
    pub fn names(&self) -> Vec<String> {
        lock(&self.0).keys().cloned().collect()
    }

    /// Of the rows of a view, in order, `most` from number `from` on; none if there is no such view here.
    ///
    /// # Errors
    /// When a row has no form as JSON.
    pub fn page(&self, view: &str, from: usize, most: usize) -> Result<Option<Page>> {
        let Some(rows) = lock(&self.0).get(view).cloned() else { return Ok(None) };
        rows.page(from, most).map(Some)
    }

    /// All rows of a view, in order, each with how often it is there.
    ///
    /// # Errors
    /// When there is no such view here, or its records are of another type.
    pub fn rows<D: ViewData>(&self, view: &str) -> Result<Vec<(D, i64)>> {
        let known = lock(&self.0).get(view).cloned();
        let Some(known) = known else {
            let names = self.names().join("`, `");
            return Err(Error::Usage(format!("there is no view `{view}`; there are `{names}`")));
        };
        let rows = known.any().downcast::<Rows<D>>().map_err(|_| {
            let asked = std::any::type_name::<D>();
            Error::Usage(format!("view `{view}` has records of another type than {asked}"))
        })?;
        let rows = lock(&rows.0);
        Ok(rows.rows.iter().map(|(row, times)| (row.clone(), *times)).collect())
    }

    pub(crate) fn add(&self, view: &str, rows: Arc<dyn AnyRows>) {
        lock(&self.0).insert(view.to_string(), rows);
    }
}

/// The rows of a view whose type only its own code knows.
pub(crate) trait AnyRows: Send + Sync {
    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn page(&self, from: usize, most: usize) -> Result<Page>;
}

/// The rows of a view.
pub(crate) struct Rows<D>(Mutex<Kept<D>>);

struct Kept<D> {
    rows: BTreeMap<D, i64>,
    before: u64,
}

impl<D> Default for Rows<D> {
    fn default() -> Self {
        Self(Mutex::new(Kept { rows: BTreeMap::new(), before: 0 }))
    }
}

impl<D: ViewData> Rows<D> {
    /// The epochs before `before` are complete, the last of which has changed so much.
    pub(crate) fn change(&self, before: u64, changes: &[(D, i64)]) {
        let mut kept = lock(&self.0);
        kept.before = kept.before.max(before);
        for (record, diff) in changes {
            // Most rows that change were there, or will not be.
            if let Some(times) = kept.rows.get_mut(record) {
                *times += diff;
                if *times == 0 {
                    kept.rows.remove(record);
                }
            } else {
                kept.rows.insert(record.clone(), *diff);
            }
        }
    }
}

impl<D: ViewData> AnyRows for Rows<D> {
    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn page(&self, from: usize, most: usize) -> Result<Page> {
        // The worker that gathers the view waits no longer than for a copy.
        let (rows, before, total) = {
            let kept = lock(&self.0);
            let page = kept.rows.iter().skip(from).take(most);
            let rows: Vec<_> = page.map(|(row, times)| (row.clone(), *times)).collect();
            (rows, kept.before, kept.rows.len())
        };
        let no_form = |e| Error::Data(format!("a row of a view has no form as JSON: {e}"));
        let rows = rows
            .into_iter()
            .map(|(row, times)| serde_json::to_value(row).map(|row| (row, times)).map_err(no_form));
        Ok(Page { before, total, rows: rows.collect::<Result<_>>()? })
    }
}
