//! The cases of Wallaroo's Bitcoin alerts, by their numbers, over recorded files: through the
//! program in several layouts and through `TestDriver`, byte for byte.

use anabranch::TestDriver;
use bitcoin_alerts::{Averaging, notifications_to, pipelines, prices_from, updates_from};

use crate::process::{LAYOUTS, run_recorded, scratch};

/// What happens, one second after the other.
enum Step {
    /// A price, without its time.
    Price(&'static str),
    /// An update, without its time.
    Update(&'static str),
    /// What comes next does so many seconds later.
    Later(u32),
}

use Step::{Later, Price, Update};

const ALERTS: [Step; 4] = [
    Update(r#""price":"6600","user_id":1"#),
    Update(r#""price":"6700","user_id":2"#),
    Update(r#""price":"6700","user_id":3"#),
    Update(r#""price":"7000","user_id":4"#),
];
const PRICES: [Step; 4] = [
    Price(r#""type":"ticker","price":"6500.00""#),
    Price(r#""type":"ticker","price":"7000.00""#),
    Price(r#""type":"ticker","price":"7100.00""#),
    Price(r#""type":"ticker","price":"6000.00""#),
];

const WB_1: &str = concat!(
    r#"{"id":"prices-0-1","product":"BTC-USD","time":"2024-01-01T00:00:05Z","price":"7000","#,
    r#""average":"6750","fired":[{"direction":"above","price":"6600","alerts":[{"id":"#,
    r#""1:above:6600","user_id":1}]},{"direction":"above","price":"6700","alerts":[{"id":"#,
    r#""2:above:6700","user_id":2},{"id":"3:above:6700","user_id":3}]}]}"#
);

struct Case {
    name: &'static str,
    /// As typed; the cases of Wallaroo itself are of `running`, and the same with others as long as they
    /// cover all prices.
    averages: &'static [&'static str],
    steps: Vec<Step>,
    notifications: Vec<String>,
}

const ALL: &[&str] = &["running", "10m", "last:5"];

/// A notification with one threshold.
fn one(offset: u64, second: u32, price: &str, average: &str, fired: &str) -> String {
    format!(
        "{{\"id\":\"prices-0-{offset}\",\"product\":\"BTC-USD\",\
         \"time\":\"{}\",\"price\":\"{price}\",\
         \"average\":\"{average}\",\"fired\":[{fired}]}}",
        time(second)
    )
}

fn fired(direction: &str, price: &str, alerts: &[(&str, u64)]) -> String {
    let alerts: Vec<String> =
        alerts.iter().map(|(id, user)| format!("{{\"id\":\"{id}\",\"user_id\":{user}}}")).collect();
    format!(
        "{{\"direction\":\"{direction}\",\"price\":\"{price}\",\"alerts\":[{}]}}",
        alerts.join(",")
    )
}

fn cases() -> Vec<Case> {
    let ticker = || Price(r#""type":"ticker","price":"6500""#);
    vec![
        Case {
            name: "WB-1",
            averages: ALL,
            steps: ALERTS.into_iter().chain(PRICES).collect(),
            notifications: vec![WB_1.into()],
        },
        Case {
            name: "WB-2",
            averages: ALL,
            steps: ALERTS
                .into_iter()
                .chain(PRICES)
                .chain([
                    Update(r#""price":"6600","user_id":5"#),
                    Price(r#""type":"ticker","price":"6650""#),
                ])
                .collect(),
            notifications: vec![
                WB_1.into(),
                one(4, 9, "6650", "6650", &fired("above", "6600", &[("5:above:6600", 5)])),
            ],
        },
        Case {
            name: "WB-3",
            averages: ALL,
            steps: vec![
                Update(r#""price":"6000","user_id":1"#),
                Update(r#""price":"6000","user_id":1"#),
                ticker(),
                ticker(),
            ],
            notifications: vec![one(
                0,
                2,
                "6500",
                "6500",
                &fired("above", "6000", &[("1:above:6000", 1)]),
            )],
        },
        Case {
            name: "WB-4",
            averages: ALL,
            steps: vec![
                Update(r#""price":"6500.00","user_id":1"#),
                Update(r#""price":"6500.00","user_id":2,"direction":"below""#),
                Update(r#""price":"6500.00000001","user_id":3"#),
                Update(r#""price":"6499.99999999","user_id":4,"direction":"below""#),
                ticker(),
            ],
            notifications: vec![one(
                0,
                4,
                "6500",
                "6500",
                &[
                    fired("above", "6500", &[("1:above:6500", 1)]),
                    fired("below", "6500", &[("2:below:6500", 2)]),
                ]
                .join(","),
            )],
        },
        Case {
            name: "WB-5",
            averages: ALL,
            steps: vec![
                Update(r#""price":"6500","user_id":1"#),
                Update(r#""price":"6500.00","user_id":2"#),
                Update(r#""price":6.5e3,"user_id":1"#),
                ticker(),
            ],
            notifications: vec![one(
                0,
                3,
                "6500",
                "6500",
                &fired("above", "6500", &[("1:above:6500", 1), ("2:above:6500", 2)]),
            )],
        },
        Case {
            name: "WB-6",
            averages: ALL,
            steps: PRICES.into_iter().collect(),
            notifications: vec![],
        },
        Case {
            name: "WB-7",
            averages: ALL,
            steps: vec![
                Update(r#""price":"6000","user_id":1"#),
                Price(r#""type":"ticker""#),
                Price(r#""price":"6500""#),
                Price(r#""x":1"#),
                ticker(),
            ],
            notifications: vec![one(
                3,
                4,
                "6500",
                "6500",
                &fired("above", "6000", &[("1:above:6000", 1)]),
            )],
        },
        Case {
            name: "WB-10",
            averages: ALL,
            steps: vec![
                Update(r#""price":"6000","user_id":1"#),
                Update(r#""price":"6000","user_id":2"#),
                Update(r#""op":"remove","id":"1:above:6000""#),
                ticker(),
            ],
            notifications: vec![one(
                0,
                3,
                "6500",
                "6500",
                &fired("above", "6000", &[("2:above:6000", 2)]),
            )],
        },
        Case {
            name: "WB-11",
            averages: ALL,
            steps: vec![ticker(), Update(r#""price":"6500","user_id":1"#), ticker()],
            notifications: vec![one(
                1,
                2,
                "6500",
                "6500",
                &fired("above", "6500", &[("1:above:6500", 1)]),
            )],
        },
        wb_8("WB-8", &["10m"], Some("250")),
        // Over all three it is 200, and at no time 240.
        wb_8("WB-8, running", &["running", "20m", "last:3", "660s 1ns"], None),
        // The last trade by itself, or with the one before it.
        wb_8("WB-8, short", &["2m", "last:1"], Some("300")),
        wb_8("WB-8, last two", &["last:2", "660s", "659s 999ms"], Some("250")),
    ]
}

/// Prices of 100, 200 and 300 at minutes 0, 9 and 11, and an alert at 240, which fires at the last one with
/// that average, if at all.
fn wb_8(name: &'static str, averages: &'static [&'static str], fires: Option<&str>) -> Case {
    let steps = vec![
        Price(r#""type":"ticker","price":"100""#),
        Update(r#""price":"240","user_id":1"#),
        Later(538),
        Price(r#""type":"ticker","price":"200""#),
        Later(119),
        Price(r#""type":"ticker","price":"300""#),
    ];
    let alert = fired("above", "240", &[("1:above:240", 1)]);
    let fires = fires.map(|average| one(2, 660, "300", average, &alert));
    Case { name, averages, steps, notifications: fires.into_iter().collect() }
}

/// So many seconds after the beginning.
fn time(second: u32) -> String {
    format!("2024-01-01T00:{:02}:{:02}Z", second / 60, second % 60)
}

/// The lines of the two sources, with their times.
fn lines(steps: &[Step]) -> Vec<(&'static str, String)> {
    let mut second = 0;
    let with_time = |step: &Step| {
        let (source, fields) = match step {
            Price(fields) => ("prices", fields),
            Update(fields) => ("updates", fields),
            Later(seconds) => {
                second += seconds;
                return None;
            }
        };
        second += 1;
        Some((source, format!("{{{fields},\"time\":\"{}\"}}", time(second - 1))))
    };
    steps.iter().filter_map(with_time).collect()
}

#[test]
fn through_the_program() {
    let folder = scratch("recorded-cases");
    for Case { name, averages, steps, notifications } in cases() {
        let url = |source: &str| {
            let own = lines(&steps).into_iter().filter(|(of, _)| *of == source);
            let text: String = own.map(|(_, line)| line + "\n").collect();
            let path = folder.join(format!("{source}.jsonl"));
            std::fs::write(&path, text).unwrap();
            format!("file:{}", path.display())
        };
        for (at, layout) in LAYOUTS.iter().enumerate() {
            // Each layout with one of them, each of them with one layout at least.
            let average = averages[at % averages.len()];
            let flags = [&["--average", average], *layout].concat();
            let (sent, dead) = run_recorded(&folder, &url("prices"), &url("updates"), &flags);
            assert_eq!(sent.lines().collect::<Vec<_>>(), notifications, "{name} {flags:?}");
            assert_eq!(dead, "", "{name} {flags:?}");
        }
    }
}

#[test]
fn through_the_test_driver() {
    for Case { name, averages, steps, notifications } in cases() {
        for (average, workers) in averages.iter().flat_map(|it| [1, 2, 4].map(|n| (*it, n))) {
            let averaging: Averaging = average.parse().unwrap();
            let mut driver = TestDriver::new(move |app| {
                // Never opened: the driver stands in for connectors.
                let unused = "ws-listen://127.0.0.1:0";
                let (prices, updates) = (prices_from(unused)?, updates_from(unused)?);
                pipelines(app, averaging, prices, updates, notifications_to("null:")?);
                Ok(())
            })
            .workers(workers)
            .start()
            .unwrap();
            for (source, line) in lines(&steps) {
                driver.send_bytes(source, line).unwrap();
                driver.run().unwrap();
            }
            assert_eq!(
                driver.lines("notify"),
                notifications,
                "{name}, {average}, {workers} workers"
            );
            assert_eq!(driver.dead_letters(), [], "{name}");
        }
    }
}
