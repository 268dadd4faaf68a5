//! What is kept, and for how long: SA-11 to SA-15.

use super::*;
use crate::aggregate::count;

/// Counts; fails at frames that start at or after a time.
fn failing_from(
    time: &'static str,
) -> impl FnMut(&mut Attempt, &[(Time, &u64)]) -> Result<usize, String> + 'static {
    move |attempt, records| {
        if attempt.window.start >= at(time) { Err("not yet".into()) } else { Ok(records.len()) }
    }
}

/// Frames at :00, :15, :30 and :45, of which those from some time on are open.
fn four_frames(
    open_from: &'static str,
) -> World<impl FrameMethod<u64, Entry = u64, Output = usize>> {
    let mut world = World::new(quarters().calculate(failing_from(open_from)));
    for time in ["12:00:07", "12:00:15", "12:00:30", "12:00:45", "12:01:00.000001"] {
        world.record(at(time), 1);
    }
    world.reach(at("12:01:00.000001"));
    assert_eq!(world.kept.frames.len(), 4);
    world
}

#[test]
fn sa_11_the_cutoff_is_where_the_first_open_frame_starts() {
    let world = four_frames("12:00:30");
    assert!(world.frame("12:00:15").calculated() && !world.frame("12:00:30").calculated());
    assert_eq!(world.task.cutoff(&world.kept, world.watermark), Some(at("12:00:30")));
}

#[test]
fn sa_12_if_all_are_calculated_it_is_the_end_of_the_last() {
    let world = four_frames("13:00:00");
    assert_eq!(world.task.cutoff(&world.kept, world.watermark), Some(at("12:01:00")));
}

#[test]
fn sa_12_what_may_still_be_corrected_is_kept() {
    let mut world = World::new(quarters().lateness(seconds(30)).aggregate(count()));
    world.record(at("12:00:07"), 1);
    world.record(at("12:01:00"), 1);
    // The frame that ends exactly the lateness ago may.
    for (watermark, cutoff) in [("12:01:00", "12:00:15"), ("12:01:00.000001", "12:00:30")] {
        world.reach(at(watermark));
        assert_eq!(world.task.cutoff(&world.kept, world.watermark), Some(at(cutoff)));
    }
}

#[test]
fn sa_13_without_frames_nothing_is_deleted() {
    let mut world = World::new(quarters().calculate(failing_from("13:00:00")));
    assert_eq!(world.task.cutoff(&world.kept, at("13:00:00")), None);
    world.record(at("12:00:07"), 1);
    world.reach(at("12:00:15"));
    world.turn(|task, kept, turn| task.advance(kept, turn));
    assert_eq!(world.task.cutoff(&world.kept, world.watermark), None);
    assert_eq!(world.kept.entries.len(), 1);
}

#[test]
fn sa_14_the_cutoff_of_several_is_their_least_and_none_if_one_has_none() {
    let (a, b, limit) = (at("12:00:30"), at("12:00:10"), at("12:05:00"));
    assert_eq!(least_cutoff(limit, [Some(a), Some(b)]), Some(b));
    assert_eq!(least_cutoff(limit, [Some(a), None, Some(b)]), None);
    assert_eq!(least_cutoff(limit, []), Some(limit));
    assert_eq!(least_cutoff(b, [Some(a)]), Some(b));
}

#[test]
fn sa_15_a_record_at_the_start_of_an_open_frame_is_not_deleted() {
    let world = four_frames("12:00:30");
    let times: Vec<_> = world.kept.entries.keys().map(|place| clock_of(place.time)).collect();
    assert_eq!(times, ["12:00:30", "12:00:45", "12:01:00.000001"]);
}
