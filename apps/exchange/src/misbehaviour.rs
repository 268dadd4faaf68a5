//! [`Misbehaviour`]: the ways in which the exchange goes wrong on request.
//!
//! Invariant: one name for each way; the market itself, and what HTTP tells of it, stay right
//! unless the name says otherwise, so that a client can always be held to the whole truth.

use std::fmt;
use std::str::FromStr;

use anabranch::Error;

macro_rules! misbehaviours {
    ($($variant:ident $name:literal $scenario:literal $about:literal;)*) => {
        /// A way to go wrong, each named after what the exchange does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Misbehaviour {
            $(#[doc = $about] $variant,)*
        }

        impl Misbehaviour {
            /// All of them, by scenario.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The number of the scenario that a feed handler must survive.
            pub const fn scenario(self) -> u8 {
                match self { $(Self::$variant => $scenario,)* }
            }

            /// What the exchange does.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }
        }
    };
}

misbehaviours! {
    Refuse "refuse" 1 "Refuses connections for as long as trouble lasts.";
    Upgrade429 "upgrade-429" 2 "Answers 429 with Retry-After to the first upgrades.";
    Upgrade503 "upgrade-503" 2 "Answers 503 to the first upgrades.";
    HandshakeHang "handshake-hang" 3 "Takes the first connections and never answers the upgrade.";
    SubscribeSilence "subscribe-silence" 4 "Never answers the first subscribes, and sends nothing.";
    SubscribeHalf "subscribe-half" 4 "Answers the first subscribes for some channels and products only.";
    ErrorFrame "error-frame" 5 "Answers the first subscribes with an error.";
    DataFirst "data-first" 6 "Sends trades before the answer to the subscribe.";
    ResetMidFrame "reset-mid-frame" 7 "Resets the first connections in the middle of a frame.";
    Close1000 "close-1000" 7 "Closes the first connections as if all were done.";
    Close1001 "close-1001" 7 "Closes the first connections: going away.";
    Drop1006 "drop-1006" 7 "Drops the first connections without closing them.";
    Close1008 "close-1008" 7 "Closes the first connections: policy violation.";
    Close1009 "close-1009" 7 "Closes the first connections: message too big.";
    HalfOpen "half-open" 8 "Falls silent on the first connections, which stay open.";
    HeartbeatsOnly "heartbeats-only" 9 "Goes on with heartbeats and without trades on the first connections.";
    NoHeartbeats "no-heartbeats" 10 "Sends no heartbeats.";
    HeartbeatAhead "heartbeat-ahead" 11 "Sends heartbeats before the trades that they tell of.";
    HeartbeatZero "heartbeat-zero" 11 "Sends heartbeats that tell of trade 0.";
    LongGap "long-gap" 12 "Loses 2,500 trades on the first connections.";
    Gap "gap" 13 "Loses 10 trades on the first connections.";
    Fill429 "fill-429" 13 "Loses 10 trades and answers the first requests for them with 429.";
    Fill500 "fill-500" 13 "Loses 10 trades and answers the first requests for them with 500.";
    FillEmpty "fill-empty" 13 "Loses 10 trades and answers the first requests for them with nothing.";
    FillSlow "fill-slow" 13 "Loses 10 trades and answers the first requests for them slowly.";
    Duplicates "duplicates" 14 "Sends trades twice, old ones again, and pages that overlap.";
    NewestFirst "newest-first" 15 "Sends trades in groups, newest first.";
    LateTrade "late-trade" 16 "Sends every fiftieth trade after the five that follow it.";
    SequenceJump "sequence-jump" 17 "Loses a frame of the Advanced Trade feed, whose number jumps.";
    Unknown "unknown" 18 "Mixes in unknown types, unknown fields, and messages that lack fields.";
    Garbage "garbage" 19 "Mixes in bad JSON, binary and empty frames, and once bad UTF-8.";
    BigFrames "big-frames" 20 "Mixes in frames of 5 MB, fragmented ones, and pings between fragments.";
    OversizedFrame "oversized-frame" 20 "Sends a frame of 17 MB on the first connections.";
    OddNumbers "odd-numbers" 21 "Writes ids as text, and prices as numbers and with exponents.";
    OddTimes "odd-times" 22 "Writes times that are skewed, go back, or have no fraction.";
    SlowConsumer "slow-consumer" 23 "Sends frames of 4 KB and disconnects who is 64 trades behind.";
    Storm "storm" 24 "Drops the first connections as soon as they are made.";
    Flapping "flapping" 25 "Drops the first connections right after the answer to the subscribe.";
    HaltedProduct "halted-product" 27 "Halts the market's last product.";
    Overlap "overlap" 28 "Holds the first connections' trades back until another one is subscribed.";
}

impl Misbehaviour {
    /// Whether some trades are not sent.
    pub(crate) const fn loses_trades(self) -> bool {
        matches!(self, Self::Gap | Self::Fill429 | Self::Fill500 | Self::FillEmpty | Self::FillSlow)
    }

    /// All names with what they mean, one a line, for `--help`.
    pub fn help() -> String {
        let mut text = String::from("Misbehaviours (the number is the scenario's):\n");
        for one in Self::ALL {
            text += &format!("  {:>2}  {:<18} {}\n", one.scenario(), one.name(), one.about());
        }
        text += "   1  a name that is not found is for the client to try\n";
        text += "  26  a crash between gap fill and checkpoint is for the client to try\n";
        text
    }
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Misbehaviour {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.iter().copied().find(|one| one.name() == text).ok_or_else(|| {
            Error::Usage(format!("there is no misbehaviour `{text}`: --help lists them"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scenario_has_a_name_and_every_name_is_read_back() {
        let scenarios: BTreeSet<u8> = Misbehaviour::ALL.iter().map(|one| one.scenario()).collect();
        let expected: BTreeSet<u8> = (1..=28).filter(|scenario| *scenario != 26).collect();
        assert_eq!(scenarios, expected);
        for one in Misbehaviour::ALL {
            assert_eq!(one.name().parse::<Misbehaviour>().unwrap(), *one);
            assert!(Misbehaviour::help().contains(one.name()));
        }
        assert!("explode".parse::<Misbehaviour>().unwrap_err().to_string().contains("--help"));
    }
}
