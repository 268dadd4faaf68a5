//! Counts words: the smallest complete program.
//!
//! `printf 'to be or not to be' | cargo run -p word-count`

use std::process::ExitCode;

use anabranch::prelude::*;
use anabranch::{sink, source};
use anabranch_connectors::{inlet, outlet};

const COUNTS: Table<String, u64> = Table::new("counts");

/// Counts the words of a text, each time one comes.
#[derive(clap::Args)]
struct Options {
    /// Where to read text, line by line
    #[arg(long, value_name = "URL", default_value = "-")]
    text: String,
    /// Where to write each word and how often it came so far
    #[arg(long, value_name = "URL", default_value = "-")]
    counts: String,
}

fn word_count(app: &App, options: &Options) -> Result<()> {
    app.source("text", source::frames(inlet(&options.text)?, || source::Text))
        .flat_map(|line| words(&line))
        .key_by(|word| word.clone())
        .compute("count", COUNTS, |word, mut count, out| {
            *count += 1;
            out.emit(format!("{word} {}", *count));
        })
        .sink("counts", sink::frames(outlet(&options.counts)?, || sink::Text));
    Ok(())
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_lowercase).collect()
}

fn main() -> ExitCode {
    anabranch::main(word_count)
}

#[test]
fn counts_grow_in_the_order_of_the_text() -> Result<()> {
    let options = Options { text: "-".into(), counts: "-".into() };
    let build = move |app: &App| word_count(app, &options);
    let mut driver = anabranch::TestDriver::new(build).workers(3).start()?;
    driver.send("text", "To be or not to be".to_string())?;
    driver.run()?;
    assert_eq!(driver.lines("counts"), ["to 1", "be 1", "or 1", "not 1", "to 2", "be 2"]);
    assert_eq!(driver.get(COUNTS, &"be".to_string())?, Some(2));
    Ok(())
}
