//! Windows over a made stream: by a plain loop, by hand-written timely, and by the engine; each gives how
//! much it told and the seconds it took.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anabranch::aggregate::{count, max, mean, sum};
use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::window::pane::{Sliding, Windows};
use anabranch::window::{Rolling, session, sliding, tumbling};
use anabranch::{TestDriver, Timer, Watermarks, clock, sink, source};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Capability, Input, Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// One record.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Whose.
    pub key: u32,
    /// When, in nanoseconds.
    pub time: i64,
    /// What.
    pub value: i64,
}

impl Event {
    fn at(&self) -> Time {
        Time::from_nanos(self.time)
    }
}

/// What a form came to.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How many values were told.
    pub told: u64,
    /// What they add up to, so that forms can be compared.
    pub sum: i64,
    /// How long it took.
    pub seconds: f64,
}

fn since(began: Instant, told: u64, sum: i64) -> Outcome {
    Outcome { told, sum, seconds: began.elapsed().as_secs_f64() }
}

/// So many events of so many keys, `every` nanoseconds after one another.
pub fn events(count: usize, keys: u32, every: i64) -> Arc<[Vec<Event>]> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 31)
    };
    let event = |number: usize| {
        let random = next();
        let key = (((random >> 32) * u64::from(keys)) >> 32) as u32;
        Event { key, time: number as i64 * every, value: (random & 1023) as i64 }
    };
    vec![(0..count).map(event).collect()].into()
}

/// Runs the application that `draw` adds to the stream of events; what it hands to the last stream's
/// `inspect` is counted.
fn run(
    events: &Arc<[Vec<Event>]>,
    draw: impl Fn(anabranch::Shared<Event>, Arc<[AtomicU64; 2]>) + Send + Sync + 'static,
) -> Outcome {
    let told: Arc<[AtomicU64; 2]> = Arc::default();
    let (counted, events) = (Arc::clone(&told), Arc::clone(events));
    let began = clock::instant();
    let ran = Config::from_flags(["-w", "1"]).and_then(|config| {
        let build = move |app: &App| {
            let source = source::memory_timed(Arc::clone(&events), Event::at);
            let stream = app.source("events", source);
            draw(stream.event_time(Watermarks::monotonic(Event::at)).share(), Arc::clone(&counted));
            Ok(())
        };
        anabranch::run(&config, build).map(drop)
    });
    if let Err(error) = ran {
        eprintln!("the engine failed: {error}");
    }
    let [count, sum] = &*told;
    since(began, count.load(Ordering::Relaxed), sum.load(Ordering::Relaxed) as i64)
}

fn tell(told: &[AtomicU64; 2], value: i64) {
    told[0].fetch_add(1, Ordering::Relaxed);
    told[1].fetch_add(value as u64, Ordering::Relaxed);
}

/// Counts by key and window of `size`, by a loop over one map, emptied when time leaves the window.
pub fn tumbling_loop(events: &[Vec<Event>], size: Duration) -> Outcome {
    let began = clock::instant();
    let size = size.as_nanos() as i64;
    let (mut told, mut sum) = (0, 0);
    let mut counts: Map<u32, i64> = Map::default();
    let mut end = size;
    let mut flush = |counts: &mut Map<u32, i64>| {
        for (_, count) in counts.drain() {
            told += 1;
            sum += std::hint::black_box(count);
        }
    };
    for event in events.iter().flatten() {
        if event.time >= end {
            flush(&mut counts);
            end = event.time - event.time % size + size;
        }
        *counts.entry(event.key).or_default() += 1;
    }
    flush(&mut counts);
    since(began, told, sum)
}

/// The same in timely, with a map for each window, told when the frontier has passed it.
pub fn tumbling_timely(events: &Arc<[Vec<Event>]>, size: Duration) -> Outcome {
    let began = clock::instant();
    let (events, size) = (Arc::clone(events), size.as_nanos() as i64);
    let results = timely::execute(timely::Config::process(1), move |worker| {
        let told = std::rc::Rc::new(std::cell::Cell::new((0_u64, 0_i64)));
        let counted = std::rc::Rc::clone(&told);
        let probe = ProbeHandle::new();
        let mut input: InputHandle<u64, CapacityContainerBuilder<Vec<Event>>> = worker
            .dataflow::<u64, _, _>(|scope| {
                let (input, stream) = scope.new_input();
                let by_key = Exchange::new(|event: &Event| u64::from(event.key));
                stream
                    .unary_frontier::<CapacityContainerBuilder<Vec<(u32, i64)>>, _, _, _>(
                        by_key,
                        "count",
                        |_, _| {
                            let mut windows: BTreeMap<u64, (Capability<u64>, Map<u32, i64>)> =
                                BTreeMap::new();
                            move |(input, frontier), output| {
                                input.for_each(|capability, batch| {
                                    let Some(held) = capability.retain_least(0) else { return };
                                    let (_, counts) = windows
                                        .entry(held.time().to_owned())
                                        .or_insert_with(|| (held, Map::default()));
                                    for event in batch.drain(..) {
                                        *counts.entry(event.key).or_insert(0_i64) += 1;
                                    }
                                });
                                while let Some(entry) = windows.first_entry()
                                    && !frontier.less_equal(entry.key())
                                {
                                    let (capability, counts) = entry.remove();
                                    output.session(&capability).give_iterator(counts.into_iter());
                                }
                            }
                        },
                    )
                    .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
                        timely::dataflow::channels::pact::Pipeline,
                        "told",
                        |_, _| {
                            move |input, _| {
                                input.for_each(|_, batch| {
                                    for (_, count) in batch.drain(..) {
                                        let (told, sum) = counted.get();
                                        counted.set((told + 1, sum + count));
                                    }
                                });
                            }
                        },
                    )
                    .probe_with(&probe);
                input
            });
        for chunk in events.iter().flat_map(|events| events.chunks(1_000)) {
            for event in chunk {
                input.advance_to((event.time / size) as u64);
                input.send(*event);
            }
            worker.step();
        }
        drop(input);
        while worker.step_or_park(None) {}
        told.get()
    });
    let told = results.map_or((0, 0), |guards| {
        guards.join().into_iter().filter_map(Result::ok).next().unwrap_or_default()
    });
    since(began, told.0, told.1)
}

/// The same by the engine.
pub fn tumbling_engine(events: &Arc<[Vec<Event>]>, size: Duration) -> Outcome {
    run(events, move |stream, told| {
        stream
            .key_by(|event| event.key)
            .window("counts", Event::at, Windows::new(tumbling(size), count()))
            .inspect(move |(_, fired)| tell(&told, fired.value as i64));
    })
}

/// Sums of the last `size`, each `slide`, by a loop that adds up the slices of each window anew.
pub fn sliding_loop(events: &[Vec<Event>], size: Duration, slide: Duration) -> Outcome {
    let began = clock::instant();
    let [size, slide] = [size, slide].map(|span| span.as_nanos() as i64);
    let (mut told, mut sum) = (0, 0);
    let mut slices: BTreeMap<u32, BTreeMap<i64, (i64, u64)>> = BTreeMap::new();
    let mut end = slide;
    let mut close = |slices: &mut BTreeMap<u32, BTreeMap<i64, (i64, u64)>>, end: i64| {
        slices.retain(|_, slices| {
            let within = slices.range(end - size..end).map(|(_, slice)| slice);
            let (value, count) = within.fold((0, 0), |all, it| (all.0 + it.0, all.1 + it.1));
            if count > 0 {
                told += 1;
                sum += std::hint::black_box(value);
            }
            slices.retain(|start, _| *start >= end + slide - size);
            !slices.is_empty()
        });
    };
    for event in events.iter().flatten() {
        while event.time >= end {
            close(&mut slices, end);
            end += slide;
        }
        let of = slices.entry(event.key).or_default();
        let slice = of.entry(event.time - event.time % slide).or_default();
        *slice = (slice.0 + event.value, slice.1 + 1);
    }
    while !slices.is_empty() {
        close(&mut slices, end);
        end += slide;
    }
    since(began, told, sum)
}

/// The same by the engine; with the maximum as well, which cannot be subtracted, if `with_max`.
pub fn sliding_engine(
    events: &Arc<[Vec<Event>]>,
    size: Duration,
    slide: Duration,
    with_max: bool,
) -> Outcome {
    let value = |event: &Event| event.value;
    run(events, move |stream, told| {
        let keyed = stream.key_by(|event| event.key);
        let windows = sliding(size, slide);
        if with_max {
            let both = (sum(value), max(value));
            keyed
                .window("sums", Event::at, Sliding::new(windows, both))
                .inspect(move |(_, fired)| tell(&told, fired.value.0));
        } else {
            keyed
                .window("sums", Event::at, Sliding::new(windows, sum(value)))
                .inspect(move |(_, fired)| tell(&told, fired.value));
        }
    })
}

/// The mean of the last `size` at every record, by a loop that adds and subtracts.
pub fn rolling_loop(events: &[Vec<Event>], size: Duration) -> Outcome {
    let began = clock::instant();
    let size = size.as_nanos() as i64;
    let (mut told, mut sum) = (0, 0);
    let mut keys: Map<u32, (VecDeque<(i64, i64)>, i64)> = Map::default();
    for event in events.iter().flatten() {
        let (kept, total) = keys.entry(event.key).or_default();
        kept.push_back((event.time, event.value));
        *total += event.value;
        while let Some((time, value)) = kept.front().filter(|(time, _)| *time <= event.time - size)
        {
            let _ = time;
            *total -= value;
            kept.pop_front();
        }
        told += 1;
        sum += std::hint::black_box(*total / kept.len() as i64);
    }
    since(began, told, sum)
}

/// The same by the engine.
pub fn rolling_engine(events: &Arc<[Vec<Event>]>, size: Duration) -> Outcome {
    run(events, move |stream, told| {
        let mean = mean(|event: &Event| event.value);
        stream
            .key_by(|event| event.key)
            .rolling("means", Rolling::over(size, Event::at, mean))
            .inspect(move |(_, mean)| tell(&told, mean.unwrap_or_default() as i64));
    })
}

/// Sums of sessions, by a loop that has the open one of each key.
pub fn session_loop(events: &[Vec<Event>], gap: Duration) -> Outcome {
    let began = clock::instant();
    let gap = gap.as_nanos() as i64;
    let (mut told, mut sum) = (0, 0);
    let mut open: Map<u32, (i64, i64)> = Map::default();
    for event in events.iter().flatten() {
        let (last, total) = open.entry(event.key).or_insert((event.time, 0));
        if event.time - *last > gap {
            told += 1;
            sum += std::hint::black_box(*total);
            *total = 0;
        }
        (*last, *total) = (event.time, *total + event.value);
    }
    told += open.len() as u64;
    sum += open.values().map(|(_, total)| total).sum::<i64>();
    since(began, told, sum)
}

/// The same by the engine.
pub fn session_engine(events: &Arc<[Vec<Event>]>, gap: Duration) -> Outcome {
    run(events, move |stream, told| {
        let sum = sum(|event: &Event| event.value);
        stream
            .key_by(|event| event.key)
            .window("sessions", Event::at, Windows::new(session(gap), sum))
            .inspect(move |(_, fired)| tell(&told, fired.value));
    })
}

/// Each record sets a timer for an hour later; they are fired at the end.
struct AnHour;

impl Computation<u32, Event, ()> for AnHour {
    type Output = ();
    const TIMERS: bool = true;

    fn apply(&mut self, _: &u32, event: Event, (): (), out: &mut Context<'_, ()>) {
        out.set_timer("an-hour", event.at().after(Duration::from_secs(3_600)));
    }

    fn on_timer(&mut self, _: &u32, _: Timer<'_>, (): (), out: &mut Context<'_, ()>) {
        out.emit(());
    }
}

/// A timer a record, all pending until the end.
pub fn timers_engine(events: &Arc<[Vec<Event>]>) -> Outcome {
    run(events, |stream, told| {
        stream
            .key_by(|event| event.key)
            .computation("timers", (), AnHour)
            .inspect(move |()| tell(&told, 1));
    })
}

/// What [`memory`] can be asked for.
pub const HELD: [&str; 4] = [
    "a key with a pane",
    "each of four panes of a key",
    "a key with a timer",
    "a record of a rolling mean",
];

/// Bytes for one of [`HELD`]: of the process, with what its allocator holds. There are so many keys, and a
/// rolling mean is over `per_key` records.
pub fn memory(of: &str, keys: u32, per_key: usize) -> anabranch::Result<f64> {
    let time = |event: &Event| event.at();
    let day = Duration::from_secs(86_400);
    let panes = move |size| {
        move |app: &App| {
            app.source("events", source::empty::<Event>())
                .event_time(Watermarks::bounded(day, time))
                .key_by(|event| event.key)
                .window("counts", time, Windows::new(tumbling(size), count()))
                .sink("out", sink::null());
            Ok(())
        }
    };
    let timer = move |app: &App| {
        app.source("events", source::empty::<Event>())
            .event_time(Watermarks::monotonic(time))
            .key_by(|event| event.key)
            .computation("timers", (), AnHour)
            .sink("out", sink::null());
        Ok(())
    };
    let rolling = move |app: &App| {
        let mean = mean(|event: &Event| event.value);
        let hour = Duration::from_secs(3_600);
        app.source("events", source::empty::<Event>())
            .event_time(Watermarks::monotonic(time))
            .key_by(|event| event.key)
            .rolling("means", Rolling::over(hour, time, mean))
            .filter(|_| false)
            .sink("out", sink::null());
        Ok(())
    };
    let [by_pane, by_panes, by_timer, _] = HELD;
    if of == by_pane {
        held(TestDriver::new(panes(day)).start()?, keys, keys as usize)
    } else if of == by_panes {
        let size = Duration::from_nanos(u64::from(keys));
        held(TestDriver::new(panes(size)).start()?, keys, 4 * keys as usize)
    } else if of == by_timer {
        held(TestDriver::new(timer).start()?, keys, keys as usize)
    } else {
        held(TestDriver::new(rolling).start()?, keys, keys as usize * per_key)
    }
}

/// What the process has grown by for each of so many records.
fn held(mut driver: TestDriver, keys: u32, records: usize) -> anabranch::Result<f64> {
    let send = |driver: &mut TestDriver, from: usize, to: usize| {
        for number in from..to {
            let key = number as u32 % keys;
            driver.send("events", Event { key, time: number as i64, value: 1 })?;
        }
        driver.run()
    };
    // What does not grow with the records is there before.
    send(&mut driver, 0, 1_000)?;
    let before = resident();
    let mut at = 1_000;
    while at < records {
        let to = records.min(at + 10_000);
        send(&mut driver, at, to)?;
        at = to;
    }
    Ok(resident().saturating_sub(before) as f64 / (records - 1_000) as f64)
}

/// The memory of this process that is there.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4096
}
