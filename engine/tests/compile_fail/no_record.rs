//! What travels can be cloned and sent to other processes.

use anabranch::prelude::*;
use anabranch::source;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Price(u64);

fn build(app: &App) {
    app.source("numbers", source::empty::<u64>()).map(Price);
}

fn main() {}
