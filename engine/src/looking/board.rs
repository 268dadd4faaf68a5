//! [`Board`]: where questions wait for worker 0, and askers for the answers of all workers.
//!
//! Invariant: a question is answered once, and no more wait than [`WAITING_MAX`]. Nobody holds the lock while it waits.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Answer, Ask, HotKeys, TableInfo};
use crate::state::{Found, compare};

/// How many questions may wait for their answers.
const WAITING_MAX: usize = 256;
/// How many hot keys are told of a computation.
const HOT_MAX: usize = 20;

/// Questions and answers of one process.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    next: u64,
    /// Not yet taken by worker 0.
    waiting: Vec<(u64, Ask)>,
    open: BTreeMap<u64, Open>,
    /// Those of groups, by name.
    tables: Vec<TableInfo>,
    processes: usize,
    /// Who waits for a checkpoint that is not begun, and for the one that is being made.
    checkpoints: [Vec<oneshot::Sender<Option<u64>>>; 2],
    /// Nobody answers any more.
    closed: bool,
}

/// A question that was taken or waits.
struct Open {
    /// From how many workers answers are to come; none is known until it is taken.
    left: Option<usize>,
    /// Of rows: how many were asked for.
    most: usize,
    so_far: Answer,
    to: oneshot::Sender<Result<Answer, Refused>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many wait.
    Busy,
    /// The workers are not ready, or end.
    NotNow(&'static str),
    /// What was asked is wrong, or cannot be shown.
    Wrong(String),
}

impl Board {
    /// Asks the workers. What comes back is ready when all have answered; the program must be woken.
    pub(crate) fn ask(&self, ask: Ask) -> oneshot::Receiver<Result<Answer, Refused>> {
        let (to, answer) = oneshot::channel();
        let mut inner = self.lock();
        // What nobody waits for any more makes room.
        inner.open.retain(|_, open| !open.to.is_closed());
        let refused = match (inner.closed, inner.open.len() >= WAITING_MAX) {
            (true, _) => Some(Refused::NotNow("the program ends")),
            (false, true) => Some(Refused::Busy),
            (false, false) => None,
        };
        if let Some(refused) = refused {
            // The receiver is here.
            let _ = to.send(Err(refused));
            return answer;
        }
        let id = inner.next;
        inner.next += 1;
        let most = match &ask {
            Ask::Row { entries: span, .. } | Ask::Rows { rows: span, .. } => span.most,
            Ask::View { .. } | Ask::Processes | Ask::Sizes | Ask::Hot { .. } => 0,
        };
        inner.open.insert(id, Open { left: None, most, so_far: Answer::Nothing, to });
        inner.waiting.push((id, ask));
        answer
    }

    /// Whether something waits to be taken.
    pub(super) fn waits(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Takes those questions out that `wanted` holds for.
    pub(super) fn take(&self, wanted: impl Fn(&Ask) -> bool) -> Vec<(u64, Ask)> {
        self.lock().waiting.extract_if(.., |(_, ask)| wanted(ask)).collect()
    }

    /// So many workers will answer.
    pub(super) fn expect(&self, id: u64, workers: usize) {
        if let Some(open) = self.lock().open.get_mut(&id) {
            open.left = Some(workers);
        }
    }

    /// A worker answers; the last one completes the answer.
    pub(super) fn answer(&self, id: u64, answer: Result<Answer, String>) {
        let mut inner = self.lock();
        let Some(open) = inner.open.get_mut(&id) else { return };
        let left = open.left.map_or(0, |left| left.saturating_sub(1));
        open.left = Some(left);
        let wrong = match answer {
            Ok(answer) => {
                let so_far = std::mem::replace(&mut open.so_far, Answer::Nothing);
                open.so_far = so_far.and(answer, open.most);
                None
            }
            Err(wrong) => Some(Refused::Wrong(wrong)),
        };
        if (left == 0 || wrong.is_some())
            && let Some(Open { so_far, to, .. }) = inner.open.remove(&id)
        {
            // If it is closed nobody waits any more.
            let _ = to.send(wrong.map_or(Ok(so_far), Err));
        }
    }

    /// Answers all that waits that it cannot be answered now.
    pub(super) fn refuse_all(&self, why: &'static str) {
        let mut inner = self.lock();
        for (id, _) in std::mem::take(&mut inner.waiting) {
            if let Some(open) = inner.open.remove(&id) {
                let _ = open.to.send(Err(Refused::NotNow(why)));
            }
        }
    }

    /// The workers end: whatever waits is told.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.waiting.clear();
        inner.checkpoints = [Vec::new(), Vec::new()];
        for (_, open) in std::mem::take(&mut inner.open) {
            let _ = open.to.send(Err(Refused::NotNow("the program ends")));
        }
    }

    /// Worker 0 takes questions from now on: of these tables, and so many processes.
    pub(super) fn open(&self, tables: Vec<TableInfo>, processes: usize) {
        let mut inner = self.lock();
        inner.tables = tables;
        inner.processes = processes;
    }

    /// Asks for a checkpoint. What comes back is ready when it is complete: its boundary; none if it was not made.
    pub(crate) fn checkpoint(&self) -> oneshot::Receiver<Option<u64>> {
        let (to, made) = oneshot::channel();
        let mut inner = self.lock();
        let [waiting, _] = &mut inner.checkpoints;
        waiting.retain(|to| !to.is_closed());
        // Without a place, or at the end, the sender is dropped, which says so.
        if !inner.closed && inner.checkpoints[0].len() < WAITING_MAX {
            inner.checkpoints[0].push(to);
        }
        made
    }

    /// Whether somebody waits for a checkpoint that is not begun.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        !self.lock().checkpoints[0].is_empty()
    }

    /// One is begun: it is for all who have asked.
    pub(crate) fn begin_checkpoint(&self) {
        self.lock().checkpoints.swap(0, 1);
    }

    /// It was made, or not.
    pub(crate) fn end_checkpoint(&self, boundary: Option<u64>) {
        let made = std::mem::take(&mut self.lock().checkpoints[1]);
        for to in made {
            // If it is closed nobody waits any more.
            let _ = to.send(boundary);
        }
    }

    /// Nothing has changed since the newest one.
    pub(crate) fn no_checkpoint_needed(&self, newest: u64) {
        let waiting = std::mem::take(&mut self.lock().checkpoints[0]);
        for to in waiting {
            let _ = to.send(Some(newest));
        }
    }

    /// Whether nobody answers any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many processes answer; none before worker 0 has started.
    pub(crate) fn processes(&self) -> usize {
        self.lock().processes
    }

    /// The tables that can be looked at, by name.
    pub(crate) fn tables(&self) -> Vec<TableInfo> {
        self.lock().tables.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    /// The answers of some workers, and of one more; of rows at most so many.
    fn and(self, more: Self, most: usize) -> Self {
        match (self, more) {
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::Found { before, found }, Self::Found { found: more, .. }) => {
                Self::Found { before, found: merged(found, more, most) }
            }
            (Self::Processes(mut processes), Self::Processes(more)) => {
                processes.extend(more);
                Self::Processes(processes)
            }
            (Self::Sizes(mut sizes), Self::Sizes(more)) => {
                for (table, of) in more {
                    sizes.entry(table).or_default().extend(of);
                }
                Self::Sizes(sizes)
            }
            (Self::Hot(mut keys), Self::Hot(more)) => {
                for (computation, of) in more {
                    keys.entry(computation).or_default().add(of);
                }
                Self::Hot(keys)
            }
            // Nothing else is asked of several.
            (answer, _) => answer,
        }
    }
}

impl HotKeys {
    /// Those of another worker, which has other keys.
    fn add(&mut self, other: Self) {
        self.sampled += other.sampled;
        self.keys.extend(other.keys);
        self.keys.sort_by_key(|(_, count)| Reverse(*count));
        self.keys.truncate(HOT_MAX);
    }
}

fn merged(mut one: Found, mut other: Found, most: usize) -> Found {
    one.rows.append(&mut other.rows);
    one.rows.sort_by(|(one, _), (other, _)| compare(one, other));
    let more = one.more || other.more || one.rows.len() > most;
    one.rows.truncate(most);
    Found { rows: one.rows, total: one.total + other.total, more }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::state::Span;

    fn rows(most: usize) -> Ask {
        Ask::Rows { table: "t".into(), rows: Span { most, ..Span::default() } }
    }

    fn found(keys: &[i64], more: bool) -> Answer {
        let rows = keys.iter().map(|key| ((*key).into(), to_raw_value(key).unwrap())).collect();
        Answer::Found { before: 9, found: Found { rows, total: 5, more } }
    }

    #[test]
    fn rows_of_several_workers_are_merged_in_order() {
        let board = Board::default();
        let mut answer = board.ask(rows(3));
        let [(id, _)] = board.take(|_| true)[..] else { panic!("one was asked") };
        board.expect(id, 2);
        board.answer(id, Ok(found(&[1, 20], false)));
        assert!(answer.try_recv().is_err(), "the other has not answered");
        board.answer(id, Ok(found(&[3, 10], false)));
        let Ok(Ok(Answer::Found { before, found })) = answer.try_recv() else { panic!("no rows") };
        let keys: Vec<_> = found.rows.iter().map(|(key, _)| key.as_i64().unwrap()).collect();
        assert_eq!((keys, found.total, found.more, before), (vec![1, 3, 10], 10, true, 9));
    }

    #[test]
    fn no_more_wait_than_may() {
        let board = Board::default();
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| board.ask(rows(1))).collect();
        assert_eq!(board.ask(rows(1)).try_recv().unwrap().unwrap_err(), Refused::Busy);
        waiting.pop();
        let mut last = board.ask(rows(1));
        assert!(last.try_recv().is_err(), "one that nobody waits for has made room");
        board.close();
        for mut answer in waiting.into_iter().chain([last, board.ask(rows(1))]) {
            let refused = answer.try_recv().unwrap().unwrap_err();
            assert_eq!(refused, Refused::NotNow("the program ends"));
        }
    }

    #[test]
    fn what_is_wrong_ends_the_question() {
        let board = Board::default();
        let mut answer = board.ask(rows(1));
        let (id, _) = board.take(|_| true).remove(0);
        board.expect(id, 2);
        board.answer(id, Err("no".into()));
        assert_eq!(answer.try_recv().unwrap().unwrap_err(), Refused::Wrong("no".into()));
        board.answer(id, Ok(Answer::Nothing));
    }
}
