//! A map table to read is not written.

use anabranch::prelude::*;
use anabranch::source;

const MARKS: MapTable<u64, u8, u64> = MapTable::new("marks");

fn build(app: &App) {
    app.source("numbers", source::empty::<u64>()).key_by(|n| *n).compute(
        "mark",
        MARKS.read(),
        |n, mut marks, _: &mut Context<'_, ()>| {
            marks.insert(1, n);
        },
    );
}

fn main() {}
