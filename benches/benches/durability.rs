//! What it costs to survive anything, beside what it costs not to.
//!
//! `cargo bench -p anabranch-benches --bench durability [-- --only throughput|latency|pause|restore|kill]
//! [--lines 1000000] [--passes 3] [--rounds 5] [--rate 50000] [--seconds 5] [--keys 1000000] [--full]
//! [--workers 1] [--dir DIR]`. `--full` does `pause` and `restore` with 10,000,000 keys too. The data
//! directories are made in DIR, which must be on a real disk; what is kept is kept as in production.
//!
//! * throughput: lines of a made market, live, from memory, through `bitcoin-alerts`, as fast as it takes
//!   them, with averages over all prices; and the same as recorded files. Forms take turns; a ratio is the median over the rounds.
//! * latency: open loop, as in the benchmark `latency`, from due to sink.
//! * pause, restore: readings as JSON, one a key at full speed, then 100,000 a second of any key, with
//!   several checkpoints; then a new start on what that has left.
//! * kill: the same as a program of its own, supervised, fed over TCP; its worker is killed by SIGKILL.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::Json;
use anabranch::{Error, clock, sink, source};
use anabranch_benches::durability::checkpoints::{Made, Watch};
use anabranch_benches::durability::kill::{self, Program};
use anabranch_benches::durability::lines::{Discard, made_market};
use anabranch_benches::durability::steady::Steady;
use anabranch_benches::durability::{
    Scratch, Seen, bytes_in, decode, forms, quantiles, readings, run, syncs,
};
use anabranch_benches::latency::{Latencies, Schedule, engine};
use anabranch_benches::report::{
    is_given, load, longest_interruption, median, option, processor_seconds, text,
};
use anabranch_connectors::inlet;
use bitcoin_alerts::{Averaging, PriceDecoder, UpdateDecoder, pipelines};

/// The rate of readings beside which checkpoints are made.
const RATE: u64 = 100_000;
/// For how long the machine is looked at by itself: about as long as checkpoints are being made.
const ALONE: Duration = Duration::from_secs(10);
/// How many checkpoints are made beside them, at least, after the first that has all keys.
const INCREMENTS: usize = 3;

struct Bench {
    base: PathBuf,
    workers: String,
    rounds: usize,
}

fn main() -> ExitCode {
    if let Some(ended) = kill::child() {
        return ended;
    }
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let base = text("--dir").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").to_string());
    let workers = option("--workers", 1).to_string();
    let bench = Bench { base: base.into(), workers, rounds: option("--rounds", 5) };
    let only = text("--only");
    let wanted = |what: &str| only.as_deref().is_none_or(|only| only == what);
    println!("load {} before, {} worker(s), {} rounds", load(), bench.workers, bench.rounds);
    if wanted("throughput") {
        bench.throughput(1_000, "0.5")?;
        bench.throughput(1_000_000, "0")?;
    }
    if wanted("latency") {
        bench.latency()?;
    }
    let keys = option("--keys", 1_000_000) as u64;
    if wanted("pause") || wanted("restore") {
        let more = is_given("--full").then_some(10_000_000);
        bench.tables([Some(keys), more].into_iter().flatten())?;
    }
    if wanted("kill") {
        bench.kill(&[1_000, keys])?;
    }
    println!("\nload {} after", load());
    Ok(())
}

impl Bench {
    fn flags<'a>(&'a self, form: &'a [String]) -> Vec<&'a str> {
        let layout = ["-w", self.workers.as_str()].into_iter();
        layout.chain(form.iter().map(String::as_str)).collect()
    }

    fn throughput(&self, keys: usize, skew: &str) -> Result<()> {
        let (lines, passes) = (option("--lines", 1_000_000), option("--passes", 3));
        let (prices, updates) = made_market(keys, skew, lines, passes)?;
        let count = prices.count() as f64;
        println!("\n### Throughput, {keys} keys\n");
        println!(
            "{count} JSON lines of {:.0} bytes, live, from memory, two partitions; `bitcoin-alerts`\n",
            prices.bytes() as f64 / count
        );
        self.compare(4, count, |flags| {
            let (prices, updates) = (prices.clone(), updates.clone());
            run(flags, move |app| {
                let prices = source::frames(prices.clone(), PriceDecoder::default);
                let updates = source::frames(updates.clone(), UpdateDecoder::default);
                pipelines(app, Averaging::Running, prices, updates, sink::frames(Discard, || Json));
                Ok(())
            })
            .map(drop)
        })?;
        let files = Scratch::new(&self.base, "files")?;
        let (one, two) = (files.path("prices-0.jsonl"), files.path("prices-1.jsonl"));
        let alerts = files.path("updates.jsonl");
        let all = [(&one, 0, &prices), (&two, 1, &prices), (&alerts, 0, &updates)];
        for (path, partition, lines) in all {
            let lines = lines.partitions.get(partition).map_or(&[][..], Vec::as_slice);
            std::fs::write(path, lines.join("\n") + "\n")
                .map_err(|e| Error::io(format!("writing {path}"), e))?;
        }
        println!("\nthe same {lines} lines once, recorded, from files\n");
        let (prices, updates) = (format!("file:{one},{two}"), format!("file:{alerts}"));
        self.compare(3, lines as f64, |flags| {
            let (prices, updates) = (prices.clone(), updates.clone());
            run(flags, move |app| {
                let prices = source::frames(inlet(&prices)?, PriceDecoder::default);
                let updates = source::frames(inlet(&updates)?, UpdateDecoder::default);
                pipelines(app, Averaging::Running, prices, updates, sink::frames(Discard, || Json));
                Ok(())
            })
            .map(drop)
        })
    }

    /// Runs the first `forms` forms in turns.
    fn compare(
        &self,
        forms_wanted: usize,
        count: f64,
        run: impl Fn(&[&str]) -> Result<()>,
    ) -> Result<()> {
        let mut seconds = vec![Vec::new(); forms_wanted];
        let mut worked = vec![Vec::new(); forms_wanted];
        let mut bytes = vec![0; forms_wanted];
        for _ in 0..self.rounds {
            let all = seconds.iter_mut().zip(&mut worked).zip(&mut bytes);
            for (at, ((seconds, worked), bytes)) in all.enumerate() {
                let scratch = Scratch::new(&self.base, "throughput")?;
                let dir = scratch.path("data");
                let forms = forms(&dir);
                let Some((_, form)) = forms.get(at) else { continue };
                let (began, before) = (clock::instant(), processor_seconds());
                run(&self.flags(form))?;
                seconds.push(began.elapsed().as_secs_f64());
                worked.push(processor_seconds() - before);
                *bytes = bytes_in(&Path::new(&dir).join("journal"));
            }
        }
        println!(
            "| durability | lines/s | of off | processor, ns a line | journal, bytes a line |"
        );
        println!("|---|---|---|---|---|");
        let off = seconds.first().cloned().unwrap_or_default();
        for (at, (form, _)) in forms("").iter().enumerate().take(forms_wanted) {
            let (Some(seconds), Some(worked)) = (seconds.get(at), worked.get(at)) else { continue };
            let ratios: Vec<f64> = off.iter().zip(seconds).map(|(off, it)| off / it).collect();
            let (rate, ratio) = (count / median(seconds), median(&ratios));
            let (work, bytes) = (median(worked) * 1e9 / count, bytes.get(at).copied().unwrap_or(0));
            let bytes = bytes as f64 / count;
            println!("| {form} | {rate:.0} | {ratio:.2} | {work:.0} | {bytes:.1} |");
        }
        Ok(())
    }

    fn latency(&self) -> Result<()> {
        let (rate, seconds) = (option("--rate", 50_000), option("--seconds", 5));
        let duration = Duration::from_secs(seconds as u64);
        // Threads that write must not wait for one that spins.
        let (warm_up, pause) = (Duration::from_secs(1), Duration::from_micros(50));
        let schedule = Schedule { rate: rate as u64, duration, warm_up, pause };
        let mut all: Vec<Vec<Latencies>> = vec![Vec::new(); 4];
        for _ in 0..self.rounds {
            for (at, all) in all.iter_mut().enumerate() {
                let scratch = Scratch::new(&self.base, "latency")?;
                let dir = scratch.path("data");
                let forms = forms(&dir);
                let Some((_, form)) = forms.get(at) else { continue };
                all.push(engine(schedule, Order::Deterministic, &self.flags(form))?);
            }
        }
        println!("\n### Latency\n\n{rate} records/s for {seconds} s, 1,000 keys, in ms\n");
        println!("| durability | p50 | p99 | p99.9 | p99.99 |\n|---|---|---|---|---|");
        for ((form, _), rounds) in forms("").iter().zip(&all) {
            println!("| {form} | {} |", quantiles(rounds));
        }
        println!("| (one write of 16 KiB, synced) | {} |", quantiles(&[syncs(&self.base)?]));
        Ok(())
    }

    fn tables(&self, all: impl Iterator<Item = u64>) -> Result<()> {
        println!("\n### Checkpoints and restoring\n\n{RATE} readings/s beside them\n");
        for keys in all {
            let scratch = Scratch::new(&self.base, "tables")?;
            let dir = scratch.path("data");
            // Enough for all keys to have had their first reading.
            let interval = format!("{}ms", 1000 + keys / 500);
            println!("{keys} keys, --checkpoint-interval {interval}\n");
            let pause = self.pauses(keys, &dir, &interval)?;
            println!("{pause}");
            let idle = longest_interruption(ALONE).as_secs_f64() * 1e3;
            println!(
                "without the program, threads that only read the clock: at most {idle:.1} ms\n"
            );
            let (mut seconds, mut worked) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds {
                let before = processor_seconds();
                seconds.push(self.restore(&dir)?);
                worked.push(processor_seconds() - before);
            }
            println!(
                "started again: {:.3} s until the first output (least {:.3}, processor {:.3} s)\n",
                median(&seconds),
                seconds.iter().copied().fold(f64::INFINITY, f64::min),
                median(&worked)
            );
        }
        Ok(())
    }

    /// Makes checkpoints beside a steady load; prints them, and gives what else is to be said.
    fn pauses(&self, keys: u64, dir: &str, interval: &str) -> Result<String> {
        let steady = Steady::new(keys, RATE);
        let seen = Seen::new(steady.began);
        let (filled, stop) = (Arc::clone(&steady.filled), Arc::clone(&steady.stop));
        let mut watch = Watch::new(dir);
        let watching = std::thread::spawn(move || {
            let whole = |made: &Made| made.reached >= keys;
            watch.until(|made| made.iter().filter(|made| whole(made)).count() > INCREMENTS);
            stop.store(true, Ordering::SeqCst);
            watch.made
        });
        let kept = ["--data-dir", dir, "--checkpoint-interval", interval].map(str::to_string);
        let (app_seen, source) = (seen.clone(), steady);
        let counters = run(&self.flags(&kept), move |app| {
            readings(app, source::frames(source.clone(), || decode), app_seen.clone());
            Ok(())
        })?;
        let made = watching.join().unwrap_or_default();
        println!("| checkpoint | rows | MB | took, s |\n|---|---|---|---|");
        for (index, made) in made.iter().enumerate() {
            let megabytes = made.bytes as f64 / 1e6;
            println!("| {} | {} | {megabytes:.1} | {:.2} |", index + 1, made.rows, made.took);
        }
        println!();
        let pause = counters.snapshot().get("checkpoints.longest_pause_us").copied().unwrap_or(0);
        let (latencies, fill) = (seen.latencies(), filled.load(Ordering::SeqCst) as f64 / 1e9);
        Ok(format!(
            "longest pause {:.2} ms; readings meanwhile, p50, p99, p99.9, p99.99 in ms: {}, at most \
             {:.1}; first readings took {fill:.1} s",
            pause as f64 / 1000.0,
            quantiles(std::slice::from_ref(&latencies)),
            latencies.max() as f64 / 1e6
        ))
    }

    /// Starts again on what is in `dir`, with one more reading; the seconds until that is released.
    fn restore(&self, dir: &str) -> Result<f64> {
        let (last, began) = (Steady::last(), clock::instant());
        let seen = Seen::new(began);
        let sink = seen.clone();
        let kept = ["--data-dir", dir, "--checkpoint-interval", "1h"].map(str::to_string);
        run(&self.flags(&kept), move |app| {
            readings(app, source::frames(last.clone(), || decode), sink.clone());
            Ok(())
        })?;
        Ok(seen.last().map_or(f64::NAN, |last| (last - began).as_secs_f64()))
    }

    fn kill(&self, all: &[u64]) -> Result<()> {
        println!("\n### From `kill -9` of the worker to the next output, in seconds\n");
        println!("| keys | starts again | has formed | next output | longest |");
        println!("|---|---|---|---|---|");
        for keys in all {
            let scratch = Scratch::new(&self.base, "kill")?;
            let program = Program::start(&scratch.path("data"), *keys, RATE / 5)?;
            let mut away = Vec::new();
            for round in 0..self.rounds {
                // Not always at the same distance from a checkpoint.
                std::thread::sleep(Duration::from_millis(1500 + 270 * round as u64));
                away.push(program.kill()?);
            }
            if is_given("--verbose") {
                eprintln!("{}", program.log().join("\n"));
            }
            let of =
                |each: fn(&kill::Away) -> f64| median(&away.iter().map(each).collect::<Vec<_>>());
            println!(
                "| {keys} | {:.3} | {:.3} | {:.3} | {:.3} |",
                of(|away| away.restarted),
                of(|away| away.found),
                of(|away| away.back),
                away.iter().map(|away| away.back).fold(0.0, f64::max)
            );
        }
        Ok(())
    }
}
