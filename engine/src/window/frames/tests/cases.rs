//! Which frames are made, and when: SA-01 to SA-10, SA-16 to SA-18, SA-21 to SA-23.
//!
//! Invariant: as in the original the newest record says how far time has come: the watermark is its time.

use super::*;
use crate::aggregate::count;
use crate::window::Window;

/// The frames that records at those times give, in frames of `duration`.
fn made_of(duration: u64, times: &[&str]) -> Vec<String> {
    let mut world = World::new(frames(seconds(duration)).aggregate(count()));
    for time in times {
        world.record(at(time), 1);
    }
    world.reach(times.iter().map(|time| at(time)).max().unwrap_or(Window::ALL.end));
    world.made()
}

#[test]
fn sa_01_a_frame_that_ends_at_the_newest_record_is_not_made() {
    let made = made_of(15, &["12:00:07", "12:01:00"]);
    assert_eq!(made, ["12:00:00", "12:00:15", "12:00:30"]);
}

#[test]
fn sa_02_a_frame_is_made_when_a_record_is_after_its_end() {
    let made = made_of(15, &["12:00:07", "12:01:00.000001"]);
    assert_eq!(made, ["12:00:00", "12:00:15", "12:00:30", "12:00:45"]);
}

#[test]
fn sa_03_no_frame_is_made_before_one_is_over() {
    assert!(made_of(15, &["12:00:07", "12:00:10"]).is_empty());
}

#[test]
fn sa_04_a_gap_is_made_of_empty_frames() {
    let mut world = World::new(quarters().aggregate(count()));
    world.record(at("12:00:01"), 1);
    world.record(at("12:00:44"), 1);
    world.reach(at("12:00:45.000001"));
    assert_eq!(world.made(), ["12:00:00", "12:00:15", "12:00:30"]);
    // Time goes on, by other keys: this one has nothing new, and costs nothing.
    world.reach(at("12:01:59"));
    assert!(world.made().is_empty() && world.kept.timers.is_empty());

    world.record(at("12:02:00.000001"), 1);
    world.reach(at("12:02:00.000001"));
    assert_eq!(world.made(), ["12:00:45", "12:01:00", "12:01:15", "12:01:30", "12:01:45"]);
    assert_eq!(world.frame("12:01:15").result, Some(0));
}

#[test]
fn sa_04_frames_can_follow_time_instead() {
    let mut world = World::new(quarters().ticking().aggregate(count()));
    world.record(at("12:00:01"), 1);
    world.reach(at("12:00:45.000001"));
    assert_eq!(world.made(), ["12:00:00", "12:00:15", "12:00:30"]);
    // But not beyond the end of the input.
    world.reach(Window::ALL.end);
    assert!(world.made().is_empty());
}

#[test]
fn sa_05_the_first_frame_starts_at_the_minute() {
    let made = made_of(15, &["12:00:55", "12:01:30"]);
    assert_eq!(made, ["12:00:00", "12:00:15", "12:00:30", "12:00:45", "12:01:00"]);
}

#[test]
fn sa_06_the_first_frame_starts_at_the_minute_also_if_frames_are_longer() {
    assert_eq!(made_of(3_600, &["12:47:07", "15:00:00"]), ["12:47:00", "13:47:00"]);
}

#[test]
fn sa_06_frames_can_be_floored_to_another_unit_or_anchored() {
    let hours = frames(seconds(3_600));
    for options in [hours.clone().floored_to(seconds(3_600)), hours.anchored(at("00:00:00"))] {
        let mut world = World::new(options.aggregate(count()));
        world.record(at("12:47:07"), 1);
        world.record(at("15:00:00"), 1);
        world.reach(at("15:00:00"));
        assert_eq!(world.made(), ["12:00:00", "13:00:00"]);
    }
}

#[test]
fn sa_07_an_empty_stream_has_no_frames() {
    assert!(made_of(15, &[]).is_empty());
    let mut world = World::new(quarters().ticking().aggregate(count()));
    world.turn(|task, kept, turn| task.advance(kept, turn));
    assert_eq!(world.kept, Kept::new());
}

/// With frames from 12:01:00 on, and a record before them.
fn with_history(time: &str) -> World<Aggregated<crate::aggregate::Count>> {
    let options = quarters().backfill(seconds(3_600), seconds(10));
    let mut world = World::new(options.aggregate(count()));
    world.record(at("12:01:03"), 1);
    world.reach(at("12:01:40"));
    assert_eq!(world.made(), ["12:01:00"]);
    world.record(at(time), 1);
    world
}

#[test]
fn sa_08_history_is_made_newest_first() {
    let mut world = with_history("12:00:07");
    world.turn(|task, kept, turn| task.backfill(kept, turn));
    assert_eq!(world.made(), ["12:00:45", "12:00:30", "12:00:15", "12:00:00"]);
    assert_eq!(world.frame("12:00:00").result, Some(1));

    // By itself, when no more of it has come for a while.
    let mut world = with_history("12:00:07");
    world.wait(seconds(9));
    world.record(at("12:00:08"), 1);
    world.wait(seconds(9));
    assert!(world.made().is_empty());
    world.wait(seconds(1));
    assert_eq!(world.made(), ["12:00:45", "12:00:30", "12:00:15", "12:00:00"]);
    assert_eq!(world.frame("12:00:00").result, Some(2));
}

#[test]
fn sa_09_history_ends_with_the_frame_of_the_earliest_record() {
    for (time, expected) in [("12:00:59", vec!["12:00:45"]), ("12:01:00", vec![])] {
        let mut world = with_history(time);
        world.out.clear();
        world.turn(|task, kept, turn| task.backfill(kept, turn));
        assert_eq!(world.made(), expected);
    }
}

#[test]
fn sa_10_without_frames_there_is_no_history() {
    let options = quarters().backfill(seconds(3_600), seconds(10));
    let mut world = World::new(options.aggregate(count()));
    world.turn(|task, kept, turn| task.backfill(kept, turn));
    assert_eq!(world.kept, Kept::new());
    world.record(at("12:00:07"), 1);
    world.turn(|task, kept, turn| task.backfill(kept, turn));
    assert!(world.made().is_empty() && world.kept.frames.is_empty());
}

#[test]
fn sa_16_a_range_has_the_frames_that_overlap_it() {
    let mut world = World::new(quarters().aggregate(count()));
    world.record(at("10:00:00"), 1);
    world.record(at("10:02:00"), 1);
    world.reach(at("10:02:00"));
    let found = |start, end| {
        let window = Window::new(at(start), at(end));
        let all = query::overlapping(&world.kept.frames, window);
        all.map(|frame| clock_of(frame.start)).collect::<Vec<_>>()
    };
    assert_eq!(found("10:00:10", "10:00:40"), ["10:00:00", "10:00:15", "10:00:30"]);
    // A frame that ends where the range starts, or starts where it ends, is not in it.
    assert_eq!(found("10:00:15", "10:00:30"), ["10:00:15"]);
    assert!(found("10:00:15", "10:00:15").is_empty() && found("10:00:20", "10:00:10").is_empty());
    let latest = query::latest(&world.kept.frames).unwrap();
    assert_eq!(
        (clock_of(latest.start), clock_of(latest.end)),
        ("10:01:30".into(), "10:01:45".into())
    );
    assert_eq!(query::earliest(&world.kept.frames).unwrap().start, at("10:00:00"));
}

#[test]
fn sa_17_frames_know_how_long_they_took() {
    let stopwatch: Rc<Cell<Duration>> = Rc::default();
    let takes = |time: u64| {
        let stopwatch = Rc::clone(&stopwatch);
        move || stopwatch.set(stopwatch.get() + seconds(time))
    };
    let (calculation, cleanup) = (takes(2), takes(1));
    let count = move |_: &mut Attempt, records: &[(Time, &u64)]| {
        calculation();
        Ok::<_, String>(records.len())
    };
    let mut world = World::new(quarters().calculate(count).clean_up(move |_| cleanup()));
    world.stopwatch = Rc::clone(&stopwatch);
    world.record(at("12:00:01"), 1);
    world.record(at("12:00:31"), 1);
    world.reach(at("12:00:31"));
    assert_eq!(world.made(), ["12:00:00", "12:00:15"]);
    let frame = world.frame("12:00:00");
    assert_eq!((frame.analysis_time, frame.cleanup_time), (seconds(2), seconds(1)));
    assert!(frame.calculated() && frame.result == Some(1));
    let performance = query::performance(&world.kept.frames, Window::ALL);
    let mean = |time| query::Performance {
        calculated: 2,
        analysis_time: seconds(time),
        cleanup_time: seconds(1),
    };
    assert_eq!((performance, world.kept.head.completed), (mean(2), 2));
    let none = query::performance(&world.kept.frames, Window::new(at("13:00:00"), at("14:00:00")));
    assert_eq!(none, query::Performance::default());
}

#[test]
fn sa_18_frames_count_the_records_from_their_starts_and_before_their_ends() {
    let mut world = World::new(quarters().aggregate(count()));
    for time in ["12:00:01", "12:00:07", "12:00:16", "12:00:29", "12:00:31", "12:00:45"] {
        world.record(at(time), 1);
        world.reach(at(time));
    }
    assert_eq!(world.made(), ["12:00:00", "12:00:15"]);
    assert_eq!(world.frame("12:00:00").result, Some(2));
    assert_eq!(world.frame("12:00:15").result, Some(2));
    world.record(at("12:00:46"), 1);
    world.reach(at("12:00:46"));
    assert_eq!(world.made(), ["12:00:30"]);
    assert_eq!(world.frame("12:00:30").result, Some(1));
}

#[test]
fn sa_21_a_frame_is_made_once_however_often_it_is_asked_for() {
    let mut world = World::new(quarters().aggregate(count()));
    world.record(at("12:00:07"), 1);
    world.record(at("12:01:00"), 1);
    world.watermark = at("12:01:00");
    for _ in 0..2 {
        world.turn(|task, kept, turn| task.advance(kept, turn));
        world.turn(|task, kept, turn| task.on_timer(kept, FrameTimer::Due, turn));
        world.turn(|task, kept, turn| {
            task.on_timer(kept, FrameTimer::Rework(at("12:00:15")), turn);
        });
    }
    assert_eq!(world.made(), ["12:00:00", "12:00:15", "12:00:30"]);
}

#[test]
fn sa_22_a_hole_is_filled() {
    let mut world = World::new(quarters().lateness(seconds(60)).aggregate(count()));
    for time in ["12:00:07", "12:00:16", "12:00:17", "12:01:00"] {
        world.record(at(time), 1);
    }
    world.reach(at("12:01:00"));
    assert_eq!(world.made().len(), 3);
    let now = world.now;
    let removed = world.turn(|task, kept, _| task.remove(kept, at("12:00:15"), now));
    assert_eq!((removed.unwrap().result, world.kept.head.completed), (Some(2), 2));
    world.restart();
    // What comes for it meanwhile is in it.
    world.record(at("12:00:18"), 1);
    world.fire();
    assert_eq!(world.made(), ["12:00:15"]);
    let frame = world.frame("12:00:15");
    assert_eq!((frame.result, frame.missing_data), (Some(3), false));
    assert_eq!(world.kept.head.completed, 3);
}

#[test]
fn sa_22_a_hole_whose_records_are_gone_is_filled_and_says_so() {
    let mut world = World::new(quarters().aggregate(count()));
    world.record(at("12:00:07"), 1);
    world.record(at("12:01:00"), 1);
    world.reach(at("12:01:00"));
    let now = world.now;
    world.turn(|task, kept, _| task.remove(kept, at("12:00:00"), now));
    world.fire();
    let frame = world.frame("12:00:00");
    assert_eq!((frame.result, frame.missing_data), (Some(0), true));
}

#[test]
fn sa_23_frames_are_calculated_in_order() {
    let mut world = World::new(quarters().batch(2).lateness(seconds(600)).aggregate(count()));
    for time in ["12:00:31", "12:00:16", "12:00:01", "12:03:00"] {
        world.record(at(time), 1);
    }
    world.reach(at("12:03:00"));
    let made = world.made();
    assert!(made.len() == 11 && made.is_sorted(), "{made:?}");
    assert!(world.goes.iter().all(|events| *events <= 2));
    // Corrections too, if they are due at once.
    world.record(at("12:00:17"), 1);
    world.record(at("12:00:02"), 1);
    world.fire();
    assert_eq!(world.made(), ["12:00:00", "12:00:15"]);
}
