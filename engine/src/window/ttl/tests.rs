//! Time to live beside a model that keeps every touch and has no timer.
//!
//! Invariant: timers are served late or not at all, at random; nobody may notice.

use proptest::prelude::*;

use super::*;

fn at(nanos: i64) -> Time {
    Time::from_nanos(nanos)
}

/// A timer that counts how often it was asked for.
#[derive(Default)]
struct Counted {
    pending: Option<Time>,
    asked: i64,
}

impl Timer for Counted {
    fn set(&mut self, at: Time) {
        self.pending = Some(at);
        self.asked += 1;
    }

    fn set_by(&mut self, at: Time) {
        if self.pending.is_none_or(|pending| at < pending) {
            self.set(at);
        }
    }

    fn cancel(&mut self) {
        self.pending = None;
    }
}

/// What is kept of a row, and what is done with it as an engine would.
#[derive(Default)]
struct Kept {
    value: Option<u32>,
    stamp: Option<Time>,
    timer: Counted,
}

#[derive(Clone, Copy, Debug)]
enum Do {
    Read,
    Write,
    Remove,
    /// Looks without touching.
    Peek,
    /// Serves the timer, if it is due.
    Wake,
    /// Writes the stamp out and reads it in again.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<(Do, i64, i64)>> {
    let what = prop_oneof![
        3 => Just(Do::Read),
        3 => Just(Do::Write),
        1 => Just(Do::Remove),
        2 => Just(Do::Peek),
        3 => Just(Do::Wake),
        1 => Just(Do::Restart),
    ];
    prop::collection::vec((what, 0_i64..8, -6_i64..6), 1..200)
}

proptest! {
    #[test]
    fn a_row_is_gone_exactly_when_its_time_is_over(
        steps in steps(),
        ttl in 1_u64..20,
        reads: bool,
        by_event: bool,
    ) {
        let (since, lives) = (if reads { Ttl::since_access } else { Ttl::since_write }, ttl);
        let (ttl, lives) = (since(Duration::from_nanos(lives)), i64::try_from(lives).unwrap());
        let mut kept = Kept::default();
        // The model: the value and every touch of it, and no timer at all.
        let mut value: Option<u32> = None;
        let mut touches: Vec<i64> = Vec::new();
        let (mut now, mut begun) = (0, 0);
        for (number, (what, on, off)) in (0_u32..).zip(steps) {
            now += on;
            let moment = if by_event {
                Moment::event(at(now), at(now + off))
            } else {
                Moment::engine(at(now))
            };
            let touch = if by_event { now + off.max(0) } else { now };
            let live = value.is_some_and(|_| {
                touches.iter().all(|first| now < first + lives)
                    || touches.iter().any(|last| now < last + lives)
            });
            match what {
                Do::Read => {
                    let there = ttl.read(&mut kept.stamp, moment, &mut kept.timer);
                    if !there {
                        kept.value = None;
                    }
                    prop_assert_eq!(there, live);
                    prop_assert_eq!(kept.value, value.filter(|_| live));
                    if live && reads {
                        touches.push(touch);
                    }
                }
                Do::Write => {
                    let there = ttl.write(&mut kept.stamp, moment, &mut kept.timer);
                    prop_assert_eq!(there, live);
                    begun += i64::from(!live);
                    kept.value = Some(number);
                    if !live {
                        touches.clear();
                    }
                    touches.push(touch);
                    value = Some(number);
                }
                Do::Remove => {
                    ttl.remove(&mut kept.stamp, &mut kept.timer);
                    (kept.value, value) = (None, None);
                    touches.clear();
                }
                Do::Peek => {
                    prop_assert_eq!(ttl.is_live(kept.stamp, at(now)), live);
                }
                Do::Wake => {
                    if kept.timer.pending.is_some_and(|due| due <= at(now)) {
                        kept.timer.pending = None;
                        if !ttl.wake(&mut kept.stamp, at(now), &mut kept.timer) {
                            kept.value = None;
                        }
                        prop_assert_eq!(kept.value, value.filter(|_| live));
                    }
                }
                Do::Restart => {
                    let bytes = rmp_serde::to_vec_named(&kept.stamp).unwrap();
                    kept.stamp = rmp_serde::from_slice(&bytes).unwrap();
                }
            }
            if !live && !matches!(what, Do::Write) {
                value = None;
                touches.clear();
            }
            // Rows and timers are there together; a timer is never later than it has to be.
            prop_assert_eq!(kept.timer.pending.is_some(), kept.stamp.is_some());
            prop_assert_eq!(kept.stamp.is_some(), kept.value.is_some());
            if let (Some(due), Some(stamp)) = (kept.timer.pending, kept.stamp) {
                prop_assert!(due <= ttl.gone_at(stamp));
            }
            // One when a row begins, and then at most two per time to live.
            prop_assert!(kept.timer.asked <= begun + 2 * (now / lives));
        }
        // Touched no more, the row goes with its timer, which moves on at most once.
        for _ in 0..2 {
            if let Some(due) = kept.timer.pending.take() {
                ttl.wake(&mut kept.stamp, due, &mut kept.timer);
            }
        }
        prop_assert_eq!((kept.stamp, kept.timer.pending), (None, None));
    }
}

#[test]
fn a_row_is_there_until_the_last_nanosecond_of_its_time() {
    let (ttl, mut stamp, mut timer) =
        (Ttl::since_write(Duration::from_nanos(10)), None, None::<Time>);
    assert!(!ttl.write(&mut stamp, Moment::engine(at(5)), &mut timer));
    assert_eq!((stamp, timer), (Some(at(5)), Some(at(15))));
    assert!(ttl.read(&mut stamp, Moment::engine(at(14)), &mut timer));
    assert_eq!((stamp, timer), (Some(at(5)), Some(at(15))), "reading touches nothing");
    assert!(ttl.is_live(stamp, at(14)) && !ttl.is_live(stamp, at(15)));
    assert!(!ttl.read(&mut stamp, Moment::engine(at(15)), &mut timer), "nor can it bring it back");
    assert_eq!((stamp, timer), (None, None));
}

#[test]
fn before_any_watermark_a_row_lives_from_its_record_on() {
    let (ttl, mut stamp, mut timer) =
        (Ttl::since_access(Duration::from_nanos(10)), None, None::<Time>);
    let none = at(i64::MIN);
    assert!(!ttl.write(&mut stamp, Moment::event(none, at(100)), &mut timer));
    assert!(ttl.read(&mut stamp, Moment::event(at(105), at(90)), &mut timer));
    assert_eq!((stamp, timer), (Some(at(105)), Some(at(110))));
    timer = None;
    assert!(ttl.wake(&mut stamp, at(112), &mut timer));
    assert_eq!(timer, Some(at(115)));
    assert!(!ttl.wake(&mut stamp, at(115), &mut timer));
}

#[test]
fn no_time_at_all_is_refused_and_too_much_never_ends() {
    let error = Ttl::since_write(Duration::ZERO).check().unwrap_err().to_string();
    assert!(error.contains("time to live of nothing"), "{error}");
    let ttl = Ttl::since_write(Duration::MAX);
    ttl.check().unwrap();
    assert!(ttl.is_live(Some(at(1)), at(i64::MAX - 1)) && !ttl.is_live(Some(at(1)), at(i64::MAX)));
}
