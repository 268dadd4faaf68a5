//! Through the engine: any number of workers and any schedule give the bytes of the plain loop, whatever
//! the average is over.

use std::time::Duration;

use anabranch::{TestDriver, Time};
use bitcoin_alerts::{Averaging, notifications_to, pipelines, prices_from, updates_from};
use proptest::prelude::*;

use crate::world::{World, prices_of, update_of};

fn driver(averaging: Averaging, workers: usize, seed: u64) -> TestDriver {
    let build = move |app: &anabranch::App| {
        // Never opened: the driver stands in for connectors.
        let unused = "ws-listen://127.0.0.1:0";
        let (prices, updates) = (prices_from(unused)?, updates_from(unused)?);
        pipelines(app, averaging, prices, updates, notifications_to("null:")?);
        Ok(())
    };
    TestDriver::new(build).workers(workers).seed(seed).start().unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Price(String),
    Update(String),
    /// All before it is of one epoch and of one ingest time: its number, in nanoseconds.
    Cut,
}

/// With sizes that fit such times, and a lateness that is mostly too short.
fn averagings() -> impl Strategy<Value = Averaging> {
    let nanos = |range| (range,).prop_map(|(nanos,)| Duration::from_nanos(nanos));
    let over = (nanos(1..30_u64), nanos(0..6_u64));
    prop_oneof![
        1 => Just(Averaging::Running),
        1 => (1..5_usize).prop_map(Averaging::Last),
        4 => over.prop_map(|(size, lateness)| Averaging::over(size).lateness(lateness)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let product = prop_oneof![Just("BTC-USD"), Just("ETH-USD"), Just("SKL-BTC"), Just("BTCUSDT")];
    let price = (product.clone(), 90..=110_u32, proptest::option::of(0..40_i64)).prop_map(
        |(product, price, time)| {
            let time = time
                .map_or(String::new(), |nanos| format!(r#","time":"{}""#, Time::from_nanos(nanos)));
            Step::Price(format!(r#"{{"type":"x","product_id":"{product}","price":{price}{time}}}"#))
        },
    );
    let op = prop_oneof![3 => Just("add"), 1 => Just("edit"), 1 => Just("remove")];
    let direction = prop_oneof![2 => Just("above"), 2 => Just("below"), 1 => Just("crossing")];
    let more = prop_oneof![
        4 => Just(String::new()),
        1 => Just(r#","of":"price""#.into()),
        1 => Just(r#","repeat":"rearm","hysteresis":2,"labels":["x"]"#.into()),
        1 => (0..9_u8).prop_map(|ns| format!(r#","of":"price","repeat":"every","cooldown":"{ns}ns""#)),
        1 => (0..40_i64).prop_map(|ns| format!(r#","expires":"{}""#, Time::from_nanos(ns))),
    ];
    let update = (product, op, direction, 900..=1100_u32, 0..9_u32, more).prop_map(
        |(product, op, direction, tenths, id, more)| {
            let price = format!("{}.{}", tenths / 10, tenths % 10);
            Step::Update(format!(
                r#"{{"op":"{op}","id":"{id}","product":"{product}","price":"{price}","user_id":{id},"direction":"{direction}"{more}}}"#
            ))
        },
    );
    let bad = prop_oneof![Just(Step::Price("{".into())), Just(Step::Update("{}".into()))];
    let step = prop_oneof![8 => price, 8 => update, 1 => bad, 5 => Just(Step::Cut)];
    proptest::collection::vec(step, 0..150)
}

/// The plain loop: in each epoch prices first, as they are declared. Lines, dead letters, and how many
/// prices were too late.
fn expected(averaging: Averaging, steps: &[Step]) -> (Vec<String>, usize, u64) {
    let (mut world, mut lines, mut dead) = (World::averaging(averaging), Vec::new(), 0);
    let (mut offset, mut now) = (0_u64, 0_i64);
    for epoch in steps.split(|step| matches!(step, Step::Cut)) {
        let mut newest = world.watermark;
        for step in epoch {
            let Step::Price(message) = step else { continue };
            for price in prices_of(message.as_bytes()).unwrap_or_default() {
                let (now, id) = (Time::from_nanos(now), format!("prices-0-{offset}"));
                newest = newest.max(price.event_time(now).min(now));
                let sent = world.observe(&price, now, &id);
                lines.extend(sent.map(|sent| serde_json::to_string(&sent).unwrap()));
            }
            dead += usize::from(prices_of(message.as_bytes()).is_err());
            offset += 1;
        }
        for step in epoch {
            let Step::Update(message) = step else { continue };
            match update_of(message.as_bytes()) {
                Ok(update) => world.update(update),
                Err(_) => dead += 1,
            }
        }
        world.watermark = newest;
        now += 1;
    }
    (lines, dead, world.too_late)
}

/// How many prices the application has counted as too late.
fn counted_too_late(driver: &TestDriver) -> u64 {
    let counters = driver.counters().snapshot();
    counters.iter().filter(|(name, _)| name.ends_with(".too_late")).map(|(_, count)| count).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_layout_sends_what_the_plain_loop_sends(
        averaging in averagings(),
        steps in steps(),
        workers in 1..=4_usize,
        seed: u64,
    ) {
        let mut driver = driver(averaging, workers, seed);
        for step in &steps {
            match step {
                Step::Price(message) => driver.send_bytes("prices", message.as_str()).unwrap(),
                Step::Update(message) => driver.send_bytes("updates", message.as_str()).unwrap(),
                Step::Cut => driver.run().unwrap(),
            }
        }
        driver.run().unwrap();
        let (lines, dead, too_late) = expected(averaging, &steps);
        prop_assert_eq!(driver.lines("notify"), lines);
        prop_assert_eq!(driver.dead_letters().len(), dead);
        prop_assert_eq!(counted_too_late(&driver), too_late);
    }
}

#[test]
fn wallaroos_cases_on_any_number_of_workers() {
    // As long as there are few prices, and all of now, the averages are the same.
    let averagings = [Averaging::Running, Averaging::default(), Averaging::Last(6)];
    for (averaging, workers) in averagings.into_iter().flat_map(|it| [1, 2, 4].map(|n| (it, n))) {
        let mut driver = driver(averaging, workers, 7);
        for (price, user) in [("6600", 1), ("6700", 2), ("6700", 3), ("7000", 4), ("6600.0", 1)] {
            let alert = format!(r#"{{"price":"{price}","user_id":{user}}}"#);
            driver.send_bytes("updates", alert).unwrap();
        }
        driver.run().unwrap();
        for price in ["6500.00", "7000.00", "7100.00", "6000.00"] {
            let price = format!(r#"{{"type":"ticker","price":"{price}"}}"#);
            driver.send_bytes("prices", price).unwrap();
        }
        // WB-7: neither is a price, and neither is a dead letter.
        driver.send_bytes("prices", r#"{"type":"ticker"}"#).unwrap();
        driver.send_bytes("prices", r#"{"price":"9000"}"#).unwrap();
        driver.run().unwrap();
        // WB-2, WB-10 and WB-11: what one pipeline saves or removes, the other sees.
        driver.send_bytes("updates", r#"{"price":"6600","user_id":5}"#).unwrap();
        driver.send_bytes("updates", r#"{"op":"remove","id":"4:above:7000"}"#).unwrap();
        driver.run().unwrap();
        driver.send_bytes("prices", r#"{"type":"ticker","price":"6650"}"#).unwrap();
        driver.send_bytes("prices", r#"{"type":"ticker","price":"9000"}"#).unwrap();
        driver.run().unwrap();
        assert_eq!(
            driver.lines("notify"),
            [
                concat!(
                    r#"{"id":"prices-0-1","product":"BTC-USD","time":"1970-01-01T00:00:00.000000001Z","#,
                    r#""price":"7000","average":"6750","fired":[{"direction":"above","price":"6600","#,
                    r#""alerts":[{"id":"1:above:6600","user_id":1}]},{"direction":"above","price":"6700","#,
                    r#""alerts":[{"id":"2:above:6700","user_id":2},{"id":"3:above:6700","user_id":3}]}]}"#
                ),
                concat!(
                    r#"{"id":"prices-0-6","product":"BTC-USD","time":"1970-01-01T00:00:00.000000003Z","#,
                    r#""price":"6650","average":"6650","fired":[{"direction":"above","price":"6600","#,
                    r#""alerts":[{"id":"5:above:6600","user_id":5}]}]}"#
                ),
            ],
            "{averaging:?}, {workers} workers"
        );
        assert_eq!(driver.dead_letters(), []);
        assert_eq!(
            driver.entries(bitcoin_alerts::ALERTS, &"BTC-USD".parse().unwrap()).unwrap(),
            []
        );
    }
}
