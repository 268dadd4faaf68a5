//! [`Round`]: the firing of what is due after an epoch, and the origins of what comes of it.
//!
//! Invariant: origins of a round are in the order of firing, come after those of the epoch's records,
//! and no two rounds share one; all workers make the same ones.

use super::{Clock, KeyBytes, Name};
use crate::origin::Origin;
use crate::{LANES_MAX, Time};

/// The source number of what timers of event time emit: behind all others.
const SOURCE: usize = LANES_MAX - 1;
/// That of engine time: behind all that can be declared, since what is due at a time follows its records;
/// and before a round of that logical time, which begins when engine time has passed.
const ENGINE_SOURCE: usize = LANES_MAX - 2;
const PARTITION_BITS: u32 = 24;
const PORT_BITS: u32 = 16;
/// The significant bits of a distance in time.
const MANTISSA_BITS: u32 = 22;

/// What is fired after an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// The logical time of the epoch: that of no other round.
    pub(crate) now: Time,
    /// The watermark before it.
    pub(crate) from: Time,
    /// The watermark after it: timers for this time and before are due.
    pub(crate) until: Time,
}

impl Round {
    /// Where in the round a timer for `time` is fired: in the order of times, to within a
    /// four-millionth of the distance to the watermark, so that it fits in an origin.
    pub(super) fn place(self, time: Time) -> i64 {
        let [from, until, time] = [self.from, self.until, time].map(Time::as_nanos);
        if from == i64::MIN {
            return coarse(u64::MAX) - coarse(until.abs_diff(time.min(until)));
        }
        coarse(time.max(from).abs_diff(from))
    }

    /// Whether all input has ended, and nothing follows but what timers make.
    pub(super) fn is_last(self) -> bool {
        self.until == Time::END
    }

    /// Another one at `now`, when the last has been and engine time goes on.
    pub(crate) fn after_the_last(now: Time) -> Self {
        Self { now, from: Time::END, until: Time::END }
    }

    /// Whether it is one of those.
    pub(super) fn goes_on(self) -> bool {
        self.from == Time::END
    }

    /// The origin of what comes of timers at a place of the round in a partition of the state.
    fn origin(self, place: i64, partition: u32) -> Origin {
        let offset = place.cast_unsigned() << PARTITION_BITS | u64::from(partition);
        Origin::of_timers(self.now, SOURCE, offset)
    }
}

/// Numbers in their order, with 22 significant bits: below 2^27.
fn coarse(distance: u64) -> i64 {
    let shift = (u64::BITS - distance.leading_zeros()).saturating_sub(MANTISSA_BITS);
    i64::from(shift << (MANTISSA_BITS - 1)) + (distance >> shift) as i64
}

/// Whether an origin is one of what timers emitted.
pub(crate) fn is_timed(origin: Origin) -> bool {
    origin.source() >= ENGINE_SOURCE
}

/// What the outside calls what timers of engine time emitted, before its places: when they were due, and
/// in which partition of which pipeline. None of others.
pub(crate) fn engine_name(origin: Origin) -> Option<(i64, u64)> {
    (origin.source() == ENGINE_SOURCE).then(|| name(origin))
}

/// What the outside calls what timers emitted, before its places: the round, and where in it.
pub(crate) fn name(origin: Origin) -> (i64, u64) {
    (origin.time().as_nanos(), origin.timers())
}

/// What orders timers of one clock that are due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueKey {
    /// Of event time, where in the round; of engine time, when.
    pub(crate) place: i64,
    pub(crate) partition: u32,
    pub(crate) time: Time,
    /// The bytes of the key.
    pub(super) key: KeyBytes,
    /// Which computation of its chain set it.
    pub(crate) level: usize,
    pub(crate) name: Name,
}

impl DueKey {
    /// When it is due by engine time.
    pub(crate) fn moment(&self) -> Time {
        Time::from_nanos(self.place)
    }
}

/// The origins of the timers of one port.
pub(crate) struct Rounds {
    /// Its index, by which engine timers of one key and moment are told apart whose outputs meet.
    port: usize,
    round: Option<Round>,
    /// Where a timer was last fired, and how many there.
    last: Option<((Clock, i64, u32), u32)>,
}

impl Rounds {
    pub(crate) fn new(port: usize) -> Self {
        Self { port, round: None, last: None }
    }

    pub(crate) fn begin(&mut self, round: Round) {
        (self.round, self.last) = (Some(round), None);
    }

    /// The origin of the timer that is fired next. By engine time no moment is begun twice, so that a
    /// count at it is never begun anew.
    pub(crate) fn next(&mut self, clock: Clock, due: &DueKey) -> Option<Origin> {
        let at = (clock, due.place, due.partition);
        let count = match self.last {
            Some((last, count)) if last == at => count,
            _ => 0,
        };
        self.last = Some((at, count + 1));
        let origin = match clock {
            Clock::Event => self.round?.origin(due.place, due.partition),
            Clock::Engine => {
                let place = u64::from(due.partition) << PORT_BITS | self.port as u64;
                Origin::of_timers(due.moment(), ENGINE_SOURCE, place)
            }
        };
        Some(origin.child(count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_place_fits_in_an_origin() {
        assert!(coarse(u64::MAX) < 1 << 27);
        assert_eq!([0, 1, (1 << 22) - 1, 1 << 22].map(coarse), [0, 1, (1 << 22) - 1, 1 << 22]);
    }

    proptest! {
        #[test]
        fn places_are_in_the_order_of_times(
            from in prop_oneof![Just(i64::MIN), any::<i64>()],
            until in any::<i64>(),
            times in any::<[i64; 2]>(),
        ) {
            let times = times.map(|time| Time::from_nanos(time.min(until)));
            let [from, until] = [from.min(until), until].map(Time::from_nanos);
            let round = Round { now: Time::ZERO, from, until };
            let places = times.map(|time| round.place(time));
            if times[0] <= times[1] {
                prop_assert!(places[0] <= places[1]);
            }
        }

        #[test]
        fn near_times_have_places_of_their_own(from in -1_000_000_000_000_i64..1_000_000_000_000) {
            let round = Round { now: Time::ZERO, from: Time::from_nanos(from), until: Time::from_nanos(i64::MAX) };
            let hour = 3_600_000_000_000;
            let place = |nanos: i64| round.place(Time::from_nanos(from + nanos));
            prop_assert!(place(hour) < place(hour + 1_000_000));
            prop_assert!(place(4_000_000) < place(4_000_001));
        }
    }
}
