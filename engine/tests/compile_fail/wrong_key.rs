//! A table's key is part of its type: a stream keyed by something else has no row in it.

use anabranch::prelude::*;
use anabranch::source;

const SUMS: Table<u32, u64> = Table::new("sums");

fn build(app: &App) {
    app.source("numbers", source::empty::<u64>()).key_by(|n| *n).compute(
        "sum",
        SUMS,
        |n, mut sum: Row<'_, u64>, _: &mut Context<'_, ()>| *sum += n,
    );
}

fn main() {}
