//! Rows come in the order of the tables.

use anabranch::prelude::*;
use anabranch::source;

const SUMS: Table<u64, u64> = Table::new("sums");
const NAMES: Table<u64, String> = Table::new("names");

fn build(app: &App) {
    app.source("numbers", source::empty::<u64>()).key_by(|n| *n).compute(
        "sum",
        (SUMS, NAMES),
        |n, (mut name, _), _: &mut Context<'_, ()>| *name = n.to_string(),
    );
}

fn main() {}
