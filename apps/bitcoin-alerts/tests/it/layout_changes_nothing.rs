//! Through the engine: any number of workers and any schedule give the bytes of the plain loop.

use anabranch::TestDriver;
use bitcoin_alerts::{notifications_to, pipelines, prices_from, updates_from};
use proptest::prelude::*;

use crate::world::{World, prices_of, update_of};

fn driver(workers: usize, seed: u64) -> TestDriver {
    let build = |app: &anabranch::App| {
        // Never opened: the driver stands in for connectors.
        let unused = "ws-listen://127.0.0.1:0";
        let (prices, updates) = (prices_from(unused)?, updates_from(unused)?);
        pipelines(app, prices, updates, notifications_to("null:")?);
        Ok(())
    };
    TestDriver::new(build).workers(workers).seed(seed).start().unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Price(String),
    Update(String),
    /// All before it is of one epoch and of one time.
    Cut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let product = prop_oneof![Just("BTC-USD"), Just("ETH-USD"), Just("SKL-BTC"), Just("BTCUSDT")];
    let price =
        (product.clone(), 90..=110_u32, any::<bool>()).prop_map(|(product, price, time)| {
            let time = if time { r#","time":"2024-01-01T00:00:00Z""# } else { "" };
            Step::Price(format!(r#"{{"type":"x","product_id":"{product}","price":{price}{time}}}"#))
        });
    let op = prop_oneof![3 => Just("add"), 1 => Just("edit"), 1 => Just("remove")];
    let direction = prop_oneof![Just("above"), Just("below")];
    let update = (product, op, direction, 900..=1100_u32, 0..9_u32).prop_map(
        |(product, op, direction, tenths, id)| {
            let price = format!("{}.{}", tenths / 10, tenths % 10);
            Step::Update(format!(
                r#"{{"op":"{op}","id":"{id}","product":"{product}","price":"{price}","user_id":{id},"direction":"{direction}"}}"#
            ))
        },
    );
    let bad = prop_oneof![Just(Step::Price("{".into())), Just(Step::Update("{}".into()))];
    let step = prop_oneof![8 => price, 8 => update, 1 => bad, 4 => Just(Step::Cut)];
    proptest::collection::vec(step, 0..150)
}

/// The plain loop: in each epoch prices first, as they are declared.
fn expected(steps: &[Step]) -> (Vec<String>, usize) {
    let (mut world, mut lines, mut dead) = (World::new(), Vec::new(), 0);
    let (mut offset, mut now) = (0_u64, 0_i64);
    for epoch in steps.split(|step| matches!(step, Step::Cut)) {
        for step in epoch {
            let Step::Price(message) = step else { continue };
            for price in prices_of(message.as_bytes()).unwrap_or_default() {
                let (now, id) = (anabranch::Time::from_nanos(now), format!("prices-0-{offset}"));
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
        now += 1;
    }
    (lines, dead)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_layout_sends_what_the_plain_loop_sends(
        steps in steps(),
        workers in 1..=4_usize,
        seed: u64,
    ) {
        let mut driver = driver(workers, seed);
        for step in &steps {
            match step {
                Step::Price(message) => driver.send_bytes("prices", message.as_str()).unwrap(),
                Step::Update(message) => driver.send_bytes("updates", message.as_str()).unwrap(),
                Step::Cut => driver.run().unwrap(),
            }
        }
        driver.run().unwrap();
        let (lines, dead) = expected(&steps);
        prop_assert_eq!(driver.lines("notify"), lines);
        prop_assert_eq!(driver.dead_letters().len(), dead);
    }
}

#[test]
fn wallaroos_cases_on_any_number_of_workers() {
    for workers in [1, 2, 4] {
        let mut driver = driver(workers, 7);
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
            "{workers} workers"
        );
        assert_eq!(driver.dead_letters(), []);
        assert_eq!(
            driver.entries(bitcoin_alerts::ALERTS, &"BTC-USD".parse().unwrap()).unwrap(),
            []
        );
    }
}
