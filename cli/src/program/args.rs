//! What can be typed about a running program.
//!
//! Invariant: what goes into an address is encoded there, so a key may be any text.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

/// Which program is asked, and how it is told.
#[derive(Args, Clone)]
pub(crate) struct Running {
    /// Where the program answers: what it was given as --http
    #[arg(long, global = true, value_name = "URL", env = "ANABRANCH_AT")]
    #[arg(default_value = "http://127.0.0.1:8080")]
    pub(crate) at: String,
    /// A file with the token to send
    #[arg(long, global = true, value_name = "FILE", env = "ANABRANCH_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print JSON, as the program says it
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// How a program does.
#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) of: Running,
}

/// How a program does, again and again.
#[derive(Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) of: Running,
    /// The time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = super::super::args::age)]
    pub(crate) every: Duration,
    /// Stop after so many looks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) times: Option<u64>,
}

/// What a program's tables and views hold.
#[derive(Args)]
pub(crate) struct State {
    #[command(flatten)]
    pub(crate) of: Running,
    #[command(subcommand)]
    pub(crate) what: StateOf,
}

#[derive(Subcommand)]
pub(crate) enum StateOf {
    /// List the tables and views
    Ls,
    /// Show a row, as of the end of an epoch; of a map table its entries
    Get {
        table: String,
        /// JSON, or the text that the key is
        key: String,
        /// Of a map table: the first entry
        #[arg(long, value_name = "KEY")]
        from: Option<String>,
        /// Of a map table: the most entries
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
    },
    /// Show rows by rising key, all as of one epoch
    Scan {
        table: String,
        /// The first key
        #[arg(long, value_name = "KEY", conflicts_with = "after")]
        from: Option<String>,
        /// The key after which the first one comes: for the next page
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// The key that is too far
        #[arg(long, value_name = "KEY")]
        to: Option<String>,
        /// The most rows
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
    },
    /// Show rows of a view, in order
    View {
        view: String,
        /// The number of the first row, from 0
        #[arg(long, value_name = "N", default_value_t = 0)]
        from: u32,
        /// The most rows
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
    },
    /// Show which keys of a table come most often, and how many rows each worker has
    Hot { table: String },
}

/// Records that were refused.
#[derive(Args)]
pub(crate) struct Letters {
    #[command(flatten)]
    pub(crate) of: Running,
    #[command(subcommand)]
    pub(crate) what: LettersOf,
}

#[derive(Subcommand)]
pub(crate) enum LettersOf {
    /// List them
    Ls {
        #[command(flatten)]
        which: Which,
        /// The most of them
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
    },
    /// List what they have in common
    Groups,
    /// Have them tried again
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Close them as they are
    Ignore {
        #[command(flatten)]
        which: Which,
    },
    /// Put another record in the place of one; a retry takes that
    Edit {
        id: String,
        /// The record: JSON, or the text of a frame
        record: String,
    },
}

/// Which dead letters: those for which all of this is true.
#[derive(Args)]
pub(crate) struct Which {
    /// By name
    pub(crate) ids: Vec<String>,
    #[arg(long)]
    pub(crate) group: Option<String>,
    #[arg(long)]
    pub(crate) pipeline: Option<String>,
    #[arg(long)]
    pub(crate) computation: Option<String>,
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// All of them; of `ls`, those too with which nothing is to be done any more
    #[arg(long)]
    pub(crate) all: bool,
}

/// What a program can go on from.
#[derive(Args)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    pub(crate) of: Running,
    #[command(subcommand)]
    pub(crate) what: CheckpointOf,
}

#[derive(Subcommand)]
pub(crate) enum CheckpointOf {
    /// List them, the newest first
    Ls,
    /// Make one now, and wait until it is complete
    Take,
}

/// Another number of workers.
#[derive(Args)]
pub(crate) struct Rescale {
    #[command(flatten)]
    pub(crate) of: Running,
    /// Workers of each process
    #[arg(long, short, value_name = "N")]
    pub(crate) workers: u16,
    /// Processes
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1)]
    pub(crate) processes: u16,
}

/// A source that is to be read no further, or again.
#[derive(Args)]
pub(crate) struct Source {
    #[command(flatten)]
    pub(crate) of: Running,
    /// The name of the source
    pub(crate) source: String,
}
