//! Engine time in a group: its timers among its records.
//!
//! Invariant: what is due at a time is fired after all records of that time or before, and before the
//! first of a later time, whatever epochs they belong to; of one time in the order of partitions, keys,
//! computations and names.

use super::Port;
use super::group::{fire_due, least, next_due};
use crate::origin::Entry;
use crate::timer::Round;
use crate::watermark::Passing;
use crate::{Clock, Time};

/// Applies what the ports have open, in order over all of them, and fires between the records what is due
/// by engine time until `passing` says. When all input has ended, records of later times are left: they
/// come of what other groups fire after the end.
pub(crate) fn apply_in_time(ports: &mut [Box<dyn Port>], passing: Passing) {
    let Passing { until, ended } = passing;
    loop {
        let due = next_due(ports, Clock::Engine).map(|(due, index)| (due.moment(), index));
        let due = due.filter(|(moment, _)| *moment <= until);
        let head = least(ports).and_then(|(index, end)| {
            let time = ports.get(index)?.head()?.time();
            (time <= until || !ended).then_some((time, index, end))
        });
        match (head, due) {
            (Some((time, index, end)), due) if due.is_none_or(|(moment, _)| time <= moment) => {
                // Records of one time make nothing due among themselves.
                let after = time.as_nanos().checked_add(1).map(Time::from_nanos);
                let after = after.map(|time| Entry { time, position: 0 });
                if let Some(port) = ports.get_mut(index) {
                    port.apply([end, after].into_iter().flatten().min());
                }
            }
            (_, Some((_, index))) => {
                if let Some(port) = ports.get_mut(index) {
                    port.fire(Clock::Engine);
                }
            }
            (_, None) => break,
        }
    }
}

/// After the end of all input: applies what is left, and fires all that is left, each at its time, and with
/// it what becomes due by event time.
pub(crate) fn apply_rest(ports: &mut [Box<dyn Port>]) {
    while let Some(now) = next_moment(ports) {
        let round = Round::after_the_last(now);
        ports.iter_mut().for_each(|port| port.begin_round(round));
        apply_in_time(ports, Passing { until: now, ended: true });
        ports.iter_mut().for_each(|port| port.engine_passed(now, true));
        fire_due(ports, &[]);
    }
}

/// When there is something to do next.
fn next_moment(ports: &[Box<dyn Port>]) -> Option<Time> {
    let records = ports.iter().filter_map(|port| port.head()).map(|origin| origin.time());
    let due = next_due(ports, Clock::Engine).map(|(due, _)| due.moment());
    records.chain(due).min()
}
