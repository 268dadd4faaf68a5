//! A stream is used once, unless it is shared.

use anabranch::prelude::*;
use anabranch::{sink, source};

fn build(app: &App) {
    let doubled = app.source("numbers", source::empty::<u64>()).map(|n| 2 * n);
    doubled.sink("one", sink::null());
    doubled.sink("two", sink::null());
}

fn main() {}
