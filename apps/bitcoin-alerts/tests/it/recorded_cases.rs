//! The cases of Wallaroo's Bitcoin alerts, by their numbers, over recorded files: through the
//! program in several layouts and through `TestDriver`, byte for byte.

use anabranch::TestDriver;
use bitcoin_alerts::{notifications_to, pipelines, prices_from, updates_from};

use crate::process::{LAYOUTS, run_recorded, scratch};

/// What happens, one second after the other.
enum Step {
    /// A price, without its time.
    Price(&'static str),
    /// An update, without its time.
    Update(&'static str),
}

use Step::{Price, Update};

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
    steps: Vec<Step>,
    notifications: Vec<String>,
}

/// A notification with one alert.
fn one(offset: u64, second: u64, price: &str, average: &str, fired: &str) -> String {
    format!(
        "{{\"id\":\"prices-0-{offset}\",\"product\":\"BTC-USD\",\
         \"time\":\"2024-01-01T00:00:{second:02}Z\",\"price\":\"{price}\",\
         \"average\":\"{average}\",\"fired\":[{fired}]}}"
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
            steps: ALERTS.into_iter().chain(PRICES).collect(),
            notifications: vec![WB_1.into()],
        },
        Case {
            name: "WB-2",
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
        Case { name: "WB-6", steps: PRICES.into_iter().collect(), notifications: vec![] },
        Case {
            name: "WB-7",
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
            steps: vec![ticker(), Update(r#""price":"6500","user_id":1"#), ticker()],
            notifications: vec![one(
                1,
                2,
                "6500",
                "6500",
                &fired("above", "6500", &[("1:above:6500", 1)]),
            )],
        },
    ]
}

/// The lines of the two sources, with their times.
fn lines(steps: &[Step]) -> Vec<(&'static str, String)> {
    let with_time = |(second, step): (usize, &Step)| {
        let (source, fields) = match step {
            Price(fields) => ("prices", fields),
            Update(fields) => ("updates", fields),
        };
        (source, format!("{{{fields},\"time\":\"2024-01-01T00:00:{second:02}Z\"}}"))
    };
    steps.iter().enumerate().map(with_time).collect()
}

#[test]
fn through_the_program() {
    let folder = scratch("recorded-cases");
    for Case { name, steps, notifications } in cases() {
        let url = |source: &str| {
            let own = lines(&steps).into_iter().filter(|(of, _)| *of == source);
            let text: String = own.map(|(_, line)| line + "\n").collect();
            let path = folder.join(format!("{source}.jsonl"));
            std::fs::write(&path, text).unwrap();
            format!("file:{}", path.display())
        };
        for layout in LAYOUTS {
            let (sent, dead) = run_recorded(&folder, &url("prices"), &url("updates"), layout);
            assert_eq!(sent.lines().collect::<Vec<_>>(), notifications, "{name} {layout:?}");
            assert_eq!(dead, "", "{name} {layout:?}");
        }
    }
}

#[test]
fn through_the_test_driver() {
    for Case { name, steps, notifications } in cases() {
        for workers in [1, 2, 4] {
            let mut driver = TestDriver::new(|app| {
                // Never opened: the driver stands in for connectors.
                let unused = "ws-listen://127.0.0.1:0";
                let (prices, updates) = (prices_from(unused)?, updates_from(unused)?);
                pipelines(app, prices, updates, notifications_to("null:")?);
                Ok(())
            })
            .workers(workers)
            .start()
            .unwrap();
            for (source, line) in lines(&steps) {
                driver.send_bytes(source, line).unwrap();
                driver.run().unwrap();
            }
            assert_eq!(driver.lines("notify"), notifications, "{name} on {workers} workers");
            assert_eq!(driver.dead_letters(), [], "{name}");
        }
    }
}
