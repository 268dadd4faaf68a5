//! What a program without all of its flags says first.
//!
//! Invariant: it tells of the parts of the demo that run, and of no others; the command that it
//! names can be typed as it stands.

use super::{Options, demo};

/// What is running, and how to have the real thing.
pub(super) fn introduction(options: &Options) -> String {
    let mut text = String::new();
    if options.prices.is_none() {
        text += "A demo: a fake exchange with a made market runs inside, reached over its real \
                 WebSocket.\n";
    }
    if options.updates.is_none() {
        text += &format!(
            "{} alerts are registered; each fires once, when the average of its product gets there.\n",
            demo::ALERTS.len()
        );
    }
    if options.prices.is_none() {
        text += &format!(
            "\nThe real exchange, alerts typed in, notifications as JSON:\n\n  {} --prices \
             'coinbase://ws-feed.exchange.coinbase.com?products=BTC-USD' --updates - --notify -\n\n\
             An alert is {{\"price\":\"65000\",\"user_id\":7}}. Ctrl-C ends, --help explains.\n",
            program()
        );
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// How this program was called, if a shell would understand it.
fn program() -> String {
    let simple = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    std::env::args()
        .next()
        .filter(|name| !name.is_empty() && name.chars().all(simple))
        .unwrap_or_else(|| "bitcoin-alerts".to_owned())
}
