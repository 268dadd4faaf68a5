//! What was answered once is answered so for ever: after crashes and on other numbers of workers nobody is
//! asked again about what was released, though the service would say something else now.

use std::collections::BTreeSet;

use anabranch::{Lookups, Undo, verify};

use super::*;
use crate::lookups::{Service, fails, in_order, input, twice};

type Answer = (u64, u32);

/// What was released, of answers and of dead letters.
#[derive(Clone)]
struct Told {
    answers: Released<Answer>,
    letters: Released<DeadLetter>,
}

/// The records of which something was released.
fn settled(told: &Told) -> BTreeSet<u64> {
    let answers = told.answers.lines();
    let answers = answers.iter().map(|line| value(line));
    let letters = told.letters.lines();
    let letters = letters.iter().map(|line| {
        let (_, asked) = line.split_once("nothing is known of ").unwrap();
        asked.split(',').next().unwrap().parse().unwrap()
    });
    answers.chain(letters).collect()
}

fn value(line: &str) -> u64 {
    let (_, answer) = line.split_once('(').unwrap();
    answer.split(',').next().unwrap().parse().unwrap()
}

fn ask(app: &App, input: &Memory<u64>, service: &Service, told: &Told) {
    let service = service.clone();
    app.source("numbers", input.clone())
        .map_async("ask", twice(), move |value| service.clone().answer(value))
        .sink("answers", told.answers.clone());
    app.dead_letters(told.letters.clone());
}

/// With few records in flight, so that much is still to be read when a life ends.
fn config(folder: &Folder, workers: usize) -> Config {
    let (workers, dir) = (workers.to_string(), folder.0.to_str().unwrap());
    let flags = ["-w", &workers, "--data-dir", dir, "--checkpoint-interval", "10ms"];
    let more = ["--keep-journal", folder.1, "--in-flight-records", "300"];
    Config::from_flags(flags.into_iter().chain(more)).unwrap()
}

/// Ends as said: by a broken sink, or a drain.
fn live_through(folder: &Folder, input: &Memory<u64>, service: &Service) -> Told {
    let mut told = Told { answers: Released::new(), letters: Released::new() };
    let lives = [(2, 300, true), (1, 400, true), (4, 500, false), (3, 700, true), (2, 1, false)];
    let mut broken = 0;
    for (workers, more, breaks) in lives.into_iter().chain([(3, usize::MAX, false)]) {
        *service.settled.lock().unwrap() = settled(&told);
        let at = told.answers.len().saturating_add(more);
        (told.answers.breaks, told.answers.full) = (usize::MAX, usize::MAX);
        *(if breaks { &mut told.answers.breaks } else { &mut told.answers.full }) = at;
        told.answers.drain = Drain::default();
        let (config, drain) = (config(folder, workers), told.answers.drain.clone());
        let (from, of, told) = (input.clone(), service.clone(), told.clone());
        let ended = bounded(move || {
            let build = move |app: &App| {
                ask(app, &from, &of, &told);
                Ok(())
            };
            run_until(&config, build, &drain)
        });
        assert!(breaks || ended.is_ok(), "{ended:?}");
        broken += u32::from(ended.is_err());
    }
    assert!(broken > 1, "{broken}");
    *service.settled.lock().unwrap() = settled(&told);
    told
}

fn lived(name: &str, nature: Nature) {
    let mut folder = Folder::new(name);
    folder.1 = "forever";
    let input = Memory { nature, ..input(3, 3, 3_000) };
    let service = Service::default();
    let told = live_through(&folder, &input, &service);
    let lines = told.answers.lines();
    let again = service.asked_again.lock().unwrap().clone();
    assert_eq!(again, [0_u64; 0], "asked about again though it was released");
    let mut order = in_order(&input);
    if nature == Nature::Live {
        // Its order is its own; that of each partition is kept, as is seen from the names.
        let mut of = lines.iter().map(|line| line.split_once(' ').unwrap().0.to_string());
        let mut next = BTreeMap::new();
        assert!(of.all(|id| {
            let (lane, offset) = id.rsplit_once('-').unwrap();
            let offset: u64 = offset.parse().unwrap();
            next.insert(lane.to_string(), offset).is_none_or(|last| last < offset)
        }));
        order.sort_unstable_by_key(|(_, value)| *value);
    }
    let mut values: Vec<u64> = lines.iter().map(|line| value(line)).collect();
    if nature == Nature::Live {
        values.sort_unstable();
    }
    let expected = order.iter().map(|(_, value)| *value);
    assert!(values == expected.clone().filter(|value| !fails(*value)).collect::<Vec<_>>());
    assert_eq!(told.letters.len(), expected.filter(|value| fails(*value)).count());
    let calls = service.calls();
    replayed_as_it_was(&folder, &input, &service, &lines);
    assert_eq!(service.calls(), calls, "a replay asks nobody");
}

fn replayed_as_it_was(folder: &Folder, input: &Memory<u64>, service: &Service, lines: &[String]) {
    for workers in [1, 2, 4] {
        let (config, printed) = (folder.config(workers), Lines::default());
        let (from, of, to) = (input.clone(), service.clone(), printed.clone());
        bounded(move || {
            let build = move |app: &App| {
                let service = of.clone();
                app.source("numbers", from.clone())
                    .map_async("ask", twice(), move |value| service.clone().answer(value))
                    .sink("answers", to.sink::<Answer>());
                Ok(())
            };
            replay(&config, Span::default(), build.clone()).unwrap();
            if workers == 1 {
                let verified = verify(&config, Span::default(), build).unwrap();
                assert_eq!(verified.difference, None);
                assert!(verified.outputs > 1_000, "{verified}");
            }
        });
        let printed = printed.take();
        assert!(printed.lines().eq(lines.iter().map(String::as_str)), "{workers} workers");
    }
}

#[test]
fn recorded_input_keeps_its_answers() {
    lived("answers-recorded", Nature::Recorded);
}

#[test]
fn live_input_keeps_its_answers() {
    lived("answers-live", Nature::Live);
}

/// Answers that no kept checkpoint needs are dropped, whoever wrote them.
#[test]
fn old_answers_are_dropped() {
    let folder = Folder::new("answers-dropped");
    let input = Memory { nature: Nature::Live, ..input(4, 2, 20_000) };
    let mut released = Released::<(u64, String)>::new();
    for (workers, until) in [(3, 4_000), (1, 8_000), (2, 12_000), (1, 16_000), (1, usize::MAX)] {
        (released.full, released.drain) = (until, Drain::default());
        let (config, from, to) = (config(&folder, workers), input.clone(), released.clone());
        let drain = released.drain.clone();
        bounded(move || {
            let build = move |app: &App| {
                app.source("numbers", from.clone())
                    .map_async("ask", Lookups::new(), |value: u64| async move {
                        Ok((value, value.to_string().repeat(200)))
                    })
                    .sink("answers", to.clone());
                Ok(())
            };
            run_until(&config, build, &drain).unwrap();
        });
    }
    assert_eq!(released.len(), 40_000);
    let root = folder.0.join("journal/lookup%3aask");
    let mut bytes = 0;
    let mut lanes = 0;
    for lane in std::fs::read_dir(root).unwrap() {
        lanes += 1;
        for segment in std::fs::read_dir(lane.unwrap().path()).unwrap() {
            bytes += segment.unwrap().metadata().unwrap().len();
        }
    }
    assert!((3..10).contains(&lanes), "{lanes}");
    // 40,000 answers of about 1,000 bytes.
    assert!(bytes < 25_000_000, "{bytes}");
}

/// An answer is of one record: about another one at its place nothing is known.
#[test]
fn a_changed_program_is_not_given_answers_to_other_questions() {
    let mut folder = Folder::new("answers-changed");
    folder.1 = "forever";
    let config = folder.config(2);
    let (letters, answers) = (Lines::default(), Lines::default());
    let (of_letters, of_answers) = (letters.clone(), answers.clone());
    bounded(move || {
        let build = move |times: u64, letters: Lines, answers: Lines| {
            move |app: &App| {
                let ask = |value: u64| async move { Ok::<u64, Undo>(value + 1) };
                app.source("numbers", input(6, 2, 500))
                    .map(move |value| if value % 3 == 0 { value * times } else { value })
                    .map_async("ask", Lookups::new(), ask)
                    .sink("answers", answers.sink::<u64>());
                app.dead_letters(letters.sink::<DeadLetter>());
                Ok(())
            }
        };
        run(&config, build(1, Lines::default(), Lines::default())).unwrap();
        replay(&config, Span::default(), build(10, of_letters, of_answers)).unwrap();
    });
    let values: Vec<u64> =
        in_order(&input(6, 2, 500)).into_iter().map(|(_, value)| value).collect();
    let others = values.iter().filter(|value| **value % 3 == 0 && **value > 0).count();
    let letters = letters.take();
    assert_eq!(letters.lines().filter(|line| line.contains("unanswered")).count(), others);
    assert_eq!(letters.lines().count(), others);
    assert_eq!(answers.take().lines().count(), values.len() - others);
}
