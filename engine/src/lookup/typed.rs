//! [`TypedLookup`]: a look-up on one worker, with its record types.
//!
//! Invariant: epochs leave one after the other, each when all of its records are answered and what was
//! answered is durable; within one, answers leave in the order of the records. How many wait is bounded by
//! how much is in flight, as an epoch is until its answers have left.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::calls::{Calls, Outcome, Ticket};
use super::kept::ANSWER_MAX;
use super::log::{Known, Said};
use super::{AnyLookup, Kept, Lookups, Opening};
use crate::computation::Refusals;
use crate::letters::Again;
use crate::metrics::{Counter, Counters};
use crate::pipeline::{Body, Hub, Merge, Tagged};
use crate::side_output::Sides;
use crate::{Failure, Record, Result, Undo};

/// A look-up as it was drawn.
pub(crate) struct Drawn<O, F> {
    pub(crate) options: Lookups,
    pub(crate) ask: F,
    /// Where answers are handed on.
    pub(crate) hub: Rc<Hub<O>>,
    /// Where dead letters are.
    pub(crate) sides: Rc<Sides>,
    pub(crate) refusals: Refusals,
}

/// A look-up on one worker.
pub(crate) struct TypedLookup<T, O, F> {
    options: Lookups,
    ask: Arc<F>,
    hub: Rc<Hub<O>>,
    sides: Rc<Sides>,
    refusals: Refusals,
    sources: Arc<[String]>,
    counters: Counters,
    asked: Counter,
    calls: Option<Calls<O>>,
    kept: Option<Kept>,
    waits: bool,
    /// Epochs that are not complete.
    waiting: BTreeMap<u64, Merge<T>>,
    /// Those that are, until they leave.
    open: BTreeMap<u64, Open<T, O>>,
    /// What has yet to be asked, in order.
    queue: VecDeque<Ticket>,
    outputs: Vec<Tagged<O>>,
}

/// An epoch of which all records are there.
struct Open<T, O> {
    records: Vec<Asked<T, O>>,
    /// How many of them are not answered.
    left: usize,
    state: State,
}

/// How far an epoch is that is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// An answer is not in the journal.
    Unkept,
    /// All are, and some may not be durable.
    Kept,
    /// Nothing has to be.
    Known,
}

struct Asked<T, O> {
    record: Tagged<T>,
    question: u64,
    outcome: Option<Outcome<O>>,
    /// Whether the journal has it from an earlier start.
    known: bool,
}

impl<T, O, F> TypedLookup<T, O, F> {
    pub(crate) fn new(drawn: Drawn<O, F>) -> Self {
        let Drawn { options, ask, hub, sides, refusals } = drawn;
        Self {
            options,
            ask: Arc::new(ask),
            hub,
            sides,
            refusals,
            sources: Arc::from([]),
            counters: Counters::default(),
            asked: Counter::default(),
            calls: None,
            kept: None,
            waits: false,
            waiting: BTreeMap::new(),
            open: BTreeMap::new(),
            queue: VecDeque::new(),
            outputs: Vec::new(),
        }
    }
}

impl<T, O, F, A> TypedLookup<T, O, F>
where
    T: Record,
    O: Record,
    F: Fn(T) -> A + Send + Sync + 'static,
    A: Future<Output = Result<O, Undo>> + Send + 'static,
{
    /// What is known of a record, or that it is to be asked.
    fn take_up(&self, record: Tagged<T>, known: &Known) -> Asked<T, O> {
        let mut asked = Asked { record, question: 0, outcome: None, known: false };
        let Some(kept) = &self.kept else { return asked };
        match digest(&asked.record.record) {
            Ok(digest) => asked.question = digest,
            Err(error) => asked.outcome = Some(unfit("a record cannot be journaled", &error)),
        }
        let said = known.get(&asked.record.origin);
        let said = said.filter(|(question, _)| *question == asked.question);
        if let Some(outcome) = said.and_then(|(_, said)| decoded(said)) {
            (asked.outcome, asked.known) = (Some(outcome), true);
        } else if !kept.keeps() {
            let reason = "the journal has no answer, and a replay asks nobody".to_string();
            let failure =
                Failure { kind: "unanswered".to_string(), chain: vec![reason], place: None };
            (asked.outcome, asked.known) = (Some(Outcome::Failed(Box::new(failure))), true);
        }
        asked
    }

    /// Asks about as many records as may be asked about at a time.
    fn ask_more(&mut self) -> Result<()> {
        let Self { open, queue, calls: Some(calls), ask, asked, .. } = self else { return Ok(()) };
        while calls.has_room()
            && let Some(ticket) = queue.pop_front()
        {
            let (epoch, index) = ticket;
            let of = open.get(&epoch).and_then(|open| open.records.get(index));
            let Some(Tagged { origin, record }) = of.map(|asked| &asked.record) else { continue };
            asked.add(1);
            calls.start(ticket, ask, record.clone(), origin.seed())?;
        }
        Ok(())
    }

    fn answered(&mut self, (epoch, index): Ticket, outcome: Outcome<O>) {
        let Some(open) = self.open.get_mut(&epoch) else { return };
        if let Some(asked) = open.records.get_mut(index)
            && asked.outcome.is_none()
        {
            asked.outcome = Some(outcome);
            open.left -= 1;
        }
    }

    /// Journals what was answered, epoch by epoch in their order.
    fn keep(&mut self) -> Result<()> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        for (epoch, open) in &mut self.open {
            if open.left > 0 {
                break;
            }
            if open.state != State::Unkept {
                continue;
            }
            for asked in open.records.iter_mut().filter(|asked| !asked.known) {
                let Some(outcome) = &mut asked.outcome else { continue };
                let said = match encoded(outcome) {
                    Ok(said) => said,
                    Err(unfit) => {
                        *outcome = unfit;
                        encoded(outcome).unwrap_or(Said::Nothing)
                    }
                };
                kept.keep(*epoch, asked.record.origin, asked.question, &said)?;
            }
            kept.commit(*epoch)?;
            open.state = State::Kept;
        }
        Ok(())
    }

    /// Hands on what came of an epoch.
    fn hand_on(&mut self, open: Open<T, O>) {
        let Self { outputs, refusals, sources, counters, sides, hub, .. } = self;
        for Asked { record, outcome, .. } in open.records {
            let Tagged { origin, record } = record;
            match outcome {
                Some(Outcome::Answer(answer)) => outputs.push(Tagged { origin, record: answer }),
                Some(Outcome::Failed(failure)) => {
                    let from = (&**sources, &*counters, &**sides);
                    refusals.refuse(*failure, origin, &record, Again::Never, from);
                }
                Some(Outcome::Nothing) | None => counters.counter("ignored").add(1),
            }
        }
        hub.dispatch(outputs);
        sides.dispatch();
    }
}

impl<T, O, F, A> AnyLookup for TypedLookup<T, O, F>
where
    T: Record,
    O: Record,
    F: Fn(T) -> A + Send + Sync + 'static,
    A: Future<Output = Result<O, Undo>> + Send + 'static,
{
    fn name(&self) -> &str {
        &self.refusals.computation
    }

    fn open(&mut self, opening: Opening) -> Result<()> {
        let Opening { waker, counters, sources, number, kept, waits } = opening;
        self.refusals.port = number;
        self.asked = counters.counter("calls");
        self.calls = Some(Calls::new(self.options.clone(), waker, counters.counter("retries")));
        (self.counters, self.sources, self.kept, self.waits) = (counters, sources, kept, waits);
        Ok(())
    }

    fn stash(&mut self, epoch: u64, body: Body) {
        self.waiting.entry(epoch).or_default().add(body.records());
    }

    fn complete(&mut self, epoch: u64) -> Result<()> {
        let known = match &mut self.kept {
            Some(kept) => kept.known(epoch)?,
            None => Known::new(),
        };
        let mut records = Vec::new();
        let mut merge = self.waiting.remove(&epoch).unwrap_or_default();
        merge.take_before(None, 0, |record, _| records.push(self.take_up(record, &known)));
        let unknown = records.iter().enumerate().filter(|(_, asked)| asked.outcome.is_none());
        let before = self.queue.len();
        self.queue.extend(unknown.map(|(index, _)| (epoch, index)));
        let left = self.queue.len() - before;
        let is_known = self.kept.is_none() || records.iter().all(|asked| asked.known);
        let state = if is_known { State::Known } else { State::Unkept };
        self.open.insert(epoch, Open { records, left, state });
        self.ask_more()?;
        while self.waits
            && let Some((ticket, outcome)) = self.calls.as_mut().and_then(Calls::wait)
        {
            self.answered(ticket, outcome);
            self.ask_more()?;
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<u64>> {
        while let Some((ticket, outcome)) = self.calls.as_mut().and_then(Calls::take) {
            self.answered(ticket, outcome);
        }
        self.ask_more()?;
        self.keep()?;
        let Some((epoch, open)) = self.open.first_key_value() else { return Ok(None) };
        let epoch = *epoch;
        let durable = match &self.kept {
            Some(kept) if open.state == State::Kept => kept.is_durable(epoch)?,
            _ => true,
        };
        if open.left > 0 || !durable {
            return Ok(None);
        }
        if let Some(open) = self.open.remove(&epoch) {
            self.hand_on(open);
        }
        Ok(Some(epoch))
    }
}

/// What tells a record from others.
pub(super) fn digest<T: Record>(record: &T) -> Result<u64, rmp_serde::encode::Error> {
    rmp_serde::to_vec(record).map(|bytes| xxhash_rust::xxh3::xxh3_64(&bytes))
}

/// What came of a record, for the journal; else why it has no place there.
fn encoded<O: Record>(outcome: &Outcome<O>) -> Result<Said, Outcome<O>> {
    let unfit = |error| unfit("an answer cannot be journaled", &error);
    match outcome {
        Outcome::Nothing => Ok(Said::Nothing),
        Outcome::Failed(failure) => {
            rmp_serde::to_vec_named(failure).map(Said::Failed).map_err(unfit)
        }
        Outcome::Answer(answer) => {
            let bytes = rmp_serde::to_vec_named(answer).map_err(unfit)?;
            if bytes.len() > ANSWER_MAX {
                let most = ANSWER_MAX >> 20;
                let error = format!("it has {} bytes, more than {most} MiB", bytes.len());
                return Err(self::unfit("an answer cannot be journaled", &error));
            }
            Ok(Said::Answer(bytes))
        }
    }
}

/// What the journal has of a record; none if it is of another type.
fn decoded<O: Record>(said: &Said) -> Option<Outcome<O>> {
    match said {
        Said::Answer(bytes) => rmp_serde::from_slice(bytes).ok().map(Outcome::Answer),
        Said::Nothing => Some(Outcome::Nothing),
        Said::Failed(bytes) => {
            rmp_serde::from_slice(bytes).ok().map(|failure| Outcome::Failed(Box::new(failure)))
        }
    }
}

fn unfit<O>(what: &str, why: &impl ToString) -> Outcome<O> {
    let chain = vec![what.to_string(), why.to_string()];
    Outcome::Failed(Box::new(Failure { kind: "unfit".to_string(), chain, place: None }))
}
