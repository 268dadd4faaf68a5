//! [`Window`]: the records that are on their way, in order, and what became of them.
//!
//! Invariant: bounded in records, bytes and requests. Records leave it in the order in which they came,
//! each when it is delivered. One that failed is tried again when it is at the front; what failed together with
//! others is then sent alone, so that the one that is to blame is found.

use std::collections::VecDeque;

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) records: usize,
    pub(super) bytes: usize,
    pub(super) requests: usize,
    /// Of one request.
    pub(super) batch: usize,
    pub(super) batch_bytes: usize,
}

/// Why a request was no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It may be one later.
    Again(String),
    /// The receiver does not take the record.
    Refused(String),
}

/// What is known of the front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has left the window.
    Delivered,
    Failed(Failed),
    Pending,
}

/// A record of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// Its name.
    pub(super) id: &'a str,
    pub(super) frame: &'a [u8],
}

enum State {
    Waiting,
    /// In the request of that number.
    Sent(u64),
    Delivered,
    Failed(Failed),
}

struct Slot {
    id: String,
    frame: Vec<u8>,
    state: State,
    /// It is sent in a request of its own.
    alone: bool,
}

pub(super) struct Window {
    slots: VecDeque<Slot>,
    bytes: usize,
    /// The number of the next request.
    next: u64,
    /// The requests that are not answered.
    open: Vec<u64>,
    most: Most,
}

impl Window {
    pub(super) fn new(most: Most) -> Self {
        Self { slots: VecDeque::new(), bytes: 0, next: 0, open: Vec::new(), most }
    }

    pub(super) fn most(&self) -> Most {
        self.most
    }

    /// Takes a record at the end, if there is room.
    pub(super) fn show(&mut self, id: &str, frame: &[u8]) -> bool {
        if self.slots.back().is_some_and(|last| last.id == id) {
            // It was written before it was shown.
            return true;
        }
        let is_full = self.slots.len() >= self.most.records
            || self.bytes.saturating_add(frame.len()) > self.most.bytes;
        if is_full && !self.slots.is_empty() {
            return false;
        }
        self.bytes += frame.len();
        self.slots.push_back(slot(id, frame));
        true
    }

    /// Makes that record the front: what was before it has become of something else.
    pub(super) fn bring_to_front(&mut self, id: &str, frame: &[u8]) {
        if !self.slots.iter().any(|slot| slot.id == id) {
            self.slots.clear();
            self.bytes = frame.len();
            self.slots.push_back(slot(id, frame));
        }
        while self.slots.front().is_some_and(|slot| slot.id != id) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            self.bytes -= slot.frame.len();
        }
    }

    /// What is known of the front; told once.
    pub(super) fn verdict(&mut self) -> Verdict {
        let Some(front) = self.slots.front_mut() else { return Verdict::Pending };
        match std::mem::replace(&mut front.state, State::Waiting) {
            State::Delivered => {
                self.pop();
                Verdict::Delivered
            }
            State::Failed(failed) => Verdict::Failed(failed),
            pending => {
                front.state = pending;
                Verdict::Pending
            }
        }
    }

    /// The number of the next request and its records, if there is to be one now.
    pub(super) fn next_request(&mut self) -> Option<(u64, Vec<Record<'_>>)> {
        if self.open.len() >= self.most.requests {
            return None;
        }
        let is_done = |slot: &&Slot| matches!(slot.state, State::Sent(_) | State::Delivered);
        let from = self.slots.iter().take_while(is_done).count();
        let (mut count, mut bytes) = (0, 0);
        for slot in self.slots.iter().skip(from) {
            bytes += slot.frame.len();
            let fits = count < self.most.batch && bytes <= self.most.batch_bytes && !slot.alone;
            if !matches!(slot.state, State::Waiting) || (count > 0 && !fits) {
                break;
            }
            count += 1;
            if slot.alone {
                break;
            }
        }
        if count == 0 {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.open.push(number);
        for slot in self.slots.iter_mut().skip(from).take(count) {
            slot.state = State::Sent(number);
        }
        let records = self.slots.iter().skip(from).take(count);
        Some((number, records.map(|slot| Record { id: &slot.id, frame: &slot.frame }).collect()))
    }

    /// Takes down what became of a request.
    pub(super) fn answered(&mut self, number: u64, result: Result<(), Failed>) {
        self.open.retain(|open| *open != number);
        let is_in_it = |slot: &&mut Slot| matches!(slot.state, State::Sent(it) if it == number);
        let mut slots: Vec<&mut Slot> = self.slots.iter_mut().filter(is_in_it).collect();
        match result {
            Ok(()) => slots.iter_mut().for_each(|slot| slot.state = State::Delivered),
            Err(failed) => {
                let is_one = slots.len() == 1;
                for slot in &mut slots {
                    slot.state = State::Waiting;
                    slot.alone |= !is_one;
                }
                // Which of several was refused is not known yet.
                if let Some(first) = slots.first_mut()
                    && (is_one || matches!(failed, Failed::Again(_)))
                {
                    first.state = State::Failed(failed);
                }
            }
        }
    }
}

fn slot(id: &str, frame: &[u8]) -> Slot {
    Slot { id: id.to_owned(), frame: frame.to_vec(), state: State::Waiting, alone: false }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: Most = Most { records: 6, bytes: 1000, requests: 2, batch: 3, batch_bytes: 100 };

    fn window(most: Most, count: usize) -> Window {
        let mut window = Window::new(most);
        for n in 0..count {
            window.show(&n.to_string(), b"x");
        }
        window
    }

    fn next(window: &mut Window) -> Option<(u64, Vec<String>)> {
        let (number, records) = window.next_request()?;
        Some((number, records.iter().map(|record| record.id.to_owned()).collect()))
    }

    #[test]
    fn requests_records_and_bytes_are_bounded() {
        let mut window = window(MOST, 10);
        assert_eq!(window.slots.len(), 6);
        assert_eq!(next(&mut window).unwrap(), (0, vec!["0".into(), "1".into(), "2".into()]));
        assert_eq!(next(&mut window).unwrap().1, ["3", "4", "5"]);
        assert_eq!(next(&mut window), None);
        let mut window = Window::new(MOST);
        assert!(window.show("a", &[0; 2000]) && !window.show("b", b""));
        let mut window = Window::new(MOST);
        assert!(window.show("a", &[0; 60]) && window.show("b", &[0; 60]));
        assert_eq!(
            (next(&mut window).unwrap().1.len(), next(&mut window).unwrap().1.len()),
            (1, 1)
        );
    }

    #[test]
    fn what_failed_together_is_sent_alone_until_the_one_to_blame_is_found() {
        let mut window = window(MOST, 3);
        let refused = || Failed::Refused("no".into());
        assert_eq!(next(&mut window).unwrap().1.len(), 3);
        window.answered(0, Err(refused()));
        assert_eq!(window.verdict(), Verdict::Pending, "it is not known whose fault it is");
        assert_eq!(next(&mut window).unwrap(), (1, vec!["0".into()]));
        assert_eq!(next(&mut window).unwrap(), (2, vec!["1".into()]));
        window.answered(2, Err(refused()));
        assert_eq!(window.verdict(), Verdict::Pending);
        window.answered(1, Ok(()));
        assert_eq!(window.verdict(), Verdict::Delivered);
        assert_eq!(window.verdict(), Verdict::Failed(refused()));
        window.bring_to_front("2", b"x");
        assert_eq!(next(&mut window).unwrap(), (3, vec!["2".into()]));
        window.answered(3, Ok(()));
        assert_eq!((window.verdict(), window.bytes), (Verdict::Delivered, 0));
    }

    #[test]
    fn a_record_that_is_shown_after_it_was_written_is_there_once() {
        let mut window = window(MOST, 0);
        window.bring_to_front("a", b"x");
        assert!(window.show("a", b"x") && window.show("b", b"x"));
        assert_eq!(next(&mut window).unwrap().1, ["a", "b"]);
    }

    #[test]
    fn the_answer_to_a_record_that_is_gone_is_nobodys() {
        let mut window = window(MOST, 2);
        next(&mut window);
        window.bring_to_front("9", b"yy");
        window.answered(0, Ok(()));
        assert_eq!((window.verdict(), window.bytes), (Verdict::Pending, 2));
        assert_eq!(next(&mut window).unwrap().1, ["9"]);
    }

    proptest! {
        /// Whatever is answered in which order, records leave in their order, each after it was delivered.
        #[test]
        fn records_leave_in_order_and_delivered(
            answers in proptest::collection::vec((any::<u8>(), 0..4_u8), 0..200),
            requests in 1..4_usize, batch in 1..4_usize,
        ) {
            let most = Most { records: 8, requests, batch, ..MOST };
            let (mut window, mut open) = (Window::new(most), Vec::<(u64, Vec<String>)>::new());
            let (mut front, mut delivered) = (0_usize, std::collections::BTreeSet::new());
            for (which, how) in answers {
                for n in front..front + 8 {
                    if n >= front + window.slots.len() {
                        window.show(&n.to_string(), b"x");
                    }
                }
                window.bring_to_front(&front.to_string(), b"x");
                while let Some(request) = next(&mut window) {
                    prop_assert!(request.1.len() <= batch);
                    open.push(request);
                }
                prop_assert!(open.len() <= requests && window.slots.len() <= 8);
                if !open.is_empty() {
                    let (number, records) = open.remove(usize::from(which) % open.len());
                    let result = match how {
                        0 => Err(Failed::Again(String::new())),
                        1 => Err(Failed::Refused(String::new())),
                        _ => Ok(()),
                    };
                    if result.is_ok() {
                        delivered.extend(records);
                    }
                    window.answered(number, result);
                }
                loop {
                    window.bring_to_front(&front.to_string(), b"x");
                    match window.verdict() {
                        Verdict::Delivered => prop_assert!(delivered.contains(&front.to_string())),
                        // As the engine does after the last try.
                        Verdict::Failed(Failed::Refused(_)) => {}
                        Verdict::Failed(Failed::Again(_)) | Verdict::Pending => break,
                    }
                    front += 1;
                }
            }
        }
    }
}
