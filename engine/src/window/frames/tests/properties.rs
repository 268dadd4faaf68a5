//! Frames beside the model: disorder, gaps, failures, late records, history, holes, restarts.
//!
//! Invariant: values count upwards, so that a record is known by its value, and the order by theirs.

use proptest::prelude::*;

use super::model::{Fails, Model, Settings, Told};
use super::*;
use crate::aggregate::Aggregate;
use crate::window::Window;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// So much after the watermark.
    Record(i64),
    Watermark(i64),
    Wait(i64),
    Fire,
    Restart,
    Remove(usize),
    Retry(usize),
    Backfill,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (-60_i64..40).prop_map(Step::Record),
        2 => (0_i64..400).prop_map(Step::Record),
        6 => (0_i64..30).prop_map(Step::Watermark),
        1 => (0_i64..300).prop_map(Step::Watermark),
        3 => (0_i64..20).prop_map(Step::Wait),
        2 => Just(Step::Fire),
        1 => Just(Step::Restart),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => any::<usize>().prop_map(Step::Retry),
        1 => Just(Step::Backfill),
    ];
    prop::collection::vec(step, 1..80)
}

/// Whether calculations fail: never, now and then, or mostly.
fn fails() -> impl Strategy<Value = Fails> {
    fn of_four(start: i64, revision: u32, attempt: u32) -> u64 {
        let seed = start.cast_unsigned() ^ u64::from(revision) << 40 ^ u64::from(attempt) << 50;
        (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) & 3
    }
    let never: Fails = |_, _, _| false;
    let sometimes: Fails = |start, revision, attempt| of_four(start, revision, attempt) == 0;
    let mostly: Fails = |start, revision, attempt| of_four(start, revision, attempt) != 0;
    prop_oneof![2 => Just(never), 2 => Just(sometimes), 1 => Just(mostly)]
}

pub(super) fn settings() -> impl Strategy<Value = Settings> {
    let shape = (1_i64..40, 1_i64..30, prop::option::of(-50_i64..50), any::<bool>());
    let again = (prop_oneof![Just(0_i64), 1_i64..80], 0_u32..4, 1_i64..10, any::<bool>());
    let backfill = prop::option::of((0_i64..200, 0_i64..20));
    (shape, again, backfill, fails()).prop_map(|(shape, again, backfill, fails)| {
        let (duration, floor, anchor, ticking) = shape;
        let (lateness, retries, backoff, hold) = again;
        Settings {
            duration,
            floor,
            anchor,
            ticking,
            lateness,
            retries,
            backoff,
            hold,
            backfill,
            fails,
        }
    })
}

pub(super) fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(nanos.unsigned_abs())
}

pub(super) fn options(settings: &Settings, batch: usize) -> Frames {
    let mut options = frames(nanos(settings.duration))
        .floored_to(nanos(settings.floor))
        .batch(batch)
        .lateness(nanos(settings.lateness))
        .retries(settings.retries, nanos(settings.backoff));
    if let Some(anchor) = settings.anchor {
        options = options.anchored(Time::from_nanos(anchor));
    }
    if settings.ticking {
        options = options.ticking();
    }
    if settings.hold {
        options = options.hold_failed();
    }
    if let Some((reach, quiet)) = settings.backfill {
        options = options.backfill(nanos(reach), nanos(quiet));
    }
    options
}

/// Gives the values as they come, and sees that they come in order and belong there.
pub(super) fn values(
    fails: Fails,
) -> impl FnMut(&mut Attempt, &[(Time, &u64)]) -> Result<Vec<u64>, String> + 'static {
    move |attempt, records| {
        assert!(records.iter().is_sorted());
        assert!(records.iter().all(|(time, _)| attempt.window.contains(*time)));
        if fails(attempt.window.start.as_nanos(), attempt.revision, attempt.number) {
            return Err("as it was told".into());
        }
        Ok(records.iter().map(|(_, value)| **value).collect())
    }
}

/// All values.
struct Gather;

impl Aggregate<u64> for Gather {
    type State = Vec<u64>;
    type Output = Vec<u64>;
    const EXACT: bool = false;

    fn initial(&self) -> Vec<u64> {
        Vec::new()
    }
    fn update(&self, state: &mut Vec<u64>, value: &u64) {
        state.push(*value);
    }
    fn combine(&self, state: &mut Vec<u64>, later: &Vec<u64>) {
        state.extend(later);
    }
    fn output(&self, state: &Vec<u64>) -> Vec<u64> {
        state.clone()
    }
}

/// What was told since the last time, in an order in which it can be compared.
pub(super) fn told<R>(events: &mut Vec<FrameEvent<u64, R>>) -> Vec<Told> {
    let mut told: Vec<_> = std::mem::take(events)
        .into_iter()
        .map(|event| match event {
            FrameEvent::Calculated(frame) | FrameEvent::Failed(frame) => Told::Made {
                start: frame.start.as_nanos(),
                revision: frame.revision,
                failed: frame.state == FrameState::Failed,
            },
            FrameEvent::Late { time, value } => Told::Late { time: time.as_nanos(), value },
        })
        .collect();
    told.sort();
    told
}

pub(super) fn sorted(mut told: Vec<Told>) -> Vec<Told> {
    told.sort();
    told
}

/// Whether the frames are those of the model.
pub(super) fn compare(
    frames: &BTreeMap<Time, Frame<Vec<u64>>>,
    model: &Model,
) -> Result<(), TestCaseError> {
    let expected = model.expected();
    prop_assert_eq!(frames.len(), expected.len());
    for ((start, frame), expected) in frames.iter().zip(expected) {
        prop_assert_eq!(*start, frame.start);
        prop_assert_eq!(
            frame.window(),
            Window::new(Time::from_nanos(expected.start), Time::from_nanos(expected.end),)
        );
        let state = (frame.state, frame.attempts, frame.revision);
        prop_assert_eq!(state, (expected.state, expected.attempts, expected.revision));
        let result = frame.result.clone().map(|mut values| {
            values.sort_unstable();
            values
        });
        if frame.missing_data {
            prop_assert!(expected.may_miss);
        } else {
            prop_assert_eq!(result, expected.result);
        }
    }
    Ok(())
}

/// Takes the steps in both worlds.
fn run<M>(task: Task<u64, M>, settings: &Settings, steps: Vec<Step>) -> Result<(), TestCaseError>
where
    M: FrameMethod<u64, Output = Vec<u64>>,
{
    let mut world = World::new(task);
    let mut model = Model::new(settings.clone());
    let mut at = 0;
    for (value, step) in (0_u64..).zip(steps) {
        match step {
            Step::Record(after) => {
                world.record(Time::from_nanos(at + after), value);
                model.record(at + after, value);
            }
            Step::Watermark(by) => {
                at += by;
                model.watermark = at;
                world.reach(Time::from_nanos(at));
                model.fire();
            }
            Step::Wait(by) => {
                model.now += by;
                world.wait(nanos(by));
                model.fire();
            }
            Step::Fire => {
                world.fire();
                model.fire();
            }
            Step::Restart => world.restart(),
            Step::Remove(index) => {
                if let Some(start) = model.some(index) {
                    let (now, at) = (world.now, Time::from_nanos(start));
                    prop_assert!(world.turn(|task, kept, _| task.remove(kept, at, now)).is_some());
                    model.remove(start);
                }
            }
            Step::Retry(index) => {
                if let Some(start) = model.some(index) {
                    let (now, at) = (world.now, Time::from_nanos(start));
                    let failed = world.turn(|task, kept, _| task.retry(kept, at, now));
                    prop_assert_eq!(failed, model.retry(start));
                }
            }
            Step::Backfill => {
                world.turn(|task, kept, turn| task.backfill(kept, turn));
                world.fire();
                model.fire();
                model.backfill();
            }
        }
        prop_assert_eq!(told(&mut world.out), sorted(std::mem::take(&mut model.told)));
        compare(&world.kept.frames, &model)?;
        let head = &world.kept.head;
        let completed = model.expected().iter().filter(|frame| frame.result.is_some()).count();
        prop_assert_eq!(head.completed, completed as u64);
    }

    // The end of the input, and of all waiting.
    model.watermark = i64::MAX;
    world.reach(Window::ALL.end);
    model.fire();
    while let Some(next) = model.next_time() {
        let by = next - model.now;
        model.now = next.max(model.now);
        world.wait(nanos(by.max(0)));
        model.fire();
    }
    compare(&world.kept.frames, &model)?;
    world.turn(|task, kept, turn| task.advance(kept, turn));
    let failed = model.expected().iter().any(|frame| frame.state == FrameState::Failed);
    if !(settings.hold && failed) {
        prop_assert!(world.kept.entries.is_empty() && world.kept.rework.is_empty());
    }
    prop_assert!(world.kept.timers.is_empty(), "{:?}", world.kept.timers);
    prop_assert!(model.expected().iter().all(|frame| frame.state != FrameState::Open));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn frames_of_records_are_those_of_the_model(
        settings in settings(), steps in steps(), batch in 1_usize..6,
    ) {
        let task = options(&settings, batch).calculate(values(settings.fails));
        run(task, &settings, steps)?;
    }

    #[test]
    fn frames_of_aggregates_are_those_of_the_model(
        settings in settings(), steps in steps(), batch in 1_usize..6,
    ) {
        let settings = Settings { fails: |_, _, _| false, ..settings };
        let task = options(&settings, batch).aggregate(Gather);
        run(task, &settings, steps)?;
    }

    #[test]
    fn new_frames_are_made_in_order_and_not_too_many_at_one_go(
        settings in settings(), steps in steps(), batch in 1_usize..6,
    ) {
        let mut world = World::new(options(&settings, batch).calculate(values(settings.fails)));
        let (mut at, mut made) = (0, Vec::new());
        for (value, step) in (0_u64..).zip(steps) {
            match step {
                Step::Record(after) => world.record(Time::from_nanos(at + after.max(0)), value),
                Step::Watermark(by) => {
                    at += by;
                    world.reach(Time::from_nanos(at));
                }
                _ => {}
            }
            for event in world.out.drain(..) {
                if let FrameEvent::Calculated(frame) | FrameEvent::Failed(frame) = event
                    && frame.revision == 0
                    && frame.attempts == 1
                {
                    made.push(frame.start);
                }
            }
        }
        prop_assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
        prop_assert!(world.goes.iter().all(|events| *events <= batch));
    }
}
