//! What is told when, what is corrected, and that the order of arrival decides nothing.
//!
//! Invariant: expected volumes come from a loop over all trades, in thousandths.

use std::collections::BTreeMap;

use anabranch::TestDriver;
use clap::Parser as _;
use proptest::prelude::*;

use super::*;
use crate::notice::TooLate;

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    options: Options,
}

fn driver(arguments: &str, workers: usize) -> TestDriver {
    let arguments = std::iter::once("windowed-alerts").chain(arguments.split_whitespace());
    let options = Program::try_parse_from(arguments).unwrap().options;
    let build = move |app: &App| windowed_alerts(app, &options);
    TestDriver::new(build).workers(workers).start().unwrap()
}

/// `size` in thousandths.
fn trade(product: &str, millis: i64, size: i64) -> Trade {
    let size = Decimal::new(size, 3).normalize().into();
    Trade { product: product.to_owned(), size, time: Time::from_millis(millis) }
}

/// Sends a trade and gives what is told then: from which second, volume in thousandths, trades, whether
/// it is a correction.
fn send(driver: &mut TestDriver, millis: i64, size: i64) -> Vec<(i64, i64, u64, bool)> {
    driver.send("trades", trade("A", millis, size)).unwrap();
    driver.run().unwrap();
    told(driver).into_iter().map(|alert| row(&alert)).collect()
}

fn told(driver: &mut TestDriver) -> Vec<Alert> {
    let notices = driver.outputs::<Notice>("alerts").into_iter();
    let alert = |notice| if let Notice::Alert(alert) = notice { Some(alert) } else { None };
    notices.filter_map(alert).collect()
}

fn row(alert: &Alert) -> (i64, i64, u64, bool) {
    let start: Time = alert.from.parse().unwrap();
    let volume = (*alert.volume * Decimal::from(1_000)).try_into().unwrap();
    (start.as_nanos() / 1_000_000_000, volume, alert.trades, alert.correction)
}

#[test]
fn a_window_is_told_when_it_has_ended_then_corrected_then_closed() {
    let mut driver = driver("--volume 5 --too-late null:", 2);
    assert_eq!(send(&mut driver, 1_000, 3_000), []);
    assert_eq!(send(&mut driver, 9_999, 2_500), []);
    assert_eq!(send(&mut driver, 11_999, 1_000), [], "trades two seconds older may follow");
    assert_eq!(send(&mut driver, 10_000, 1_000), []);
    assert_eq!(send(&mut driver, 12_000, 1_000), [(0, 5_500, 2, false)]);
    assert_eq!(send(&mut driver, 9_000, 125), [(0, 5_625, 3, true)]);
    assert_eq!(send(&mut driver, 21_999, 1_000), []);
    assert_eq!(send(&mut driver, 0, 1), [(0, 5_626, 4, true)]);
    assert_eq!(send(&mut driver, 22_000, 2_000), [], "3 are not enough, and the first is closed");
    assert_eq!(send(&mut driver, 5, 77), []);
    let too_late = TooLate::from(trade("A", 5, 77));
    assert_eq!(driver.outputs::<TooLate>("too-late"), [too_late]);
    assert_eq!(send(&mut driver, 15_000, 3_000), [(10, 6_000, 4, true)], "enough with a late one");
}

#[test]
fn sliding_windows_overlap() {
    let mut driver = driver("--volume 2 --window 4s --slide 2s --disorder 0s", 1);
    assert_eq!(send(&mut driver, 1_000, 1_000), []);
    assert_eq!(send(&mut driver, 3_000, 1_000), []);
    assert_eq!(send(&mut driver, 5_000, 1_000), [(0, 2_000, 2, false)]);
    assert_eq!(send(&mut driver, 60_000, 1_000), [(2, 2_000, 2, false)]);
    assert_eq!(send(&mut driver, 1_000, 1), []);
    let late = "1970-01-01T00:00:01Z  A  0.001 came too late";
    assert_eq!(driver.lines("alerts"), [] as [&str; 0]);
    driver.send("trades", trade("A", 1_000, 1)).unwrap();
    driver.run().unwrap();
    assert_eq!(driver.lines("alerts"), [late]);
}

#[test]
fn messages_are_read_by_the_fields_that_options_name() {
    let fields = "--trades - --product s --size q --time T --volume 1 --alerts -";
    let mut driver = driver(fields, 1);
    for message in [
        r#"{"s":"X","q":"0.50000000","T":1000}"#,
        r#"{"s":"X","q":0.75,"T":"1970-01-01T00:00:02Z"}"#,
        r#"{"s":"X","q":"1"}"#,
        r#"{"s":"X","q":"much","T":1}"#,
        r#"{"s":"X"}"#,
    ] {
        driver.send_bytes("trades", message).unwrap();
    }
    driver.run().unwrap();
    assert_eq!(driver.dead_letters().len(), 2);
    driver.finish().unwrap();
    let alert = r#"{"alert":{"product":"X","from":"1970-01-01T00:00:00Z","until":"1970-01-01T00:00:10Z","trades":2,"volume":"1.25","correction":false}}"#;
    assert_eq!(driver.lines("alerts"), [alert]);
}

/// Trades of two products within a minute, in order of time, and how late each arrives.
fn arrivals(most: i64) -> impl Strategy<Value = Vec<(Trade, i64)>> {
    let trade = |(first, millis, size): (bool, i64, i64)| {
        trade(if first { "A" } else { "B" }, millis, size)
    };
    let trades = (any::<bool>(), 0_i64..60_000, 1_i64..5_000).prop_map(trade);
    prop::collection::vec((trades, 0..=most), 1..80)
}

/// The last that was told of each window, at the end.
fn final_alerts(driver: &mut TestDriver, arrivals: &[(Trade, i64)]) -> (Vec<Alert>, usize) {
    let mut arrivals = arrivals.to_vec();
    arrivals.sort_by_key(|(trade, late)| trade.time.as_nanos() + late * 1_000_000);
    for (trade, _) in arrivals {
        driver.send("trades", trade).unwrap();
        driver.run().unwrap();
    }
    driver.finish().unwrap();
    let alerts = told(driver);
    let corrections = alerts.iter().filter(|alert| alert.correction).count();
    let last: BTreeMap<_, _> = alerts
        .into_iter()
        .map(|alert| ((alert.product.clone(), alert.from.clone()), alert))
        .collect();
    let last = last.into_values().map(|alert| Alert { correction: false, ..alert });
    (last.collect(), corrections)
}

/// The same by a loop: windows of ten seconds with at least five.
fn by_loop(arrivals: &[(Trade, i64)]) -> Vec<(String, i64, i64, u64)> {
    let mut windows = BTreeMap::<_, (i64, u64)>::new();
    for (trade, _) in arrivals {
        let start = trade.time.as_nanos() / 10_000_000_000 * 10;
        let window = windows.entry((trade.product.clone(), start)).or_default();
        window.0 += i64::try_from(*trade.size * Decimal::from(1_000)).unwrap();
        window.1 += 1;
    }
    let high = windows.into_iter().filter(|(_, (volume, _))| *volume >= 5_000);
    high.map(|((product, start), (volume, trades))| (product, start, volume, trades)).collect()
}

fn rows(alerts: &[Alert]) -> Vec<(String, i64, i64, u64)> {
    let row = |alert: &Alert| {
        let (start, volume, trades, _) = row(alert);
        (alert.product.clone(), start, volume, trades)
    };
    alerts.iter().map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn within_the_disorder_nothing_is_corrected(arrivals in arrivals(2_000), workers in 1_usize..4) {
        let (alerts, corrections) = final_alerts(&mut driver("--volume 5", workers), &arrivals);
        prop_assert_eq!(corrections, 0);
        prop_assert_eq!(rows(&alerts), by_loop(&arrivals));
    }

    #[test]
    fn within_the_lateness_the_last_alerts_are_the_same(
        arrivals in arrivals(12_000),
        workers in 1_usize..4,
    ) {
        let (alerts, _) = final_alerts(&mut driver("--volume 5", workers), &arrivals);
        prop_assert_eq!(rows(&alerts), by_loop(&arrivals));
    }
}
