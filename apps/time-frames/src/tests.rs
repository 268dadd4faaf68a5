//! Cases of the system whose demo this was, by their numbers.
//!
//! Invariant: expected frames are those of the table of cases.

use anabranch::TestDriver;
use anabranch::window::frames::FrameState;
use clap::Parser as _;

use super::*;
use crate::input::at;

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    options: Options,
}

fn driver(arguments: &str, workers: usize) -> TestDriver {
    let arguments = std::iter::once("time-frames").chain(arguments.split_whitespace());
    let options = Program::try_parse_from(arguments).unwrap().options;
    let build = move |app: &App| time_frames(app, &options);
    TestDriver::new(build).workers(workers).time(at(0)).start().unwrap()
}

/// What an item leads to, of some second of 12:00, at that second.
fn told(driver: &mut TestDriver, second: i64, text: &str) -> Vec<Line> {
    let to_go = at(second).as_nanos() - driver.now().as_nanos();
    driver.advance(Duration::from_nanos(u64::try_from(to_go).unwrap_or(0)));
    driver.send("items", Item { time: at(second), text: text.to_owned() }).unwrap();
    driver.run().unwrap();
    driver.outputs("out")
}

/// The second at which a frame starts, and its items.
fn counts(lines: &[Line]) -> Vec<(i64, Option<u64>)> {
    let count = |line: &Line| match line {
        Line::Frame(made) => (second(made), made.items),
        other => panic!("{other:?}"),
    };
    lines.iter().map(count).collect()
}

fn second(made: &Made) -> i64 {
    let start: Time = made.from.parse().unwrap();
    (start.as_nanos() - at(0).as_nanos()) / 1_000_000_000
}

fn answered(driver: &mut TestDriver, from: i64, to: i64) -> Vec<Made> {
    driver.send("questions", Question { from: at(from), to: at(to) }).unwrap();
    driver.run().unwrap();
    match driver.outputs("out").as_slice() {
        [Line::Answer(answer)] => answer.frames.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sa_18_a_frame_is_counted_when_there_is_a_later_item() {
    for workers in [1, 3] {
        let mut driver = driver("", workers);
        for second in [1, 7] {
            assert_eq!(told(&mut driver, second, ""), []);
        }
        assert_eq!(counts(&told(&mut driver, 16, "")), [(0, Some(2))]);
        assert_eq!(told(&mut driver, 29, ""), []);
        assert_eq!(counts(&told(&mut driver, 31, "")), [(15, Some(2))]);
        assert_eq!(told(&mut driver, 45, ""), [], "an item at its end is not later");
        assert_eq!(counts(&told(&mut driver, 46, "")), [(30, Some(1))]);
        driver.finish().unwrap();
        assert_eq!(counts(&driver.outputs("out")), [(45, Some(2))]);
    }
}

#[test]
fn sa_04_a_gap_is_empty_frames() {
    let mut driver = driver("", 1);
    let mut frames = counts(&told(&mut driver, 31, ""));
    frames.extend(counts(&told(&mut driver, 121, "")));
    let counted = |start| (start, Some(u64::from(start == 30)));
    assert_eq!(frames, (0..120).step_by(15).map(counted).collect::<Vec<_>>());
}

#[test]
fn sa_16_frames_that_have_some_time_between_two_are_found() {
    let mut driver = driver("", 2);
    assert_eq!(answered(&mut driver, 10, 40), []);
    told(&mut driver, 1, "");
    told(&mut driver, 100, "");
    let starts = |frames: &[Made]| frames.iter().map(second).collect::<Vec<_>>();
    assert_eq!(starts(&answered(&mut driver, 10, 40)), [0, 15, 30]);
    assert_eq!(starts(&answered(&mut driver, 15, 30)), [15]);
    assert_eq!(starts(&answered(&mut driver, 80, 500)), [75]);
    assert_eq!(starts(&answered(&mut driver, 30, 30)), [] as [i64; 0]);
}

#[test]
fn sa_19_a_frame_that_fails_is_tried_again_and_blocks_nothing() {
    let mut driver = driver("--retries 2", 2);
    told(&mut driver, 1, "");
    told(&mut driver, 16, "fail");
    told(&mut driver, 31, "fail 1");
    let ended = |lines: &[Line]| -> Vec<_> {
        let ended = lines.iter().map(|line| match line {
            Line::Frame(made) => (second(made), made.state, made.attempts, made.items),
            other => panic!("{other:?}"),
        });
        ended.collect()
    };
    let (failed, calculated) = (FrameState::Failed, FrameState::Calculated);
    // The second was tried at 31, 32 and 34, the third at 61.
    let lines = told(&mut driver, 61, "");
    assert_eq!(ended(&lines), [(15, failed, 3, None), (45, calculated, 1, Some(0))]);
    let open = &answered(&mut driver, 31, 32)[0];
    assert_eq!((open.state, open.attempts, open.items), (FrameState::Open, 1, None));
    assert_eq!(ended(&told(&mut driver, 70, "")), [(30, calculated, 2, Some(1))]);
    let error = "failed, tried 3 times: the item of 2024-01-01T12:00:16Z says `fail`";
    assert!(lines[0].to_string().ends_with(error), "{}", lines[0]);
}

#[test]
fn sa_20_a_late_item_is_told_of_or_corrects() {
    let late = |arguments: &str| {
        let mut driver = driver(arguments, 1);
        told(&mut driver, 1, "");
        told(&mut driver, 16, "");
        driver.send("items", Item { time: at(5), text: "x".into() }).unwrap();
        driver.run().unwrap();
        driver.run().unwrap();
        driver.lines("out").pop().unwrap()
    };
    assert_eq!(late("--out -"), r#"{"late":{"time":"2024-01-01T12:00:05Z","text":"x"}}"#);
    let corrected = "2024-01-01T12:00:00Z to 2024-01-01T12:00:15Z  2 items, corrected";
    assert_eq!(late("--lateness 10s"), corrected);
}

#[test]
fn lines_are_items_and_questions() {
    let mut driver = driver("--items - --time at.ms --text what --questions -", 1);
    for message in [
        r#"{"at":{"ms":1704110401000},"what":"a"}"#,
        r#"{"at":{}}"#,
        r#"{"at":{"ms":"noon"}}"#,
        r#"{"at":{"ms":"2024-01-01T12:01:00Z"}}"#,
    ] {
        driver.send_bytes("items", message).unwrap();
    }
    driver.run().unwrap();
    assert_eq!(driver.lines("out").len(), 3);
    for line in ["2024-01-01T12:00:10Z", "2024-01-01T12:00:00Z 2024-01-01T12:00:01Z"] {
        driver.send_bytes("questions", line).unwrap();
    }
    driver.run().unwrap();
    assert_eq!(
        driver.lines("out"),
        [
            "between 2024-01-01T12:00:00Z and 2024-01-01T12:00:01Z:\n  2024-01-01T12:00:00Z to 2024-01-01T12:00:15Z  1 item"
        ]
    );
    assert_eq!(driver.dead_letters().len(), 2);
}
