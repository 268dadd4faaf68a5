//! When an alert would have fired: as if it had been there, and nothing else told, on any layout; also from what a
//! program has kept.

use std::fmt::Write as _;
use std::path::Path;

use bitcoin_alerts::Notification;

use crate::process::{LAYOUTS, run, scratch};

const ALERTS: [(&str, &str); 4] = [
    ("tried", r#""price":"102","direction":"above""#),
    ("tried", r#""of":"price","price":"101","direction":"crossing","repeat":"every""#),
    (
        "tried",
        r#""of":"change","over":"5s","percent":"1","repeat":"rearm","hysteresis":"0.5","labels":["a"]"#,
    ),
    (
        "7:zscore:10s:above:1.5",
        r#""of":"zscore","over":"10s","z":"1.5","repeat":"every","cooldown":"3s""#,
    ),
];

/// Writes a market, and alerts of others; gives their URLs.
fn input(folder: &Path, alert: Option<&str>) -> [String; 2] {
    let (mut prices, mut updates) = (String::new(), String::new());
    for n in 0_i64..300 {
        let product = ["BTC-USD", "ETH-USD"][usize::from(n % 3 == 0)];
        let price = 100 + (n * n * 7 + n) % 11 - (n % 40) / 10;
        let (minute, second) = (n / 60, n % 60);
        let _ = writeln!(
            prices,
            r#"{{"type":"x","product_id":"{product}","price":{price},"time":"2024-01-01T00:{minute:02}:{second:02}Z"}}"#
        );
    }
    let others = [r#"{"price":"101","user_id":1,"time":"2023-12-31T00:00:00Z"}"#.to_owned()];
    let tried = alert.map(|alert| alert.replacen('{', r#"{"time":"2023-12-31T00:00:00Z","#, 1));
    for update in others.into_iter().chain(tried) {
        let _ = writeln!(updates, "{update}");
    }
    [("prices.jsonl", prices), ("updates.jsonl", updates)].map(|(name, text)| {
        std::fs::write(folder.join(name), text).unwrap();
        format!("file:{}", folder.join(name).display())
    })
}

/// Notifications without what is not of `id`.
fn of(id: &str, lines: &str) -> Vec<String> {
    let notifications =
        lines.lines().map(|line| serde_json::from_str::<Notification>(line).unwrap());
    let alone = notifications.filter_map(|mut it| {
        it.fired.iter_mut().for_each(|level| level.alerts.retain(|alert| alert.id == id));
        it.fired.retain(|level| !level.alerts.is_empty());
        (!it.fired.is_empty()).then(|| serde_json::to_string(&it).unwrap())
    });
    alone.collect()
}

#[test]
fn it_fires_as_if_it_had_been_there() {
    for (number, (id, fields)) in ALERTS.into_iter().enumerate() {
        let alert = format!(r#"{{"id":"{id}","user_id":7,{fields}}}"#);
        let folder = scratch(&format!("alerts_are_tried-{number}"));
        for average in ["running", "10s"] {
            let data = folder.join(format!("data-{average}")).display().to_string();
            let [prices, updates] = input(&folder, Some(&alert));
            let basic = ["--quiet", "--average", average, "--prices", &prices, "--notify", "-"];
            let there = run(&folder, &[&basic[..], &["--updates", &updates]].concat());
            let expected = of(id, &there.stdout);
            assert!(expected.len() > usize::from(number > 0), "{alert}: {}", there.stderr);
            let [prices, updates] = input(&folder, None);
            let basic =
                ["--average", average, "--prices", &prices, "--updates", &updates, "--notify"];
            for layout in LAYOUTS {
                let tried = [&basic[..], &["-", "--quiet", "--try", &alert], layout].concat();
                let tried = run(&folder, &tried);
                assert_eq!(tried.status.code(), Some(0), "{}", tried.stderr);
                assert_eq!(
                    tried.stdout.lines().collect::<Vec<_>>(),
                    expected,
                    "{alert}, {layout:?}"
                );
            }
            let kept = ["null:", "--quiet", "--data-dir", &data, "--keep-journal", "24h"];
            assert_eq!(run(&folder, &[&basic[..], &kept].concat()).status.code(), Some(0));
            let again =
                [&["replay"], &basic[..], &["-", "--quiet", "--data-dir", &data, "--try", &alert]];
            let again = run(&folder, &again.concat());
            assert_eq!(again.status.code(), Some(0), "{}", again.stderr);
            assert_eq!(again.stdout.lines().collect::<Vec<_>>(), expected, "{alert}, kept");
        }
    }
}

#[test]
fn a_program_that_runs_is_not_told_to_try() {
    let folder = scratch("alerts_are_tried-refused");
    let [prices, updates] = input(&folder, None);
    let data = folder.join("data").display().to_string();
    let alert = r#"{"price":"102","user_id":7}"#;
    let kept = ["--prices", &prices, "--updates", &updates, "--data-dir", &data, "--try", alert];
    let live =
        ["--prices", "ws-listen://127.0.0.1:0/prices", "--updates", &updates, "--try", alert];
    for arguments in [&kept[..], &live] {
        let refused = run(&folder, arguments);
        assert_ne!(refused.status.code(), Some(0));
        assert!(
            refused.stderr.contains("use it with `replay --data-dir DIR`"),
            "{}",
            refused.stderr
        );
    }
    for (alert, why) in
        [(r#"{"op":"remove","id":"x"}"#, "leave `op` out"), ("{}", "`user_id` is missing")]
    {
        let refused = run(&folder, &["check", "--prices", &prices, "--try", alert]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
}
