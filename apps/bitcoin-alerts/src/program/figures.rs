//! What the program's screen knows: how many prices, the latest of each product, alerts.
//!
//! Invariant: made of what comes to the sink only, so it is the same whichever worker or process
//! reads the prices; of at most so many products.

use std::collections::BTreeMap;

use anabranch_connectors::coinbase::Product;
use rust_decimal::Decimal;

use crate::{Average, Observation};

/// The most products that are told apart.
const PRODUCTS_MAX: usize = 10_000;

/// Figures of a run so far.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// How many prices came.
    pub(super) prices: u64,
    /// How many alerts fired.
    pub(super) fired: u64,
    /// How many alerts of the products seen are open.
    pub(super) open: u64,
    products: BTreeMap<Product, Latest>,
    /// Whether there are products beside these.
    more: bool,
}

/// What is known of one product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latest {
    prices: u64,
    open: u64,
    pub(super) price: Decimal,
    pub(super) average: Average,
}

impl Figures {
    /// Counts an observation in.
    pub(super) fn observe(&mut self, observation: &Observation) {
        let Observation { product, price, average, open_alerts, notification } = observation;
        self.prices += 1;
        let fired = notification.iter().flat_map(|notification| &notification.fired);
        self.fired += fired.map(|threshold| threshold.alerts.len() as u64).sum::<u64>();
        if self.products.len() >= PRODUCTS_MAX && !self.products.contains_key(product) {
            self.more = true;
            return;
        }
        let (price, average, open) = (*price, *average, *open_alerts);
        let latest =
            self.products.entry(*product).or_insert(Latest { prices: 0, open: 0, price, average });
        self.open = self.open + open - latest.open;
        *latest = Latest { prices: latest.prices + 1, open, price, average };
    }

    /// How many products there are, and whether there are more.
    pub(super) fn products(&self) -> (usize, bool) {
        (self.products.len(), self.more)
    }

    /// The product with the most prices.
    pub(super) fn most_traded(&self) -> Option<(Product, Latest)> {
        let most = self.products.iter().max_by_key(|(_, latest)| latest.prices);
        most.map(|(product, latest)| (*product, *latest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(product: &str, price: i64, open_alerts: u64) -> Observation {
        Observation {
            product: product.parse().unwrap(),
            price: price.into(),
            average: price.to_string().parse().unwrap(),
            open_alerts,
            notification: None,
        }
    }

    #[test]
    fn open_alerts_are_those_of_all_products() {
        let mut figures = Figures::default();
        for (product, price, open) in
            [("A", 1, 5), ("B", 2, 7), ("B", 3, 6), ("A", 4, 5), ("B", 5, 0)]
        {
            figures.observe(&observation(product, price, open));
        }
        assert_eq!((figures.prices, figures.open, figures.products()), (5, 5, (2, false)));
        let (product, latest) = figures.most_traded().unwrap();
        assert_eq!((product.as_str(), latest.price), ("B", 5.into()));
    }

    #[test]
    fn products_are_bounded() {
        let mut figures = Figures::default();
        for n in 0..PRODUCTS_MAX + 10 {
            figures.observe(&observation(&format!("P{n}"), 1, 1));
        }
        assert_eq!(figures.products(), (PRODUCTS_MAX, true));
        assert_eq!(figures.prices, PRODUCTS_MAX as u64 + 10);
        assert_eq!(figures.open, PRODUCTS_MAX as u64);
    }
}
