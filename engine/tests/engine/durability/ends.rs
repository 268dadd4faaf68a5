//! Runs that end before their input does: by a panic, by a later generation.

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
