//! The three parts of the emitter.
//!
//! Invariant: what is kept is sorted; what is taken out is told in the same firing. Numbers that no batch
//! takes wait for ever, as they did in the system that this comes from: give it numbers that end.

use std::time::Duration;

use anabranch::Time;
use anabranch::aggregate::Aggregate;
use anabranch::window::pane::{Clock, Contents, Evictor, Take, Trigger, Verdict, View};
use serde::{Deserialize, Serialize};

/// Numbers, sorted.
pub(crate) struct Sorted;

impl Aggregate<i64> for Sorted {
    type State = Vec<i64>;
    type Output = Vec<i64>;
    const EXACT: bool = true;

    fn initial(&self) -> Vec<i64> {
        Vec::new()
    }
    fn update(&self, state: &mut Vec<i64>, number: &i64) {
        let place = state.partition_point(|other| other <= number);
        state.insert(place, *number);
    }
    fn combine(&self, state: &mut Vec<i64>, later: &Vec<i64>) {
        state.extend(later);
        state.sort_unstable();
    }
    fn output(&self, state: &Vec<i64>) -> Vec<i64> {
        state.clone()
    }
}

/// Looks every so often by the engine's time, from the first number on; not while nothing is new.
pub(crate) struct Poll {
    every: i64,
}

impl Poll {
    pub(crate) fn every(every: Duration) -> Self {
        Self { every: i64::try_from(every.as_nanos()).unwrap_or(i64::MAX).max(1) }
    }
}

/// The time of the first number, and when to look next, if at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Polls {
    first: Option<Time>,
    next: Option<Time>,
}

impl Trigger for Poll {
    type State = Polls;
    fn open(&self, _: &View) -> Polls {
        Polls::default()
    }

    fn on_record(&self, polls: &mut Polls, _: Time, view: &View) -> Verdict {
        let first = polls.first.get_or_insert(view.now).as_nanos();
        if polls.next.is_none() {
            let passed = view.now.as_nanos().saturating_sub(first);
            let since = passed - passed % self.every;
            let next = first.saturating_add(since).saturating_add(self.every);
            polls.next = Some(Time::from_nanos(next));
        }
        Verdict::Wait
    }

    fn on_time(&self, polls: &mut Polls, view: &View) -> Verdict {
        if polls.next.is_none_or(|next| next > view.now) {
            return Verdict::Wait;
        }
        polls.next = None;
        Verdict::Fire
    }

    fn wake(&self, polls: &Polls, clock: Clock) -> Option<Time> {
        polls.next.filter(|_| clock == Clock::Engine)
    }
}

/// Takes the smallest even numbers, as many whole batches as there are.
pub(crate) struct Batches {
    pub(crate) size: usize,
}

impl Evictor<Vec<i64>> for Batches {
    fn take(&self, held: &mut Contents<Vec<i64>>, _: Vec<i64>) -> Take<Vec<i64>> {
        let even = held.state.iter().filter(|number| *number % 2 == 0).count();
        let mut wanted = even - even % self.size;
        if wanted == 0 {
            return Take::Nothing;
        }
        let mut state = Vec::with_capacity(wanted);
        held.state.retain(|number| {
            let taken = wanted > 0 && number % 2 == 0;
            if taken {
                wanted -= 1;
                state.push(*number);
            }
            !taken
        });
        let count = state.len() as u64;
        held.count = held.count.saturating_sub(count);
        Take::Part(Contents { state, count })
    }
}
