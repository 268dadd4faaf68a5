//! By arrival the order is open, but every record is applied exactly once.

use std::collections::BTreeMap;

use anabranch::prelude::*;
use anabranch::{TestDriver, run, sink, source};

use crate::support::{Lines, Memory, Sequence, bounded, workers};

const COUNTS: Table<u64, (u64, u64)> = Table::new("counts");

fn count(n: u64, mut count: Row<'_, (u64, u64)>, out: &mut Context<'_, (u64, u64)>) {
    count.0 += 1;
    count.1 += n;
    out.emit(*count);
}

#[test]
fn every_record_is_applied_once_and_leaves_once() {
    let mut sequence = Sequence(9);
    let mut partition = |n: u64| (0..n).map(|_| (None, sequence.below(1 << 20))).collect();
    let inputs =
        [Memory::new(vec![partition(30_000), partition(9)]), Memory::new(vec![partition(20_000)])];
    // What leaves for a key is each number once: its counts are 1, 2, 3, ..., whatever the order.
    let mut expected: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut ids = Vec::new();
    for (source, input) in inputs.iter().enumerate() {
        for (partition, records) in input.partitions.iter().enumerate() {
            for (offset, (_, n)) in records.iter().enumerate() {
                let count = expected.entry(n % 100).or_default();
                *count = (count.0 + 1, count.1 + n);
                ids.push(format!("source-{source}-{partition}-{offset}"));
            }
        }
    }
    ids.sort_unstable();
    let mut totals: Vec<(u64, u64)> = expected.into_values().collect();
    totals.sort_unstable();
    for number in 1..=4 {
        let inputs = inputs.clone();
        let lines = bounded(move || {
            let lines = Lines::default();
            let sink = lines.clone();
            let build = move |app: &App| {
                app.order(Order::Arrival);
                let [one, two] = inputs.clone();
                let two = app.source("source-0", one).merge(app.source("source-1", two));
                two.key_by(|n| n % 100).compute("count", COUNTS, count).sink("out", sink.sink());
                Ok(())
            };
            run(&workers(number), build).unwrap();
            lines.take()
        });
        // Ids name the leg of the merge as a place: `.1` for the second.
        let mut left: Vec<&str> = lines
            .lines()
            .filter_map(|line| line.split(' ').next())
            .map(|id| id.split('.').next().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, ids, "{number} workers");
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for line in lines.lines() {
            let (_, pair) = line.split_once(" (").unwrap();
            let (count, sum) = pair.trim_end_matches(')').split_once(", ").unwrap();
            let (count, sum): (u64, u64) = (count.parse().unwrap(), sum.parse().unwrap());
            last.entry(count).and_modify(|known| *known = (*known).max(sum)).or_insert(sum);
        }
        let most = totals.iter().map(|(count, _)| *count).max().unwrap();
        assert_eq!(last.keys().copied().collect::<Vec<_>>(), (1..=most).collect::<Vec<_>>());
    }
}

#[test]
fn tables_hold_every_record_once() {
    fn build(app: &App) -> Result<()> {
        app.order(Order::Arrival);
        for name in ["one", "two"] {
            app.source(name, source::empty::<u64>())
                .flat_map(|n| [n, n + 1])
                .key_by(|n| n % 10)
                .compute(&format!("count-{name}"), COUNTS, count)
                .sink(&format!("out-{name}"), sink::null());
        }
        Ok(())
    }
    for workers in 1..=4 {
        for seed in 0..5 {
            let mut driver = TestDriver::new(build).workers(workers).seed(seed).start().unwrap();
            let mut expected: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for n in 0..2000_u64 {
                driver.send(if n % 3 == 0 { "one" } else { "two" }, n).unwrap();
                for m in [n, n + 1] {
                    let count = expected.entry(m % 10).or_default();
                    *count = (count.0 + 1, count.1 + m);
                }
                if n % 512 == 0 {
                    driver.run().unwrap();
                }
            }
            driver.run().unwrap();
            for (key, count) in expected {
                assert_eq!(driver.get(COUNTS, &key).unwrap(), Some(count));
            }
            let outputs = ["out-one", "out-two"].map(|sink| driver.ids(sink));
            let mut all: Vec<String> = outputs.concat();
            assert_eq!(all.len(), 4000);
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 4000, "ids are unique");
        }
    }
}
