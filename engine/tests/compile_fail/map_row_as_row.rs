//! A row of a map table is changed entry by entry, never as a whole.

use anabranch::prelude::*;
use anabranch::source;

const MARKS: MapTable<u64, u8, u64> = MapTable::new("marks");

fn build(app: &App) {
    app.source("numbers", source::empty::<u64>()).key_by(|n| *n).compute(
        "mark",
        MARKS,
        |_, marks, _: &mut Context<'_, ()>| *marks = Default::default(),
    );
}

fn main() {}
