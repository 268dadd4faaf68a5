//! From JSON lines in memory to notifications: `bitcoin-alerts`, whole, on one and two workers.
//!
//! `cargo bench -p anabranch-benches --bench feed [-- --lines 1000000 --rounds 5]`: two partitions
//! of `match` messages of 1,000 products, one alert for each product; the encoded notifications
//! are discarded. Averages are over all prices (`--average running`), as hand-written loops have them. Forms
//! take turns; the figures are medians over the rounds.

use std::sync::Arc;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::sink::{Json, Taken};
use anabranch::source::{Frame, FrameReader, Inlet, Nature, OpenContext, Progress};
use anabranch::{clock, sink, source};
use anabranch_benches::report::{median, option};
use anabranch_connectors::market;
use bitcoin_alerts::{Averaging, PriceDecoder, UpdateDecoder, pipelines};

type Lines = Arc<[Vec<String>]>;

/// Lines in memory, one partition an element.
struct Memory(Lines);

impl Inlet for Memory {
    fn describe(&self) -> String {
        "memory".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Recorded
    }

    fn partitions(&self) -> Result<usize> {
        Ok(self.0.len())
    }

    fn open(&self, partition: usize, _: &OpenContext) -> Result<Box<dyn FrameReader>> {
        Ok(Box::new(MemoryReader { lines: Arc::clone(&self.0), partition, next: 0 }))
    }
}

struct MemoryReader {
    lines: Lines,
    partition: usize,
    next: usize,
}

impl FrameReader for MemoryReader {
    fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
        let lines = self.lines.get(self.partition).map_or(&[][..], Vec::as_slice);
        while let Some(line) = lines.get(self.next) {
            let offset = self.next as u64;
            self.next += 1;
            if !each(Frame::new(offset, line.as_bytes())) {
                return Ok(Progress::Ready);
            }
        }
        Ok(Progress::End)
    }
}

/// Takes frames and discards them.
struct Discard;

impl sink::Outlet for Discard {
    fn describe(&self) -> String {
        "discard".to_string()
    }

    fn open(&self, _: &OpenContext) -> Result<Box<dyn sink::FrameWriter>> {
        Ok(Box::new(Self))
    }
}

impl sink::FrameWriter for Discard {
    fn write(&mut self, _: anabranch::RecordId<'_>, frame: &[u8]) -> Result<Taken> {
        std::hint::black_box(frame);
        Ok(Taken::All)
    }
}

/// Runs the application on `workers` workers; gives the seconds it took and its notifications.
fn run(prices: &Lines, updates: &Lines, workers: usize) -> Result<(f64, u64)> {
    let config = Config::from_flags(["-w", &workers.to_string()])?;
    let (prices, updates) = (Arc::clone(prices), Arc::clone(updates));
    let began = clock::instant();
    let counters = anabranch::run(&config, move |app| {
        let prices = source::frames(Memory(Arc::clone(&prices)), PriceDecoder::default);
        let updates = source::frames(Memory(Arc::clone(&updates)), UpdateDecoder::default);
        pipelines(app, Averaging::Running, prices, updates, sink::frames(Discard, || Json));
        Ok(())
    })?;
    let notified = counters.snapshot().get("notify.records").copied().unwrap_or(0);
    Ok((began.elapsed().as_secs_f64(), notified))
}

fn main() -> Result<()> {
    let (lines, rounds) = (option("--lines", 1_000_000), option("--rounds", 5));
    let market = market::parse(&format!("gen:?seed=7&keys=1000&skew=0.5&count={lines}"))?;
    let mut partitions = vec![Vec::new(), Vec::new()];
    let mut alerts = Vec::new();
    for (i, (frame, trade)) in market::frames(&market).zip(market.trades()).enumerate() {
        if trade.trade_id == 1 {
            let (product, price) = (trade.product, trade.price);
            alerts.push(format!(
                r#"{{"product":"{product}","price":"{price}","user_id":{i},"time":"{}"}}"#,
                trade.time
            ));
        }
        if let Some(partition) = partitions.get_mut(i % 2) {
            partition.push(frame);
        }
    }
    let (prices, updates): (Lines, Lines) = (partitions.into(), vec![alerts].into());
    let mut seconds = [Vec::new(), Vec::new()];
    let mut notified = [0; 2];
    for _ in 0..rounds {
        for ((workers, seconds), notified) in [1, 2].iter().zip(&mut seconds).zip(&mut notified) {
            let (took, count) = run(&prices, &updates, *workers)?;
            seconds.push(took);
            *notified = count;
        }
    }
    println!("{lines} JSON lines in two partitions, 1,000 products, {rounds} rounds");
    println!("| workers | lines/s | of one worker | notifications |");
    println!("|---|---|---|---|");
    let one = median(&seconds[0]);
    for ((workers, seconds), notified) in [1, 2].iter().zip(&seconds).zip(notified) {
        let seconds = median(seconds);
        println!(
            "| {workers} | {:.0} | {:.2} | {notified} |",
            lines as f64 / seconds,
            one / seconds
        );
    }
    Ok(())
}
