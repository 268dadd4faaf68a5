//! The joins on the rows of tables, in a running engine.
//!
//! Invariant: what a sorted map does, a row of a map table does.

use std::time::Duration;

use super::super::{Held, IntervalJoin, Joined, Kind, Place, State};
use super::*;
use crate::prelude::*;
use crate::window::entries::Stored;
use crate::{TestDriver, sink, source};

/// A record of one of two inputs with its time, or a watermark.
type Message = (String, u8, i64);

const LEFT: MapTable<String, Place, Stored<Held<u8>>> = MapTable::new("left");
const RIGHT: MapTable<String, Place, Stored<Held<u8>>> = MapTable::new("right");
/// The watermark, and the timer.
const TIMES: Table<String, (Option<i64>, Option<Time>)> = Table::new("times");

fn program(app: &App) -> Result<()> {
    let join = IntervalJoin::new(Duration::from_nanos(1), Duration::from_nanos(2)).kind(Kind::Full);
    app.source("messages", source::empty::<Message>())
        .key_by(|(key, _, _)| key.clone())
        .compute("join", (LEFT, RIGHT, TIMES), move |(_, what, time), rows, out| {
            let (mut left, mut right, mut times) = rows;
            let (watermark, timer) = &mut *times;
            let now = at(watermark.unwrap_or(NONE));
            let state = &mut State { left: &mut left, right: &mut right, timer };
            let emit = |joined: Joined<'_, u8, u8>| {
                out.emit(format!("{:?}{:?}", joined.left(), joined.right()));
            };
            let name = u8::try_from(time).unwrap();
            match what {
                0 => join.left(at(time), name, now, state, emit).unwrap(),
                1 => join.right(at(time), name, now, state, emit).unwrap(),
                _ => {
                    *watermark = Some(time);
                    join.wake(at(time), state, emit);
                }
            }
        })
        .sink("pairs", sink::null());
    Ok(())
}

#[test]
fn rows_of_tables_hold_what_a_join_keeps() {
    let mut driver = TestDriver::new(program).workers(2).start().unwrap();
    for (what, time) in [(0_u8, 10_i64), (1, 12), (1, 13), (0, 20), (2, 16), (2, 30)] {
        driver.send("messages", ("key".to_string(), what, time)).unwrap();
    }
    driver.run().unwrap();
    let expected = ["Some(10)Some(12)", "NoneSome(13)", "Some(20)None"];
    assert_eq!(driver.outputs::<String>("pairs"), expected);
}
