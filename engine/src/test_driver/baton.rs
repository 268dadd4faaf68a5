//! The seeded scheduler: one worker steps at a time, and a seed chooses which.
//!
//! Invariant: the history of a run (which worker stepped when, and what it saw) is a function of
//! the seed and of what was sent.

use std::any::Any;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use timely::worker::Worker;

use crate::cluster::catch;
use crate::computation::Random;
use crate::state::Stores;
use crate::view::culprit;
use crate::worker::{Running, Setup};
use crate::{Error, Result, Time};

type Answer = Option<Box<dyn Any + Send>>;
type Question = Arc<dyn Fn(&Stores) -> Answer + Send + Sync>;

/// Passed from worker to worker; clones of the `Arc` share it.
pub(crate) struct Baton {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    random: Random,
    holder: usize,
    workers: Vec<Progress>,
    /// What the driver waits for.
    goal: Goal,
    cut: Option<(Time, u64)>,
    failed: bool,
    question: Option<Question>,
    answers: Vec<Answer>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Nothing: no worker steps.
    Rest,
    /// Every epoch up to the cut at this time is finished.
    Cut(Time),
    /// All workers have ended.
    End,
    /// Every worker has answered the question.
    Answers,
}

#[derive(Clone, Default)]
struct Progress {
    /// Epochs before this one are finished, as this worker sees it.
    finished: u64,
    answered: bool,
    left: bool,
}

impl State {
    fn reached(&self) -> bool {
        let all_left = self.workers.iter().all(|worker| worker.left);
        match self.goal {
            Goal::Rest => true,
            _ if all_left => true,
            Goal::End => false,
            Goal::Cut(time) => self.cut.is_some_and(|(cut, epoch)| {
                cut >= time && self.workers.iter().all(|w| w.left || w.finished > epoch)
            }),
            Goal::Answers => self.workers.iter().all(|worker| worker.left || worker.answered),
        }
    }

    fn pass_on(&mut self) {
        let there: Vec<usize> = (0..self.workers.len())
            .filter(|i| self.workers.get(*i).is_some_and(|w| !w.left))
            .collect();
        let index = self.random.below(there.len() as u64) as usize;
        self.holder = there.get(index).copied().unwrap_or(0);
    }
}

impl Baton {
    pub(super) fn new(seed: u64, workers: usize) -> Self {
        let state = State {
            random: Random::new(seed),
            holder: 0,
            workers: vec![Progress::default(); workers],
            goal: Goal::Rest,
            cut: None,
            failed: false,
            question: None,
            answers: Vec::new(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        while_: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        self.changed.wait_while(state, while_).unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `worker`, in turns, until everything is done.
    pub(crate) fn run(&self, worker: &mut Worker, setup: &Setup) -> Result<()> {
        let index = worker.index();
        let result = catch(|| self.run_in_turns(worker, setup))
            .unwrap_or_else(|panic| Err(Error::Panic(format!("{} panicked: {panic}", culprit()))));
        let mut state = self.lock();
        state.failed |= result.is_err();
        if let Some(progress) = state.workers.get_mut(index) {
            progress.left = true;
        }
        if state.holder == index {
            state.pass_on();
        }
        self.changed.notify_all();
        result
    }

    fn run_in_turns(&self, worker: &mut Worker, setup: &Setup) -> Result<()> {
        let index = worker.index();
        let mut running = self.turn(index, || Running::start(worker, setup))?;
        loop {
            let alive = self.turn(index, || {
                let alive = running.step(worker, Some(Duration::ZERO));
                self.note(index, &running);
                alive
            })?;
            if !alive {
                return Ok(());
            }
        }
    }

    /// Waits for this worker's turn, takes it, and passes the baton on.
    fn turn<R>(&self, index: usize, take: impl FnOnce() -> R) -> R {
        let waits = |state: &mut State| state.holder != index || state.reached();
        drop(self.wait(self.lock(), waits));
        let result = take();
        self.lock().pass_on();
        self.changed.notify_all();
        result
    }

    /// Notes how far a worker is, and asks it what the driver wants to know.
    fn note(&self, index: usize, running: &Running) {
        let finished = running
            .finished
            .with_frontier(|frontier| frontier.first().copied().unwrap_or(u64::MAX));
        let mut state = self.lock();
        let question = state.question.clone();
        let Some(progress) = state.workers.get_mut(index) else { return };
        progress.finished = finished;
        let asked = !progress.answered;
        progress.answered = true;
        if let Some(question) = question.filter(|_| asked) {
            state.answers.push(question(&running.stores));
        }
        state.cut = state.cut.max(running.last_cut());
    }

    /// Lets the workers run until `goal`; gives the state then.
    fn run_until(&self, goal: Goal) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.goal = goal;
        self.changed.notify_all();
        let mut state = self.wait(state, |state| !state.reached());
        state.goal = Goal::Rest;
        state
    }

    /// Runs until every epoch up to the cut at `time` is finished; false if a worker failed.
    pub(super) fn run_until_cut(&self, time: Time) -> bool {
        let state = self.run_until(Goal::Cut(time));
        !state.failed && state.workers.iter().any(|worker| !worker.left)
    }

    pub(super) fn run_to_end(&self) {
        drop(self.run_until(Goal::End));
    }

    pub(super) fn failed(&self) -> bool {
        let state = self.lock();
        state.failed || state.workers.iter().all(|worker| worker.left)
    }

    /// Asks every worker; gives the first answer that is something.
    pub(super) fn ask(
        &self,
        question: impl Fn(&Stores) -> Answer + Send + Sync + 'static,
    ) -> Answer {
        {
            let mut state = self.lock();
            state.question = Some(Arc::new(question));
            state.answers.clear();
            state.workers.iter_mut().for_each(|worker| worker.answered = false);
        }
        let mut state = self.run_until(Goal::Answers);
        state.question = None;
        std::mem::take(&mut state.answers).into_iter().flatten().next()
    }
}
