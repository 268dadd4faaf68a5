//! Adds numbers to a total that loses one percent before each.
//!
//! `echo '[1, 2, 3, 4]' | cargo run -p discount-sum`

use anabranch::prelude::*;
use anabranch::{sink, source};
use anabranch_connectors::{inlet, outlet};

const TOTAL: Table<(), f64> = Table::new("total");

/// Adds numbers to a total that loses one percent before each
#[derive(clap::Args)]
struct Options {
    /// Where to read numbers, a JSON array a line
    #[arg(long, value_name = "URL", default_value = "-")]
    numbers: String,
    /// Where to write the total after each, an array for an array
    #[arg(long, value_name = "URL", default_value = "-")]
    totals: String,
}

fn discount_sum(app: &App, options: &Options) -> Result<()> {
    app.source("numbers", source::frames(inlet(&options.numbers)?, || source::Json))
        .key_by(|_| ())
        .try_batch("discount", TOTAL, |number: &f64, mut total: Row<f64>, out| {
            *total = *total * 0.99 + number;
            out.emit((*total * 1e10).round() / 1e10);
            Ok(())
        })
        .sink("totals", sink::frames(outlet(&options.totals)?, || sink::Json));
    Ok(())
}

fn main() -> std::process::ExitCode {
    anabranch::main(discount_sum)
}
