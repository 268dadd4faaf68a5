//! What a misbehaving exchange does to the trades of one connection.
//!
//! Invariant: trades are lost, held back, repeated or reordered as the names say, and otherwise
//! passed on untouched; nothing is held for longer than until the next heartbeat but by `overlap`.

use std::collections::{BTreeSet, VecDeque};

use anabranch_connectors::coinbase::Trade;

use crate::Misbehaviour;

/// How many trades `long-gap` and the others lose.
const LONG_GAP: u64 = 2_500;
const GAP: u64 = 10;
/// How many trades `newest-first` groups and `heartbeat-ahead` holds.
const GROUP: usize = 10;
/// How many trades `overlap` holds at most.
const HELD_MAX: usize = 100_000;

pub(crate) struct Script {
    active: BTreeSet<Misbehaviour>,
    after: u64,
    seen: u64,
    held: VecDeque<Trade>,
    recent: VecDeque<Trade>,
}

/// How a connection ends badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    Reset,
    Drop,
    Close(u16),
    HalfOpen,
    BadUtf8,
    Oversized,
}

impl Script {
    pub(crate) fn new(active: BTreeSet<Misbehaviour>, after: u64) -> Self {
        Self { active, after, seen: 0, held: VecDeque::new(), recent: VecDeque::new() }
    }

    pub(crate) fn has(&self, how: Misbehaviour) -> bool {
        self.active.contains(&how)
    }

    pub(crate) fn forget(&mut self, how: Misbehaviour) {
        self.active.remove(&how);
    }

    /// Whether trouble has begun on this connection.
    pub(crate) fn is_due(&self) -> bool {
        self.seen > self.after
    }

    /// How the connection is to end now, if it is.
    pub(crate) fn death(&self) -> Option<Death> {
        use Misbehaviour as M;
        let deaths = [
            (M::ResetMidFrame, Death::Reset),
            (M::Close1000, Death::Close(1000)),
            (M::Close1001, Death::Close(1001)),
            (M::Drop1006, Death::Drop),
            (M::Close1008, Death::Close(1008)),
            (M::Close1009, Death::Close(1009)),
            (M::HalfOpen, Death::HalfOpen),
            (M::OversizedFrame, Death::Oversized),
        ];
        let death = deaths.into_iter().find(|(how, _)| self.has(*how));
        death.map(|(_, death)| death).filter(|_| self.is_due())
    }

    /// What is to be sent when this trade happens, in order.
    pub(crate) fn pass(&mut self, trade: Trade) -> Vec<Trade> {
        use Misbehaviour as M;
        self.seen += 1;
        let past = self.seen.saturating_sub(self.after);
        let lost = (self.has(M::LongGap) && (1..=LONG_GAP).contains(&past))
            || (self.active.iter().any(|how| how.loses_trades()) && (1..=GAP).contains(&past))
            || (self.has(M::HeartbeatsOnly) && past > 0);
        if lost {
            return Vec::new();
        }
        if self.has(M::Overlap) && past > 0 {
            if self.held.len() < HELD_MAX {
                self.held.push_back(trade);
            }
            return Vec::new();
        }
        if self.has(M::HeartbeatAhead) {
            self.held.push_back(trade);
            let ready = self.held.len().saturating_sub(GROUP);
            return self.held.drain(..ready).collect();
        }
        if self.has(M::NewestFirst) {
            self.held.push_back(trade);
            return if self.held.len() == GROUP { self.release() } else { Vec::new() };
        }
        if self.has(M::LateTrade) {
            if self.seen.is_multiple_of(50) {
                self.held.push_back(trade);
                return Vec::new();
            }
            let late = (self.seen % 50 == 5).then(|| self.held.drain(..)).into_iter().flatten();
            return std::iter::once(trade).chain(late).collect();
        }
        if self.has(M::Duplicates) {
            return self.repeat(trade);
        }
        vec![trade]
    }

    fn repeat(&mut self, trade: Trade) -> Vec<Trade> {
        let mut all = vec![trade, trade];
        if self.seen.is_multiple_of(10) {
            all.extend(&self.recent);
        }
        if self.recent.len() == 5 {
            self.recent.pop_front();
        }
        self.recent.push_back(trade);
        all
    }

    /// What is held back, to be sent now.
    pub(crate) fn release(&mut self) -> Vec<Trade> {
        let held: Vec<Trade> = self.held.drain(..).collect();
        if self.has(Misbehaviour::NewestFirst) { held.into_iter().rev().collect() } else { held }
    }
}
