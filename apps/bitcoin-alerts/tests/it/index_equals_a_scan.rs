//! The index of alerts, against a list that is scanned for every price.

use anabranch::Time;
use anabranch_connectors::coinbase::Product;
use bitcoin_alerts::{Alert, AlertUpdate, Change, Direction, Edit, Notification, Price, Unit};
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::world::World;

#[derive(Clone, Debug)]
enum Step {
    Price(i64),
    Update(u8, Change),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few values, so that thresholds are met exactly and ids repeat.
    let price = 90..=110_i64;
    let direction = prop_oneof![Just(Direction::Above), Just(Direction::Below)];
    let threshold = (900..=1100_i64).prop_map(|tenths| Decimal::new(tenths, 1).normalize());
    let alert = (direction.clone(), threshold.clone(), 0..5_u64)
        .prop_map(|(direction, level, user_id)| Alert::once(direction, level, user_id));
    let option = proptest::option::of::<BoxedStrategy<_>>;
    let edit = (
        option(threshold.boxed()),
        proptest::option::of(0..5_u64),
        proptest::option::of(direction),
    )
        .prop_map(|(level, user_id, direction)| {
            let level = level.map(|level| (Unit::Price, level.into()));
            Change::Edit(Edit { level, user_id, direction, ..Edit::default() })
        });
    let change =
        prop_oneof![4 => alert.prop_map(Change::Add), 1 => Just(Change::Remove), 2 => edit];
    let step = prop_oneof![
        1 => price.prop_map(Step::Price),
        2 => (0..30_u8, change).prop_map(|(id, change)| Step::Update(id, change)),
    ];
    proptest::collection::vec(step, 0..120)
}

/// The alerts in the order in which they were added, and nothing clever.
#[derive(Default)]
struct Scan {
    alerts: Vec<(String, Alert)>,
    prices: Vec<i64>,
}

/// What fires: direction, threshold, id, user.
type Fired = Vec<(Direction, Decimal, String, u64)>;

impl Scan {
    fn update(&mut self, id: &str, change: Change) {
        let known = self.alerts.iter().position(|(known, _)| known == id);
        match (change, known) {
            (Change::Add(alert), Some(at)) => self.alerts[at].1 = alert,
            (Change::Add(alert), None) => self.alerts.push((id.into(), alert)),
            (Change::Remove, Some(at)) => drop(self.alerts.remove(at)),
            (Change::Edit(edit), Some(at)) => {
                let alert = &mut self.alerts[at].1;
                alert.level = edit.level.map_or(alert.level, |(_, level)| level.into());
                alert.user_id = edit.user_id.unwrap_or(alert.user_id);
                alert.direction = edit.direction.unwrap_or(alert.direction);
            }
            (_, None) => {}
        }
    }

    fn price(&mut self, price: i64) -> Fired {
        self.prices.push(price);
        let total = Decimal::from(self.prices.iter().sum::<i64>());
        let count = Decimal::from(self.prices.len());
        let fires = |alert: &Alert| match alert.direction {
            Direction::Above => alert.level * count <= total,
            Direction::Below => alert.level * count >= total,
            Direction::Crossing => panic!("none is made here"),
        };
        let mut fired: Fired = Vec::new();
        self.alerts.retain(|(id, alert)| {
            if fires(alert) {
                fired.push((alert.direction, alert.level, id.clone(), alert.user_id));
            }
            !fires(alert)
        });
        fired.sort();
        fired
    }
}

fn flat(notification: Option<Notification>) -> Fired {
    let groups = notification.into_iter().flat_map(|notification| notification.fired);
    groups
        .flat_map(|group| {
            let (direction, price) = (group.direction, group.level);
            group.alerts.into_iter().map(move |alert| (direction, price, alert.id, alert.user_id))
        })
        .collect()
}

fn price_of(units: i64) -> Price {
    Price {
        product: Product::BTC_USD,
        price: Decimal::from(units),
        time: None,
        trade_id: None,
        fresh: true,
    }
}

proptest! {
    #[test]
    fn the_same_alerts_fire_in_the_same_order(steps in steps()) {
        let (mut world, mut scan) = (World::new(), Scan::default());
        for step in steps {
            match step {
                Step::Price(units) => {
                    let notification = world.observe(&price_of(units), Time::ZERO, "x");
                    if let Some(notification) = &notification {
                        prop_assert!(!notification.fired.is_empty());
                        let mut groups: Vec<_> =
                            notification.fired.iter().map(|g| (g.direction, g.level)).collect();
                        let count = groups.len();
                        groups.dedup();
                        prop_assert_eq!(groups.len(), count, "one group a threshold");
                        let bytes = postcard::to_stdvec(notification).unwrap();
                        prop_assert_eq!(&postcard::from_bytes::<Notification>(&bytes).unwrap(), notification);
                    }
                    prop_assert_eq!(flat(notification), scan.price(units));
                }
                Step::Update(id, change) => {
                    let id = format!("id-{id}");
                    scan.update(&id, change.clone());
                    let update = AlertUpdate { product: Product::BTC_USD, id, change };
                    let bytes = postcard::to_stdvec(&update).unwrap();
                    world.update(postcard::from_bytes(&bytes).unwrap());
                }
            }
            prop_assert_eq!(world.open(Product::BTC_USD), scan.alerts.len());
        }
    }
}

#[test]
fn a_million_alerts_on_one_product() {
    let mut world = World::new();
    // Half of them above the average, half below it.
    for n in 0..500_000_i64 {
        for (direction, price) in
            [(Direction::Above, 1_000_001 + n), (Direction::Below, 999_999 - n)]
        {
            let alert = Alert::once(direction, Decimal::from(price), n.unsigned_abs());
            let id = format!("{n}-{}", direction.as_str());
            world.update(AlertUpdate { product: Product::BTC_USD, id, change: Change::Add(alert) });
        }
    }
    // A scan would compare 20,000,000,000 times.
    for _ in 0..20_000 {
        assert_eq!(world.observe(&price_of(1_000_000), Time::ZERO, "x"), None);
    }
    let fired = flat(world.observe(&price_of(1_000_000 + 3 * 20_001), Time::ZERO, "x"));
    let prices: Vec<Decimal> = fired.iter().map(|alert| alert.1).collect();
    assert_eq!(prices, [1_000_001, 1_000_002, 1_000_003].map(Decimal::from));
    assert_eq!(world.open(Product::BTC_USD), 999_997);
}
