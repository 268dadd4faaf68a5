//! The loop that keeps a feed alive: connections in, trades out.
//!
//! Invariant: it decides nothing about trades (the sequencer does) and nothing about health (the
//! session does); it moves frames, pages and time between them and the network. While the worker
//! has no room, it reads nothing, so nothing is buffered without bound.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch::clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::connection::{Closed, Dialer, Event};
use super::frame::decode_frame;
use super::history::{Failed, History};
use super::meters::Meters;
use super::output::{Item, Newest, Output};
use super::pace::Backoff;
use super::session::{Fault, Session};
use super::{Body, Fetch, Limits, Page, Sequencer};
use crate::backoff::chance;

/// A connection as its feed sees it.
struct Link {
    id: u64,
    /// Messages to send; dropping it closes the connection.
    orders: mpsc::Sender<String>,
    /// Its health, once it is open.
    session: Option<Session>,
    /// A fault was found: it stays only until another connection is subscribed.
    failing: bool,
}

pub(super) struct Feed {
    name: Arc<str>,
    limits: Limits,
    dialer: Arc<Dialer>,
    events: mpsc::Receiver<(u64, Event)>,
    history: Arc<History>,
    fetches: JoinSet<(Fetch, Result<Page, Failed>)>,
    due: VecDeque<Fetch>,
    connections: JoinSet<()>,
    links: Vec<Link>,
    links_made: u64,
    backoff: Backoff,
    /// When the next connection is to be made.
    next_attempt: Option<Duration>,
    sequencer: Sequencer,
    meters: Meters,
    output: Arc<Output>,
    out: VecDeque<Item>,
    begun: Instant,
}

impl Feed {
    pub(super) fn new(
        name: Arc<str>,
        (dialer, events): (Dialer, mpsc::Receiver<(u64, Event)>),
        history: History,
        meters: Meters,
        output: Arc<Output>,
        newest: &Newest,
    ) -> Self {
        let limits = dialer.limits.clone();
        let products = dialer.address.products.iter().copied();
        Self {
            name,
            sequencer: Sequencer::new(products, limits.clone()).after(newest),
            backoff: Backoff::new(&limits),
            limits,
            dialer: Arc::new(dialer),
            events,
            history: Arc::new(history),
            fetches: JoinSet::new(),
            due: VecDeque::new(),
            connections: JoinSet::new(),
            links: Vec::new(),
            links_made: 0,
            next_attempt: Some(Duration::ZERO),
            meters,
            output,
            out: VecDeque::new(),
            begun: clock::instant(),
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let now = self.now();
            self.on_time(now);
            self.deliver().await;
            let deadline = self.deadline(now);
            tokio::select! {
                biased;
                Some(fetched) = self.fetches.join_next() => {
                    if let Ok((fetch, result)) = fetched {
                        self.on_page(fetch, result);
                    }
                }
                Some((id, event)) = self.events.recv() => self.on_event(id, event),
                Some(_) = self.connections.join_next() => {}
                () = tokio::time::sleep_until((self.begun + deadline).into()) => {}
            }
        }
    }

    fn now(&self) -> Duration {
        clock::instant().saturating_duration_since(self.begun)
    }

    /// When there is something to do although nothing comes.
    fn deadline(&self, now: Duration) -> Duration {
        let mut deadline = now + self.limits.silence;
        deadline = self.next_attempt.map_or(deadline, |at| deadline.min(at));
        if self.fetches.len() < self.limits.fetches_max {
            deadline = self.sequencer.deadline().map_or(deadline, |at| deadline.min(at));
        }
        for link in self.links.iter().filter(|link| !link.failing) {
            if let Some(session) = &link.session {
                deadline = deadline.min(session.deadline(&self.limits));
            }
        }
        // Never at once again: what is overdue waits for an event.
        deadline.max(now + Duration::from_millis(1))
    }

    fn on_time(&mut self, now: Duration) {
        if self.next_attempt.is_some_and(|at| now >= at) {
            self.next_attempt = None;
            self.connect();
        }
        self.due.extend(self.sequencer.poll(now));
        while self.fetches.len() < self.limits.fetches_max.max(1)
            && let Some(fetch) = self.due.pop_front()
        {
            self.meters.pages.add(1);
            let history = Arc::clone(&self.history);
            self.fetches.spawn(async move { (fetch, history.fetch(fetch).await) });
        }
        self.check_links(now);
    }

    fn connect(&mut self) {
        self.meters.attempts.add(1);
        self.links_made += 1;
        let (orders, received) = mpsc::channel(4);
        self.links.push(Link { id: self.links_made, orders, session: None, failing: false });
        self.connections.spawn(Arc::clone(&self.dialer).run(self.links_made, received));
    }

    /// Looks for faults, and for heartbeats that stopped.
    fn check_links(&mut self, now: Duration) {
        let mut ended = Vec::new();
        for link in self.links.iter_mut().filter(|link| !link.failing) {
            let Some(session) = &mut link.session else { continue };
            if session.is_stable(now, &self.limits) {
                self.backoff.reset();
            }
            if session.wants_heartbeats(now, &self.limits)
                && link.orders.try_send(self.dialer.address.subscribe_heartbeats()).is_ok()
            {
                self.meters.resubscribes.add(1);
            }
            if let Some(fault) = session.fault(now, &self.limits) {
                self.meters.stale.add(1);
                warn!(source = %self.name, ?fault, "the feed is stale; connecting again");
                link.failing = true;
                if matches!(fault, Fault::Unanswered | Fault::Refused(_)) {
                    ended.push(link.id);
                }
            }
        }
        self.links.retain(|link| !ended.contains(&link.id));
        // A connection that still brings something stays until the next one is subscribed.
        let healthy = self.links.iter().any(|link| !link.failing);
        if !healthy && self.next_attempt.is_none() {
            self.schedule(now, None);
        }
    }

    fn schedule(&mut self, now: Duration, wait: Option<Duration>) {
        let delay = self.backoff.next(chance()).max(wait.unwrap_or_default());
        self.next_attempt = Some(now + delay);
    }

    fn on_event(&mut self, id: u64, event: Event) {
        let now = self.now();
        let Some(at) = self.links.iter().position(|link| link.id == id) else {
            // A connection that was given up may still say something; its trades are welcome.
            if let Event::Frame(bytes, _) = event {
                self.on_frame(None, &bytes, now);
            }
            return;
        };
        match event {
            Event::Opened => {
                self.meters.connections.add(1);
                if self.links.len() > 1 {
                    self.meters.failovers.add(1);
                }
                let address = &self.dialer.address;
                let session = Session::new(address.dialect, &address.products, now);
                if let Some(link) = self.links.get_mut(at) {
                    link.session = Some(session);
                }
            }
            Event::Frame(bytes, _share) => self.on_frame(Some(at), &bytes, now),
            Event::Closed(closed) => {
                self.links.remove(at);
                self.on_closed(&closed, now);
            }
        }
    }

    fn on_closed(&mut self, closed: &Closed, now: Duration) {
        self.meters.closed.add(1);
        if closed.oversized {
            self.meters.oversized_frames.add(1);
        }
        if closed.wait.is_some() {
            self.meters.throttled.add(1);
        }
        if self.links.iter().all(|link| link.failing) && self.next_attempt.is_none() {
            self.schedule(now, closed.wait);
            let delay = self.next_attempt.unwrap_or(now).saturating_sub(now);
            let why = &closed.why;
            warn!(source = %self.name, why, ?delay, "no connection to the exchange; trying again");
        }
    }

    fn on_frame(&mut self, at: Option<usize>, bytes: &[u8], now: Duration) {
        self.meters.frames.add(1);
        let frame = match decode_frame(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                self.meters.refused_frames.add(1);
                self.out.push_back(Item::Refused(error.to_string(), bytes.to_vec()));
                return;
            }
        };
        if let Some(link) = at.and_then(|at| self.links.get_mut(at))
            && let Some(session) = &mut link.session
        {
            let was_subscribed = session.is_subscribed();
            let lost = session.note(&frame, now, &self.limits);
            if session.is_subscribed() && !was_subscribed {
                info!(source = %self.name, "subscribed");
                // Closes what this connection replaces.
                let id = link.id;
                self.links.retain(|link| link.id == id || !link.failing);
            }
            if lost {
                self.meters.sequence_jumps.add(1);
                self.sequencer.lost(now);
            }
        }
        self.on_body(frame.body, now);
    }

    fn on_body(&mut self, body: Body, now: Duration) {
        let mut good = false;
        match body {
            Body::Match(trade) => good = self.sequencer.trade(trade, now),
            Body::LastMatch(trade) => self.sequencer.old_trades(&[trade], now),
            Body::MarketTrades { snapshot, update } => {
                self.sequencer.old_trades(&snapshot, now);
                for trade in update {
                    good |= self.sequencer.trade(trade, now);
                }
            }
            Body::Heartbeat { product, last_trade_id } => {
                self.meters.heartbeats.add(1);
                self.sequencer.hint(product, last_trade_id, now);
            }
            Body::Ticker { product, trade_id } => {
                self.sequencer.hint(product, trade_id.unwrap_or(0), now);
            }
            Body::ConnectionHeartbeat => self.meters.heartbeats.add(1),
            Body::Subscriptions(_) => {}
            Body::Error { message, reason } => {
                self.meters.error_frames.add(1);
                warn!(source = %self.name, message, reason, "the exchange refused something");
            }
            Body::Other(_) => self.meters.unknown_types.add(1),
        }
        if good {
            self.backoff.reset();
        }
    }

    fn on_page(&mut self, fetch: Fetch, result: Result<Page, Failed>) {
        let now = self.now();
        match result {
            Ok(page) => self.sequencer.page(fetch, page, now),
            Err(failed) => {
                self.meters.failed_pages.add(1);
                if failed.wait.is_some() {
                    self.meters.throttled.add(1);
                }
                let (why, product) = (&failed.why, fetch.product);
                warn!(source = %self.name, %product, why, "missed trades could not be asked for");
                self.sequencer.page_failed(fetch, failed.wait, now);
            }
        }
    }

    /// Hands on what is released, and reports what is missing.
    async fn deliver(&mut self) {
        for missing in self.sequencer.take_missing() {
            self.meters.count_missing(&missing);
            let (product, from, to) = (missing.product, missing.from, missing.to);
            warn!(source = %self.name, %product, from, to, "these trades are missing");
        }
        while let Some(trade) = self.sequencer.pop() {
            self.out.push_back(Item::Trade(trade));
        }
        self.meters.count(self.sequencer.counts());
        self.output.put(&mut self.out).await;
    }
}
