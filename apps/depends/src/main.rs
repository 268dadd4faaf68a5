//! Each number as a share of its batch, of which another computation sees all first:
//! `echo '[1, 2]' | cargo run -p depends`

use anabranch::prelude::*;
use anabranch::{OnFailure, Scoped, Undo, sink, source};
use anabranch_connectors::{inlet, outlet};

const TOTAL: Scoped<f64> = Scoped::chain("total");

/// Each number as a share of its batch
#[derive(clap::Args)]
struct Options {
    /// Where to read numbers, a JSON array a line
    #[arg(long, value_name = "URL", default_value = "-")]
    numbers: String,
    /// Where to write the shares, an array for an array
    #[arg(long, value_name = "URL", default_value = "-")]
    shares: String,
}

fn depends(app: &App, options: &Options) -> Result<()> {
    app.source("numbers", source::frames(inlet(&options.numbers)?, || source::Json))
        .key_by(|_| ())
        .depends("total", (), OnFailure::Block, |number: &f64, (), out| {
            *out.scoped(TOTAL) += number;
            Ok(())
        })
        .try_batch("share", (), |number: &f64, (), out| {
            let share = Some(number / *out.scoped(TOTAL)).filter(|share| share.is_finite());
            let share = share.ok_or_else(|| Undo::abort("the total is zero"))?;
            out.emit((share * 1e10).round() / 1e10);
            Ok(())
        })
        .sink("shares", sink::frames(outlet(&options.shares)?, || sink::Json));
    Ok(())
}

fn main() -> std::process::ExitCode {
    anabranch::main(depends)
}
