//! Sinks that fail: they are asked again, go on in order, and what they refuse for good is a dead letter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::{Outgoing, Sink, Taken, Writer};
use anabranch::source::OpenContext;
use anabranch::{Error, Lookups, Retry, Undo, run, sink};

use crate::lookups::{fails, fails_once, in_order, input};
use crate::support::{Lines, bounded, workers};

/// A sink that fails as the service does, one record after the other, and now and then with none.
#[derive(Clone, Default)]
struct Moody {
    lines: Lines,
    asked: Arc<Mutex<BTreeMap<u64, u32>>>,
    flushes: Arc<AtomicUsize>,
}

impl Sink for Moody {
    type Item = u64;

    fn describe(&self) -> String {
        "moody".to_string()
    }

    fn open(&self, _: &OpenContext) -> Result<Box<dyn Writer<u64>>> {
        Ok(Box::new(self.clone()))
    }
}

impl Writer<u64> for Moody {
    fn write(&mut self, batch: &mut Outgoing<u64>) -> Result<Taken> {
        while let Some((id, value)) = batch.peek() {
            let mut asked = self.asked.lock().unwrap();
            let times = asked.entry(*value).or_default();
            *times += 1;
            if fails(*value) || *times == 1 && fails_once(*value) {
                return Err(Error::Connector(format!("no room for {value}, time {times}")));
            }
            *self.lines.0.lock().unwrap() += &format!("{id} {value}\n");
            batch.pop();
        }
        Ok(Taken::All)
    }

    fn flush(&mut self) -> Result<Taken> {
        match self.flushes.fetch_add(1, Ordering::SeqCst) % 3 {
            1 => Err(Error::Connector("not now".to_string())),
            _ => Ok(Taken::All),
        }
    }
}

#[test]
fn a_sink_that_fails_is_asked_again_and_goes_on_in_order() {
    let input = input(9, 3, 500);
    let (failed, written): (Vec<_>, Vec<_>) =
        in_order(&input).into_iter().partition(|(_, value)| fails(*value));
    let expected: String =
        written.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
    let again = written.iter().filter(|(_, value)| fails_once(*value)).count();
    for count in 1..=4 {
        let (moody, letters) = (Moody::default(), Lines::default());
        let (of, from, of_letters) = (moody.clone(), input.clone(), letters.clone());
        let counters = bounded(move || {
            let build = move |app: &App| {
                let retry = Retry::tries(3).first_pause(Duration::from_micros(1));
                app.source("numbers", from.clone())
                    .sink("copies", sink::retrying(of.clone(), retry));
                app.dead_letters(of_letters.sink::<DeadLetter>());
                Ok(())
            };
            run(&workers(count), build).unwrap().snapshot()
        });
        assert!(moody.lines.take() == expected, "{count} workers");
        let letters = letters.take();
        assert_eq!(letters.lines().count(), failed.len());
        for ((name, value), letter) in failed.iter().zip(letters.lines()) {
            assert!(letter.starts_with(&format!("{name} ")), "{letter}");
            assert!(letter.contains(&format!("no room for {value}, time 3")), "{letter}");
            assert!(letter.contains("computation: Some(\"copies\")"), "{letter}");
        }
        assert_eq!(counters["copies.records"], written.len() as u64);
        assert_eq!(counters["copies.dead_letters"], failed.len() as u64);
        assert!(counters["copies.retries"] > (failed.len() * 2 + again) as u64, "flushes, too");
    }
}

/// There is no letter about a letter.
#[test]
fn a_sink_of_dead_letters_that_fails_ends_the_program() {
    let error = bounded(move || {
        let build = move |app: &App| {
            let lookups = Lookups::new().retry(Retry::never());
            app.source("numbers", input(9, 1, 500))
                .map_async("fail", lookups, |_: u64| async { Err::<u64, _>(Undo::fail("no")) })
                .sink("none", sink::null());
            let full = sink::frames(Full, || sink::Json);
            app.dead_letters(sink::retrying(full, Retry::tries(2)));
            Ok(())
        };
        run(&workers(2), build).unwrap_err()
    });
    assert!(error.to_string().contains("no room at all"), "{error}");
}

struct Full;

impl sink::Outlet for Full {
    fn describe(&self) -> String {
        "full".to_string()
    }

    fn open(&self, _: &OpenContext) -> Result<Box<dyn sink::FrameWriter>> {
        Ok(Box::new(Self))
    }
}

impl sink::FrameWriter for Full {
    fn write(&mut self, _: anabranch::RecordId<'_>, _: &[u8]) -> Result<Taken> {
        Err(Error::Connector("no room at all".to_string()))
    }
}
