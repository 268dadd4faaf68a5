//! What `--help` says is there, in order, and what it shows can be typed.

use super::*;

#[test]
fn help_teaches() {
    let trial = Trial::new("help");
    let long = trial.parse::<Options>("--help").unwrap_err();
    assert_eq!(long.code(), 0);
    let text = long.to_string();
    let phrases = [
        "Price alerts on a live or recorded feed",
        "Usage: bitcoin-alerts [run|graph|check|checkpoint|dead-letters|reprocess|replay|verify|diff] [OPTIONS]",
        "Commands:\n  run           Run the application (the default)\n  graph         Print",
        "\n  checkpoint    Look at what",
        "\nApplication:\n",
        "--prices <URL>",
        "[default: gen:]",
        "\nEngine:\n",
        "-w, --workers <N>",
        "[default: 1]",
        "as in 250us, 1ms or 2s",
        "[default: 1ms]",
        "512KiB, 64MiB or 1GiB",
        "\nCluster:\n",
        "-n, --processes <N>",
        "host:port a line",
        "\nDurability:\n",
        "--data-dir <DIR>",
        "[default: sync, with --data-dir]",
        "--keep-journal <LIMIT>",
        "\nOutput:\n",
        "[default: info, or warn with --quiet]",
        "-h, --help",
        "-V, --version",
        "Examples:\n  bitcoin-alerts -w 4 ",
        "bitcoin-alerts graph --format dot",
        "Environment:\n",
        "ANABRANCH_WORKERS",
        "BITCOIN_ALERTS_PRICES",
        "NO_COLOR",
        "Configuration file:\n",
        "workers = 4",
        "Exit codes:\n",
    ];
    let mut at = 0;
    for phrase in phrases {
        let found = text.get(at..).unwrap().find(phrase);
        at += found.unwrap_or_else(|| panic!("`{phrase}` is not in its place in:\n{text}"));
    }
    assert!(!text.contains('\u{1b}'), "plain text is without colours");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert_eq!(trial.parse::<Options>("help").unwrap_err().to_string(), text);
    assert_eq!(trial.parse::<Options>("graph --help").unwrap_err().to_string(), text);
    assert_eq!(trial.parse::<Needy>("help").unwrap_err().code(), 0, "--text is required to run");

    let short = trial.parse::<Options>("-h").unwrap_err().to_string();
    assert!(short.contains("Examples:") && !short.contains("Configuration file:"), "{short}");
}

#[test]
fn the_examples_of_help_can_be_typed() {
    let trial = Trial::new("examples");
    let text = trial.parse::<Options>("--help").unwrap_err().to_string();
    let examples = text.split("Examples:").nth(1).unwrap().split("Environment:").next().unwrap();
    let lines = examples.lines().filter_map(|line| line.strip_prefix("  bitcoin-alerts "));
    let lines: Vec<&str> = lines.map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(lines.len(), 5, "{examples}");
    for line in lines {
        trial.ok(line);
    }
    let file = text.split("of the options:").nth(1).unwrap().split("A flag").next().unwrap();
    assert_eq!(Trial::new("example-file").toml(file).ok("").config.workers(), 4);
}
