//! What it costs a program to be asked over HTTP: for rows of a table, and by open pages.
//!
//! `cargo bench -p anabranch-benches --bench asking [-- --records 20000000 --keys 100000 --rounds 5 --workers 1]`: sums
//! per key, as fast as the machine allows, in turns without the interface, with nobody who asks, with 1 and 4 who ask
//! for one row after the other, and with five pages open. Figures are medians over the rounds; whoever asks is on the
//! same machine.

use anabranch_benches::asking::{Askers, run};
use anabranch_benches::report::{load, median, option};

fn main() -> anabranch::Result<()> {
    let records = option("--records", 20_000_000) as u64;
    let (keys, rounds) = (option("--keys", 100_000) as u64, option("--rounds", 5));
    let workers = option("--workers", 1);
    println!("asking: {records} records, {keys} keys, {workers} workers, load {}", load());
    let kinds = [
        ("no interface", Askers::NoInterface),
        ("nobody asks", Askers::Nobody),
        ("1 asks for rows", Askers::Rows(1)),
        ("4 ask for rows", Askers::Rows(4)),
        ("5 pages are open", Askers::Pages(5)),
    ];
    let mut seconds = vec![Vec::new(); kinds.len()];
    let mut answers = vec![Vec::new(); kinds.len()];
    for _ in 0..rounds {
        for ((_, askers), (seconds, answers)) in
            kinds.iter().zip(seconds.iter_mut().zip(&mut answers))
        {
            let outcome = run(records, keys, workers, *askers)?;
            let took = outcome.took.as_secs_f64();
            seconds.push(took);
            answers.push(outcome.answers as f64 / took);
        }
    }
    let base = median(seconds.first().map_or(&[], Vec::as_slice));
    println!("| | million records/s | time beside no interface | answers or events/s |");
    println!("|---|---|---|---|");
    for ((name, _), (seconds, answers)) in kinds.iter().zip(seconds.iter().zip(&answers)) {
        let took = median(seconds);
        let rate = records as f64 / took / 1e6;
        println!("| {name} | {rate:.2} | {:.3} | {:.0} |", took / base, median(answers));
    }
    Ok(())
}
