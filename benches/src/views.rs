//! A count of a table's rows by user: kept up by a view, and made anew after each batch of changes.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::{TestDriver, clock, source};
use hashbrown::HashMap;

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// Whose each order is.
const ORDERS: Table<u64, u32> = Table::new("orders");

/// How many users there are.
const USERS: u64 = 1_000;

/// Changes that are a function of their number.
fn change(number: u64, rows: u64) -> (u64, u32) {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z % rows, ((z >> 32) % USERS) as u32)
}

/// The batches that were measured, by their sizes, and the counts in the end.
pub struct Outcome {
    /// How long each took.
    pub took: Vec<(usize, Duration)>,
    /// Of each user the number of orders; empty where nobody counts.
    pub counts: BTreeMap<u32, i64>,
}

/// The engine, with the view or without it: first `rows` orders, then the batches.
///
/// # Errors
/// What ended the application.
pub fn engine(rows: u64, batches: &[usize], viewed: bool) -> Result<Outcome> {
    let build =
        move |app: &App| {
            app.source("orders", source::empty::<(u64, u32)>())
                .key_by(|(order, _)| *order)
                .compute("take", ORDERS, |(_, user), mut row, _: &mut Context<'_, ()>| *row = user);
            if viewed {
                app.view("by-user", ORDERS.select(|_, user| Some(*user)), |t| t.count());
            }
            Ok(())
        };
    let mut driver = TestDriver::new(build).start()?;
    for order in 0..rows {
        driver.send("orders", (order, (order % USERS) as u32))?;
    }
    driver.run()?;
    let (mut took, mut number) = (Vec::new(), 0);
    for batch in batches {
        for _ in 0..*batch {
            number += 1;
            driver.send("orders", change(number, rows))?;
        }
        let began = clock::instant();
        driver.run()?;
        took.push((*batch, began.elapsed()));
    }
    let counted = if viewed { driver.view::<(u32, i64)>("by-user")? } else { Vec::new() };
    Ok(Outcome { took, counts: counted.into_iter().map(|(row, _)| row).collect() })
}

/// A loop over a map that counts all rows again after each batch.
pub fn anew(rows: u64, batches: &[usize]) -> Outcome {
    let mut orders: Map<u64, u32> = (0..rows).map(|row| (row, (row % USERS) as u32)).collect();
    let (mut took, mut number, mut counts) = (Vec::new(), 0, Map::<u32, i64>::default());
    for batch in batches {
        let began = clock::instant();
        for _ in 0..*batch {
            number += 1;
            let (order, user) = change(number, rows);
            orders.insert(order, user);
        }
        counts.clear();
        for user in orders.values() {
            *counts.entry(*user).or_default() += 1;
        }
        took.push((*batch, began.elapsed()));
    }
    Outcome { took, counts: counts.into_iter().collect() }
}
