//! A table to read is not written.

use anabranch::prelude::*;
use anabranch::source;

const SUMS: Table<u64, u64> = Table::new("sums");

fn build(app: &App) {
    app.source("numbers", source::empty::<u64>()).key_by(|n| *n).compute(
        "sum",
        SUMS.read(),
        |n, sum, _: &mut Context<'_, ()>| *sum += n,
    );
}

fn main() {}
