//! [`parse`]: from what was typed, set and written to a checked configuration.
//!
//! Invariant: the command line is parsed by one parser alone, with what the other layers add put
//! before it, so that an option means the same wherever it comes from.

use std::ffi::OsString;
use std::path::Path;

use clap::FromArgMatches as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::{self, Args, Word};
use super::layers::{self, Layers};
use super::{Command, Config, Exit, GraphFormat, Parsed};
use crate::{Error, Result};

/// Reads the options of a program whose own are `O`: from `argv`, which begins with the program's
/// name, from the environment as `env` looks it up, and from the file that `--config` names.
///
/// ```
/// #[derive(clap::Args, Debug)]
/// /// Counts words.
/// struct Options {
///     /// Where to read text
///     #[arg(long, value_name = "URL")]
///     text: String,
/// }
///
/// use anabranch::config::{self, Command};
/// let argv = ["word-count", "check", "--text", "file:a.txt", "-w", "2"].map(Into::into);
/// let parsed = config::parse::<Options>(argv, &|_| None)?;
/// assert_eq!(parsed.command, Command::Check);
/// assert_eq!(parsed.config.workers(), 2);
/// assert_eq!(parsed.options.text, "file:a.txt");
/// # Ok::<(), config::Exit>(())
/// ```
///
/// # Errors
/// An [`Exit`] to print when help or the version is asked for or an option is wrong, and when the
/// options of `O` clash with the engine's.
pub fn parse<O: clap::Args>(
    argv: impl IntoIterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Parsed<O>, Exit> {
    let mut argv = join_standard_urls(argv);
    let program = program(argv.first());
    let mut command = args::command_line::<O>(&program).map_err(|wrong| {
        let message = Error::Application(wrong).to_string();
        Exit::new(&clap::Error::raw(ErrorKind::InvalidValue, message + "\n"))
    })?;

    // Once for what is on the command line, whose mistakes the second time reports.
    let typed = command.clone().ignore_errors(true).try_get_matches_from(&argv);
    let typed = typed.map_err(|error| Exit::new(&error))?;
    // Before anything is required: who asks for help does not know yet what is.
    if typed.get_one::<Word>(args::COMMAND) == Some(&Word::Help) {
        return Err(Exit::help(&command.render_long_help()));
    }
    let layers = layers::gather(&command, &typed, env).map_err(|e| usage(&mut command, &e))?;
    let end = argv.len().min(1);
    argv.splice(end..end, layers.arguments.iter().cloned());

    let explained = |error| Exit::new(&with_origins(error, &layers));
    let mut matches = command.try_get_matches_from_mut(&argv).map_err(explained)?;
    let word = matches.remove_one::<Word>(args::COMMAND).unwrap_or(Word::Run);
    let format = matches.remove_one::<GraphFormat>(args::FORMAT);
    let command_asked = match (word, format) {
        (Word::Help, _) => return Err(Exit::help(&command.render_long_help())),
        (Word::Graph, format) => Command::Graph { format: format.unwrap_or(GraphFormat::Mermaid) },
        (_, Some(_)) => {
            return Err(usage(&mut command, "--format goes with the command `graph`"));
        }
        (Word::Run, None) => Command::Run,
        (Word::Check, None) => Command::Check,
    };
    let args = Args::from_arg_matches(&matches).map_err(|e| explained(e.format(&mut command)))?;
    let options = O::from_arg_matches(&matches).map_err(|e| explained(e.format(&mut command)))?;
    let config = Config::checked(&program, args).map_err(|e| usage(&mut command, &e))?;
    Ok(Parsed { command: command_asked, config, options })
}

/// Gives `-?queue_records=9` to the option before it: the URL of standard input or output with a
/// query is a value, though it begins with `-`. No option begins so.
fn join_standard_urls(argv: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    for argument in argv {
        let is_url = argument.as_encoded_bytes().starts_with(b"-?");
        match joined
            .last_mut()
            .filter(|before| is_url && before.as_encoded_bytes().starts_with(b"--"))
        {
            Some(option) => {
                option.push("=");
                option.push(argument);
            }
            None => joined.push(argument),
        }
    }
    joined
}

fn program(argv0: Option<&OsString>) -> String {
    argv0
        .and_then(|path| Path::new(path).file_stem())
        .map_or_else(|| "anabranch".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn usage(command: &mut clap::Command, wrong: &str) -> Exit {
    Exit::new(&command.error(ErrorKind::ValueValidation, wrong))
}

/// Adds where a refused value came from, if it was not typed.
fn with_origins(mut error: clap::Error, layers: &Layers) -> clap::Error {
    let context = [ContextKind::InvalidArg, ContextKind::PriorArg];
    let mut tips = Vec::new();
    for argument in context.into_iter().filter_map(|kind| error.get(kind)) {
        let arguments = match argument {
            ContextValue::String(one) => std::slice::from_ref(one),
            ContextValue::Strings(several) => several.as_slice(),
            _ => &[],
        };
        for argument in arguments {
            let name = argument.trim_start_matches('-');
            let name = name.split([' ', '=', '[']).next().unwrap_or_default();
            if let Some(origin) = layers.origins.get(name) {
                tips.push(format!("--{name} comes from {origin}").into());
            }
        }
    }
    if !tips.is_empty() {
        if let Some(ContextValue::StyledStrs(given)) = error.remove(ContextKind::Suggested) {
            tips.extend(given);
        }
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}
