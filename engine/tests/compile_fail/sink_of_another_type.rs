//! A sink takes what the stream carries.

use anabranch::prelude::*;
use anabranch::{sink, source};

fn build(app: &App) {
    app.source("numbers", source::empty::<u64>()).sink("out", sink::null::<String>());
}

fn main() {}
