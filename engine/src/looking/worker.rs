//! [`Looking`]: questions on one worker: where they go from worker 0, what the worker answers, and the way back.
//!
//! Invariant: every worker builds the same dataflows. Worker 0 counts the answers that are to come before it sends a
//! question, and every question that a worker is sent is answered by it once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Input, Operator as _};
use timely::worker::Worker;

use super::{Answer, Ask, Board, HotKeys, Process, TableInfo};
use crate::checkpoint::TableSchema;
use crate::control;
use crate::metrics::Counters;
use crate::pipeline::Placement;
use crate::reading::Reading;
use crate::state::{Snapshot, Stores};
use crate::worker::{Control, Setup};
use crate::{Error, Result, Views};

/// A question, for a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) to: usize,
    id: u64,
    ask: Ask,
}

/// The answer of a worker, as it travels.
#[derive(Serialize, Deserialize)]
struct Said {
    id: u64,
    answer: Result<Answer, String>,
}

type Handle<T> = InputHandle<u64, CapacityContainerBuilder<Vec<T>>>;

/// Questions on one worker.
pub(crate) struct Looking {
    board: Board,
    tables: BTreeMap<&'static str, Rc<dyn Snapshot>>,
    placement: Placement,
    workers_per_process: usize,
    about: About,
    /// On worker 0: what is asked of processes, not of tables.
    asks: Option<Handle<Look>>,
    /// What has come here of it.
    asked: Rc<RefCell<Asked>>,
    answers: Option<Handle<Vec<u8>>>,
    arrived: Rc<RefCell<Vec<Vec<u8>>>>,
    /// Not sent yet.
    said: Vec<Said>,
}

/// What a process knows of itself.
#[derive(Clone)]
pub(crate) struct About {
    pub(crate) counters: Counters,
    pub(crate) views: Views,
    pub(crate) control: Arc<Control>,
}

#[derive(Default)]
struct Asked {
    looks: Vec<Look>,
    /// Nothing more comes.
    ended: bool,
}

impl Looking {
    /// `tables` are those of groups.
    pub(crate) fn new(
        worker: &mut Worker,
        board: &Board,
        (stores, tables): (&Stores, &BTreeSet<&'static str>),
        placement: &Placement,
        setup: &Setup,
    ) -> Self {
        let named = |(name, table): (&'static str, &Rc<dyn Snapshot>)| (name, Rc::clone(table));
        let tables: BTreeMap<_, _> =
            stores.snapshots().filter(|(name, _)| tables.contains(name)).map(named).collect();
        let asked: Rc<RefCell<Asked>> = Rc::default();
        let coming = Rc::clone(&asked);
        let asks = worker.dataflow_named("questions", |scope| {
            let (handle, stream) = scope.new_input::<Vec<Look>>();
            let to = Exchange::new(|look: &Look| look.to as u64);
            stream.sink(to, "asked", move |(input, frontier)| {
                let mut asked = coming.borrow_mut();
                input.for_each(|_, looks| asked.looks.append(looks));
                asked.ended = frontier.is_empty();
            });
            handle
        });
        let arrived: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
        let arriving = Rc::clone(&arrived);
        let answers = worker.dataflow_named("answers", |scope| {
            let (handle, stream) = scope.new_input::<Vec<Vec<u8>>>();
            stream.sink(Exchange::new(|_: &Vec<u8>| 0), "answered", move |(input, _)| {
                input.for_each(|_, answers| arriving.borrow_mut().append(answers));
            });
            handle
        });
        let first = placement.this_worker() == 0;
        if first {
            let processes = placement.workers().div_ceil(setup.workers_per_process);
            board.open(tables.values().map(|table| info(&**table)).collect(), processes);
        }
        Self {
            board: board.clone(),
            tables,
            placement: placement.clone(),
            workers_per_process: setup.workers_per_process,
            about: About::of(setup),
            asks: first.then_some(asks),
            asked,
            answers: Some(answers),
            arrived,
            said: Vec::new(),
        }
    }

    /// On worker 0: what is asked of tables, for the workers that know. The boundary is theirs to reach.
    pub(crate) fn take(&mut self) -> Vec<Look> {
        let of_tables = |ask: &Ask| ask.table().is_some();
        let mut looks = Vec::new();
        for (id, ask) in self.board.take(of_tables) {
            match self.place(&ask) {
                Ok(workers) => {
                    self.board.expect(id, workers.len());
                    looks.extend(workers.into_iter().map(|to| Look { to, id, ask: ask.clone() }));
                }
                Err(wrong) => self.board.answer(id, Err(wrong)),
            }
        }
        looks
    }

    /// The workers that know.
    fn place(&self, ask: &Ask) -> Result<Vec<usize>, String> {
        match ask {
            Ask::Row { table, key, .. } => {
                let hash = self.known(table)?.place(key)?;
                Ok(vec![self.placement.worker(hash)])
            }
            Ask::Rows { table, .. } | Ask::Hot { table } => {
                self.known(table).map(|_| (0..self.placement.workers()).collect())
            }
            Ask::Sizes => Ok((0..self.placement.workers()).collect()),
            // The first of each process.
            Ask::View { .. } | Ask::Processes => {
                Ok((0..self.placement.workers()).step_by(self.workers_per_process).collect())
            }
        }
    }

    /// A group of this worker has applied every epoch before `boundary`, and none after it: answers what is asked of
    /// one of its tables.
    pub(crate) fn reached(
        &mut self,
        boundary: u64,
        look: &Look,
        hot: impl FnOnce() -> BTreeMap<String, HotKeys>,
    ) {
        let found = match &look.ask {
            Ask::Hot { .. } => {
                self.said.push(Said { id: look.id, answer: Ok(Answer::Hot(hot())) });
                return;
            }
            Ask::Row { table, key, entries } => {
                self.known(table).and_then(|table| table.row(key, entries))
            }
            Ask::Rows { table, rows } => {
                self.known(table).and_then(|table| table.rows(rows).map(Some))
            }
            Ask::View { .. } | Ask::Processes | Ask::Sizes => return,
        };
        let answer = found.map(|found| match found {
            Some(found) => Answer::Found { before: boundary, found },
            None => Answer::Nothing,
        });
        self.said.push(Said { id: look.id, answer });
    }

    /// What is asked of this process.
    fn answer(&self, ask: &Ask) -> Result<Answer, String> {
        match ask {
            Ask::View { view, from, most } => {
                let page = self.about.views.page(view, *from, *most);
                page.map(|page| page.map_or(Answer::Nothing, Answer::View))
                    .map_err(|error| error.to_string())
            }
            Ask::Processes => {
                let number = self.placement.this_worker() / self.workers_per_process;
                Ok(Answer::Processes([(number, self.about.process())].into()))
            }
            Ask::Sizes => {
                let this = self.placement.this_worker();
                let size = |(name, table): (&&str, &Rc<dyn Snapshot>)| {
                    ((*name).to_string(), [(this, table.size())].into())
                };
                Ok(Answer::Sizes(self.tables.iter().map(size).collect()))
            }
            Ask::Row { .. } | Ask::Rows { .. } | Ask::Hot { .. } => Ok(Answer::Nothing),
        }
    }

    /// Sends what is to be sent, between two steps. After `finished` no epoch is applied any more.
    ///
    /// # Errors
    /// When what another worker has sent cannot be read.
    pub(crate) fn work(&mut self, reading: &Reading, finished: bool) -> Result<()> {
        if self.asks.is_some() {
            self.ask(reading, finished);
        }
        let looks = std::mem::take(&mut self.asked.borrow_mut().looks);
        for Look { id, ask, .. } in looks {
            let answer = self.answer(&ask);
            self.said.push(Said { id, answer });
        }
        if let Some(answers) = &mut self.answers {
            for said in self.said.drain(..) {
                let bytes = serde_json::to_vec(&said);
                answers.send(bytes.map_err(|e| Error::Data(format!("an answer: {e}")))?);
                // An exchange keeps what is less than a batch until time goes on.
                answers.advance_to(answers.time() + 1);
            }
        }
        for bytes in self.arrived.borrow_mut().drain(..) {
            let said = serde_json::from_slice::<Said>(&bytes);
            let Said { id, answer } =
                said.map_err(|e| Error::Data(format!("an answer of a worker: {e}")))?;
            self.board.answer(id, answer);
        }
        if finished && self.asked.borrow().ended {
            self.answers = None;
        }
        Ok(())
    }

    /// On worker 0: sends on what is not asked of tables, and sees to it that the rest is taken.
    fn ask(&mut self, reading: &Reading, finished: bool) {
        let of_processes = |ask: &Ask| ask.table().is_none();
        for (id, ask) in self.board.take(of_processes) {
            let workers = self.place(&ask).unwrap_or_default();
            self.board.expect(id, workers.len());
            if let Some(asks) = &mut self.asks {
                workers.into_iter().for_each(|to| asks.send(Look { to, id, ask: ask.clone() }));
                asks.advance_to(asks.time() + 1);
            }
        }
        if finished {
            self.asks = None;
            self.board.close();
        } else if reading.is_done() {
            self.board.refuse_all("the program ends");
        } else if reading.replays() {
            self.board.refuse_all("what an earlier start had read is computed again");
        } else if self.board.waits() {
            reading.activate();
        }
    }

    fn known(&self, table: &str) -> Result<&Rc<dyn Snapshot>, String> {
        self.tables.get(table).ok_or_else(|| format!("there is no table `{table}`"))
    }
}

impl Look {
    /// The table that is asked for.
    pub(crate) fn table(&self) -> Option<&str> {
        self.ask.table()
    }
}

impl Ask {
    fn table(&self) -> Option<&str> {
        match self {
            Self::Row { table, .. } | Self::Rows { table, .. } | Self::Hot { table } => Some(table),
            Self::View { .. } | Self::Processes | Self::Sizes => None,
        }
    }
}

impl About {
    pub(crate) fn of(setup: &Setup) -> Self {
        Self {
            counters: setup.counters.clone(),
            views: setup.views.clone(),
            control: Arc::clone(&setup.control),
        }
    }

    /// How this process does.
    pub(crate) fn process(&self) -> Process {
        let pulses = self.control.pulses();
        Process {
            counters: self.counters.all(),
            workers: pulses
                .iter()
                .map(|(index, pulse)| control::Worker::of(*index, pulse))
                .collect(),
            views: self.views.names(),
            latencies: self.counters.latencies(),
        }
    }
}

fn info(table: &dyn Snapshot) -> TableInfo {
    let TableSchema { name, key, sub_key, value, .. } = table.schema();
    TableInfo { name, key, sub_key, value }
}
