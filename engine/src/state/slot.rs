//! [`Slot`] and [`Changes`]: which rows changed since when.
//!
//! Invariant: a key is at most once in the list of the running interval and at most once in the
//! list of the frozen one, and what stands in its place in the table says in which. What is in the
//! frozen list is as it was at the boundary, or has been encoded.

use std::mem;

use crate::checkpoint::{RowBytes, Rows};

/// An interval between two boundaries. There are never more than two of interest, the running one
/// and the frozen one before it, so they take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interval(u8);

impl Interval {
    /// Whether changes are noted at all.
    #[inline]
    pub(super) fn is_on(self) -> bool {
        self.0 != 0
    }

    fn other(self) -> Self {
        Self(3 - self.0)
    }
}

/// What is known of a row (of a map table: an entry) beside its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot(u8);

const INTERVAL: u8 = 3;
const GONE: u8 = 4;
const BORN: u8 = 8;
const NOTED: u8 = 16;

impl Slot {
    /// In the list of `interval`, as the running one.
    #[inline]
    pub(super) fn listed(interval: Interval) -> Self {
        Self(interval.0)
    }

    /// The same, of a row that no checkpoint knows.
    pub(super) fn born(interval: Interval) -> Self {
        Self(interval.0 | BORN)
    }

    /// The row was removed; only its tombstone is needed.
    pub(super) fn gone(self) -> Self {
        Self(self.0 | GONE)
    }

    /// The row is there (again).
    pub(super) fn back(self) -> Self {
        Self(self.0 & !GONE)
    }

    #[inline]
    pub(super) fn is_gone(self) -> bool {
        self.0 & GONE != 0
    }

    /// Whether no checkpoint knows the row.
    pub(super) fn is_born(self) -> bool {
        self.0 & BORN != 0
    }

    /// Whether it is in the list of `running`.
    #[inline]
    pub(super) fn is_listed(self, running: Interval) -> bool {
        self.0 & INTERVAL == running.0
    }

    /// Whether it is in the list before that of `running`, and not yet encoded.
    #[inline]
    pub(super) fn is_frozen(self, running: Interval) -> bool {
        self.0 & INTERVAL == running.other().0
    }

    /// What the row was before this epoch is known; at the least, if it is not taken out in between.
    pub(super) fn noted(self, noted: bool) -> Self {
        Self(if noted { self.0 | NOTED } else { self.0 & !NOTED })
    }

    #[inline]
    pub(super) fn is_noted(self) -> bool {
        self.0 & NOTED != 0
    }

    /// Encoded: in no list any more.
    pub(super) fn clean(self) -> Self {
        Self(self.0 & GONE)
    }
}

/// A value and its slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept<V> {
    pub(super) value: V,
    pub(super) slot: Slot,
}

/// The most keys in one piece of a list, so that a long list never moves.
const PIECE: usize = 4096;

/// Keys in no order: as cheap to freeze as to grow, and freed while it is taken from. It is never
/// longer than its table, since each key is in it once.
pub(super) struct List<K> {
    pieces: Vec<Vec<K>>,
}

impl<K> Default for List<K> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<K> List<K> {
    pub(super) fn push(&mut self, key: K) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(key),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(key);
                self.pieces.push(piece);
            }
            None => self.pieces.push(vec![key]),
        }
    }

    fn pop(&mut self) -> Option<K> {
        let piece = self.pieces.last_mut()?;
        let key = piece.pop();
        if piece.is_empty() {
            self.pieces.pop();
        }
        key
    }

    fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// The most rows in one piece of what was encoded early.
const EARLY: usize = 256;

/// What changed in one table on one worker.
pub(super) struct Changes<K> {
    /// The running interval.
    pub(super) interval: Interval,
    pub(super) partitions: u64,
    pub(super) dirty: List<K>,
    frozen: List<K>,
    /// Rows of the frozen list that were encoded because they were about to change.
    early: Vec<Rows>,
    /// Why a row could not be encoded; there is no going on then.
    failed: Option<String>,
}

impl<K> Default for Changes<K> {
    fn default() -> Self {
        Self {
            interval: Interval::default(),
            partitions: 1,
            dirty: List::default(),
            frozen: List::default(),
            early: Vec::new(),
            failed: None,
        }
    }
}

impl<K> Changes<K> {
    /// Notes changes from now on.
    pub(super) fn track(&mut self, partitions: u32) {
        self.partitions = u64::from(partitions.max(1));
        if !self.interval.is_on() {
            self.interval = Interval(1);
        }
    }

    /// Whether everything of the frozen list was handed over.
    pub(super) fn is_done(&self) -> bool {
        self.frozen.is_empty() && self.early.is_empty()
    }

    /// Freezes the list and begins the next interval; not before the last one is done.
    pub(super) fn begin(&mut self) -> bool {
        if !self.interval.is_on() || !self.is_done() || self.failed.is_some() {
            return false;
        }
        mem::swap(&mut self.dirty, &mut self.frozen);
        self.interval = self.interval.other();
        true
    }

    /// Keeps a row that was encoded before it changed.
    pub(super) fn keep(&mut self, row: RowBytes<'_>) {
        if self.early.last().is_none_or(|rows| rows.len() >= EARLY) {
            self.early.push(Rows::default());
        }
        if let Some(rows) = self.early.last_mut() {
            rows.push(row);
        }
    }

    /// Remembers the first failure.
    pub(super) fn fail(&mut self, problem: String) {
        self.failed.get_or_insert(problem);
    }

    pub(super) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Hands over rows that were encoded early, a piece at a time, up to `max`; gives how many.
    pub(super) fn hand_over(&mut self, max: usize, rows: &mut Rows) -> usize {
        let mut count = 0;
        while count < max
            && let Some(piece) = self.early.pop()
        {
            count += piece.len();
            for row in Rows::read(piece.bytes()).flatten() {
                rows.push(row);
            }
        }
        count
    }

    /// The next key of the frozen list.
    pub(super) fn next(&mut self) -> Option<K> {
        self.frozen.pop()
    }
}
