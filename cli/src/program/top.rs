//! `anabranch top`: how a program does, live in the terminal.
//!
//! Invariant: a terminal is left as it was found; a pipe gets plain lines. A program that is away for a while is waited
//! for.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::args::Top;
use super::status::report;
use super::{get, place, shown};
use crate::failure::Failure;
use crate::print;

/// The longest that a signal waits.
const NAP: Duration = Duration::from_millis(50);
/// To the upper left, and what is below is gone.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Does what was typed.
pub(crate) fn top(command: &Top) -> Result<(), Failure> {
    let place = place(&command.of)?;
    let ended: Arc<AtomicBool> = Arc::default();
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended))
            .map_err(|e| Failure::new(format!("signals cannot be handled: {e}")))?;
    }
    let is_live = std::io::stdout().is_terminal() && !command.of.json;
    // Whether it is there at all.
    get(&place, "/program")?;
    let (mut before, mut looks) = (None, 0);
    while !ended.load(Ordering::Relaxed) && command.times.is_none_or(|times| looks < times) {
        looks += 1;
        let looked = get(&place, "/status")
            .and_then(|status| get(&place, "/pipelines").map(|pipelines| (status, pipelines)));
        if is_live {
            print::bytes(CLEAR.as_bytes())?;
        }
        match looked {
            Ok((status, _)) if command.of.json => print::line(&status.to_string())?,
            Ok((status, pipelines)) => {
                print::line(&head(&status))?;
                let now = records(&status);
                if let Some((then, at)) = &before {
                    rates(then, &now, *at)?;
                }
                report(&status, &pipelines).iter().try_for_each(|line| print::line(line))?;
                before = Some((now, anabranch::clock::instant()));
            }
            Err(_) => {
                print::line("the program does not answer; it is asked again")?;
                before = None;
            }
        }
        let began = anabranch::clock::instant();
        let is_last = command.times.is_some_and(|times| looks >= times);
        while began.elapsed() < command.every && !ended.load(Ordering::Relaxed) && !is_last {
            std::thread::sleep(NAP.min(command.every.saturating_sub(began.elapsed())));
        }
    }
    Ok(())
}

fn head(status: &Value) -> String {
    let workers = status["workers"].as_array();
    let states: BTreeMap<String, usize> =
        workers.into_iter().flatten().fold(BTreeMap::new(), |mut states, worker| {
            *states.entry(shown(&worker["state"])).or_default() += 1;
            states
        });
    let states: Vec<String> =
        states.into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!("{}  workers: {}", shown(&status["time"]), states.join(", "))
}

/// How many records each source and sink has passed on.
fn records(status: &Value) -> BTreeMap<String, u64> {
    let counters = status["counters"].as_object().into_iter().flatten();
    let records = counters.filter_map(|(name, number)| {
        Some((name.strip_suffix(".records")?.to_string(), number.as_u64()?))
    });
    records.collect()
}

fn rates(
    then: &BTreeMap<String, u64>,
    now: &BTreeMap<String, u64>,
    at: Instant,
) -> Result<(), Failure> {
    let seconds = at.elapsed().as_secs_f64().max(1e-3);
    for (name, count) in now {
        let before = then.get(name).copied().unwrap_or(*count);
        let rate = count.saturating_sub(before) as f64 / seconds;
        print::line(&format!("rate    {:<24} {rate:.0}/s", print::harmless(name)))?;
    }
    Ok(())
}
