//! [`parse`]: from what was typed, set and written to a checked configuration.
//!
//! Invariant: the command line is parsed by one parser alone, with what the other layers add put
//! before it, so that an option means the same wherever it comes from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::FromArgMatches as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::{self, Args, Word};
use super::layers::{self, Layers};
use super::{
    Asked, CheckpointCommand, Command, Config, Exit, GraphFormat, LettersAction, LettersCommand,
    LettersSelection, Parsed, Restore,
};
use crate::{Error, Result, Span, Time};

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
/// assert_eq!(parsed.command, Command::Check { restore: None });
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
    match parse_any(argv, env)? {
        Asked::Program(parsed) => Ok(parsed),
        Asked::Checkpoint { .. } => Err(of_no_application("checkpoint")),
        Asked::DeadLetters { .. } => Err(of_no_application("dead-letters")),
    }
}

fn of_no_application(command: &str) -> Exit {
    let what = format!("the command `{command}` does nothing with the application\n");
    Exit::new(&clap::Error::raw(ErrorKind::InvalidValue, what))
}

/// As [`parse`], with the commands that need no application: for these, options that the
/// application requires may be left out.
///
/// # Errors
/// As [`parse`].
pub fn parse_any<O: clap::Args>(
    argv: impl IntoIterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Asked<O>, Exit> {
    let mut argv = join_standard_urls(argv);
    let program = program(argv.first());
    let mut command = args::command_line::<O>(&program).map_err(|wrong| {
        let message = Error::Application(wrong).to_string();
        Exit::new(&clap::Error::raw(ErrorKind::InvalidValue, message + "\n"))
    })?;

    let of_letters = argv.iter().skip(1).any(|word| word == "dead-letters");
    if of_letters {
        command = args::with_letters(&command);
    }
    // Once for what is on the command line, whose mistakes the second time reports.
    let typed = command.clone().ignore_errors(true).try_get_matches_from(&argv);
    let typed = typed.map_err(|error| Exit::new(&error))?;
    // Before anything is required: who asks for help does not know yet what is.
    if typed.get_one::<Word>(args::COMMAND) == Some(&Word::Help) {
        return Err(Exit::help(&command.render_long_help()));
    }
    // A checkpoint is looked at without what the application needs to run.
    if typed.get_one::<Word>(args::COMMAND) == Some(&Word::Checkpoint) {
        command = command.mut_args(|arg| arg.required(false));
    }
    let layers = layers::gather(&command, &typed, env).map_err(|e| usage(&mut command, &e))?;
    let end = argv.len().min(1);
    argv.splice(end..end, layers.arguments.iter().cloned());

    let explained = |error| Exit::new(&with_origins(error, &layers));
    let mut matches = command.try_get_matches_from_mut(&argv).map_err(explained)?;
    let word = matches.remove_one::<Word>(args::COMMAND).unwrap_or(Word::Run);
    let format = matches.remove_one::<GraphFormat>(args::FORMAT);
    if word == Word::Help {
        return Err(Exit::help(&command.render_long_help()));
    }
    if format.is_some() && word != Word::Graph {
        return Err(usage(&mut command, "--format goes with the command `graph`"));
    }
    let restore = matches.remove_one::<Restore>(args::RESTORE);
    if restore.is_some() && word != Word::Check {
        return Err(usage(&mut command, "--restore goes with the command `check`"));
    }
    let from = matches.remove_one::<Time>(args::FROM);
    let span = Span { from, to: matches.remove_one::<Time>(args::TO) };
    let replays = matches!(word, Word::Replay | Word::Verify | Word::Diff | Word::Trace);
    let reprocesses = word == Word::Reprocess && span.to.is_none();
    if span != Span::default() && !replays && !reprocesses {
        let what = "--from and --to go with the commands `replay`, `verify` and `diff`; --from also \
                    with `reprocess`";
        return Err(usage(&mut command, what));
    }
    let against = matches.remove_one::<PathBuf>(args::AGAINST);
    if against.is_some() != (word == Word::Diff) {
        let what = "`diff` and --against go together: diff --against PROGRAM";
        return Err(usage(&mut command, what));
    }
    let args = Args::from_arg_matches(&matches).map_err(|e| explained(e.format(&mut command)))?;
    let looks = match word {
        Word::Checkpoint => Some("checkpoint"),
        Word::DeadLetters => Some("dead-letters"),
        Word::Check => restore.map(|_| "check --restore"),
        Word::Replay | Word::Trace => Some("replay"),
        Word::Reprocess => Some("reprocess"),
        Word::Verify => Some("verify"),
        Word::Diff => Some("diff"),
        _ => None,
    };
    let letters = match word {
        Word::DeadLetters => Some(letters(&mut matches).map_err(|e| usage(&mut command, &e))?),
        _ => None,
    };
    let of_checkpoint = checkpoint(&mut matches, word).map_err(|e| usage(&mut command, &e))?;
    let config = Config::checked(&program, args, looks).map_err(|e| usage(&mut command, &e))?;
    if let Some(command) = of_checkpoint {
        return Ok(Asked::Checkpoint { command, config });
    }
    if let Some(command) = letters {
        return Ok(Asked::DeadLetters { command, config });
    }
    let options = O::from_arg_matches(&matches).map_err(|e| explained(e.format(&mut command)))?;
    let command = match word {
        Word::Graph => Command::Graph { format: format.unwrap_or(GraphFormat::Mermaid) },
        Word::Check => Command::Check { restore },
        Word::Reprocess => Command::Reprocess { from: span.from },
        Word::Replay => Command::Replay { span },
        Word::Verify => Command::Verify { span },
        Word::Diff => Command::Diff { span, against: against.unwrap_or_default() },
        Word::Trace => Command::Trace { span },
        Word::Run | Word::Checkpoint | Word::DeadLetters | Word::Help => Command::Run,
    };
    Ok(Asked::Program(Parsed { command, config, options }))
}

/// What follows the word `checkpoint`; after other words there is nothing.
fn checkpoint(
    matches: &mut clap::ArgMatches,
    word: Word,
) -> Result<Option<CheckpointCommand>, String> {
    let action = matches.remove_one::<String>(args::ACTION);
    let mut epochs = matches.remove_many::<String>(args::EPOCH).into_iter().flatten();
    let epoch = epochs.next();
    if let Some(more) = epochs.next() {
        return Err(format!("unexpected argument '{more}' found"));
    }
    let table = matches.remove_one::<String>(args::TABLE);
    if word != Word::Checkpoint {
        return match (action, table) {
            (Some(action), _) => Err(format!("unexpected argument '{action}' found")),
            (None, Some(_)) => Err("--table goes with the command `checkpoint export`".into()),
            (None, None) => Ok(None),
        };
    }
    let what = "checkpoint is followed by ls, show, verify or export";
    let action = action.ok_or_else(|| what.to_owned())?;
    let number = |text: String| {
        let read = text.parse::<u64>();
        read.map_err(|_| format!("`{text}` is no epoch; `checkpoint ls` lists those there are"))
    };
    let epoch = epoch.map(number).transpose()?;
    if table.is_some() && action != "export" {
        return Err("--table goes with the command `checkpoint export`".into());
    }
    match (action.as_str(), epoch) {
        ("ls", None) => Ok(Some(CheckpointCommand::List)),
        ("ls", Some(_)) => Err("checkpoint ls lists all; show takes an epoch".into()),
        ("show", epoch) => Ok(Some(CheckpointCommand::Show { epoch })),
        ("verify", epoch) => Ok(Some(CheckpointCommand::Verify { epoch })),
        ("export", epoch) => Ok(Some(CheckpointCommand::Export { epoch, table })),
        (other, _) => Err(format!("{what}, not by `{other}`")),
    }
}

/// What follows the word `dead-letters`.
fn letters(matches: &mut clap::ArgMatches) -> Result<LettersCommand, String> {
    let action = matches.remove_one::<String>(args::ACTION);
    let ids: Vec<String> =
        matches.remove_many::<String>(args::EPOCH).into_iter().flatten().collect();
    let mut text = |id: &str| matches.remove_one::<String>(id);
    let (group, record) = (text(args::GROUP), text(args::RECORD));
    let (pipeline, computation) = (text(args::PIPELINE), text(args::COMPUTATION));
    let (kind, all) = (text(args::KIND), matches.get_flag(args::ALL));
    let groups = group.as_deref() == Some("");
    let group = group.filter(|group| !group.is_empty());
    let narrowed = group.is_some() || pipeline.is_some() || computation.is_some() || kind.is_some();
    let which = LettersSelection { ids, group, pipeline, computation, kind, all };
    let what = "dead-letters is followed by ls, show, retry, edit, ignore or export";
    let word = action.ok_or_else(|| what.to_owned())?;
    if record.is_some() && word != "edit" {
        return Err("--record goes with the command `dead-letters edit`".into());
    }
    if groups && word != "ls" {
        return Err(
            "--group lists groups with `dead-letters ls`; else it takes the name of one".into()
        );
    }
    let named = !which.ids.is_empty();
    let action = match word.as_str() {
        "ls" => LettersAction::List { groups },
        "export" => LettersAction::Export,
        "show" if named => LettersAction::Show,
        "edit" if which.ids.len() == 1 => LettersAction::Edit { record },
        "show" | "edit" => return Err(format!("dead-letters {word} takes the name of a letter")),
        "retry" | "ignore" if !named && !narrowed && !all => {
            return Err(format!(
                "dead-letters {word} takes names of letters, --group GROUP, another choice, or --all"
            ));
        }
        "retry" => LettersAction::Retry,
        "ignore" => LettersAction::Ignore,
        other => return Err(format!("{what}, not by `{other}`")),
    };
    Ok(LettersCommand { action, which })
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
