//! The same input gives the same output and the same state, on any number of workers and in any
//! schedule: against a plain loop.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::{TestDriver, sink, source};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const SUMS: Table<u8, Sum> = Table::new("sums");
const MARKS: MapTable<u8, u32, u32> = MapTable::new("marks");

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    count: u64,
    /// Not commutative, so that a different order shows.
    hash: u64,
}

impl Sum {
    fn add(&mut self, value: u32) {
        self.count += 1;
        self.hash = self.hash.wrapping_mul(31).wrapping_add(u64::from(value));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Event {
    key: u8,
    value: u32,
}

/// Two pipelines on shared tables; the first goes on to a second group under another key.
fn two_pipelines(app: &App) -> Result<()> {
    app.source("adds", source::empty::<Event>())
        .filter(|event| event.value % 7 != 0)
        .flat_map(|event| {
            (0..event.value % 3).map(move |i| Event { value: event.value + i, ..event })
        })
        .key_by(|event| event.key)
        .compute("add", (SUMS, MARKS.read()), |event, (mut sum, marks), out| {
            sum.add(event.value);
            let marked = marks.get(&(event.value % 4)).copied().unwrap_or(0);
            out.emit((event.key, *sum, marked));
        })
        .sink("sums", sink::null())
        .key_by(|(key, _, _)| key % 2)
        .compute("total", Table::<u8, Sum>::new("totals"), |(_, sum, _), mut total, out| {
            total.add(sum.hash as u32);
            out.emit(*total);
        })
        .sink("totals", sink::null());
    app.source("marks", source::empty::<Event>()).key_by(|event| event.key).compute(
        "mark",
        MARKS,
        |event, mut marks, _: &mut Context<'_, ()>| {
            *marks.entry(event.value % 4) += event.value;
        },
    );
    Ok(())
}

type Outputs = (Vec<(u8, Sum, u32)>, Vec<Sum>);

/// What happens, in the order of sending: a source, and how long after the one before.
type Input = Vec<(bool, Event, u8)>;

fn oracle(input: &Input) -> Outputs {
    let mut timed: Vec<(u64, bool, usize, Event)> = Vec::new();
    let mut now = 0;
    for (index, (marks, event, pause)) in input.iter().enumerate() {
        now += u64::from(*pause);
        timed.push((now, *marks, index, *event));
    }
    timed.sort_by_key(|(time, marks, index, _)| (*time, *marks, *index));
    let mut sums: BTreeMap<u8, Sum> = BTreeMap::new();
    let mut totals: BTreeMap<u8, Sum> = BTreeMap::new();
    let mut marks: BTreeMap<(u8, u32), u32> = BTreeMap::new();
    let mut outputs = Outputs::default();
    for (_, is_mark, _, event) in timed {
        if is_mark {
            *marks.entry((event.key, event.value % 4)).or_default() += event.value;
        } else if event.value % 7 != 0 {
            for i in 0..event.value % 3 {
                let value = event.value + i;
                let sum = sums.entry(event.key).or_default();
                sum.add(value);
                let marked = marks.get(&(event.key, value % 4)).copied().unwrap_or(0);
                outputs.0.push((event.key, *sum, marked));
                let total = totals.entry(event.key % 2).or_default();
                total.add(sum.hash as u32);
                outputs.1.push(*total);
            }
        }
    }
    outputs
}

fn drive(input: &Input, workers: usize, seed: u64, run_every: usize) -> Result<Outputs> {
    let mut driver = TestDriver::new(two_pipelines).workers(workers).seed(seed).start()?;
    let mut outputs = Outputs::default();
    for (index, (marks, event, pause)) in input.iter().enumerate() {
        driver.advance(Duration::from_nanos(u64::from(*pause)));
        driver.send(if *marks { "marks" } else { "adds" }, *event)?;
        // A run in between moves time, so it may only come where time moves anyway.
        let next_moves = input.get(index + 1).is_some_and(|next| next.2 > 0);
        if run_every > 0 && index % run_every == 0 && next_moves {
            driver.run()?;
            outputs.0.append(&mut driver.outputs("sums"));
            outputs.1.append(&mut driver.outputs("totals"));
        }
    }
    driver.run()?;
    outputs.0.append(&mut driver.outputs("sums"));
    outputs.1.append(&mut driver.outputs("totals"));
    driver.finish()?;
    Ok(outputs)
}

fn input() -> impl Strategy<Value = Input> {
    let event = (0..6_u8, 0..40_u32).prop_map(|(key, value)| Event { key, value });
    proptest::collection::vec((any::<bool>(), event, 0..3_u8), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_schedule_on_any_workers_is_the_plain_loop(
        input in input(), workers in 1..5_usize, seed in any::<u64>(), run_every in 0..20_usize,
    ) {
        prop_assert_eq!(drive(&input, workers, seed, run_every).unwrap(), oracle(&input));
    }
}
