//! Open-loop latency: records are due by a schedule, whether or not the program keeps up, and each
//! is timed from when it was due to when a sink has it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anabranch::clock;
use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::sink::{Outgoing, Sink, Taken, Writer};
use anabranch::source::{Intake, Nature, OpenContext, Progress, Reader, Source};
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use hdrhistogram::Histogram;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::{Input, Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

use crate::alerts::{Price, Random, State};

/// How many records are sent, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Records a second.
    pub rate: u64,
    /// For how long.
    pub duration: Duration,
    /// Latencies of this first part are not counted.
    pub warm_up: Duration,
    /// How long the sender sleeps when nothing is due; it spins if this is zero, and has a core of its
    /// own then.
    pub pause: Duration,
}

/// Latencies in nanoseconds.
pub type Latencies = Histogram<u64>;

const KEYS: u64 = 1000;
/// What waits between the sender and the program, at most.
const QUEUE: usize = 1 << 16;

/// No latencies yet: one nanosecond to a minute, three digits.
pub(crate) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap_or_else(|_| unreachable_bounds())
}

#[allow(clippy::panic)]
fn unreachable_bounds() -> Latencies {
    panic!("the histogram's bounds are fixed and valid")
}

/// Sends prices by the schedule from a thread of its own; `wake` after each burst.
fn send(
    schedule: Schedule,
    began: Instant,
    wake: impl Fn() + Send + 'static,
) -> Receiver<Price<i64>> {
    let (sender, receiver) = bounded(QUEUE);
    std::thread::spawn(move || {
        let interval = 1e9 / schedule.rate as f64;
        let total = (schedule.rate as f64 * schedule.duration.as_secs_f64()) as u64;
        let (mut random, mut next) = (Random(99), 0);
        while next < total {
            let now = began.elapsed().as_nanos() as u64;
            let due = ((now as f64 / interval) as u64 + 1).min(total);
            for i in next..due {
                let x = random.next_u64();
                let key = ((x >> 32) % KEYS) as u32;
                let (price, sent) = (900_000 + (x & 0xffff) as i64, (i as f64 * interval) as u64);
                if sender.send(Price { key, size: 1, price, sent }).is_err() {
                    return;
                }
            }
            if due > next {
                next = due;
                wake();
            }
            if schedule.pause.is_zero() {
                std::hint::spin_loop();
            } else {
                std::thread::sleep(schedule.pause);
            }
        }
        drop(sender);
        wake();
    });
    receiver
}

fn record(latencies: &mut Latencies, schedule: Schedule, began: Instant, sent: u64) {
    if u128::from(sent) > schedule.warm_up.as_nanos() {
        let latency = (began.elapsed().as_nanos() as u64).saturating_sub(sent).max(1);
        latencies.saturating_record(latency);
    }
}

/// (b) Hand-written timely: one operator on a map, by arrival; epochs close when nothing waits.
pub fn hand_timely(schedule: Schedule) -> Latencies {
    let results = timely::execute(timely::Config::process(1), move |worker| {
        let began = clock::instant() + Duration::from_millis(20);
        let measured = Rc::new(RefCell::new(latencies()));
        let into = Rc::clone(&measured);
        let probe = ProbeHandle::new();
        let mut states =
            hashbrown::HashMap::<u32, State<i64>, foldhash::fast::FixedState>::default();
        let mut input: InputHandle<u64, CapacityContainerBuilder<Vec<Price<i64>>>> = worker
            .dataflow(|scope| {
                let (input, prices) = scope.new_input();
                let by_key = Exchange::new(|price: &Price<i64>| u64::from(price.key));
                let acks = prices.unary::<CapacityContainerBuilder<Vec<u64>>, _, _, _>(
                    by_key,
                    "prices",
                    |_, _| {
                        move |input, output| {
                            input.for_each_stamp(|capability, batches| {
                                let mut session = output.session(&capability);
                                for price in batches.flat_map(|batch| batch.drain(..)) {
                                    states.entry(price.key).or_default().price(&price, |alert| {
                                        std::hint::black_box(alert);
                                    });
                                    session.give(price.sent);
                                }
                            });
                        }
                    },
                );
                acks.clone().sink(Pipeline, "sink", move |(input, _)| {
                    let mut latencies = into.borrow_mut();
                    input.for_each(|_, sent| {
                        for sent in sent.drain(..) {
                            record(&mut latencies, schedule, began, sent);
                        }
                    });
                });
                acks.probe_with(&probe);
                input
            });
        let activator = worker.sync_activator_for(vec![0]);
        let receiver = send(schedule, began, move || {
            let _ = activator.activate();
        });
        let mut epoch = 0;
        loop {
            match receiver.try_recv() {
                Ok(price) => {
                    input.send(price);
                    receiver.try_iter().for_each(|price| input.send(price));
                    epoch += 1;
                    input.advance_to(epoch);
                }
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {}
            }
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        drop(input);
        while worker.step_or_park(None) {}
        measured.borrow().clone()
    });
    let mut all = latencies();
    if let Ok(guards) = results {
        for latencies in guards.join().into_iter().flatten() {
            let _ = all.add(latencies);
        }
    }
    all
}

/// (c) and (d) The engine, by arrival or deterministic.
///
/// # Errors
/// What ended the engine.
pub fn engine(schedule: Schedule, order: Order, flags: &[&str]) -> Result<Latencies> {
    let measured = Arc::new(Mutex::new(latencies()));
    let into = Arc::clone(&measured);
    let began = clock::instant() + Duration::from_millis(100);
    let build = move |app: &App| {
        app.order(order);
        let table: Table<u32, State<i64>> = Table::new("states");
        app.source("prices", Scheduled { schedule, began })
            .key_by(|price| price.key)
            .compute("price", table, |price, mut state, out| {
                state.price(&price, |alert| {
                    std::hint::black_box(alert);
                });
                out.emit(price.sent);
            })
            .sink("acks", Measured { schedule, began, into: Arc::clone(&into) });
        Ok(())
    };
    anabranch::run(&Config::from_flags(flags.iter().copied())?, build)?;
    let measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(measured.clone())
}

struct Scheduled {
    schedule: Schedule,
    began: Instant,
}

impl Source for Scheduled {
    type Item = Price<i64>;

    fn describe(&self) -> String {
        "scheduled".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn Reader<Price<i64>>>> {
        let waker = context.waker.clone();
        let receiver = send(self.schedule, self.began, move || waker.wake());
        Ok(Box::new(ScheduledReader { receiver, offset: 0 }))
    }
}

struct ScheduledReader {
    receiver: Receiver<Price<i64>>,
    offset: u64,
}

impl Reader<Price<i64>> for ScheduledReader {
    fn read(&mut self, intake: &mut Intake<Price<i64>>) -> Result<Progress> {
        while !intake.is_full() {
            match self.receiver.try_recv() {
                Ok(price) => {
                    intake.frame(self.offset, None, size_of::<Price<i64>>());
                    intake.accept(price);
                    self.offset += 1;
                }
                Err(TryRecvError::Empty) => return Ok(Progress::Idle),
                Err(TryRecvError::Disconnected) => return Ok(Progress::End),
            }
        }
        Ok(Progress::Ready)
    }
}

struct Measured {
    schedule: Schedule,
    began: Instant,
    into: Arc<Mutex<Latencies>>,
}

impl Sink for Measured {
    type Item = u64;

    fn describe(&self) -> String {
        "measured".to_string()
    }

    fn open(&self, _: &OpenContext) -> Result<Box<dyn Writer<u64>>> {
        let (schedule, began, into) = (self.schedule, self.began, Arc::clone(&self.into));
        Ok(Box::new(Measured { schedule, began, into }))
    }
}

impl Writer<u64> for Measured {
    fn write(&mut self, batch: &mut Outgoing<u64>) -> Result<Taken> {
        let mut latencies = self.into.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sent) = batch.pop() {
            record(&mut latencies, self.schedule, self.began, sent);
        }
        Ok(Taken::All)
    }
}
