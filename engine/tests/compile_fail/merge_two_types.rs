//! Only streams of one type are merged.

use anabranch::prelude::*;
use anabranch::source;

fn build(app: &App) {
    let numbers = app.source("numbers", source::empty::<u64>());
    numbers.merge(app.source("words", source::empty::<String>()));
}

fn main() {}
