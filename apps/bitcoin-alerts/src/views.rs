//! The application's views: what one would ask of its tables, kept up with every price and update.
//!
//! Invariant: at the end of each epoch they are what the tables say then. They cost what changes in them: a price
//! that leaves its product at its place costs one product, whatever its alerts.

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::{Upsert, View};
use anabranch_connectors::coinbase::Product;
use serde::{Deserialize, Serialize};

use crate::desk::{ALERTS, MARKETS, PRICES};
use crate::{Average, Averaging};

/// How many products [`products_by_distance`] names.
pub const NEAREST_MAX: usize = 10;

/// How far the average of a product is from its next alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Distance {
    /// How much the average has to rise or fall; nothing, if the alert fires at the next price.
    pub distance: Average,
    /// Of which product.
    pub product: Product,
}

/// The view `open-alerts-by-user`: how many alerts of a user are open, for users who have some.
pub fn open_alerts_by_user(app: &App) -> View<(u64, i64)> {
    let users = ALERTS.select(|_, place, _| Some(place.user_id()));
    app.view("open-alerts-by-user", users, |t| t.count())
}

/// The view `products-by-distance`: the [`NEAREST_MAX`] products whose averages are nearest to one of their open
/// alerts, by their places, from 1.
///
/// Only products are in it that have a price and an alert.
pub fn products_by_distance(app: &App, averaging: Averaging) -> View<(u32, Distance)> {
    let table = if averaging == Averaging::Running { PRICES } else { MARKETS };
    let distances = table.select(|product, market| {
        Some(Distance { distance: market.distance()?, product: *product })
    });
    app.view("products-by-distance", distances, |t| {
        let together = t.map(|distance| ((), distance));
        let by_place = together.reduce(|(), distances| {
            let nearest = distances.iter().map(|(distance, _)| **distance).take(NEAREST_MAX);
            (1_u32..).zip(nearest).collect::<Vec<_>>()
        });
        by_place.map(|((), placed)| placed)
    })
}

/// Draws both views, each if there is a sink for it.
pub(crate) fn views(
    app: &App,
    averaging: Averaging,
    open_alerts: Option<impl Sink<Item = Upsert<u64, i64>>>,
    distances: Option<impl Sink<Item = Upsert<u32, Distance>>>,
) {
    if let Some(sink) = open_alerts {
        open_alerts_by_user(app).sink("open-alerts", sink);
    }
    if let Some(sink) = distances {
        products_by_distance(app, averaging).sink("distances", sink);
    }
}
