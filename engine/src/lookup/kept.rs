//! [`Kept`]: what was decided about records by the world outside, in lanes of the journal of its own, on one
//! worker.
//!
//! Invariant: a lane is written in the order of epochs, so it is read as input is. Each lane is begun anew at
//! every start by one worker, whatever the number of workers is; who meets a record may be another worker
//! than the one that wrote its answer, so all read all lanes.

use std::cell::RefCell;
use std::rc::Rc;

use super::log::{Known, Said, push, read};
use crate::durable::Durable;
use crate::journal::{Access, FrameHead, Journal, Kind, LaneEnd, LaneName, LaneReader, lanes};
use crate::keeper::PastLane;
use crate::{Error, Origin, Result, Time};

/// What a frame holds, about: more of an epoch is in further ones.
const FRAME_BYTES: usize = 1 << 20;
/// The longest answer.
pub(super) const ANSWER_MAX: usize = 32 << 20;
/// How often a lane is opened that another worker is beginning anew.
const OPENINGS: u32 = 5;

/// The source under whose name the journal keeps the answers of a look-up: no source can be named so.
pub(crate) fn lane_of(lookup: &str) -> String {
    format!("lookup:{lookup}")
}

/// What was decided, and what is being.
pub(crate) struct Kept {
    /// None if this only looks at what an earlier start has kept.
    journal: Option<Rc<RefCell<Journal>>>,
    past: Vec<PastLane>,
    /// How many decisions the lane has that is written to.
    next: u64,
    payload: Vec<u8>,
    items: u32,
    last_time: Time,
}

impl Kept {
    /// Opens the lanes that are called `source`, as worker `worker` of so many. `wake` is called when more is
    /// durable.
    ///
    /// # Errors
    /// When they are damaged, or cannot be made.
    pub(crate) fn open(
        durable: &Durable,
        source: &str,
        (worker, workers): (usize, usize),
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let root = durable.journal_folder();
        let found = lanes(&root)?.into_iter().filter(|lane| lane.source == source);
        let (mut past, mut ends) = (Vec::new(), Vec::new());
        let mut taken = Vec::new();
        for lane in found {
            let own = durable.keeps() && lane.partition as usize % workers == worker;
            let access = if own { Access::Recover } else { Access::Look };
            let reader = open(|| LaneReader::open(&root, &lane, durable.from(), None, access))?;
            taken.push(lane.partition);
            if own {
                ends.push((lane, reader.end().clone()));
            }
            past.extend(PastLane::new(reader)?);
        }
        // One that holds nothing that is needed: what is written to it now is later than all it has.
        let unneeded = |(_, end): &(LaneName, LaneEnd)| {
            end.position().last_epoch.is_none_or(|last| last < durable.from())
        };
        match ends.iter().position(unneeded) {
            Some(free) => ends.swap(0, free),
            None => {
                let numbers = (worker as u32..).step_by(workers);
                let partition = numbers.into_iter().find(|number| !taken.contains(number));
                let partition = partition.unwrap_or(u32::MAX);
                let lane = LaneName { source: source.to_string(), partition };
                ends.insert(0, (lane, LaneEnd::default()));
            }
        }
        let next = ends.first().map_or(0, |(_, end)| end.position().next);
        let journal = durable.journal(ends, wake)?;
        let journal = journal.map(|journal| Rc::new(RefCell::new(journal)));
        let (payload, last_time) = (Vec::new(), Time::ZERO);
        Ok(Self { journal, past, next, payload, items: 0, last_time })
    }

    /// The journal, for those who bring it to the disk, and drop of it what nobody needs.
    pub(crate) fn journal(&self) -> Option<Rc<RefCell<Journal>>> {
        self.journal.clone()
    }

    /// Whether this start keeps what is decided; else it only looks at what an earlier one has kept.
    pub(super) fn keeps(&self) -> bool {
        self.journal.is_some()
    }

    /// What an earlier start has kept of `epoch`, by whichever worker; asked in the order of epochs.
    ///
    /// # Errors
    /// When the journal is damaged.
    pub(crate) fn known(&mut self, epoch: u64) -> Result<Known> {
        let mut known = Known::new();
        for lane in &mut self.past {
            while lane.epoch().is_some_and(|at| at < epoch) {
                lane.advance()?;
            }
            while let Some(frame) = lane.of(epoch) {
                read(frame.payload.unwrap_or_default(), &mut known)?;
                lane.advance()?;
            }
        }
        self.past.retain(|lane| lane.epoch().is_some());
        Ok(known)
    }

    /// Keeps what was decided about a record of `epoch`; a later one of it may follow until
    /// [`commit`](Self::commit).
    ///
    /// # Errors
    /// When the journal has failed.
    pub(crate) fn keep(
        &mut self,
        epoch: u64,
        origin: Origin,
        question: u64,
        said: &Said,
    ) -> Result<()> {
        push(&mut self.payload, origin, question, said);
        self.items += 1;
        self.last_time = self.last_time.max(origin.time());
        if self.payload.len() >= FRAME_BYTES { self.append(epoch) } else { Ok(()) }
    }

    fn append(&mut self, epoch: u64) -> Result<()> {
        let Some(journal) = self.journal.as_ref().filter(|_| self.items > 0) else {
            return Ok(());
        };
        let (first, next) = (self.next, self.next + u64::from(self.items));
        let (time, frames, kind) = (self.last_time, self.items, Kind::Bytes);
        let head = FrameHead { epoch, time, first, next, frames, kind, fence: 0 };
        journal.borrow_mut().append(0, head, None, &self.payload)?;
        (self.next, self.items) = (next, 0);
        self.payload.clear();
        self.payload.shrink_to(FRAME_BYTES);
        Ok(())
    }

    /// All of `epoch` was decided.
    ///
    /// # Errors
    /// When the journal has failed.
    pub(crate) fn commit(&mut self, epoch: u64) -> Result<()> {
        self.append(epoch)?;
        if let Some(journal) = &self.journal {
            journal.borrow_mut().commit(epoch.saturating_add(1));
        }
        Ok(())
    }

    /// Hands what was kept of `epoch` to the disk; more of it may follow.
    ///
    /// # Errors
    /// When the journal has failed.
    pub(super) fn hand_over(&mut self, epoch: u64) -> Result<()> {
        self.append(epoch)?;
        if let Some(journal) = &self.journal {
            journal.borrow_mut().commit(0);
        }
        Ok(())
    }

    /// Whether all that was handed over survives whatever happens.
    ///
    /// # Errors
    /// When the journal has failed.
    pub(super) fn is_handed_over(&self) -> Result<bool> {
        let Some(journal) = &self.journal else { return Ok(true) };
        let journal = journal.borrow();
        journal.health()?;
        Ok(journal.durable_next(0) >= self.next)
    }

    /// Whether all that was kept of `epoch` survives whatever happens.
    ///
    /// # Errors
    /// When the journal has failed.
    pub(crate) fn is_durable(&self, epoch: u64) -> Result<bool> {
        let Some(journal) = &self.journal else { return Ok(true) };
        let journal = journal.borrow();
        journal.health()?;
        Ok(journal.durable() > epoch)
    }
}

/// Opens a lane. At a start another worker may just be removing a segment of it that was never whole.
fn open(mut attempt: impl FnMut() -> Result<LaneReader>) -> Result<LaneReader> {
    let gone = |error: &Error| matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
    for _ in 1..OPENINGS {
        match attempt() {
            Err(error) if gone(&error) => {}
            done => return done,
        }
    }
    attempt()
}
