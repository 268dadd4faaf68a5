//! One product's trades: what was released, what waits, and the gap before it.
//!
//! Invariant: trades are released by rising id, each at most once; an id that is passed over is
//! counted as missing. Knows no clock and no network: the time is told, fetches are asked for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::sequencer::{Counts, Fetch, Missing, Page};
use super::{Limits, Product, Trade};

/// How many passed-over ranges are remembered, to tell a late trade from a duplicate.
const RANGES_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The newest trade that was released, or that was old when the feed began.
    last: Option<u64>,
    /// Trades that came before those before them.
    waiting: BTreeMap<u64, Trade>,
    /// The newest trade that a heartbeat or ticker told of, until it proves wrong.
    ahead: u64,
    /// What `ahead` was when it proved wrong.
    refuted: u64,
    /// A loss of unknown extent: ask for the newest trades.
    probe: bool,
    gap: Option<Gap>,
    passed_over: VecDeque<(u64, u64)>,
}

/// Trades that are missing, and how far the search for them is.
#[derive(Debug)]
struct Gap {
    place: Place,
    /// When the next page is due.
    due: Duration,
    deadline: Duration,
    /// The page that was asked for.
    ticket: Option<u64>,
    /// The next page ends before this trade; without it, a new walk from the newest begins.
    after: Option<u64>,
    /// The page that was asked for is the newest there is.
    probing: bool,
    walks: u32,
    pages: u32,
    /// The exchange's newest trade before the gap's end, as a page told.
    newest: Option<u64>,
}

impl Lane {
    /// An old trade, where nothing is known yet: later trades are counted from it.
    pub(super) fn baseline(&mut self, trade_id: u64) {
        self.last = Some(self.last.map_or(trade_id, |last| last.max(trade_id)));
    }

    pub(super) fn has_baseline(&self) -> bool {
        self.last.is_some()
    }

    pub(super) fn has_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// Takes a trade; true if it was not known.
    pub(super) fn take(&mut self, trade: Trade, counts: &mut Counts) -> bool {
        let last = *self.last.get_or_insert(trade.trade_id.saturating_sub(1));
        if trade.trade_id <= last || self.waiting.contains_key(&trade.trade_id) {
            let id = trade.trade_id;
            if self.passed_over.iter().any(|(from, to)| (*from..=*to).contains(&id)) {
                counts.late += 1;
            } else {
                counts.duplicates += 1;
            }
            return false;
        }
        self.waiting.insert(trade.trade_id, trade);
        true
    }

    pub(super) fn hint(&mut self, trade_id: u64) {
        if trade_id > self.refuted {
            self.ahead = self.ahead.max(trade_id);
        }
    }

    pub(super) fn probe(&mut self) {
        // Without a baseline nothing is known to be missing.
        self.probe = self.last.is_some();
    }

    /// Releases what can be, and opens or closes the gap before the rest.
    pub(super) fn settle(&mut self, scope: &mut Scope<'_>) {
        loop {
            self.release(scope);
            if self.waiting.len() < scope.limits.waiting_max.max(1) {
                break;
            }
            // Too many wait: those before the first of them are given up.
            self.pass_over(scope);
        }
        let Some(place) = self.place_of_gap() else {
            if self.gap.take().is_some() {
                scope.counts.gaps_closed += 1;
            }
            return;
        };
        let renewed = match (self.gap.as_ref().map(|gap| gap.place), place) {
            (Some(Place::Before(was)), Place::Before(end)) => end > was,
            (Some(was), place) => was != place,
            (None, _) => true,
        };
        if renewed {
            // A page on its way is still good for the gap that follows.
            let ticket = self.gap.take().and_then(|gap| gap.ticket);
            self.gap = Some(Gap::new(place, ticket, scope));
        } else if let Some(gap) = &mut self.gap {
            gap.place = place;
        }
    }

    fn release(&mut self, scope: &mut Scope<'_>) {
        while let Some(entry) = self.waiting.first_entry() {
            if self.last.is_some_and(|last| *entry.key() != last + 1) {
                break;
            }
            self.last = Some(*entry.key());
            scope.counts.trades += 1;
            scope.trades.push_back(entry.remove());
        }
    }

    /// The first gap, if any.
    fn place_of_gap(&self) -> Option<Place> {
        let last = self.last?;
        match self.waiting.keys().next() {
            Some(first) => Some(Place::Before(*first)),
            None => (self.ahead > last || self.probe).then_some(Place::After(last)),
        }
    }

    /// When [`poll`](Self::poll) has something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let gap = self.gap.as_ref()?;
        Some(if gap.ticket.is_some() { gap.deadline } else { gap.deadline.min(gap.due) })
    }

    /// Asks for the next page of the gap if it is due, or gives the gap up if it is time.
    pub(super) fn poll(&mut self, scope: &mut Scope<'_>) -> Option<Fetch> {
        let gap = self.gap.as_mut()?;
        if scope.now >= gap.deadline || gap.walks >= scope.limits.gap_attempts_max {
            self.give_up(scope);
            return None;
        }
        if gap.ticket.is_some() || scope.now < gap.due {
            return None;
        }
        *scope.tickets += 1;
        gap.ticket = Some(*scope.tickets);
        let after = gap.after.or(match gap.place {
            Place::Before(end) => Some(end),
            Place::After(_) => None,
        });
        gap.probing = after.is_none();
        Some(Fetch { product: scope.product, after, ticket: *scope.tickets })
    }

    /// A page that was asked for has come.
    pub(super) fn page(&mut self, page: Page, ticket: u64, scope: &mut Scope<'_>) {
        let Some(last) = self.last else { return };
        let newest = page.trades.iter().map(|trade| trade.trade_id).max();
        let oldest = page.trades.iter().map(|trade| trade.trade_id).min();
        for trade in page.trades {
            // Most of a page is often known: that is no duplicate of the feed.
            let wanted = trade.trade_id > last && !self.waiting.contains_key(&trade.trade_id);
            if wanted && self.waiting.len() < scope.limits.waiting_max {
                scope.counts.filled += 1;
                self.waiting.insert(trade.trade_id, trade);
            }
        }
        if let Some(gap) = self.gap.as_mut().filter(|gap| gap.ticket == Some(ticket)) {
            gap.ticket = None;
            gap.pages += 1;
            if gap.after.is_none() {
                gap.newest = newest;
            }
            let reached = oldest.is_none_or(|oldest| oldest <= last + 1);
            let next = page.next.filter(|next| gap.after.is_none_or(|after| *next < after));
            match next.filter(|_| !reached && gap.pages < scope.limits.gap_pages_max) {
                Some(next) => {
                    gap.after = Some(next);
                    gap.due = scope.now;
                }
                None => gap.walk_again(scope),
            }
            if gap.probing && newest.is_some() {
                self.probe = false;
            }
        }
    }

    /// A page that was asked for did not come.
    pub(super) fn page_failed(
        &mut self,
        ticket: u64,
        retry_after: Option<Duration>,
        scope: &Scope<'_>,
    ) {
        if let Some(gap) = self.gap.as_mut().filter(|gap| gap.ticket == Some(ticket)) {
            gap.ticket = None;
            gap.walk_again(scope);
            if let Some(wait) = retry_after {
                gap.due = gap.due.max(scope.now + wait.min(scope.limits.retry_after_max));
                // Being asked to wait is no failed attempt, within the deadline.
                gap.walks -= 1;
            }
        }
    }

    /// The gap cannot be filled: passes it over, unless what told of it proves wrong.
    fn give_up(&mut self, scope: &mut Scope<'_>) {
        let contradicted =
            match (self.gap.take().and_then(|gap| gap.newest), self.waiting.keys().next()) {
                (Some(newest), Some(first)) => newest.saturating_add(OUTLIER) < *first,
                _ => false,
            };
        if contradicted {
            // An id far beyond the exchange's newest trade: following it would drop all to come.
            self.waiting.pop_first();
            scope.counts.outliers += 1;
        } else if self.waiting.is_empty() {
            self.refuted = self.ahead;
            self.ahead = 0;
            self.probe = false;
            scope.counts.hints_refuted += 1;
        } else {
            self.pass_over(scope);
        }
    }

    /// Goes on at the first trade that waits; those before it are missing.
    fn pass_over(&mut self, scope: &mut Scope<'_>) {
        let (Some(last), Some(first)) = (self.last, self.waiting.keys().next().copied()) else {
            return;
        };
        self.gap = None;
        if first > last + 1 {
            let missing = Missing { product: scope.product, from: last + 1, to: first - 1 };
            scope.counts.gaps += 1;
            scope.counts.missing += first - 1 - last;
            if self.passed_over.len() == RANGES_MAX {
                self.passed_over.pop_front();
            }
            self.passed_over.push_back((missing.from, missing.to));
            scope.missing.push(missing);
        }
        self.last = Some(first - 1);
        self.release(scope);
    }
}

/// A trade id that lies this far beyond the exchange's newest trade is none.
const OUTLIER: u64 = 100_000;

/// Where a gap is. A gap ends when this moves on, and the next one has its own deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before this trade, which waits.
    Before(u64),
    /// After this trade, the newest that is known; there are said to be newer ones.
    After(u64),
}

impl Gap {
    fn new(place: Place, ticket: Option<u64>, scope: &Scope<'_>) -> Self {
        Self {
            place,
            due: scope.now + scope.limits.gap_grace,
            deadline: scope.now + scope.limits.gap_deadline,
            ticket,
            after: None,
            probing: false,
            walks: 0,
            pages: 0,
            newest: None,
        }
    }

    /// The whole gap was asked for: what is still missing is asked for again, later.
    fn walk_again(&mut self, scope: &Scope<'_>) {
        self.due = scope.now + scope.limits.gap_retry * 2_u32.saturating_pow(self.walks.min(10));
        self.walks += 1;
        self.pages = 0;
        self.after = None;
    }
}

/// What a lane is told, and where it puts what it releases and counts.
pub(super) struct Scope<'a> {
    pub(super) product: Product,
    pub(super) now: Duration,
    pub(super) limits: &'a Limits,
    pub(super) trades: &'a mut VecDeque<Trade>,
    pub(super) missing: &'a mut Vec<Missing>,
    pub(super) counts: &'a mut Counts,
    pub(super) tickets: &'a mut u64,
}
