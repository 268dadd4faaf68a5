//! Tests of all aggregates: the laws that windows rely on, and plain computations beside them.
//!
//! Invariant: states are compared by the bytes that a checkpoint would hold.

mod laws;
mod models;
mod sketches;

use proptest::prelude::*;
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;

/// A record with a number of each kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Trade {
    id: u32,
    user: String,
    price: i64,
    quantity: u32,
    /// NaN and infinities among them.
    level: f64,
}

impl Trade {
    fn decimal(&self) -> Decimal {
        Decimal::new(self.price, self.quantity % 9)
    }

    fn size(&self) -> Decimal {
        Decimal::from(self.quantity)
    }
}

/// Few prices, so that they tie, and some of any size.
fn price() -> impl Strategy<Value = i64> {
    prop_oneof![3 => -5..5_i64, 2 => -1_000_000..1_000_000_i64, 1 => any::<i64>()]
}

fn level() -> impl Strategy<Value = f64> {
    use proptest::num::f64;
    prop_oneof![
        3 => -10.0..10.0_f64,
        1 => Just(0.0),
        1 => Just(-0.0),
        1 => f64::ANY,
    ]
}

fn trades(length: usize) -> impl Strategy<Value = Vec<Trade>> {
    prop::collection::vec(("[ab]{0,2}", price(), 0..20_u32, level()), 0..length).prop_map(|all| {
        (0..)
            .zip(all)
            .map(|(id, (user, price, quantity, level))| Trade { id, user, price, quantity, level })
            .collect()
    })
}

fn state_of<T, A: Aggregate<T>>(aggregate: &A, records: &[T]) -> A::State {
    let mut state = aggregate.initial();
    for record in records {
        aggregate.update(&mut state, record);
    }
    state
}

fn encode(state: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(state).unwrap()
}

fn decode<S: DeserializeOwned>(bytes: &[u8]) -> S {
    rmp_serde::from_slice(bytes).unwrap()
}

/// Within a part in 10^9 of `scale`.
fn near(a: Option<f64>, b: Option<f64>, scale: f64) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * scale.abs(),
        (a, b) => a == b,
    }
}

#[test]
fn rt_metrics_of_the_last_three() {
    let metrics = (mean(|n: &f64| *n), deviation(|n: &f64| *n), max(|n: &f64| *n));
    let pushed = [1.0, 2.0, 3.0, 4.0, 10.0];
    let expected = [
        (1.0, 0.0, 1.0),
        (1.5, 0.5, 2.0),
        (2.0, 0.816_497, 3.0),
        (3.0, 0.816_497, 4.0),
        (5.666_667, 3.091_206, 10.0),
    ];
    assert_eq!(of_all(&metrics, &[]), (None, None, None));
    for (end, (average, spread, greatest)) in (1..).zip(expected) {
        let buffer = &pushed[usize::saturating_sub(end, 3)..end];
        let (mean, deviation, max) = of_all(&metrics, buffer);
        assert!((mean.unwrap() - average).abs() < 1e-6, "push {end}: {mean:?}");
        assert!((deviation.unwrap() - spread).abs() < 1e-6, "push {end}: {deviation:?}");
        assert_eq!(max, Some(greatest));
    }
}
