//! A program that prices orders, which come again with other prices, for the tests that compute anew: with another
//! `--tax` it is the program after a change of its code.
//!
//! Invariant: what it tells of an order shows by which record, and what the shop's orders come to then: so that a
//! loop can tell whether every record was applied once, in its order, by one version of the program.

use std::process::ExitCode;

use anabranch::prelude::*;
use anabranch::sink::Json;
use anabranch::{Undo, sink, source};
use anabranch_connectors::{inlet, outlet};
use serde::{Deserialize, Serialize};

/// What the orders of a shop come to, and how many corrections there were of them.
const TOTALS: Table<u8, u64> = Table::new("totals");
const COUNTS: Table<u8, u64> = Table::new("counts");

/// Prices orders.
#[derive(clap::Args)]
struct Options {
    /// Where to read orders
    #[arg(long, value_name = "URL")]
    orders: String,
    /// Where to write what they are priced at
    #[arg(long, value_name = "URL")]
    prices: String,
    /// Where to write how many prices there were of a shop
    #[arg(long, value_name = "URL")]
    counts: String,
    /// What is added to a price
    #[arg(long, value_name = "N")]
    tax: u64,
    /// Of twenty prices, the one that is refused
    #[arg(long, value_name = "N")]
    refuse: u64,
}

/// Some part of a shop's goods, for a price; known by its number.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    shop: u8,
    number: u32,
    price: u64,
    /// The record's own name.
    by: String,
}

/// A line of the bill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    shop: u8,
    price: u64,
    /// What all lines of the shop come to, with this one.
    total: u64,
    by: String,
}

#[derive(Debug, thiserror::Error)]
#[error("no order is for {0}")]
struct Refused(u64);

fn build(app: &App, options: &Options) -> Result<()> {
    let (tax, refuse) = (options.tax, options.refuse);
    let prices = app
        .source("orders", source::frames(inlet(&options.orders)?, || source::Json))
        .key_by(|order: &Order| order.shop)
        .identified_by(|order| order.number)
        .try_compute("price", TOTALS, move |order, mut total: Row<u64>, out| {
            *total -= out.former().iter().map(|line: &Line| line.price).sum::<u64>();
            // After the row was changed: what is refused is undone.
            if order.price % 20 == refuse {
                return Err(Undo::fail(Refused(order.price)));
            }
            // The goods, and for some what it costs to bring them; nothing if the goods are free.
            let goods = (order.price % 10 != tax).then_some(order.price + tax);
            let freight = goods.filter(|goods| goods % 3 == 0).map(|goods| goods / 10 + tax);
            for price in goods.into_iter().chain(freight) {
                *total += price;
                let by = order.by.clone();
                out.emit(Line { shop: order.shop, price, total: *total, by });
            }
            Ok(())
        })
        .share();
    prices.clone().sink("prices", sink::frames(outlet(&options.prices)?, || Json));
    prices
        .map(|told| told.value.or(told.before).map_or(0, |line| line.shop))
        .key_by(|shop| *shop)
        .compute("count", COUNTS, |shop, mut count, out: &mut Context<'_, String>| {
            *count += 1;
            out.emit(format!("{shop} {}", *count));
        })
        .sink("counts", sink::frames(outlet(&options.counts)?, || sink::Text));
    Ok(())
}

fn main() -> ExitCode {
    anabranch::main(build)
}
