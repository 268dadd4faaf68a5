//! The cases RT, by their table, in memory; and the metrics against a plain loop.
//!
//! Invariant: expected values come from the table, or from a loop that keeps every reading.

use anabranch::TestDriver;
use clap::Parser as _;
use proptest::prelude::*;

use super::*;
use crate::rules::{Alert, Call};

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    options: Options,
}

fn options(arguments: &str) -> Options {
    let arguments = std::iter::once("rolling-metrics").chain(arguments.split_whitespace());
    Program::try_parse_from(arguments).unwrap().options
}

fn driver(arguments: &str, workers: usize) -> TestDriver {
    let options = options(arguments);
    let build = move |app: &App| rolling_metrics(app, &options);
    TestDriver::new(build).workers(workers).start().unwrap()
}

/// What each of the readings of one sensor comes to.
fn measured(driver: &mut TestDriver, values: &[f64]) -> Vec<Measured> {
    for value in values {
        driver.send("readings", Reading { key: "s".into(), value: *value }).unwrap();
        driver.run().unwrap();
    }
    driver.outputs("metrics")
}

fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

#[test]
fn rt_metrics_of_the_last_three() {
    let mut driver = driver("--last 3", 2);
    assert_eq!(measured(&mut driver, &[]), [], "none before the first reading");
    let rows = measured(&mut driver, &[1.0, 2.0, 3.0, 4.0, 10.0]);
    let rows: Vec<_> = rows.into_iter().map(|row| (row.value, row.metrics)).collect();
    let row = |push, count, mean, deviation, max| (push, Metrics { count, mean, deviation, max });
    let rounded = |(push, metrics): &(f64, Metrics)| {
        let Metrics { count, mean, deviation, max } = *metrics;
        row(*push, count, rounded(mean), rounded(deviation), max)
    };
    assert_eq!(
        rows.iter().map(rounded).collect::<Vec<_>>(),
        [
            row(1.0, 1, 1.0, 0.0, 1.0),
            row(2.0, 2, 1.5, 0.5, 2.0),
            row(3.0, 3, 2.0, 0.816_497, 3.0),
            row(4.0, 3, 3.0, 0.816_497, 4.0),
            row(10.0, 3, 5.666_667, 3.091_206, 10.0),
        ]
    );
}

#[test]
fn rt_a_threshold_calls_at_each_push_above_it() {
    let mut driver = driver("--last 1 --above 80 --ewma 1e9", 1);
    let rows = measured(&mut driver, &[80.0, 80.0001, 79.0, 81.0, 82.0, 83.0]);
    let calls: Vec<usize> = rows.iter().map(|row| row.calls.len()).collect();
    assert_eq!(calls, [0, 1, 0, 1, 1, 1]);
    assert_eq!(rows[1].calls, [Call::Above { mean: 80.0001, threshold: 80.0 }]);
    let alerts: Vec<Alert> = driver.outputs("alerts");
    assert_eq!(
        alerts.iter().map(|alert| alert.value).collect::<Vec<_>>(),
        [80.0001, 81.0, 82.0, 83.0]
    );
}

#[test]
fn rt_a_rule_over_nothing_makes_no_call() {
    let rules = Rules { above: Some(-1.0), z_score: 0.0, ewma: 0.0, alpha: 0.5, last: 1 };
    let mut seen = Seen::default();
    assert_eq!(rules.judge(5.0, Metrics::of((0, None, None, None)).as_ref(), &mut seen), []);
    assert_eq!(seen, Seen::default());
}

#[test]
fn an_anomaly_is_far_from_what_was_before_it() {
    let mut driver = driver("--last 4 --z-score 3 --ewma 2.8 --alpha 0.5", 1);
    // Mean 2, deviation 1; the weighted average goes 1, 2, 1.5, 2.25, its variance 0, 1, .75, .9375.
    let rows = measured(&mut driver, &[1.0, 3.0, 1.0, 3.0, 5.0]);
    assert!(rows[..4].iter().all(|row| row.calls.is_empty()));
    let deviations = (5.0 - 2.25) / 0.9375_f64.sqrt();
    assert_eq!(
        rows[4].calls,
        [Call::ZScore { deviations: 3.0 }, Call::Ewma { deviations, average: 2.25 }]
    );
    assert_eq!(driver.outputs::<Alert>("alerts").len(), 2);
}

#[test]
fn no_anomaly_where_all_were_equal() {
    let mut driver = driver("--last 2 --z-score 1 --ewma 1", 1);
    let rows = measured(&mut driver, &[7.1, 7.1, 7.1, 9.0]);
    assert!(rows.iter().all(|row| row.calls.is_empty()), "{rows:?}");
}

#[test]
fn fields_of_messages_are_chosen_by_options() {
    let mut driver =
        driver("--readings - --key data.s --value data.p --last 2 --above 1 --alerts -", 1);
    for message in [
        r#"{"data":{"s":"X","p":"1.5"}}"#,
        r#"{"data":{"s":"X","q":"1.5"}}"#,
        r#"{"data":{"p":2}}"#,
        r#"{"data":{"s":"X","p":"NaN"}}"#,
        "{",
    ] {
        driver.send_bytes("readings", message).unwrap();
    }
    driver.run().unwrap();
    let rows: Vec<Measured> = driver.outputs("metrics");
    let rows: Vec<_> = rows.iter().map(|row| (row.key.as_str(), row.value)).collect();
    assert_eq!(rows, [("X", 1.5), ("readings", 2.0)]);
    let letters = driver.dead_letters();
    assert_eq!(letters.len(), 2, "{letters:?}");
    let first = r#"{"time":"1970-01-01T00:00:00Z","key":"X","value":1.5,"call":{"above":{"mean":1.5,"threshold":1.0}}}"#;
    assert_eq!(driver.lines("alerts").first().map(String::as_str), Some(first));
}

/// Mean, deviation, maximum.
fn plain(window: &[f64]) -> (f64, f64, f64) {
    let count = window.len() as f64;
    let mean = window.iter().sum::<f64>() / count;
    let squares: f64 = window.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / count).sqrt(), window.iter().copied().fold(f64::MIN, f64::max))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn metrics_are_those_of_a_loop_on_any_number_of_workers(
        readings in prop::collection::vec((0_u8..3, -1e6_f64..1e6), 1..120),
        last in 1_usize..12,
        workers in 1_usize..4,
    ) {
        let mut driver = driver(&format!("--last {last}"), workers);
        let mut kept: [Vec<f64>; 3] = Default::default();
        let mut expected = Vec::new();
        for (key, value) in readings {
            driver.send("readings", Reading { key: key.to_string(), value }).unwrap();
            let kept = &mut kept[usize::from(key)];
            kept.push(value);
            expected.push((key.to_string(), plain(&kept[kept.len().saturating_sub(last)..])));
        }
        driver.run().unwrap();
        let rows: Vec<Measured> = driver.outputs("metrics");
        prop_assert_eq!(rows.len(), expected.len());
        for (row, (key, (mean, deviation, max))) in rows.iter().zip(&expected) {
            prop_assert_eq!(&row.key, key);
            prop_assert!((row.metrics.mean - mean).abs() < 1e-6, "{row:?} {mean}");
            prop_assert!((row.metrics.deviation - deviation).abs() < 1e-4, "{row:?} {deviation}");
            prop_assert_eq!(row.metrics.max, *max);
        }
    }
}
