//! Look-ups: answers that come in any order leave in the order of the records, on any number of workers; no more is
//! asked at a time than was allowed, and what fails is tried again by its policy, and then a dead letter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch::aggregate::Aggregate;
use anabranch::prelude::*;
use anabranch::source::Nature;
use anabranch::window::pane::presets;
use anabranch::{Lookups, Retry, TestDriver, Undo, run, sink, source};
use tokio::sync::Barrier;

use crate::support::{Lines, Memory, Sequence, bounded, workers};

/// A service that answers after a while that nobody can tell, and says how often it was asked.
#[derive(Clone, Default)]
pub(crate) struct Service {
    pub(crate) asked: Arc<Mutex<BTreeMap<u64, u32>>>,
    /// Nobody is to ask about these.
    pub(crate) settled: Arc<Mutex<BTreeSet<u64>>>,
    /// Who was asked about nevertheless.
    pub(crate) asked_again: Arc<Mutex<Vec<u64>>>,
}

/// Asked about that one it has no answer, ever; about the other, only at the first try.
pub(crate) fn fails(value: u64) -> bool {
    value % 17 == 3
}

pub(crate) fn fails_once(value: u64) -> bool {
    value % 5 == 2
}

#[derive(Debug, thiserror::Error)]
#[error("nothing is known of {0}, asked {1} times")]
struct Unknown(u64, u32);

impl Service {
    /// The value, and how often it was asked for.
    pub(crate) async fn answer(self, value: u64) -> Result<(u64, u32), Undo> {
        let times = {
            let mut asked = self.asked.lock().unwrap();
            let times = asked.entry(value).or_default();
            *times += 1;
            *times
        };
        if self.settled.lock().unwrap().contains(&value) {
            self.asked_again.lock().unwrap().push(value);
        }
        for _ in 0..Sequence(value).below(40) {
            tokio::task::yield_now().await;
        }
        if fails(value) || times == 1 && fails_once(value) {
            Err(Unknown(value, times))?;
        }
        Ok((value, times))
    }

    pub(crate) fn calls(&self) -> u32 {
        self.asked.lock().unwrap().values().sum()
    }
}

/// Two tries, one right after the other.
pub(crate) fn twice() -> Lookups {
    Lookups::new().concurrency(16).retry(Retry::tries(2).first_pause(Duration::ZERO))
}

/// Partitions of records that differ, with times that come often.
pub(crate) fn input(seed: u64, partitions: usize, records: u64) -> Memory<u64> {
    let mut sequence = Sequence(seed);
    let partitions = (0..partitions as u64).map(|partition| {
        let mut time = 0;
        let mut record = |index: u64| {
            time += sequence.below(3) as i64;
            (Some(time), index * 8 + partition)
        };
        (0..records).map(&mut record).collect()
    });
    Memory::new(partitions.collect())
}

/// The records of recorded input in order, with their names.
pub(crate) fn in_order(input: &Memory<u64>) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for (partition, records) in input.partitions.iter().enumerate() {
        for (offset, (time, value)) in records.iter().enumerate() {
            all.push((time.unwrap(), partition, offset, *value));
        }
    }
    all.sort_unstable();
    let named = |(_, partition, offset, value)| (format!("numbers-{partition}-{offset}"), value);
    all.into_iter().map(named).collect()
}

#[test]
fn answers_leave_in_the_order_of_the_records() {
    let input = input(1, 3, 3_000);
    let mut expected = String::new();
    for (name, value) in in_order(&input).into_iter().filter(|(_, value)| !fails(*value)) {
        let times = 1 + u32::from(fails_once(value));
        expected += &format!("{name} {:?}\n", (value, times));
    }
    for count in 1..=4 {
        let (lines, letters, service) = (Lines::default(), Lines::default(), Service::default());
        let (of, of_letters, asked, from) =
            (lines.clone(), letters.clone(), service.clone(), input.clone());
        bounded(move || {
            let build = move |app: &App| {
                let service = asked.clone();
                app.source("numbers", from.clone())
                    .map_async("ask", twice(), move |value| service.clone().answer(value))
                    .sink("answers", of.sink::<(u64, u32)>());
                app.dead_letters(of_letters.sink::<DeadLetter>());
                Ok(())
            };
            run(&workers(count), build).unwrap();
        });
        assert!(lines.take() == expected, "another order on {count} workers");
        let letters = letters.take();
        let names: Vec<&str> =
            letters.lines().map(|line| line.split(['.', ' ']).next().unwrap()).collect();
        let failed = in_order(&input).into_iter().filter(|(_, value)| fails(*value));
        let failed: Vec<_> = failed.collect();
        assert!(names.iter().eq(failed.iter().map(|(name, _)| name)), "{count} workers");
        for ((_, value), letter) in failed.iter().zip(letters.lines()) {
            let reason = format!("nothing is known of {value}, asked 2 times");
            assert!(letter.contains(&reason), "{count} workers: {letter}");
        }
    }
}

const COUNTS: Table<u8, u64> = Table::new("counts");
const HASHES: Table<u8, u64> = Table::new("hashes");

/// After computations, and before some.
#[test]
fn computations_see_answers_in_their_order() {
    let input = input(2, 2, 4_000);
    let (mut counts, mut hashes) = (BTreeMap::new(), BTreeMap::new());
    let mut expected = Vec::new();
    for (_, value) in in_order(&input) {
        let count = counts.entry(value % 13).or_insert(0_u64);
        *count += 1;
        let asked = value * 1_000 + *count % 1_000;
        if !fails(asked) {
            let hash = hashes.entry(asked % 7).or_insert(0_u64);
            *hash = hash.wrapping_mul(31).wrapping_add(asked);
            expected.push((asked, *hash));
        }
    }
    for count in [1, 2, 4] {
        for nature in [Nature::Recorded, Nature::Live] {
            let (lines, letters) = (Lines::default(), Lines::default());
            let (of, from) = (lines.clone(), Memory { nature, ..input.clone() });
            let of_letters = letters.clone();
            let service = Service::default();
            bounded(move || {
                let build = move |app: &App| {
                    let service = service.clone();
                    app.source("numbers", from.clone())
                        .key_by(|value| (value % 13) as u8)
                        .compute("count", COUNTS, |value, mut count, out: &mut Context<'_, u64>| {
                            *count += 1;
                            out.emit(value * 1_000 + *count % 1_000);
                        })
                        .share()
                        .map_async("ask", twice(), move |value| service.clone().answer(value))
                        .key_by(|(value, _)| (value % 7) as u8)
                        .compute(
                            "hash",
                            HASHES,
                            |(value, _), mut hash, out: &mut Context<'_, _>| {
                                *hash = hash.wrapping_mul(31).wrapping_add(value);
                                out.emit((value, *hash));
                            },
                        )
                        .sink("hashes", of.sink::<(u64, u64)>());
                    app.dead_letters(of_letters.sink::<DeadLetter>());
                    Ok(())
                };
                run(&workers(count), build).unwrap();
            });
            let told = lines.take();
            let told: Vec<(u64, u64)> = told
                .lines()
                .map(|line| line.split_once('(').unwrap().1.trim_end_matches(')').split_once(", "))
                .map(|pair| pair.unwrap())
                .map(|(value, hash)| (value.parse().unwrap(), hash.parse().unwrap()))
                .collect();
            let failed = letters.take().lines().count();
            assert_eq!(told.len() + failed, 8_000, "{count} workers, {nature:?}");
            if nature == Nature::Recorded {
                assert!(told == expected, "{count} workers");
            }
            // The order of live input is its own.
            let mut hashes = BTreeMap::new();
            for (value, told) in told {
                let hash = hashes.entry(value % 7).or_insert(0_u64);
                *hash = hash.wrapping_mul(31).wrapping_add(value);
                assert_eq!(told, *hash, "{count} workers, {nature:?}");
            }
        }
    }
}

#[test]
fn so_many_are_asked_at_a_time_and_no_more() {
    const AT_A_TIME: usize = 5;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, reached) = (Arc::clone(&now), Arc::clone(&most));
    // Nobody is answered before so many have asked.
    let barrier = Arc::new(Barrier::new(AT_A_TIME));
    bounded(move || {
        let build = move |app: &App| {
            let (now, most) = (Arc::clone(&counted), Arc::clone(&reached));
            let barrier = Arc::clone(&barrier);
            let lookups = Lookups::new().concurrency(AT_A_TIME);
            app.source("numbers", Memory::new(vec![(0..2_000).map(|i| (Some(i), i)).collect()]))
                .map_async("ask", lookups, move |value: i64| {
                    let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                    let barrier = Arc::clone(&barrier);
                    async move {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        barrier.wait().await;
                        now.fetch_sub(1, Ordering::SeqCst);
                        Ok(value)
                    }
                })
                .sink("answers", sink::null());
            Ok(())
        };
        run(&workers(1), build).unwrap();
    });
    assert_eq!((now.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (0, AT_A_TIME));
}

/// What becomes of a record, by what is said of it.
fn judged(app: &App, calls: &Arc<Mutex<Vec<String>>>) {
    let calls = Arc::clone(calls);
    let retry = Retry::tries(3).first_pause(Duration::ZERO);
    let lookups = Lookups::new().retry(retry).timeout(Duration::from_millis(20));
    app.source("words", source::empty::<String>())
        .map_async("judge", lookups, move |word: String| {
            calls.lock().unwrap().push(word.clone());
            assert!(word != "panics-at-once", "no such word");
            async move {
                match word.as_str() {
                    "fails" => Err(Undo::fail("it is not so")),
                    "never" => Err(Undo::abort("it will never be so")),
                    "nothing" => Err(Undo::Ignore),
                    "panics" => panic!("what a word"),
                    "late" => std::future::pending().await,
                    _ => Ok(word + "!"),
                }
            }
        })
        .sink("judged", sink::null());
}

#[test]
fn what_fails_is_tried_again_unless_it_is_of_no_use() {
    let words = ["one", "fails", "never", "nothing", "panics", "panics-at-once", "late", "two"];
    for workers in [1, 3] {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let of = Arc::clone(&calls);
        let build = move |app: &App| {
            judged(app, &of);
            Ok(())
        };
        let mut driver = TestDriver::new(build).workers(workers).start().unwrap();
        for word in words {
            driver.send("words", word.to_string()).unwrap();
        }
        driver.run().unwrap();
        assert_eq!(driver.outputs::<String>("judged"), ["one!", "two!"]);
        let letters = driver.dead_letters();
        let told: Vec<_> = letters
            .iter()
            .map(|letter| (letter.text().unwrap(), &*letter.failure.kind, letter.reason()))
            .collect();
        let expected = [
            ("\"fails\"", "failed", "it is not so"),
            ("\"never\"", "aborted", "it will never be so"),
            ("\"panics\"", "panic", "what a word"),
            ("\"panics-at-once\"", "panic", "no such word"),
            ("\"late\"", "timeout", "no answer within 20ms"),
        ];
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for ((word, kind, reason), told) in expected.iter().zip(&told) {
            assert_eq!((*word, *kind), (told.0, told.1));
            assert!(told.2.starts_with(reason), "{told:?}");
        }
        let letter = &letters[0];
        assert_eq!((letter.offset, letter.computation.as_deref()), (1, Some("judge")));
        assert_eq!(letter.pipeline, "words");
        let counters = driver.counters().snapshot();
        let count = |name: &str| counters[&format!("judge.{name}")];
        let counted = ["calls", "retries", "dead_letters", "ignored"].map(count);
        assert_eq!(counted, [8, 4, 5, 1], "{counters:?}");
        let calls = calls.lock().unwrap();
        let tries = |word: &str| calls.iter().filter(|call| *call == word).count();
        assert_eq!(words.map(tries), [1, 3, 1, 1, 1, 1, 3, 1]);
    }
}

/// What a driver sees is a function of what was sent, whatever the schedule.
#[test]
fn a_driver_waits_for_answers() {
    let input = input(5, 1, 300);
    let values: Vec<u64> = in_order(&input).into_iter().map(|(_, value)| value).collect();
    for seed in 0..20 {
        let build = |app: &App| {
            let service = Service::default();
            app.source("numbers", source::empty::<u64>())
                .map_async("ask", twice(), move |value| service.clone().answer(value))
                .key_by(|(value, _)| (value % 3) as u8)
                .compute("count", COUNTS, |(value, _), mut count, out: &mut Context<'_, _>| {
                    *count += 1;
                    out.emit((value, *count));
                })
                .sink("answers", sink::null());
            Ok(())
        };
        let mut driver =
            TestDriver::new(build).workers(1 + seed as usize % 4).seed(seed).start().unwrap();
        let mut counts = [0_u64; 3];
        for some in values.chunks(1 + seed as usize * 7) {
            some.iter().for_each(|value| driver.send("numbers", *value).unwrap());
            driver.run().unwrap();
            let expected = some.iter().filter(|value| !fails(**value)).map(|value| {
                let count = &mut counts[(value % 3) as usize];
                *count += 1;
                (*value, *count)
            });
            assert_eq!(driver.outputs::<(u64, u64)>("answers"), expected.collect::<Vec<_>>());
            let failed = some.iter().filter(|value| fails(**value)).map(ToString::to_string);
            let letters = driver.dead_letters();
            let told = letters.iter().map(|letter| letter.text().unwrap().to_string());
            assert_eq!(told.collect::<Vec<_>>(), failed.collect::<Vec<_>>());
        }
        driver.finish().unwrap();
    }
}

/// All records of a window, in order.
struct List;

impl Aggregate<String> for List {
    type State = Vec<String>;
    type Output = Vec<String>;
    const EXACT: bool = false;

    fn initial(&self) -> Vec<String> {
        Vec::new()
    }

    fn update(&self, state: &mut Vec<String>, record: &String) {
        state.push(record.clone());
    }

    fn combine(&self, state: &mut Vec<String>, later: &Vec<String>) {
        state.extend_from_slice(later);
    }

    fn output(&self, state: &Vec<String>) -> Vec<String> {
        state.clone()
    }
}

#[test]
fn mbf_4_a_window_on_which_code_fails_is_a_dead_letter_after_its_tries() {
    for workers in 1..=4 {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let of = Arc::clone(&calls);
        let build = move |app: &App| {
            let calls = Arc::clone(&of);
            let lookups =
                Lookups::new().retry(Retry::tries(4).first_pause(Duration::from_micros(10)));
            app.source("items", source::empty::<String>())
                .key_by(|_| 0_u8)
                .window("pairs", |_| Time::ZERO, presets::count(2, List))
                .map(|(_, told)| told.value)
                .share()
                .map_async("process", lookups, move |pair: Vec<String>| {
                    calls.lock().unwrap().push(pair.clone());
                    async move {
                        let numbers: Result<Vec<u64>, _> =
                            pair.iter().map(|item| item.parse()).collect();
                        Ok(numbers?)
                    }
                })
                .sink("pairs-processed", sink::null());
            Ok(())
        };
        let mut driver = TestDriver::new(build).workers(workers).start().unwrap();
        for item in ["1", "bad", "3", "4", "5", "6"] {
            driver.send("items", item.to_string()).unwrap();
        }
        driver.run().unwrap();
        assert_eq!(driver.outputs::<Vec<u64>>("pairs-processed"), [[3, 4], [5, 6]]);
        let letters = driver.dead_letters();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].text(), Some(r#"["1","bad"]"#));
        assert_eq!(letters[0].reason(), "invalid digit found in string");
        let tries = calls.lock().unwrap().iter().filter(|pair| pair[1] == "bad").count();
        assert_eq!(tries, 4, "and no more");
    }
}

/// The first answer comes when all others have.
#[test]
fn mbf_12_a_slow_window_holds_its_place() {
    for count in 1..=4 {
        let (lines, done) = (Lines::default(), Arc::new(AtomicUsize::new(0)));
        let (of, others) = (lines.clone(), Arc::clone(&done));
        bounded(move || {
            let build = move |app: &App| {
                let done = Arc::clone(&others);
                let items: Vec<_> = (0..10_i64).map(|i| (Some(i), i.to_string())).collect();
                app.source("items", Memory::new(vec![items]))
                    .key_by(|_| 0_u8)
                    .window("pairs", |_| Time::ZERO, presets::count(2, List))
                    .map(|(_, told)| told.value.join("-"))
                    .share()
                    .map_async("process", Lookups::new().concurrency(5), move |pair: String| {
                        let done = Arc::clone(&done);
                        async move {
                            while pair == "0-1" && done.load(Ordering::SeqCst) < 4 {
                                tokio::task::yield_now().await;
                            }
                            done.fetch_add(1, Ordering::SeqCst);
                            Ok(pair)
                        }
                    })
                    .sink("processed", of.sink::<String>());
                Ok(())
            };
            run(&workers(count), build).unwrap();
        });
        let told = lines.take();
        let told: Vec<&str> = told.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
        assert_eq!(told, ["0-1", "2-3", "4-5", "6-7", "8-9"], "{count} workers");
    }
}
