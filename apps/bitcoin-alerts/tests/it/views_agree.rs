//! The views are what a plain loop over the same input says, after every epoch; and what they tell is the same
//! bytes on any layout, and adds up to them.

use std::collections::BTreeMap;

use anabranch::TestDriver;
use bitcoin_alerts::{
    Averaging, Distance, NEAREST_MAX, notifications_to, open_alerts_by_user, pipelines,
    prices_from, products_by_distance, updates_from,
};
use proptest::prelude::*;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::process::{LAYOUTS, run, scratch};

#[derive(Clone, Debug)]
enum Step {
    Price(u8, u32),
    /// Product, id, user, threshold, whether it is above.
    Add(u8, u8, u64, u32, bool),
    Remove(u8, u8),
    Cut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let product = || 0..14_u8;
    let step = prop_oneof![
        4 => (product(), 90..=110_u32).prop_map(|(product, price)| Step::Price(product, price)),
        4 => (product(), 0..9_u8, 0..5_u64, 85..=115_u32, any::<bool>())
            .prop_map(|(product, id, user, price, above)| Step::Add(product, id, user, price, above)),
        1 => (product(), 0..9_u8).prop_map(|(product, id)| Step::Remove(product, id)),
        2 => Just(Step::Cut),
    ];
    prop::collection::vec(step, 1..80)
}

fn name(product: u8) -> String {
    format!("P{product:02}-USD")
}

/// The plain loop.
#[derive(Default)]
struct Plain {
    /// Sum and number of prices.
    prices: BTreeMap<u8, (u64, u64)>,
    /// User, threshold, and whether it is above.
    alerts: BTreeMap<(u8, u8), (u64, u32, bool)>,
}

impl Plain {
    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Price(product, price) => {
                let (sum, count) = self.prices.entry(product).or_default();
                *sum += u64::from(price);
                *count += 1;
                let (sum, count) = (*sum, *count);
                self.alerts.retain(|(of, _), (_, threshold, above)| {
                    let reached = u64::from(*threshold) * count;
                    *of != product || if *above { sum < reached } else { sum > reached }
                });
            }
            Step::Add(product, id, user, price, above) => {
                self.alerts.insert((product, id), (user, price, above));
            }
            Step::Remove(product, id) => drop(self.alerts.remove(&(product, id))),
            Step::Cut => {}
        }
    }

    fn by_user(&self) -> BTreeMap<u64, i64> {
        let mut by_user = BTreeMap::new();
        self.alerts.values().for_each(|(user, ..)| *by_user.entry(*user).or_default() += 1);
        by_user
    }

    fn by_distance(&self) -> Vec<(Decimal, String)> {
        let mut distances = Vec::new();
        for (product, (sum, count)) in &self.prices {
            let average = (Decimal::from(*sum) / Decimal::from(*count))
                .round_dp_with_strategy(8, RoundingStrategy::MidpointNearestEven);
            let of = self.alerts.range((*product, 0)..=(*product, u8::MAX));
            let nearest = of.map(|(_, (_, threshold, above))| {
                let rise = Decimal::from(*threshold) - average;
                (if *above { rise } else { -rise }).max(Decimal::ZERO)
            });
            distances.extend(nearest.min().map(|nearest| (nearest.normalize(), name(*product))));
        }
        distances.sort();
        distances.truncate(NEAREST_MAX);
        distances
    }
}

fn price_json(product: u8, price: u32) -> String {
    format!(r#"{{"type":"x","product_id":"{}","price":{price}}}"#, name(product))
}

fn update_json(step: &Step) -> String {
    match step {
        Step::Add(product, id, user, price, above) => format!(
            r#"{{"op":"add","id":"{id}","product":"{}","price":"{price}","user_id":{user},"direction":"{}"}}"#,
            name(*product),
            if *above { "above" } else { "below" }
        ),
        Step::Remove(product, id) => {
            format!(r#"{{"op":"remove","id":"{id}","product":"{}"}}"#, name(*product))
        }
        Step::Price(..) | Step::Cut => String::new(),
    }
}

fn driver(workers: usize, seed: u64) -> TestDriver {
    let build = move |app: &anabranch::App| {
        let unused = "ws-listen://127.0.0.1:0";
        let (prices, updates) = (prices_from(unused)?, updates_from(unused)?);
        pipelines(app, Averaging::Running, prices, updates, notifications_to("null:")?);
        open_alerts_by_user(app);
        products_by_distance(app, Averaging::Running);
        Ok(())
    };
    TestDriver::new(build).workers(workers).seed(seed).start().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn through_the_engine(steps in steps(), workers in 1..=3_usize, seed in any::<u64>()) {
        let mut driver = driver(workers, seed);
        let mut plain = Plain::default();
        // At equal times prices come before updates, so each step has a time of its own.
        for step in steps.iter().chain([&Step::Cut]) {
            plain.apply(step);
            match step {
                Step::Price(product, price) => {
                    driver.send_bytes("prices", price_json(*product, *price)).unwrap();
                }
                Step::Cut => {
                    driver.run().unwrap();
                    let rows = driver.view::<(u64, i64)>("open-alerts-by-user").unwrap();
                    let by_user: BTreeMap<u64, i64> = rows.into_iter().map(|(row, _)| row).collect();
                    prop_assert_eq!(by_user, plain.by_user());
                    let rows = driver.view::<(u32, Distance)>("products-by-distance").unwrap();
                    let mut places = 1..;
                    let by_distance = rows.into_iter().map(|((place, distance), times)| {
                        assert_eq!((Some(place), times), (places.next(), 1));
                        let amount: Decimal = distance.distance.to_string().parse().unwrap();
                        (amount, distance.product.to_string())
                    });
                    prop_assert_eq!(by_distance.collect::<Vec<_>>(), plain.by_distance());
                }
                update => driver.send_bytes("updates", update_json(update)).unwrap(),
            }
            driver.advance(std::time::Duration::from_nanos(1));
        }
    }
}

#[test]
fn through_the_program() {
    let folder = scratch("views");
    let (mut prices, mut updates, mut plain) = (String::new(), String::new(), Plain::default());
    let mut random = 7_u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (random >> 33) % bound
    };
    for millis in 0..24_000 {
        let step = match below(4) {
            0 => Step::Add(
                below(14) as u8,
                below(9) as u8,
                below(5),
                85 + below(30) as u32,
                below(2) == 0,
            ),
            1 => Step::Remove(below(14) as u8, below(9) as u8),
            _ => Step::Price(below(14) as u8, 90 + below(20) as u32),
        };
        plain.apply(&step);
        let time = anabranch::Time::from_millis(1_700_000_000_000 + millis);
        let (file, mut json) = match step {
            Step::Price(product, price) => (&mut prices, price_json(product, price)),
            _ => (&mut updates, update_json(&step)),
        };
        json.truncate(json.len() - 1);
        *file += &format!("{json},\"time\":\"{time}\"}}\n");
    }
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    std::fs::write(path("prices"), prices).unwrap();
    std::fs::write(path("updates"), updates).unwrap();
    let mut first = None;
    for layout in LAYOUTS {
        let mut arguments = vec!["--quiet".to_string(), "--average=running".into()];
        for (flag, file) in [
            ("prices", "prices"),
            ("updates", "updates"),
            ("notify", "notified"),
            ("open-alerts", "by-user"),
            ("distances", "by-distance"),
        ] {
            arguments.push(format!("--{flag}=file:{}", path(file)));
        }
        arguments.extend(layout.iter().map(|argument| (*argument).to_string()));
        let ended = run(&folder, &arguments);
        assert_eq!(ended.status.code(), Some(0), "{layout:?}: {}", ended.stderr);
        let told =
            ["by-user", "by-distance"].map(|name| std::fs::read_to_string(path(name)).unwrap());
        assert_eq!(&told, first.get_or_insert_with(|| told.clone()), "{layout:?}");
    }
    let [by_user, by_distance] = first.unwrap().map(|told| added_up(&told));
    let users = plain.by_user().into_iter().map(|(user, count)| (user, count.to_string()));
    assert_eq!(by_user, users.collect());
    let distances = plain.by_distance().into_iter().zip(1..).map(|((distance, product), place)| {
        (place, format!(r#"{{"distance":"{distance}","product":"{product}"}}"#))
    });
    assert_eq!(by_distance, distances.collect());
}

/// What upserts have left of each key.
fn added_up(told: &str) -> BTreeMap<u64, String> {
    let mut values = BTreeMap::new();
    for line in told.lines() {
        let upsert: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = upsert["key"].as_u64().unwrap();
        let before = match upsert["op"].as_str().unwrap() {
            "delete" => values.remove(&key),
            _ => values.insert(key, upsert["value"].to_string()),
        };
        assert_eq!(before.unwrap_or_else(|| "null".into()), upsert["before"].to_string(), "{line}");
    }
    assert!(told.lines().count() > 30, "{} lines prove little", told.lines().count());
    values
}
