//! Time to live: a row is gone, to the nanosecond, for whoever is applied to it, on any number of workers
//! and before and after a restart; and from memory, when its time is up.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::{Nature, Source};
use anabranch::window::ttl::Ttl;
use anabranch::{Expiring, TestDriver, Watermarks, run, sink, source};

use crate::durability::{Folder, Released, in_pieces_of};
use crate::support::{Memory, Sequence, uninterrupted, workers};

const LIFE: Duration = Duration::from_millis(20);

const WRITTEN: Expiring<Table<u8, u64>> = Table::new("written").expiring(Ttl::since_write(LIFE));
const SEEN: Expiring<Table<u8, u64>> = Table::new("seen").expiring(Ttl::since_access(LIFE));
const ENTRIES: Expiring<MapTable<u8, u8, u64>> =
    MapTable::new("entries").expiring(Ttl::since_write(LIFE));
const BY_EVENT: Expiring<Table<u8, u64>> =
    Table::new("by-event").expiring(Ttl::since_write(LIFE).in_event_time());

/// A key, milliseconds of event time, and what to do: read, write or remove.
type Order = (u8, i64, u8);
/// What there was: in each table, for who writes and for who only reads.
type Found = (u8, [u64; 4], [u64; 2]);

fn expiring(
    app: &App,
    orders: impl Source<Item = Order>,
    found: impl Sink<Item = Found>,
) -> Result<()> {
    let orders = app
        .source("orders", orders)
        .event_time(Watermarks::monotonic(|order: &Order| Time::from_millis(order.1)))
        .key_by(|order| order.0);
    let changed = orders.compute(
        "change",
        (WRITTEN, SEEN, ENTRIES, BY_EVENT),
        |(key, _, what), (mut written, mut seen, mut entries, mut by_event), out| {
            let entry = entries.get(&1).copied().unwrap_or_default();
            let found = [*written, *seen, entry, *by_event];
            match what {
                0 => {}
                1 => {
                    *written += 1;
                    *seen += 1;
                    *entries.entry(1) += 1;
                    *by_event += 1;
                }
                _ => {
                    written.remove();
                    seen.remove();
                    entries.clear();
                    by_event.remove();
                }
            }
            out.emit((key, found));
        },
    );
    changed
        .compute("look", (WRITTEN.read(), SEEN.read()), |(key, found), (written, seen), out| {
            assert_eq!(written.exists(), *written > 0);
            out.emit((key, found, [*written, *seen]));
        })
        .sink("found", found);
    Ok(())
}

/// A row and its last touch, in milliseconds.
type Rows = BTreeMap<u8, (u64, i64)>;

#[derive(Default)]
struct Oracle {
    tables: [Rows; 4],
}

impl Oracle {
    fn apply(&mut self, (key, _, what): Order, now: i64, watermark: i64) -> Found {
        let life = LIFE.as_millis() as i64;
        let mut found = [0; 4];
        for (table, rows) in self.tables.iter_mut().enumerate() {
            let clock = if table == 3 { watermark } else { now };
            let row = rows.remove(&key).filter(|(_, touched)| clock < touched.saturating_add(life));
            found[table] = row.map_or(0, |row| row.0);
            let row = match what {
                0 if table == 1 => row.map(|(value, _)| (value, clock)),
                0 => row,
                1 => Some((found[table] + 1, clock)),
                _ => None,
            };
            rows.extend(row.map(|row| (key, row)));
        }
        let left = [0, 1].map(|table: usize| self.tables[table].get(&key).map_or(0, |row| row.0));
        (key, found, left)
    }
}

#[test]
fn a_row_lives_for_its_time_after_it_was_touched() {
    for seed in 0..50 {
        let mut sequence = Sequence(seed);
        let draw = |app: &App| expiring(app, source::empty::<Order>(), sink::null());
        let workers = 1 + seed as usize % 4;
        let mut driver = TestDriver::new(draw).workers(workers).seed(seed).start().unwrap();
        let mut oracle = Oracle::default();
        let (mut now, mut event, mut watermark) = (0, 0, i64::MIN / 1_000_000);
        for _ in 0..60 {
            let step = sequence.below(16);
            driver.advance(Duration::from_millis(step));
            now += step as i64;
            let mut wanted = Vec::new();
            for _ in 0..sequence.below(4) {
                event += sequence.below(9) as i64;
                let order = (sequence.below(4) as u8, event, sequence.below(3) as u8);
                driver.send("orders", order).unwrap();
                wanted.push(oracle.apply(order, now, watermark));
            }
            driver.run().unwrap();
            assert_eq!(driver.outputs::<Found>("found"), wanted, "seed {seed}");
            if !wanted.is_empty() {
                watermark = event;
            }
        }
        driver.advance(LIFE * 2);
        driver.send("orders", (9_u8, event + 100, 0_u8)).unwrap();
        driver.run().unwrap();
        for key in 0..4 {
            assert_eq!(driver.get(WRITTEN.table(), &key).unwrap(), None, "seed {seed}");
            assert_eq!(driver.get(SEEN.table(), &key).unwrap(), None, "seed {seed}");
            assert!(driver.entries(ENTRIES.table(), &key).unwrap().is_empty(), "seed {seed}");
            assert_eq!(driver.get(BY_EVENT.table(), &key).unwrap(), None, "seed {seed}");
        }
    }
}

fn inputs(seed: u64) -> Memory<Order> {
    let mut sequence = Sequence(seed);
    let partitions = (0..3).map(|_| {
        let mut now = 0;
        let mut record = || {
            now += sequence.below(2) as i64;
            (Some(now * 1_000_000), (sequence.below(40) as u8, now, sequence.below(3) as u8))
        };
        (0..6_000).map(|_| record()).collect()
    });
    Memory { nature: Nature::Recorded, ..Memory::new(partitions.collect()) }
}

fn on_workers(inputs: &Memory<Order>, count: usize) -> Vec<String> {
    let inputs = inputs.clone();
    uninterrupted(count, move |app, out| expiring(app, inputs.clone(), out))
}

#[test]
fn rows_expire_the_same_wherever_they_are() {
    let inputs = inputs(1);
    let one = on_workers(&inputs, 1);
    for count in [2, 3] {
        assert!(on_workers(&inputs, count) == one, "{count} workers");
    }
    let folder = Folder::new("expiring");
    let steps = [(1, 3_000), (3, 1), (2, 5_000), (1, 10), (2, usize::MAX)];
    let released = in_pieces_of(&folder, &steps, move |app, of: Released<Found>| {
        expiring(app, inputs.clone(), of).unwrap();
    });
    assert_eq!(released.len(), one.len());
    assert!(released == one);
}

#[test]
fn a_life_of_nothing_is_refused() {
    const NOTHING: Expiring<Table<u8, u64>> =
        Table::new("nothing").expiring(Ttl::since_write(Duration::ZERO));
    let draw = |app: &App| {
        app.source("numbers", source::empty::<u8>())
            .key_by(|number| *number)
            .compute("count", NOTHING, |_, mut count, out| {
                *count += 1;
                out.emit(*count);
            })
            .sink("counts", sink::null());
        Ok(())
    };
    let error = run(&workers(1), draw).unwrap_err().to_string();
    assert!(error.contains("`count`") && error.contains("at least a nanosecond"), "{error}");
}
