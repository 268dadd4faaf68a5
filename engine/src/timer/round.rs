//! [`Round`]: the firing of what is due after an epoch, and the origins of what comes of it.
//!
//! Invariant: origins of a round are in the order of firing, come after those of the epoch's records,
//! and no two rounds share one; all workers make the same ones.

use crate::origin::Origin;
use crate::{LANES_MAX, Time};

/// The source number of what timers emit: behind all that can be declared.
const SOURCE: usize = LANES_MAX - 1;
const PARTITION_BITS: u32 = 24;
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
    pub(super) fn place(self, time: Time) -> u32 {
        let [from, until, time] = [self.from, self.until, time].map(Time::as_nanos);
        if from == i64::MIN {
            return coarse(u64::MAX) - coarse(until.abs_diff(time.min(until)));
        }
        coarse(time.max(from).abs_diff(from))
    }

    /// Whether all input has ended, and there is no other round.
    pub(super) fn is_last(self) -> bool {
        self.until == Time::END
    }

    /// The origin of what comes of timers at a place of the round in a partition of the state.
    fn origin(self, place: u32, partition: u32) -> Origin {
        let offset = u64::from(place) << PARTITION_BITS | u64::from(partition);
        Origin::of_timers(self.now, SOURCE, offset)
    }
}

/// Numbers in their order, with 22 significant bits: below 2^27.
fn coarse(distance: u64) -> u32 {
    let shift = (u64::BITS - distance.leading_zeros()).saturating_sub(MANTISSA_BITS);
    (shift << (MANTISSA_BITS - 1)) + (distance >> shift) as u32
}

/// Whether an origin is one of what timers emitted.
pub(crate) fn is_timed(origin: Origin) -> bool {
    origin.source() == SOURCE
}

/// What the outside calls what timers emitted, before its places: the round, and where in it.
pub(crate) fn name(origin: Origin) -> (i64, u64) {
    (origin.time().as_nanos(), origin.timers())
}

/// What orders timers within a round.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueKey {
    pub(crate) place: u32,
    pub(crate) partition: u32,
    pub(crate) time: Time,
    /// The bytes of the key.
    pub(crate) key: Vec<u8>,
    /// Which computation of its chain set it.
    pub(crate) level: usize,
    pub(crate) name: String,
}

/// The origins of the timers of one port in a round.
#[derive(Default)]
pub(crate) struct Rounds {
    round: Option<Round>,
    /// The place and partition last fired, and how many timers there.
    last: Option<(u32, u32, u32)>,
}

impl Rounds {
    pub(crate) fn begin(&mut self, round: Round) {
        *self = Self { round: Some(round), last: None };
    }

    /// The origin of the timer that is fired next.
    pub(crate) fn next(&mut self, due: &DueKey) -> Option<Origin> {
        let count = match self.last {
            Some((place, partition, count)) if (place, partition) == (due.place, due.partition) => {
                count
            }
            _ => 0,
        };
        self.last = Some((due.place, due.partition, count + 1));
        Some(self.round?.origin(due.place, due.partition).child(count))
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
