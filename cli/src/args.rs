//! What can be typed.
//!
//! Invariant: every number is within its bounds, and every name is one, before anything is done.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::program::args as program;

/// Running programs and durable streams, from a terminal
///
/// Exit codes: 0 done; 1 it failed; 2 the invocation is wrong; 3 what is kept is damaged. Colours are left out
/// if NO_COLOR is set.
#[derive(Parser)]
#[command(name = "anabranch", version, propagate_version = true)]
#[command(after_help = "Examples:\n  \
    anabranch top\n  \
    anabranch state get prices BTC-USD --at http://127.0.0.1:8080\n  \
    anabranch rescale -w 4 -n 2\n  \
    anabranch stream --dir streams create orders\n  \
    printf '{\"n\":1}\\n{\"n\":2}\\n' | anabranch stream --dir streams append orders\n  \
    anabranch stream --dir streams read orders --group billing\n  \
    anabranch stream --dir streams serve --http 127.0.0.1:8090\n  \
    anabranch stream --at http://127.0.0.1:8090 read orders --follow")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

#[derive(Subcommand)]
pub(crate) enum Noun {
    /// How a running program does
    Status(program::Status),
    /// How a running program does, live
    Top(program::Top),
    /// What its tables and views hold
    State(Box<program::State>),
    /// What it has refused, and what is done with that
    DeadLetters(Box<program::Letters>),
    /// What it can go on from
    Checkpoint(program::Checkpoint),
    /// Go on with another number of workers and processes
    Rescale(program::Rescale),
    /// Read a source no further until it is resumed
    Pause(program::Source),
    /// Read a source on
    Resume(program::Source),
    /// End the program in order
    Stop(program::Status),
    /// Durable streams: make, write, read and serve them
    Stream(Box<StreamCommand>),
    /// Print what makes a shell complete this command
    ///
    /// For example: anabranch completions bash > ~/.local/share/bash-completion/completions/anabranch
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Args)]
pub(crate) struct StreamCommand {
    #[command(flatten)]
    pub(crate) at: At,
    /// Print JSON: one document, or one a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// Where streams are.
#[derive(Args)]
pub(crate) struct At {
    /// The folder of the streams
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "ANABRANCH_STREAMS",
        conflicts_with = "at"
    )]
    pub(crate) dir: Option<PathBuf>,
    /// A server of streams, or a program that serves them
    #[arg(long, global = true, value_name = "URL", env = "ANABRANCH_AT")]
    pub(crate) at: Option<String>,
    /// A file with the token to send, or (of `serve`) with those to ask for, one a line
    #[arg(long, global = true, value_name = "FILE", env = "ANABRANCH_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    /// List the streams
    Ls,
    /// Make a stream; one that is there stays as it is
    Create {
        #[arg(value_parser = name)]
        name: String,
    },
    /// Append records, and say their offsets when they are durable
    ///
    /// Each line of standard input is a record, whatever is in it; batches are appended as they come.
    Append {
        #[arg(value_parser = name)]
        name: String,
        /// A record, instead of standard input; can be given several times, and then all are one batch
        #[arg(long, value_name = "TEXT")]
        record: Vec<String>,
        /// So many lines at most are one batch
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        batch: u16,
    },
    /// Print records, each on a line as it is
    Read {
        #[arg(value_parser = name)]
        name: String,
        /// Where to begin: beginning, end, an offset, or a time such as 2026-01-01T00:00:00Z; a group
        /// that is there already goes on where it was
        #[arg(long, value_name = "PLACE", default_value = "beginning", value_parser = NonEmptyStringValueParser::new())]
        from: String,
        /// Read for this group, and commit what was printed
        #[arg(long, value_parser = name)]
        group: Option<String>,
        /// Stop after so many records
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        /// Wait for more at the end
        #[arg(long, short)]
        follow: bool,
    },
    /// List the groups of a stream, and how much each has not read
    Groups {
        #[arg(value_parser = name)]
        name: String,
        /// Have this group go on elsewhere: at --from
        #[arg(long, value_name = "GROUP", value_parser = name)]
        reset: Option<String>,
        /// Where the group goes on
        #[arg(long, value_name = "PLACE", default_value = "beginning", requires = "reset")]
        from: String,
    },
    /// Drop what all groups have read, or what is too old or too much
    ///
    /// What some group has not read stays and is told, unless --drop-unread is given.
    Trim {
        #[arg(value_parser = name)]
        name: String,
        /// Drop what is as old or older: 30s, 15m, 24h, 7d
        #[arg(long, value_name = "AGE", value_parser = age)]
        max_age: Option<Duration>,
        /// Drop the oldest until the rest has so many bytes
        #[arg(long, value_name = "BYTES")]
        max_bytes: Option<u64>,
        /// Also what some group has not read
        #[arg(long)]
        drop_unread: bool,
    },
    /// Remove a stream with all that is in it
    Rm {
        #[arg(value_parser = name)]
        name: String,
        /// Also if some group, or nobody, has read all of it
        #[arg(long)]
        drop_unread: bool,
    },
    /// Serve the streams of a folder over HTTP until a signal comes
    Serve {
        /// Where to listen; with port 0 the operating system chooses
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8090")]
        http: String,
        /// A web page's origin that may ask, or *; can be given several times
        #[arg(long, value_name = "ORIGIN")]
        origin: Vec<String>,
        /// A file to write the bound HOST:PORT to
        #[arg(long, value_name = "FILE")]
        port_file: Option<PathBuf>,
    },
}

/// A name of a stream or a group, which goes into an address and so must be checked before.
fn name(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_one =
        (1..=128).contains(&text.len()) && text.bytes().all(good) && !text.starts_with('.');
    match is_one {
        true => Ok(text.to_owned()),
        false => {
            Err("a name is 1 to 128 letters (a to z), digits, `.`, `_` and `-`, and no `.` first"
                .into())
        }
    }
}

pub(crate) fn age(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|it: char| it.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let millis =
        number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| "a time is a number and ms, s, m, h or d: 24h".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn names_and_ages_are_understood_whole_or_refused() {
        for wrong in ["", ".", "..", "../x", "a/b", "%2e%2e", "a b", "ü", ".hidden", "a?b", "a#b"]
        {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        assert_eq!(name("orders-2.v_1").unwrap(), "orders-2.v_1");
        assert_eq!(age("24h").unwrap(), Duration::from_secs(86_400));
        for wrong in ["", "h", "1", "1w", "-1s", "99999999999999999999d"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
