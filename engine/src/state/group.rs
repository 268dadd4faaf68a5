//! The one operator of a group of tables: holds records back, and applies an epoch in the order
//! of origins once no input can bring more of it.
//!
//! Invariant: records of one epoch are applied in the order of (ingest time, source, partition,
//! offset, input of the group as declared, path of places), whatever worker they come from; the
//! next record is not begun before a record has run to completion.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use serde_json::Value as Json;

use super::{Hot, json};
use crate::letters::{Answer, Outcome, Posted, Retry};
use crate::metrics::Counter;
use crate::origin::Entry;
use crate::pipeline::{Body, Chain, Entering, Hub, Merge, Tagged};
use crate::reprocess::Former;
use crate::side_output::Sides;
use crate::timer::{DueKey, Round, Rounds};
use crate::{Clock, Key, Origin, Record, Time};

/// Of how many records the rows are found at once, before the records are applied, in tables that are large.
pub(crate) const AHEAD: usize = 16;

/// How many outputs of timers are handed on at once: those of a whole round may be many.
const OUTPUTS_MAX: usize = 1 << 10;

/// One input of a group: a chain of computations and the records that wait for it.
pub(crate) trait Port {
    /// Keeps `body` until its epoch is applied.
    fn stash(&mut self, epoch: u64, body: Body);
    /// Counts there how many records it is given.
    fn count(&mut self, records: Counter);
    /// How many records were looked at, if they are, and the keys that came most often, as JSON.
    fn hot(&self) -> Option<(u64, Vec<(Json, u64)>)>;
    /// Keeps retries of dead letters until their epoch is applied.
    fn stash_retries(&mut self, epoch: u64, body: Body);
    /// Makes the records of `epoch` the ones that `head` and `apply` speak of.
    fn open(&mut self, epoch: u64);
    /// The origin of the next record.
    fn head(&self) -> Option<Origin>;
    /// Applies the records before `end`, all if there is none.
    fn apply(&mut self, end: Option<Entry>);
    /// In the place of records: tells how results differ from what an earlier program has told.
    fn settle(&mut self, former: &Former);
    /// Begins to fire the timers that are due by event time.
    fn begin_round(&mut self, round: Round);
    /// The timer of that clock that is fired next: of engine time, whether or not it is due yet.
    fn next_due(&self, clock: Clock) -> Option<&DueKey>;
    /// Fires it.
    fn fire(&mut self, clock: Clock);
    /// All that was due by event time was fired.
    fn end_round(&mut self);
    /// Whether it has timers that are due by engine time.
    fn has_engine_timers(&self) -> bool;
    /// All that was due by engine time at `until` or before was fired; `ended` says that all input has.
    fn engine_passed(&mut self, until: Time, ended: bool);
    /// Hands on what was emitted since the last call.
    fn dispatch(&mut self);
    /// The record that is being applied and the computations it passes: whom to name if user code
    /// panicked.
    fn applying(&self) -> Option<(Origin, &str)>;
}

/// The port of a chain whose records are of type `D::In`.
pub(crate) struct ChainPort<D: Chain, F> {
    chain: D,
    key: Rc<F>,
    hub: Rc<Hub<D::Out>>,
    sides: Rc<Sides>,
    waiting: BTreeMap<u64, Merge<D::In>>,
    open: Merge<D::In>,
    /// Dead letters that are tried again, by epoch, and those of the present one.
    retries: BTreeMap<u64, Merge<Retry>>,
    open_retries: VecDeque<Tagged<Retry>>,
    outputs: Vec<Tagged<D::Out>>,
    rounds: Rounds,
    /// Its index.
    port: u32,
    /// Set while records are applied.
    current: Option<Origin>,
    computations: String,
    /// How many records it was given, and which keys come most often, if that is counted.
    records: Option<(Counter, Hot<D::Key>)>,
}

impl<D: Chain, F> ChainPort<D, F> {
    pub(crate) fn new(
        chain: D,
        key: Rc<F>,
        hub: Rc<Hub<D::Out>>,
        sides: Rc<Sides>,
        computations: String,
        port: usize,
    ) -> Self {
        Self {
            chain,
            key,
            hub,
            sides,
            waiting: BTreeMap::new(),
            open: Merge::default(),
            retries: BTreeMap::new(),
            open_retries: VecDeque::new(),
            outputs: Vec::new(),
            rounds: Rounds::new(port),
            port: port as u32,
            current: None,
            computations,
            records: None,
        }
    }
}

impl<K, D, F> ChainPort<D, F>
where
    K: Key,
    D: Chain<Key = K, In: Record, Out: Clone>,
    F: Fn(&D::In) -> K,
{
    /// Tries a dead letter again, where it was refused.
    fn retry(&mut self, Tagged { origin, record }: Tagged<Retry>) {
        let Self { chain, outputs, current, sides, port, .. } = self;
        *current = Some(origin);
        let mut place = 0;
        let retried = chain.resume(Entering::Retry(&record), origin, &mut |_, output| {
            outputs.push(Tagged { origin: origin.child(place), record: output });
            place += 1;
        });
        *current = None;
        let unknown = || Some("the program has no computation of that name any more".to_string());
        let outcome = match retried.unwrap_or_else(unknown) {
            None => Outcome::Closed,
            Some(why) => Outcome::Failed(why),
        };
        let (request, time, letter) = (origin.offset(), origin.time(), record.letter);
        let answer = Answer { request, letter, time, outcome };
        sides.post(origin.child(*port), Posted::Answer(Box::new(answer)));
    }

    /// Applies the records before `end`, all if there is none.
    #[inline(always)]
    fn apply_records(&mut self, end: Option<Entry>) {
        let Self { chain, key, open, outputs, current, .. } = self;
        let ahead = if chain.has_large_tables() { AHEAD } else { 0 };
        open.take_before(end, ahead, |Tagged { origin, record }, following| {
            following.iter().for_each(|tagged| chain.look_up(&key(&tagged.record)));
            *current = Some(origin);
            let key = key(&record);
            let mut place = 0;
            chain.feed(origin, &key, record, &mut |record| {
                let origin = if D::FANS_OUT { origin.child(place) } else { origin };
                place += 1;
                outputs.push(Tagged { origin, record });
            });
        });
        self.current = None;
    }
}

impl<K, D, F> Port for ChainPort<D, F>
where
    K: Key,
    D: Chain<Key = K, In: Record, Out: Clone>,
    F: Fn(&D::In) -> K,
{
    fn stash(&mut self, epoch: u64, body: Body) {
        let records = body.records();
        if let Some((counter, _)) = &self.records {
            counter.add(records.len() as u64);
        }
        self.waiting.entry(epoch).or_default().add(records);
    }

    fn count(&mut self, records: Counter) {
        self.records = Some((records, Hot::default()));
    }

    fn hot(&self) -> Option<(u64, Vec<(Json, u64)>)> {
        let (sampled, keys) = self.records.as_ref()?.1.keys();
        let shown = |(key, count): (&K, u64)| json(key).ok().map(|key| (key, count));
        Some((sampled, keys.into_iter().filter_map(shown).collect()))
    }

    fn stash_retries(&mut self, epoch: u64, body: Body) {
        self.retries.entry(epoch).or_default().add(body.records());
    }

    fn open(&mut self, epoch: u64) {
        if let Some(merge) = self.waiting.remove(&epoch) {
            if let (Some((_, hot)), Some(first)) = (&mut self.records, merge.first()) {
                hot.add((self.key)(&first.record));
            }
            self.open = merge;
        }
        if let Some(mut merge) = self.retries.remove(&epoch) {
            merge.take_before(None, 0, |retry, _| self.open_retries.push_back(retry));
        }
    }

    fn head(&self) -> Option<Origin> {
        let retry = self.open_retries.front().map(|retry| retry.origin);
        [self.open.head(), retry].into_iter().flatten().min()
    }

    fn apply(&mut self, end: Option<Entry>) {
        while let Some(head) = self.open_retries.front().map(|retry| retry.origin.entry())
            && end.is_none_or(|end| head < end)
        {
            self.apply_records(Some(head));
            if let Some(retry) = self.open_retries.pop_front() {
                self.retry(retry);
            }
        }
        self.apply_records(end);
    }

    fn settle(&mut self, former: &Former) {
        // What corrections before it would change here was computed anew already.
        self.open.take_before(None, 0, |_, _| {});
        self.open_retries.clear();
        let Self { chain, outputs, port, .. } = self;
        let mut last = (0, 0);
        let begin = Origin::of_correction(former.time, 0, 0);
        chain.resume(Entering::Former(former), begin, &mut |key, record| {
            let partition = former.partition(key);
            last = (partition, if last.0 == partition { last.1 + 1 } else { 0 });
            let origin = Origin::of_correction(former.time, partition, last.1).child(*port);
            outputs.push(Tagged { origin, record });
        });
    }

    fn begin_round(&mut self, round: Round) {
        self.rounds.begin(round);
        self.chain.begin_round(round);
    }

    fn next_due(&self, clock: Clock) -> Option<&DueKey> {
        self.chain.next_due(clock)
    }

    fn fire(&mut self, clock: Clock) {
        let Self { chain, rounds, outputs, current, .. } = self;
        let due = chain.next_due(clock);
        let Some(origin) = due.and_then(|due| rounds.next(clock, due)) else { return };
        *current = Some(origin);
        let mut place = 0;
        chain.resume(Entering::Timer(clock), origin, &mut |_, record| {
            outputs.push(Tagged { origin: origin.child(place), record });
            place += 1;
        });
        self.current = None;
        if self.outputs.len() >= OUTPUTS_MAX {
            self.dispatch();
        }
    }

    fn end_round(&mut self) {
        self.chain.end_round();
    }

    fn has_engine_timers(&self) -> bool {
        D::ENGINE_TIMERS
    }

    fn engine_passed(&mut self, until: Time, ended: bool) {
        self.chain.engine_passed(until, ended);
    }

    fn dispatch(&mut self) {
        self.hub.dispatch(&mut self.outputs);
        self.sides.dispatch();
    }

    fn applying(&self) -> Option<(Origin, &str)> {
        Some((self.current?, &self.computations))
    }
}

/// Applies what the ports have open, in order over all of them.
pub(crate) fn apply_open(ports: &mut [Box<dyn Port>]) {
    if let [port] = ports {
        port.apply(None);
        return;
    }
    while let Some((index, bound)) = least(ports) {
        if let Some(port) = ports.get_mut(index) {
            port.apply(bound);
        }
    }
}

/// The port whose head comes first, and the entry before which it may go on. Of equal entries, the
/// port that was declared first goes first.
pub(super) fn least(ports: &[Box<dyn Port>]) -> Option<(usize, Option<Entry>)> {
    let mut least: Option<(Entry, usize)> = None;
    let mut next: Option<(Entry, usize)> = None;
    for (index, port) in ports.iter().enumerate() {
        let Some(head) = port.head().map(|origin| (origin.entry(), index)) else { continue };
        if least.is_none_or(|least| head < least) {
            next = least;
            least = Some(head);
        } else if next.is_none_or(|next| head < next) {
            next = Some(head);
        }
    }
    let (_, index) = least?;
    let end = next.map(|(entry, other)| if index < other { entry.after() } else { entry });
    Some((index, end))
}

/// Fires what is due of the ports, each in its round, in order over all of them.
pub(crate) fn fire_due(ports: &mut [Box<dyn Port>], rounds: &[Option<Round>]) {
    for (port, round) in ports.iter_mut().zip(rounds) {
        if let Some(round) = round {
            port.begin_round(*round);
        }
    }
    while let Some((_, index)) = next_due(ports, Clock::Event) {
        if let Some(port) = ports.get_mut(index) {
            port.fire(Clock::Event);
        }
    }
    ports.iter_mut().for_each(|port| port.end_round());
}

/// The timer of that clock that is fired next of all ports, and its port.
pub(super) fn next_due(ports: &[Box<dyn Port>], clock: Clock) -> Option<(&DueKey, usize)> {
    let due = ports.iter().enumerate();
    due.filter_map(|(index, port)| Some((port.next_due(clock)?, index))).min()
}
