//! A mistake on the command line ends the program at once, with exit code 2 and what to do.

use crate::process::{run, scratch};

#[test]
fn usage_errors_exit_2_with_advice() {
    let folder = scratch("usage");
    for (arguments, advice) in [
        (&["--average", "ten-minutes"][..], "10m"),
        (&["--average", "last:0"], "from 1 to"),
        (&["--average", "600"], "needs a unit"),
        (&["--lateness", "5"], "needs a unit"),
        (&["--prices", "prices.jsonl"], "a file is `file:prices.jsonl`"),
        (&["--prices", "coinbase:?prodcuts=BTC-USD"], "`prodcuts`"),
        (&["--prices", "gen:?kyes=3"], "`kyes`"),
        (&["--prices", "file:/nowhere/at/all.jsonl"], "/nowhere/at/all.jsonl"),
        (&["--updates", "coinbase:"], "`coinbase:` is no source"),
        (&["--updates", "tcp://127.0.0.1:1"], "a source listens: `tcp-listen://HOST:PORT`"),
        (&["--notify", "ws://127.0.0.1:1"], "`ws-listen://HOST:PORT/PATH`"),
        (&["--notify", "pretty:"], "`pretty:` is no sink"),
        (&["--dead-letters", "gen:"], "`gen:` is a source"),
        (&["--price", "-"], "--prices"),
        (&["--workers", "0"], "1..=256"),
    ] {
        let ended = run(&folder, arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(advice), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn help_and_check_say_what_there_is() {
    let folder = scratch("help");
    let help = run(&folder, &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for part in [
        "--prices",
        "--updates",
        "--notify",
        "--dead-letters",
        "--average",
        "[default: 10m]",
        "--lateness",
        "coinbase:",
    ] {
        assert!(help.stdout.contains(part), "{part}: {}", help.stdout);
    }
    let check = run(&folder, &["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", check.stderr);
    for part in [
        "prices",
        "updates",
        "notify",
        "evaluate-alerts",
        "update-alerts",
        "fired-alerts",
        "demo's",
    ] {
        assert!(check.stdout.contains(part), "{part}: {}", check.stdout);
    }
    let graph = run(&folder, &["graph", "--prices=file:x", "--updates=-", "--notify=-"]);
    assert_eq!(graph.status.code(), Some(0), "drawing opens nothing: {}", graph.stderr);
}
