//! Ten million alerts on one product: the memory of each, and what a price costs.
//!
//! `cargo bench -p anabranch-benches --bench rules [-- --alerts 10000000 --prices 2000000]`: alerts of the average, half of them
//! above it and half below, are added in random order to the tables of `bitcoin-alerts`, as an update does it; once named
//! by what they are, once by ids of their own. Memory is what the process has more of afterwards (`VmRSS`). Then prices
//! that fire nothing, and prices of which each hundredth fires one alert.

use anabranch::{Stores, Tables, Time, clock};
use anabranch_benches::alerts::Random;
use anabranch_benches::report::{load, option};
use anabranch_connectors::coinbase::Product;
use bitcoin_alerts::{
    Alert, AlertUpdate, Change, Direction, Price, RunningAverage, SharedTables, TABLES, evaluate,
    update,
};
use rust_decimal::Decimal;

/// The average that no alert is at.
const MIDDLE: i64 = 1_000_000_000;

/// What the process has in memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.unwrap_or_default() * 1024
}

fn price(units: i64) -> Price {
    let price = Decimal::new(units, 2);
    Price { product: Product::BTC_USD, price, time: None, trade_id: None, fresh: true }
}

/// Adds the alerts and sends the prices; prints a line.
fn measure(name: &str, alerts: u64, prices: u64, named: bool) -> anabranch::Result<()> {
    let bound = <SharedTables as Tables<Product>>::bind(TABLES, &mut Stores::default());
    let mut guard = <SharedTables as Tables<Product>>::lock(&bound);
    let mut order: Vec<u32> = (0..u32::try_from(alerts).unwrap_or(u32::MAX)).collect();
    let mut random = Random(7);
    for at in (1..order.len()).rev() {
        order.swap(at, (random.next_u64() % (at as u64 + 1)) as usize);
    }
    let before = resident();
    let began = clock::instant();
    for number in order.iter().copied().map(i64::from) {
        let (direction, level) = match number % 2 {
            0 => (Direction::Above, MIDDLE + 1 + number / 2),
            _ => (Direction::Below, MIDDLE - 1 - number / 2),
        };
        let alert = Alert::once(direction, Decimal::new(level, 2).normalize(), number as u64);
        let id = if named { format!("alert-{number:08}") } else { alert.default_id() };
        let change = AlertUpdate { product: Product::BTC_USD, id, change: Change::Add(alert) };
        let mut rows = <SharedTables as Tables<Product>>::rows(&mut guard, &Product::BTC_USD);
        update(change, &mut rows)?;
    }
    let added = began.elapsed();
    let bytes = resident().saturating_sub(before);
    let mut fired = 0;
    let mut send = |every: u64| {
        let began = clock::instant();
        let mut level = MIDDLE;
        for number in 1..=prices {
            if every > 0 && number % every == 0 {
                level += 1;
            }
            let price = price(level);
            let mut rows = <SharedTables as Tables<Product>>::rows(&mut guard, &Product::BTC_USD);
            // The average of the last price alone, which goes where it is to go.
            let mut average = RunningAverage::default();
            average.observe(price.price);
            rows.0.average = average;
            rows.0.paid(&price, Time::ZERO);
            if rows.0.meets_any() {
                fired += u64::from(evaluate(&price, &mut rows, Time::ZERO, number).is_some());
            }
        }
        prices as f64 / began.elapsed().as_secs_f64() / 1e6
    };
    let (quiet, hundredth) = (send(0), send(100));
    let (each, adding) = (bytes as f64 / alerts as f64, added.as_nanos() as f64 / alerts as f64);
    println!(
        "| {name} | {each:.0} | {:.2} | {adding:.0} | {quiet:.1} | {hundredth:.2} | {fired} |",
        bytes as f64 / 1e9
    );
    Ok(())
}

fn main() -> anabranch::Result<()> {
    let alerts = option("--alerts", 10_000_000) as u64;
    let prices = option("--prices", 2_000_000) as u64;
    println!("rules: {alerts} alerts, {prices} prices, load {}", load());
    println!(
        "| ids | bytes each | GB | ns to add | million prices/s, none fires | 1 % fire | fired |"
    );
    println!("|---|---|---|---|---|---|---|");
    measure("what they are", alerts, prices, false)?;
    measure("their own", alerts, prices, true)
}
