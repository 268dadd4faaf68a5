//! What fails, and what comes late: SA-19 and SA-20.

use super::*;
use crate::aggregate::{count, sum};

type Method = Box<dyn FnMut(&mut Attempt, &[(Time, &u64)]) -> Result<usize, String>>;

/// Counts; fails at the frame of 12:00:15 as long as `failing` says.
fn failing_at_15(failing: &Rc<Cell<bool>>) -> Method {
    let failing = Rc::clone(failing);
    Box::new(move |attempt, records| {
        let fails = attempt.window.start == at("12:00:15") && failing.get();
        if fails { Err(format!("attempt {}", attempt.number)) } else { Ok(records.len()) }
    })
}

fn run(options: Frames, failing: &Rc<Cell<bool>>) -> World<Items<Method>> {
    let mut world = World::new(options.calculate(failing_at_15(failing)));
    for time in ["12:00:07", "12:00:16", "12:00:31", "12:01:00"] {
        world.record(at(time), 1);
    }
    world.reach(at("12:01:00"));
    // The others go on.
    assert_eq!(world.made(), ["12:00:00", "12:00:30"]);
    assert_eq!(world.task.cutoff(&world.kept, world.watermark), Some(at("12:00:15")));
    world
}

#[test]
fn sa_19_a_failed_frame_is_tried_again_and_is_then_a_dead_letter() {
    let failing = Rc::new(Cell::new(true));
    let mut world = run(quarters().retries(2, seconds(10)), &failing);
    assert_eq!(world.frame("12:00:15").state, FrameState::Open);
    world.wait(seconds(10));
    world.restart();
    world.wait(seconds(19));
    assert_eq!((world.frame("12:00:15").attempts, world.out.len()), (2, 0));
    world.wait(seconds(1));
    let frame = world.frame("12:00:15").clone();
    assert_eq!((frame.state, frame.attempts), (FrameState::Failed, 3));
    assert_eq!((frame.error.as_deref(), frame.result), (Some("attempt 3"), None));
    assert_eq!(world.out, [FrameEvent::Failed(frame)]);
    assert_eq!((world.kept.head.completed, world.kept.head.failed), (2, 1));
    // It holds nothing back any more, and nothing is left to be done.
    assert_eq!(world.task.cutoff(&world.kept, world.watermark), Some(at("12:00:45")));
    assert_eq!(world.kept.entries.len(), 1);
    assert_eq!(world.kept.timers.keys().collect::<Vec<_>>(), [&FrameTimer::Due]);
    // Tried again on request, it says that its records are gone.
    failing.set(false);
    let now = world.now;
    assert!(world.turn(|task, kept, _| task.retry(kept, at("12:00:15"), now)));
    world.fire();
    let frame = world.frame("12:00:15");
    assert!(frame.calculated() && frame.missing_data);
    assert!(!world.turn(|task, kept, _| task.retry(kept, at("12:00:15"), now)));
}

#[test]
fn sa_19_a_frame_that_succeeds_later_is_as_if_it_had_never_failed() {
    let failing = Rc::new(Cell::new(true));
    let mut world = run(quarters().retries(2, seconds(10)), &failing);
    world.wait(seconds(10));
    failing.set(false);
    world.wait(seconds(20));
    assert_eq!(world.made(), ["12:00:15"]);
    let frame = world.frame("12:00:15");
    assert_eq!((frame.result, frame.attempts, frame.error.clone()), (Some(1), 3, None));
    assert!(world.kept.rework.is_empty() && world.kept.head.failed == 0);
}

#[test]
fn sa_19_the_records_of_failed_frames_can_be_held() {
    let failing = Rc::new(Cell::new(true));
    let mut world = run(quarters().retries(0, seconds(10)).hold_failed(), &failing);
    assert_eq!(world.frame("12:00:15").state, FrameState::Failed);
    assert_eq!(world.task.cutoff(&world.kept, world.watermark), Some(at("12:00:15")));
    failing.set(false);
    let now = world.now;
    assert!(world.turn(|task, kept, _| task.retry(kept, at("12:00:15"), now)));
    world.fire();
    let frame = world.frame("12:00:15");
    assert_eq!((frame.result, frame.missing_data, frame.revision), (Some(1), false, 1));
    assert_eq!(world.task.cutoff(&world.kept, world.watermark), Some(at("12:00:45")));
}

#[test]
fn sa_19_waits_double_up_to_an_hour() {
    let options = frames(seconds(1)).retries(40, seconds(1_000));
    let waits: Vec<_> = (1..6).map(|attempts| options.backoff(attempts)).collect();
    assert_eq!(waits, [1_000, 2_000, 3_600, 3_600, 3_600].map(|time| Some(seconds(time))));
    assert_eq!((options.backoff(40), options.backoff(41)), (Some(seconds(3_600)), None));
}

#[test]
fn sa_20_a_late_record_is_handed_out() {
    let mut world = World::new(quarters().aggregate(count()));
    world.record(at("12:00:07"), 1);
    world.reach(at("12:00:16"));
    world.record(at("12:00:05"), 7);
    world.fire();
    let late = FrameEvent::Late { time: at("12:00:05"), value: 7 };
    assert_eq!((world.out.last(), world.out.len()), (Some(&late), 2));
    assert_eq!((world.kept.head.late, world.frame("12:00:00").revision), (1, 0));
    // One before the first frame too.
    world.record(at("11:00:00"), 8);
    assert_eq!(world.out.last(), Some(&FrameEvent::Late { time: at("11:00:00"), value: 8 }));
}

#[test]
fn sa_20_within_the_lateness_the_frame_is_calculated_again() {
    let mut world = World::new(quarters().lateness(seconds(30)).aggregate(sum(|n: &u64| *n)));
    world.record(at("12:00:07"), 1);
    world.reach(at("12:00:16"));
    assert_eq!(world.made(), ["12:00:00"]);
    world.reach(at("12:00:45"));
    // Of two that come together there is one correction.
    world.record(at("12:00:05"), 7);
    world.record(at("12:00:00"), 3);
    assert_eq!(world.frame("12:00:00").state, FrameState::Open);
    world.restart();
    world.fire();
    let frame = world.frame("12:00:00").clone();
    assert_eq!((frame.result, frame.revision, frame.attempts), (Some(11), 1, 1));
    assert_eq!(world.out, [FrameEvent::Calculated(frame)]);
    assert_eq!(world.kept.head.completed, 1);
    world.reach(at("12:00:45.000000001"));
    world.record(at("12:00:05"), 7);
    assert_eq!(world.out.last(), Some(&FrameEvent::Late { time: at("12:00:05"), value: 7 }));
}

#[test]
fn sa_20_a_record_behind_the_watermark_is_not_late_for_a_frame_that_is_to_come() {
    let mut world = World::new(quarters().aggregate(count()));
    world.record(at("12:00:07"), 1);
    world.reach(at("12:30:00"));
    world.record(at("12:00:20"), 1);
    world.fire();
    assert_eq!(world.made(), ["12:00:00", "12:00:15"]);
    assert_eq!(world.frame("12:00:15").result, Some(1));
}
