//! [`Row`]: one row of a [`Table`](crate::Table), as a computation sees it.
//!
//! Invariant: a row exists once it was written through `DerefMut`; reading alone creates nothing
//! that outlives the invocation.

use std::ops::{Deref, DerefMut};

use super::Value;

/// One row of a table, to read and to change.
///
/// Reading a row that was never written gives the default value. Writing (any use by `&mut`)
/// creates it; [`remove`](Row::remove) deletes it.
pub struct Row<'a, V> {
    value: &'a mut V,
    mark: &'a mut Mark,
    /// What it was before it was written, if that may be undone.
    saved: Option<&'a mut Option<V>>,
}

/// What happened to a row in one invocation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// The row did not exist: what stands there is the default.
    fresh: bool,
    written: bool,
    removed: bool,
    /// Writing it is nothing new: nobody wants to know, or everybody knows.
    known: bool,
}

impl Mark {
    #[inline]
    pub(super) fn new(fresh: bool) -> Self {
        Self { fresh, written: false, removed: false, known: true }
    }

    /// Of a table whose changes are noted; `known` if this row's are, in this interval.
    #[inline]
    pub(super) fn tracked(fresh: bool, known: bool) -> Self {
        Self { fresh, written: false, removed: false, known }
    }

    #[inline]
    pub(super) fn is_fresh(self) -> bool {
        self.fresh
    }

    pub(super) fn is_written(self) -> bool {
        self.written
    }

    /// Whether it was written or removed, and not undone.
    #[inline]
    pub(super) fn is_touched(self) -> bool {
        self.written || self.removed
    }

    /// Whether the table must hear of it: what stands there must go, or was written unknown to it.
    #[inline]
    pub(super) fn is_news(self) -> bool {
        self.vanishes() || self.written && !self.known
    }

    /// Whether what stands in the row's place must go.
    #[inline]
    pub(super) fn vanishes(self) -> bool {
        self.removed || self.fresh && !self.written
    }
}

impl<'a, V: Value> Row<'a, V> {
    #[inline]
    pub(super) fn new(
        value: &'a mut V,
        mark: &'a mut Mark,
        saved: Option<&'a mut Option<V>>,
    ) -> Self {
        Self { value, mark, saved }
    }

    /// Whether the row was written before or in this invocation, and not removed since.
    pub fn exists(&self) -> bool {
        !self.mark.vanishes()
    }

    /// Deletes the row; gives what it was, if it existed.
    pub fn remove(mut self) -> Option<V> {
        let existed = self.exists();
        self.save();
        self.mark.removed = true;
        existed.then(|| std::mem::take(self.value))
    }
}

impl<V: Clone> Row<'_, V> {
    /// It is about to be written, or removed.
    #[inline(always)]
    fn save(&mut self) {
        if let Some(saved) = &mut self.saved
            && saved.is_none()
        {
            **saved = Some(self.value.clone());
        }
    }
}

impl<V> Deref for Row<'_, V> {
    type Target = V;

    #[inline]
    fn deref(&self) -> &V {
        self.value
    }
}

impl<V: Clone> DerefMut for Row<'_, V> {
    #[inline]
    fn deref_mut(&mut self) -> &mut V {
        self.save();
        self.mark.written = true;
        self.value
    }
}

/// One row of a table that a computation only [reads](crate::Table::read).
///
/// A row that was never written reads as the default value.
pub struct ReadRow<'a, V> {
    value: Result<&'a V, V>,
}

impl<'a, V: Value> ReadRow<'a, V> {
    #[inline]
    pub(super) fn new(value: Option<&'a V>) -> Self {
        Self { value: value.ok_or_else(V::default) }
    }

    /// Whether the row was written before, and not removed since.
    pub fn exists(&self) -> bool {
        self.value.is_ok()
    }
}

impl<V> Deref for ReadRow<'_, V> {
    type Target = V;

    #[inline]
    fn deref(&self) -> &V {
        match &self.value {
            Ok(value) => value,
            Err(default) => default,
        }
    }
}
