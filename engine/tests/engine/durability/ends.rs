//! How runs end: by a panic, by a later generation; and with a checkpoint, if nothing is wrong.

use anabranch::{Timer, Watermarks};

use super::*;

#[test]
fn a_record_that_user_code_panics_on_is_met_once() {
    for (nature, workers) in [(Nature::Recorded, 1), (Nature::Recorded, 3), (Nature::Live, 2)] {
        let folder = Folder::new("panic");
        let (released, letters) = (Released::<(u64, u64)>::new(), Released::<DeadLetter>::new());
        let records = (0..20_000).map(|i| (Some(i), i as u64)).collect();
        let input = Memory { nature, ..Memory::new(vec![records]) };
        let attempt = || {
            let (released, letters, input) = (released.clone(), letters.clone(), input.clone());
            let config = folder.config(workers);
            bounded(move || {
                let build = move |app: &App| {
                    app.dead_letters(letters.clone());
                    app.source("numbers", input.clone())
                        .key_by(|value| (value % 5) as u8)
                        .compute("count", HASHES, |value, mut count, out| {
                            assert!(![7_001, 15_004].contains(&value), "no {value}");
                            *count += 1;
                            out.emit((value, *count));
                        })
                        .sink("released", released.clone());
                    Ok(())
                };
                run(&config, build).map(drop)
            })
        };
        // Two workers may panic in one run, each on its record.
        let mut met = Vec::new();
        while let Err(error) = attempt() {
            let error = error.to_string();
            let panicked = |value: &u64| {
                error.contains(&format!(
                    "computation `count`, at record numbers-0-{value}, panicked"
                ))
            };
            met.push([7_001, 15_004].into_iter().find(panicked).expect(&error));
            assert!(error.contains("set aside"), "{error}");
            assert!(met.len() <= 2 && met[0] != *met.last().unwrap() || met.len() == 1, "{met:?}");
        }
        assert!(!met.is_empty());
        let values: Vec<u64> = (0..20_000).filter(|v| ![7_001, 15_004].contains(v)).collect();
        let mut counts = [0; 5];
        let expected: Vec<String> = values
            .iter()
            .map(|value| {
                counts[(value % 5) as usize] += 1;
                format!("numbers-0-{value} {:?}", (value, counts[(value % 5) as usize]))
            })
            .collect();
        let lines = released.lines();
        let differs = lines.iter().zip(&expected).find(|(line, expected)| line != expected);
        assert_eq!((differs, lines.len()), (None, expected.len()));
        let letters = letters.lines();
        assert_eq!(letters.len(), 2, "{letters:?}");
        assert!(letters[0].contains("no 7001") && letters[1].contains("no 15004"), "{letters:?}");
    }
}

/// A live source that brings something now and then, or nothing, and never ends.
#[derive(Clone)]
struct Endless {
    busy: bool,
    opened: std::sync::mpsc::SyncSender<()>,
}

impl Source for Endless {
    type Item = u64;

    fn describe(&self) -> String {
        "endless".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn Reader<u64>>> {
        Ok(Box::new(EndlessReader { of: self.clone(), next: context.resume.from }))
    }
}

struct EndlessReader {
    of: Endless,
    next: u64,
}

impl Reader<u64> for EndlessReader {
    fn read(&mut self, intake: &mut Intake<u64>) -> Result<Progress> {
        let _ = self.of.opened.try_send(());
        if !self.of.busy {
            return Ok(Progress::Idle);
        }
        intake.frame(self.next, None, 8);
        intake.accept(self.next);
        self.next += 1;
        Ok(Progress::Ready)
    }
}

#[test]
fn a_generation_that_was_replaced_ends_by_itself() {
    for (busy, workers) in [(false, 1), (true, 2)] {
        let folder = Folder::new("replaced");
        let (opened, is_open) = std::sync::mpsc::sync_channel(1);
        let (config, source) = (folder.config(workers), Endless { busy, opened });
        let run = std::thread::spawn(move || {
            bounded(move || {
                let build = move |app: &App| {
                    app.source("numbers", source.clone())
                        .key_by(|value| (value % 5) as u8)
                        .compute("count", HASHES, |_, mut count, _: &mut Context<'_, ()>| {
                            *count += 1;
                        });
                    Ok(())
                };
                run(&config, build).unwrap_err()
            })
        });
        is_open.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        let data = DataDir::open(&folder.0, "anabranch", 1024).unwrap();
        assert_eq!(data.claim().unwrap(), 2);
        let error = run.join().unwrap();
        assert!(matches!(error, Error::Replaced(_)), "{error:?}");
        assert_eq!(error.exit_code(), 1);
        let error = error.to_string();
        assert!(error.starts_with("generation 1 has lost its place in "), "{error}");
        let named = format!("generation 2 has begun (`anabranch`, pid {} on ", std::process::id());
        assert!(error.contains(&named), "{error}");
    }
}

/// Tells at the end of time how much of each key there was.
struct AtTheEnd;

impl Computation<u8, u64, Table<u8, u64>> for AtTheEnd {
    type Output = (u8, u64);
    const TIMERS: bool = true;

    fn apply(
        &mut self,
        key: &u8,
        value: u64,
        mut sum: Row<'_, u64>,
        out: &mut Context<'_, (u8, u64)>,
    ) {
        *sum += value;
        out.set_timer("end", Time::from_millis(i64::MAX / 2_000_000));
        if value.is_multiple_of(10) {
            out.emit((*key, value));
        }
    }

    fn on_timer(
        &mut self,
        key: &u8,
        _: Timer<'_>,
        sum: Row<'_, u64>,
        out: &mut Context<'_, (u8, u64)>,
    ) {
        out.emit((*key, *sum));
    }
}

/// A program with a table, and something that is due when all input has ended; one without any table.
fn to_the_end(app: &App, is_stateful: bool, input: &Memory<u64>, released: Released<(u8, u64)>) {
    let numbers = app.source("numbers", input.clone());
    if is_stateful {
        let times = Watermarks::monotonic(|value: &u64| Time::from_nanos(*value as i64));
        let keyed = numbers.event_time(times).key_by(|value| (value % 13) as u8);
        keyed.computation("add", HASHES, AtTheEnd).sink("released", released);
    } else {
        numbers.map(|value| ((value % 13) as u8, value)).sink("released", released);
    }
}

/// The next start has nothing to do again, on however many workers; and one that reads nothing makes no other.
#[test]
fn a_run_that_ends_in_order_leaves_a_checkpoint_at_its_end() {
    let cases = [Nature::Recorded, Nature::Live].map(|nature| [(nature, true), (nature, false)]);
    for (nature, is_stateful) in cases.into_iter().flatten() {
        let folder = Folder::new("end");
        let partitions = (0..3).map(|partition| {
            let record = |at: u64| (Some(at as i64 * 3), at * 3 + partition);
            (0..5_000).map(record).collect()
        });
        let input = Memory { nature, ..Memory::new(partitions.collect()) };
        let mut released = Released::<(u8, u64)>::new();
        let (store, mut told) = (Store::directory(&folder.0.join("checkpoints")), Vec::new());
        for (run, workers) in [1, 4, 2, 3].into_iter().enumerate() {
            released.full = if run == 0 { 100 } else { usize::MAX };
            released.drain = Drain::default();
            let (from, of, drain) = (input.clone(), released.clone(), released.drain.clone());
            let dir = folder.0.to_str().unwrap().to_string();
            bounded(move || {
                let workers = workers.to_string();
                let config = ["-w", &workers, "--data-dir", &dir, "--checkpoint-interval", "1h"];
                let config = config.into_iter().chain(["--in-flight-records", "1000"]);
                let build = move |app: &App| {
                    to_the_end(app, is_stateful, &from, of.clone());
                    Ok(())
                };
                run_until(&Config::from_flags(config).unwrap(), build, &drain).unwrap();
            });
            let ids = Manifest::list(&store).unwrap();
            let newest = Manifest::load(&store, ids[0]).unwrap();
            let sources = newest.sources.iter().filter(|source| source.source == "numbers");
            let read: u64 = sources.map(|source| source.next_offset).sum();
            told.push((ids.len(), read == 15_000, released.len()));
            let what = format!("{nature:?}, run {run} of {told:?}");
            assert!(read >= if run == 0 { 100 } else { 15_000 }, "{read} were read: {what}");
        }
        // The first has had only some; the second all, and what is due at the end of time; others nothing new.
        let values: Vec<u64> = (0..15_000).collect();
        let mut sums = [0; 13];
        values.iter().for_each(|value| sums[(value % 13) as usize] += value);
        let all = match (is_stateful, nature) {
            (true, Nature::Recorded) => 1_500 + 13,
            // Live input has no end of time: more of it may come.
            (true, Nature::Live) => 1_500,
            (false, _) => 15_000,
        };
        let more = told[1..].iter().all(|told| *told == (2, true, all));
        assert!(
            told[0].0 == 1 && !told[0].1 && more,
            "{nature:?}, {is_stateful}: {told:?}, {all} to come"
        );
        let mut lines = released.lines();
        let ends = lines.split_off(if is_stateful { 1_500 } else { 15_000 });
        let mut ends: Vec<_> = ends.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        ends.sort_unstable();
        let mut expected: Vec<_> = (0..13).map(|key| format!("{:?}", (key, sums[key]))).collect();
        expected.sort_unstable();
        assert!(ends.is_empty() || ends == expected, "{ends:?}");
    }
}
