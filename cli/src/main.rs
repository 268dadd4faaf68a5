//! The command `anabranch`: running programs and durable streams, from a terminal.
//!
//! Invariant: what is printed on standard output is what was asked for and nothing else; a failure is one line
//! that says what happened, one that says what to do, and an exit code (see [`failure`]). Each noun has a
//! module of its own; [`place`] is the one way to what answers.

#![forbid(unsafe_code)]

mod args;
mod failure;
mod place;
mod print;
mod program;
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
        Noun::Status(command) => program::status(&command),
        Noun::Top(command) => program::top(&command),
        Noun::State(command) => program::state(*command),
        Noun::DeadLetters(command) => program::letters(*command),
        Noun::Checkpoint(command) => program::checkpoint(&command),
        Noun::Rescale(command) => program::rescale(&command),
        Noun::Pause(command) => program::set(&command, "pause"),
        Noun::Resume(command) => program::set(&command, "resume"),
        Noun::Stop(command) => program::stop(&command.of),
        Noun::Stream(command) => stream::run(*command),
        Noun::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "anabranch", &mut script);
            print::bytes(&script)
        }
    }
}
