//! A key says by which bytes it is placed: a floating-point number has no say.

use anabranch::prelude::*;
use anabranch::source;

fn build(app: &App) {
    let _ = app.source("numbers", source::empty::<f64>()).key_by(|n| *n);
}

fn main() {}
