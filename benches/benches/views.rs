//! What a view costs for each row that changes, beside making it anew.
//!
//! `cargo bench -p anabranch-benches --bench views [-- --rows 1000000 --rounds 5]`: a count of the rows of a table by
//! user, after batches of 1, 1,000 and 100,000 changed rows, each several times in turns. Figures are medians over the
//! batches of a size; one worker.

use anabranch_benches::report::{median, option};
use anabranch_benches::views::{Outcome, anew, engine};

/// Microseconds of a batch of that size.
fn micros(outcome: &Outcome, size: usize) -> f64 {
    let took = outcome.took.iter().filter(|(batch, _)| *batch == size);
    median(&took.map(|(_, took)| took.as_secs_f64() * 1e6).collect::<Vec<_>>())
}

fn main() -> anabranch::Result<()> {
    let (rows, rounds) = (option("--rows", 1_000_000) as u64, option("--rounds", 5));
    let sizes = [1, 1_000, 100_000];
    let batches: Vec<usize> = (0..rounds).flat_map(|_| sizes).collect();
    println!("views: {rows} rows, 1 worker, {rounds} batches of each size");
    let (without, with) = (engine(rows, &batches, false)?, engine(rows, &batches, true)?);
    let anew = anew(rows, &batches);
    println!(
        "| rows changed | engine, us | with the view | its own, us a row | anew, us | of that |"
    );
    println!("|---|---|---|---|---|---|");
    for size in sizes {
        let [without, with, anew] = [&without, &with, &anew].map(|it| micros(it, size));
        let own = with - without;
        println!(
            "| {size} | {without:.1} | {with:.1} | {:.3} | {anew:.1} | {:.4} |",
            own / size as f64,
            own / anew
        );
    }
    if with.counts != anew.counts {
        println!("the view is not what a loop makes of the same rows");
    }
    Ok(())
}
