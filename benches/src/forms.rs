//! The alerts workload in four forms; each gives how many alerts fired and the seconds it took.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::{clock, source};
use hashbrown::HashMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Input, Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

use crate::alerts::{Amount, Fired, Price, State, Update, Workload};

type States<P> = HashMap<u32, State<P>, foldhash::fast::FixedState>;

/// What a form came to.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How many alerts fired.
    pub fired: u64,
    /// How long it took.
    pub seconds: f64,
}

fn since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64()
}

/// (a) A plain loop over one map.
pub fn hand_loop<P: Amount>(workload: &Workload<P>) -> Outcome {
    let began = clock::instant();
    let mut states: States<P> = HashMap::default();
    let mut fired = 0;
    let mut updates = workload.updates.iter();
    for (i, price) in workload.prices.iter().enumerate() {
        if i % 100 == 0
            && let Some(update) = updates.next()
        {
            states.entry(update.key).or_default().update(update);
        }
        states.entry(price.key).or_default().price(price, |alert| {
            std::hint::black_box(alert);
            fired += 1;
        });
    }
    Outcome { fired, seconds: since(began) }
}

/// How many prices an epoch of the hand-written timely program has.
const BATCH: usize = 1000;
/// How many of its epochs are in flight.
const IN_FLIGHT: u64 = 4;

/// (b) Two timely operators that share a map, by arrival.
pub fn hand_timely<P: Amount>(workload: &Arc<Workload<P>>, workers: usize) -> Outcome {
    let began = clock::instant();
    let config = timely::Config::process(workers);
    let workload = Arc::clone(workload);
    let results = timely::execute(config, move |worker| timely_worker(worker, &workload));
    let fired = results.map_or(0, |guards| guards.join().into_iter().filter_map(Result::ok).sum());
    Outcome { fired, seconds: since(began) }
}

type Handle<T> = InputHandle<u64, CapacityContainerBuilder<Vec<T>>>;

fn timely_worker<P: Amount>(worker: &mut timely::worker::Worker, workload: &Workload<P>) -> u64 {
    let (index, peers) = (worker.index(), worker.peers());
    let fired = Rc::new(Cell::new(0));
    let counted = Rc::clone(&fired);
    let probe = ProbeHandle::new();
    let states: Rc<RefCell<States<P>>> = Rc::default();
    let (mut prices, mut updates): (Handle<Price<P>>, Handle<Update<P>>) =
        worker.dataflow(|scope| {
            let (price_input, prices) = scope.new_input();
            let (update_input, updates) = scope.new_input();
            let (on_prices, on_updates) = (Rc::clone(&states), states);
            let by_key = Exchange::new(|price: &Price<P>| u64::from(price.key));
            prices
                .unary::<CapacityContainerBuilder<Vec<Fired<P>>>, _, _, _>(
                    by_key,
                    "prices",
                    |_, _| {
                        move |input, output| {
                            input.for_each_stamp(|capability, batches| {
                                let mut states = on_prices.borrow_mut();
                                let mut session = output.session(&capability);
                                for price in batches.flat_map(|batch| batch.drain(..)) {
                                    let state = states.entry(price.key).or_default();
                                    state.price(&price, |alert| session.give(alert));
                                }
                            });
                        }
                    },
                )
                .inspect_batch_into(counted)
                .probe_with(&probe);
            let by_key = Exchange::new(|update: &Update<P>| u64::from(update.key));
            updates
                .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(by_key, "updates", |_, _| {
                    move |input, _| {
                        input.for_each(|_, batch| {
                            let mut states = on_updates.borrow_mut();
                            for update in batch.drain(..) {
                                states.entry(update.key).or_default().update(&update);
                            }
                        });
                    }
                })
                .probe_with(&probe);
            (price_input, update_input)
        });
    let mut epoch = 0;
    for (batch, chunk) in workload.prices.chunks(BATCH).enumerate().skip(index).step_by(peers) {
        for (i, price) in chunk.iter().enumerate() {
            if i % 100 == 0
                && let Some(update) = workload.updates.get((batch * BATCH + i) / 100)
            {
                updates.send(*update);
            }
            prices.send(*price);
        }
        epoch += 1;
        prices.advance_to(epoch);
        updates.advance_to(epoch);
        worker.step();
        while epoch > IN_FLIGHT && probe.less_than(&(epoch - IN_FLIGHT)) {
            worker.step();
        }
    }
    drop((prices, updates));
    while worker.step_or_park(None) {}
    fired.get()
}

/// Counts what a stream carries.
trait InspectBatchInto {
    fn inspect_batch_into(self, counted: Rc<Cell<u64>>) -> Self;
}

impl<T: Clone + 'static> InspectBatchInto for timely::dataflow::StreamVec<'_, u64, T> {
    fn inspect_batch_into(self, counted: Rc<Cell<u64>>) -> Self {
        use timely::dataflow::operators::vec::Map;
        self.map(move |record| {
            counted.set(counted.get() + 1);
            record
        })
    }
}

/// The workload as recorded sources: prices and updates, each in as many partitions as workers.
pub struct Recorded<P> {
    prices: Partitions<Price<P>>,
    updates: Partitions<(Time, Update<P>)>,
}

type Partitions<T> = Arc<[Vec<T>]>;

impl<P: Amount> Recorded<P> {
    /// Deals the workload to `partitions` partitions, in batches.
    pub fn new(workload: &Workload<P>, partitions: usize) -> Self {
        let mut prices = vec![Vec::new(); partitions];
        for (batch, chunk) in workload.prices.chunks(BATCH).enumerate() {
            if let Some(partition) = prices.get_mut(batch % partitions) {
                partition.extend(chunk);
            }
        }
        let mut updates = vec![Vec::new(); partitions];
        for (i, update) in workload.updates.iter().enumerate() {
            let time = Time::from_nanos(i as i64 * 100 - 1);
            if let Some(partition) = updates.get_mut(i * 100 / BATCH % partitions) {
                partition.push((time, *update));
            }
        }
        Self { prices: prices.into(), updates: updates.into() }
    }
}

/// (c) and (d) The engine, by arrival or deterministic.
pub fn engine<P: Amount>(recorded: &Recorded<P>, order: Order, workers: usize) -> Outcome {
    let (prices, updates) = (Arc::clone(&recorded.prices), Arc::clone(&recorded.updates));
    let fired = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&fired);
    let began = clock::instant();
    let ran = Config::from_flags(["-w", &workers.to_string()]).and_then(|config| {
        let build = move |app: &App| {
            let table: Table<u32, State<P>> = Table::new("states");
            let counted = Arc::clone(&counted);
            app.order(order);
            let sent = |price: &Price<P>| Time::from_nanos(price.sent as i64);
            app.source("prices", source::memory_timed(Arc::clone(&prices), sent))
                .key_by(|price| price.key)
                .compute("price", table, |price, mut state, out| {
                    state.price(&price, |alert| out.emit(alert));
                })
                .inspect(move |alert: &Fired<P>| {
                    std::hint::black_box(alert);
                    counted.fetch_add(1, Ordering::Relaxed);
                });
            app.source("updates", source::memory(Arc::clone(&updates)))
                .key_by(|update| update.key)
                .compute("update", table, |update, mut state, _: &mut Context<'_, ()>| {
                    state.update(&update);
                });
            Ok(())
        };
        anabranch::run(&config, build).map(drop)
    });
    if let Err(error) = ran {
        eprintln!("the engine failed: {error}");
    }
    Outcome { fired: fired.load(Ordering::Relaxed), seconds: since(began) }
}
