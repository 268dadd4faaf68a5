//! [`Audience`]: the subscribers of a broadcast, each with its own bounded queue.
//!
//! Invariant: telling waits for nobody; a subscriber whose queue is full is marked as slow and gets
//! nothing more. How many records were told is known with the roster, so that who catches up from
//! the log joins without a gap or a repeat.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch::metrics::{Counter, Counters};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use super::log::parts;
use crate::queue::Bounds;

/// All subscribers.
pub(super) struct Audience {
    roster: Mutex<Roster>,
    left: Notify,
    bounds: Bounds,
    pub(super) counts: Counts,
}

#[derive(Default)]
struct Roster {
    subscribers: Vec<Arc<Subscriber>>,
    /// How many records were told, from the log's first ever on.
    told: u64,
    ended: bool,
}

pub(super) struct Counts {
    frames: Counter,
    bytes: Counter,
    unheard: Counter,
    slow: Counter,
    subscribers: Counter,
    pub(super) handshake_failures: Counter,
    /// Records that subscribers which came back got from the log.
    pub(super) again: Counter,
    /// Subscribers that came back for what is gone.
    pub(super) gaps: Counter,
}

impl Audience {
    /// Whose first record has the number `told`.
    pub(super) fn new(bounds: Bounds, counters: &Counters, told: u64) -> Self {
        let counts = Counts {
            frames: counters.counter("frames"),
            bytes: counters.counter("bytes"),
            unheard: counters.counter("frames_without_subscriber"),
            slow: counters.counter("slow_disconnected"),
            subscribers: counters.gauge("subscribers"),
            handshake_failures: counters.counter("handshake_failures"),
            again: counters.counter("frames_from_log"),
            gaps: counters.counter("gaps"),
        };
        let roster = Mutex::new(Roster { told, ..Roster::default() });
        Self { roster, left: Notify::new(), bounds, counts }
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many records were told.
    pub(super) fn told(&self) -> u64 {
        self.lock().told
    }

    /// The subscriber gets everything from now on.
    pub(super) fn join(&self, subscriber: Arc<Subscriber>) {
        self.enter(&mut self.lock(), subscriber);
    }

    /// The same, if it has everything before now; false if there is more.
    pub(super) fn join_after(&self, subscriber: &Arc<Subscriber>, told: u64) -> bool {
        let mut roster = self.lock();
        let complete = roster.told <= told;
        if complete {
            self.enter(&mut roster, Arc::clone(subscriber));
        }
        complete
    }

    fn enter(&self, roster: &mut Roster, subscriber: Arc<Subscriber>) {
        subscriber.lock().ended = roster.ended;
        roster.subscribers.push(subscriber);
        self.counts.subscribers.set(roster.subscribers.len() as u64);
    }

    pub(super) fn leave(&self, subscriber: &Arc<Subscriber>) {
        let mut roster = self.lock();
        roster.subscribers.retain(|other| !Arc::ptr_eq(other, subscriber));
        self.counts.subscribers.set(roster.subscribers.len() as u64);
        self.left.notify_one();
    }

    /// Gives a record to everyone.
    pub(super) fn tell(&self, payload: &[u8]) {
        let (_, frame) = parts(payload);
        self.counts.frames.add(1);
        self.counts.bytes.add(frame.len() as u64);
        let mut roster = self.lock();
        roster.told += 1;
        if roster.subscribers.is_empty() {
            return self.counts.unheard.add(1);
        }
        let (mut plain, mut named) = (None, None);
        for subscriber in &roster.subscribers {
            let with_name = subscriber.lock().named;
            let form = if with_name { &mut named } else { &mut plain };
            let message = form.get_or_insert_with(|| message(payload, with_name));
            if !subscriber.push(message, self.bounds) {
                self.counts.slow.add(1);
            }
        }
    }

    /// Nothing more comes: subscribers get what is queued and a goodbye.
    pub(super) fn end(&self) {
        let mut roster = self.lock();
        roster.ended = true;
        for subscriber in &roster.subscribers {
            subscriber.lock().ended = true;
            subscriber.news.notify_one();
        }
    }

    pub(super) async fn empty(&self) {
        while !self.lock().subscribers.is_empty() {
            self.left.notified().await;
        }
    }
}

/// A record as a message: its frame, or its name, a line end and its frame.
pub(super) fn message(payload: &[u8], named: bool) -> Message {
    let (id, frame) = parts(payload);
    let bytes = match named {
        true => [id, b"\n", frame].concat().into(),
        false => Bytes::copy_from_slice(frame),
    };
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}

/// What waits for one subscriber.
#[derive(Default)]
pub(super) struct Subscriber {
    waiting: Mutex<Waiting>,
    news: Notify,
    pub(super) overrun: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
    slow: bool,
    ended: bool,
    /// It wants each record's name.
    named: bool,
}

impl Subscriber {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on with each record's name.
    pub(super) fn name_records(&self) {
        self.lock().named = true;
    }

    /// Puts a message before all records.
    pub(super) fn begin_with(&self, message: Message) {
        let mut waiting = self.lock();
        waiting.bytes += message.len();
        waiting.messages.push_front(message);
    }

    /// False when this message was the one too many.
    fn push(&self, message: &Message, bounds: Bounds) -> bool {
        let mut waiting = self.lock();
        if waiting.slow {
            return true;
        }
        let full = waiting.messages.len() >= bounds.frames
            || waiting.bytes + message.len() > bounds.bytes && !waiting.messages.is_empty();
        if full {
            waiting.slow = true;
            waiting.messages = VecDeque::new();
            waiting.bytes = 0;
            drop(waiting);
            self.overrun.notify_one();
            return false;
        }
        waiting.bytes += message.len();
        waiting.messages.push_back(message.clone());
        drop(waiting);
        self.news.notify_one();
        true
    }

    /// Waits for a message; `None` when there will be none any more.
    pub(super) async fn next(&self) -> Option<Message> {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.news.notified().await;
        }
    }

    pub(super) fn try_next(&self) -> Option<Option<Message>> {
        let mut waiting = self.lock();
        match waiting.messages.pop_front() {
            Some(message) => {
                waiting.bytes -= message.len();
                Some(Some(message))
            }
            None => waiting.ended.then_some(None),
        }
    }
}
