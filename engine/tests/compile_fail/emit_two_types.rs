//! A computation emits records of one type.

use anabranch::prelude::*;
use anabranch::source;

fn build(app: &App) {
    app.source("numbers", source::empty::<u64>()).key_by(|n| *n).compute(
        "pass",
        (),
        |n, (), out: &mut Context<'_, u64>| {
            out.emit(n);
            out.emit(n.to_string());
        },
    );
}

fn main() {}
