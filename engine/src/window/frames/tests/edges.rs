//! Ends of time, options that changed, what is forgotten, what must not be written.
//!
//! Invariant: none of these is a case of the original.

use super::*;
use crate::aggregate::{count, sum};
use crate::window::Window;

#[test]
fn the_ends_of_time_have_frames() {
    for time in [i64::MIN, i64::MIN + 1, -1, i64::MAX - 1, i64::MAX] {
        for options in [quarters(), quarters().anchored(at("12:00:01"))] {
            let mut world = World::new(options.aggregate(count()));
            world.record(Time::from_nanos(time), 1);
            world.reach(Window::ALL.end);
            let time = Time::from_nanos(time);
            let its = query::overlapping(&world.kept.frames, Window::ALL)
                .filter(|frame| frame.result == Some(1))
                .collect::<Vec<_>>();
            assert!(its.len() == 1 && its[0].window().contains(time), "{its:?}");
            let made: u64 = world.kept.frames.values().filter_map(|frame| frame.result).sum();
            assert_eq!(made, 1);
            // The last frame has no end: it stays open to corrections.
            assert_eq!(world.kept.entries.is_empty(), !its[0].window().is_endless());
            assert!(world.kept.timers.is_empty());
        }
    }
}

#[test]
fn a_jump_over_a_century_is_made_a_batch_at_a_time() {
    let mut world =
        World::new(frames(seconds(3_600)).keep(seconds(1)).batch(100).aggregate(count()));
    world.record(at("12:00:00"), 1);
    world.reach(at("12:00:01"));
    let century = Time::from_millis(at("12:00:00").as_nanos() / 1_000_000 + 3_155_760_000_000);
    world.record(century, 1);
    world.watermark = century;
    for go in 1..=10 {
        for timer in due(&mut world.kept.timers, world.watermark, world.now) {
            world.turn(|task, kept, turn| task.on_timer(kept, timer, turn));
        }
        assert_eq!(world.out.len(), go * 100);
        // What is as old as that is forgotten at once, so what is kept has a bound too.
        assert!(world.kept.frames.len() <= 1, "{}", world.kept.frames.len());
    }
}

#[test]
fn frames_go_on_where_they_were_if_their_duration_changes() {
    let mut world = World::new(frames(seconds(3_600)).aggregate(sum(|n: &u64| *n)));
    world.record(at("12:10:00"), 1);
    world.record(at("13:20:00"), 2);
    world.reach(at("13:10:00.000000001"));
    assert_eq!(world.made(), ["12:10:00"]);
    let mut next =
        World::new(frames(seconds(900)).anchored(at("00:00:00")).aggregate(sum(|n: &u64| *n)));
    next.kept = world.kept;
    next.record(at("13:20:01"), 4);
    next.record(at("14:00:00"), 8);
    // They begin when the old one would have been made; the first is cut, so that no time is in two.
    next.reach(at("14:10:00.000000001"));
    assert_eq!(next.made(), ["13:10:00", "13:15:00", "13:30:00", "13:45:00"]);
    assert_eq!(next.frame("13:10:00").end, at("13:15:00"));
    let sum: i128 = next.kept.frames.values().map(|f| i128::from(f.result.unwrap())).sum();
    assert_eq!(sum, 7);
}

#[test]
fn a_record_in_order_writes_one_entry_and_nothing_else() {
    let mut world = World::new(quarters().aggregate(count()));
    world.record(at("12:00:07"), 1);
    world.record(at("12:00:08"), 1);
    let head = world.kept.head.clone();
    for second in 9..15 {
        world.kept.timers.clear();
        world.record(at(&format!("12:00:{second:02}")), 1);
        assert_eq!((&world.kept.head, world.kept.entries.len()), (&head, 1));
        assert!(world.kept.timers.is_empty());
    }
}

#[test]
fn a_frame_is_forgotten_when_it_is_older_than_is_kept() {
    let options = quarters().keep(seconds(30)).backfill(seconds(3_600), seconds(1));
    let mut world = World::new(options.aggregate(count()));
    world.record(at("12:00:00"), 1);
    world.record(at("12:02:00"), 1);
    world.reach(at("12:01:00"));
    assert_eq!(world.kept.frames.keys().next(), Some(&at("12:00:15")));
    // What is forgotten is no history.
    world.record(at("12:00:01"), 5);
    let late = FrameEvent::Late { time: at("12:00:01"), value: 5 };
    assert_eq!(world.out.last(), Some(&late));
    world.reach(at("12:02:00"));
    assert_eq!(world.kept.frames.keys().next(), Some(&at("12:01:15")));
    assert_eq!(world.kept.head.completed, 7);
}

#[test]
fn a_long_error_is_cut_between_characters() {
    let fails =
        |_: &mut Attempt, _: &[(Time, &u64)]| Err::<u64, _>("x".to_string() + &"é".repeat(5_000));
    let mut world = World::new(quarters().retries(0, seconds(1)).calculate(fails));
    world.record(at("12:00:00"), 1);
    world.reach(Window::ALL.end);
    let error = world.frame("12:00:00").error.clone().unwrap();
    assert!(error.len() < 1_010 && error.ends_with("é ..."), "{}", error.len());
}

#[test]
fn a_calculation_can_say_that_data_is_missing() {
    let count = |attempt: &mut Attempt, records: &[(Time, &u64)]| {
        attempt.missing_data = records.len() < 2;
        Ok::<_, String>(records.len())
    };
    let mut world = World::new(quarters().calculate(count));
    for time in ["12:00:00", "12:00:15", "12:00:16", "12:00:31"] {
        world.record(at(time), 1);
    }
    world.reach(at("12:00:31"));
    assert!(world.frame("12:00:00").missing_data && !world.frame("12:00:15").missing_data);
}

#[test]
fn what_cannot_be_is_told_with_what_to_do() {
    for (options, part) in [
        (frames(Duration::ZERO), "a frame of nothing"),
        (frames(Duration::MAX), "at most 292 years"),
        (quarters().floored_to(Duration::ZERO), "give at least"),
        (quarters().batch(0), "at least one"),
    ] {
        let error = options.check().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        // Nothing is asked of it then; yet it does not panic.
        let mut kept = Kept::new();
        let (time, end) = (Time::ZERO, Window::ALL.end);
        let mut task = options.aggregate::<u64, _>(count());
        let mut out = Vec::new();
        let stopwatch = &mut || Duration::ZERO;
        let mut turn = Turn { watermark: time, now: time, stopwatch, out: &mut out };
        task.on_record(&mut kept, time, 1, &mut turn);
        turn.watermark = end;
        task.advance(&mut kept, &mut turn);
    }
}
