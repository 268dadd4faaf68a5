//! [`Windows`] beside its model, with any windows, triggers, lateness and order.
//!
//! Invariant: after each step what was told is the same, and so are the windows that are kept.

use proptest::prelude::*;

use super::model::{Model, Plan};
use super::*;
use crate::window::{global, sliding};

/// What happens to one key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A record so much before the latest time.
    Record(i64),
    /// The latest time moves on.
    Forward(i64),
    /// The watermark is so much behind the latest time.
    Watermark(i64),
    /// The engine's time moves on.
    Now(i64),
    /// From a checkpoint.
    Restart,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (0_i64..12).prop_map(Step::Record),
        3 => (0_i64..90).prop_map(Step::Record),
        6 => (0_i64..12).prop_map(Step::Forward),
        1 => (0_i64..300).prop_map(Step::Forward),
        4 => (0_i64..25).prop_map(Step::Watermark),
        3 => (0_i64..20).prop_map(Step::Now),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

/// What is not to happen.
const NEVER: i64 = 1 << 60;

pub(super) fn too_late() -> impl Strategy<Value = TooLate> {
    prop_oneof![
        Just(TooLate::Drop),
        Just(TooLate::SideOutput),
        Just(TooLate::FirePerRecord),
        Just(TooLate::OldestOpen),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let period = || prop_oneof![Just(NEVER), 1_i64..15];
    (
        any::<bool>(),
        prop_oneof![Just(u64::MAX), 1_u64..5],
        period(),
        period(),
        any::<bool>(),
        prop_oneof![Just(0), 0_i64..40],
        too_late(),
        prop_oneof![Just(0), 0_u64..5],
    )
        .prop_map(|(on_time, records, engine, event, discards, allowed, too_late, empties)| {
            Plan { on_time, records, engine, event, discards, allowed, too_late, empties }
        })
}

fn compare<W, R, E>(assigner: W, plan: Plan, steps: &[Step], trigger: R, evictor: E)
where
    W: WindowAssigner + Clone,
    R: Trigger,
    E: Evictor<Vec<u32>>,
{
    let windows = Windows::new(assigner.clone(), List)
        .trigger(trigger)
        .evictor(evictor)
        .lateness(some_nanos(plan.allowed))
        .too_late(plan.too_late)
        .empty_windows(plan.empties);
    let mut key = Keyed::new(windows);
    let (open, out) = (BTreeMap::new(), Vec::new());
    let mut model = Model { assigner, plan, open, watermark: i64::MIN, now: 0, out };
    let mut latest = 1_000;
    for (number, step) in (0..).zip(steps) {
        match *step {
            Step::Record(behind) => {
                let outcome = key.record(latest - behind, number);
                assert_eq!(outcome, model.record(latest - behind, number));
            }
            Step::Forward(by) => latest += by,
            Step::Watermark(behind) => {
                let to = (latest - behind).max(model.watermark);
                key.watermark(nanos(to));
                model.watermark(to);
            }
            Step::Now(by) => {
                let to = model.now + by;
                key.now(nanos(to));
                model.now(to);
            }
            Step::Restart => key.restart(),
        }
        assert_eq!(key.out, model.out, "after step {number}, {step:?}");
        assert_eq!(key.store.rows.len(), model.open.len());
    }
    key.watermark(END);
    model.watermark(i64::MAX);
    assert_eq!(key.out, model.out);
    assert!(key.store.rows.is_empty() && key.store.timers.is_empty());
}

fn compare_all<W: WindowAssigner + Clone>(assigner: W, plan: Plan, steps: &[Step]) {
    let early = every_records(plan.records)
        .or(every(some_nanos(plan.engine), Clock::Engine))
        .or(every(some_nanos(plan.event), Clock::Event));
    match (plan.on_time, plan.discards) {
        (true, false) => compare(assigner, plan, steps, at_watermark().or(early), Accumulate),
        (true, true) => compare(assigner, plan, steps, at_watermark().or(early), Discard),
        (false, false) => compare(assigner, plan, steps, at_close().or(early), Accumulate),
        (false, true) => compare(assigner, plan, steps, at_close().or(early), Discard),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn panes_are_those_of_the_model(
        (size, slide) in prop_oneof![(1_i64..30).prop_map(|size| (size, size)), (1_i64..30, 1_i64..30)],
        plan in plan(),
        steps in steps(),
    ) {
        compare_all(sliding(some_nanos(size), some_nanos(slide)), plan, &steps);
    }

    #[test]
    fn panes_of_all_time_are_those_of_the_model(plan in plan(), steps in steps()) {
        compare_all(global(), plan, &steps);
    }
}
