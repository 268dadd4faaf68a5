//! The command `anabranch`: durable streams from a terminal, in a folder or over HTTP.
//!
//! Invariant: what is printed on standard output is what was asked for and nothing else; a failure is one line
//! that says what happened, one that says what to do, and an exit code (see [`failure`]). Each noun has a
//! module of its own; [`place`] is the one way to what answers.

#![forbid(unsafe_code)]

mod args;
mod failure;
mod place;
mod print;
mod stream;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::args::{Cli, Noun};
use self::failure::Failure;

fn main() -> ExitCode {
    // Wrong arguments end with 2, `--help` with 0.
    let cli = Cli::parse();
    match run(cli.noun) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn run(noun: Noun) -> Result<(), Failure> {
    match noun {
        Noun::Stream(command) => stream::run(*command),
        Noun::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "anabranch", &mut script);
            print::bytes(&script)
        }
    }
}
