//! What windowed joins and co-groups must give: a list of windows, each with copies of its records.
//!
//! Invariant: it looks through all windows for each record and each watermark, and moves records when
//! windows become one.

use std::collections::BTreeSet;

use super::super::Kind;
use super::*;
use crate::window::{Window, WindowAssigner};

/// The assigner of that number, as a type.
pub(super) struct Chosen(pub(super) Box<dyn WindowAssigner>);

impl WindowAssigner for Chosen {
    fn assign(&self, time: Time, windows: &mut Vec<Window>) {
        self.0.assign(time, windows);
    }

    fn merges(&self) -> bool {
        self.0.merges()
    }
}

/// A pair, or one alone, with its window.
pub(super) fn paired(window: Window, left: Option<u32>, right: Option<u32>) -> String {
    format!("{:?} {left:?} {right:?}", (window.start.as_nanos(), window.end.as_nanos()))
}

/// A window of the oracle, with all its records as time, name and input.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pane {
    window: Window,
    records: Vec<(i64, u32, u16)>,
    /// It was given before; and it is to be given.
    given: bool,
    waiting: bool,
}

impl Pane {
    fn names(&self, input: u16) -> Vec<u32> {
        let mut records = self.records.clone();
        records.sort_unstable();
        records.retain(|record| record.2 == input);
        records.into_iter().map(|(_, name, _)| name).collect()
    }
}

/// What must be logged.
pub(super) struct Oracle {
    pub(super) assigner: Chosen,
    pub(super) lateness: i64,
    pub(super) once: bool,
    /// Groups; or pairs, with which records alone.
    pub(super) pairs: Option<Kind>,
    pub(super) panes: Vec<Pane>,
}

impl Oracle {
    fn closes(&self, window: Window) -> Time {
        at(window.end.as_nanos().saturating_add(self.lateness))
    }

    fn group(&self, pane: &Pane, log: &mut Vec<String>) {
        let window = (pane.window.start.as_nanos(), pane.window.end.as_nanos());
        let names = [pane.names(0), pane.names(1), pane.names(2)];
        log.push(format!("{window:?} {} {names:?}", pane.given));
    }

    fn apply(&mut self, (input, time, name): (u16, i64, u32), now: Time, log: &mut Vec<String>) {
        let mut assigned = Vec::new();
        self.assigner.assign(at(time), &mut assigned);
        assigned.retain(|window| window.contains(at(time)));
        let mut late = !assigned.is_empty();
        for new in assigned {
            let joins = |pane: &Pane| {
                pane.window == new || self.assigner.merges() && pane.window.touches(new)
            };
            let parts = self.panes.iter().filter(|pane| joins(pane)).cloned().collect::<Vec<_>>();
            let window = parts.iter().fold(new, |all, pane| all.cover(pane.window));
            if self.closes(window) <= now {
                continue;
            }
            late = false;
            self.panes.retain(|pane| !parts.contains(pane));
            let given = parts.iter().any(|pane| pane.given);
            let waiting = self.once || window.end > now;
            let mut records = parts.into_iter().flat_map(|pane| pane.records).collect::<Vec<_>>();
            if !waiting && self.pairs.is_some() {
                let others = Pane { window, records: records.clone(), given, waiting };
                for other in others.names(1 - input) {
                    let (left, right) = if input == 0 { (name, other) } else { (other, name) };
                    log.push(paired(window, Some(left), Some(right)));
                }
            }
            records.push((time, name, input));
            let pane = Pane { window, records, given, waiting };
            if !waiting && self.pairs.is_none() {
                self.group(&pane, log);
            }
            self.panes.push(Pane { given: given || !waiting, ..pane });
        }
        if late {
            log.push(format!("late {name}"));
        }
    }

    fn give(&self, pane: &Pane, log: &mut Vec<String>) {
        if self.pairs.is_none() {
            return self.group(pane, log);
        }
        for left in pane.names(0) {
            for right in pane.names(1) {
                log.push(paired(pane.window, Some(left), Some(right)));
            }
        }
    }

    fn close(&self, pane: &Pane, log: &mut Vec<String>) {
        let Some(kind) = self.pairs else { return };
        let (left, right) = (pane.names(0), pane.names(1));
        if right.is_empty() && matches!(kind, Kind::Left | Kind::Full) {
            log.extend(left.iter().map(|left| paired(pane.window, Some(*left), None)));
        }
        if left.is_empty() && matches!(kind, Kind::Right | Kind::Full) {
            log.extend(right.iter().map(|right| paired(pane.window, None, Some(*right))));
        }
    }

    fn advance(&mut self, now: Time, log: &mut Vec<String>) {
        // What is due, in the order of when it was; each window is closed after it was given.
        let mut due = Vec::new();
        for pane in &self.panes {
            let (ends, closes) = (pane.window.end, self.closes(pane.window));
            if pane.waiting {
                due.push((if self.once { closes } else { ends }, ends < closes, pane.window, 1));
            }
            due.push((closes, false, pane.window, 2));
        }
        if self.once || self.lateness == 0 {
            due.iter_mut().for_each(|due| due.1 = false);
        }
        due.retain(|due| due.0 <= now);
        due.sort_unstable();
        for (_, _, window, what) in due {
            let number = self.panes.iter().position(|pane| pane.window == window).unwrap();
            if what == 1 {
                self.give(&self.panes[number], log);
                (self.panes[number].given, self.panes[number].waiting) = (true, false);
            } else {
                let pane = self.panes.remove(number);
                self.close(&pane, log);
            }
        }
    }

    pub(super) fn log(mut self, epochs: &[Epoch]) -> Vec<String> {
        let (mut log, mut now) = (Vec::new(), at(NONE));
        for epoch in epochs {
            for record in &epoch.records {
                self.apply(*record, now, &mut log);
            }
            now = at(epoch.watermark);
            self.advance(now, &mut log);
            let records = self.panes.iter().flat_map(|pane| &pane.records);
            let names = records.map(|(_, name, _)| *name).collect::<BTreeSet<_>>();
            log.push(format!("| {}", names.len() + self.panes.len()));
        }
        assert!(self.panes.is_empty());
        log
    }
}
