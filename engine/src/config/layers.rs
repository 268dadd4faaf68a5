//! Options from the environment and from a configuration file.
//!
//! Invariant: an option that was not typed is looked for in the environment, then in the file, and
//! what is found is put before the typed arguments as if it had been typed: one parser checks all
//! three alike, and what it refuses is reported with the place it came from.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Spanned, Value};

use super::args;

/// Bytes of a configuration file, at most.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Looks up an environment variable.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Arguments found outside the command line, and where each came from, by long name.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) arguments: Vec<OsString>,
    pub(super) origins: BTreeMap<String, String>,
}

/// The environment variable of an option of `program`.
pub(super) fn variable(program: &str, long: &str) -> String {
    format!("{program}_{long}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect()
}

/// Finds what `typed` does not have.
pub(super) fn gather(
    command: &Command,
    typed: &ArgMatches,
    env: Env<'_>,
) -> Result<Layers, String> {
    let engine = args::engine("");
    let is_engine = |arg: &Arg| engine.get_arguments().any(|own| own.get_id() == arg.get_id());
    let settable = command.get_arguments().filter(|arg| is_settable(arg));
    let settable: BTreeMap<&str, &Arg> =
        settable.filter_map(|arg| arg.get_long().map(|long| (long, arg))).collect();

    let path = typed.get_one::<std::path::PathBuf>(args::CONFIG).map(|path| path.clone().into());
    let path = path.or_else(|| set(env, &variable("anabranch", args::CONFIG)));
    let file = match &path {
        Some(path) => File::read(Path::new(path), &settable)?,
        None => File::default(),
    };

    let mut layers = Layers::default();
    for (long, arg) in settable {
        if typed.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine) {
            continue;
        }
        let owner = if is_engine(arg) { "anabranch" } else { command.get_name() };
        let name = variable(owner, long);
        let (found, origin) = if let Some(value) = set(env, &name) {
            (from_variable(arg, long, &name, &value)?, format!("the variable {name}"))
        } else if let Some(value) = file.values.get(long) {
            let origin = file.place(long, value);
            let from = from_toml(arg, long, value.get_ref());
            (from.map_err(|wrong| format!("{origin} {wrong}"))?, origin)
        } else {
            continue;
        };
        layers.arguments.extend(found);
        layers.origins.insert(long.to_owned(), origin);
    }
    Ok(layers)
}

/// Options that say how, not what to do: only those have a variable and a key.
fn is_settable(arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    id != args::CONFIG
        && id != args::FORMAT
        && id != args::TABLE
        && id != args::RESTORE
        && id != args::FROM
        && id != args::TO
        && !id.starts_with(args::OF_LETTERS)
        && !matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        )
}

/// A variable that is set to nothing counts as not set.
fn set(env: Env<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

fn given(long: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut argument = OsString::from(format!("--{long}="));
    argument.push(value);
    argument
}

fn times(long: &str, count: usize) -> Vec<OsString> {
    vec![OsString::from(format!("--{long}")); count]
}

fn from_variable(
    arg: &Arg,
    long: &str,
    name: &str,
    value: &OsStr,
) -> Result<Vec<OsString>, String> {
    if arg.get_action().takes_values() {
        return Ok(vec![given(long, value)]);
    }
    let text = value.to_string_lossy().to_ascii_lowercase();
    match (text.as_str(), arg.get_action()) {
        ("1" | "true" | "yes" | "on", _) => Ok(times(long, 1)),
        ("0" | "false" | "no" | "off", _) => Ok(Vec::new()),
        (number, ArgAction::Count) if number.parse::<u8>().is_ok() => {
            Ok(times(long, number.parse::<u8>().map_or(0, usize::from)))
        }
        _ => Err(format!("the variable {name} must be true or false, but is `{text}`")),
    }
}

fn from_toml(arg: &Arg, long: &str, value: &Value) -> Result<Vec<OsString>, String> {
    match (arg.get_action(), value) {
        (ArgAction::Append, Value::Array(values)) => {
            values.iter().map(|value| Ok(given(long, scalar(value, "a list of values")?))).collect()
        }
        (ArgAction::Append | ArgAction::Set, value) => {
            Ok(vec![given(long, scalar(value, "one value")?)])
        }
        (ArgAction::Count, Value::Integer(count @ 0..=255)) => {
            Ok(times(long, usize::try_from(*count).unwrap_or(0)))
        }
        (_, Value::Boolean(given)) => Ok(times(long, usize::from(*given))),
        (ArgAction::Count, other) => {
            Err(format!("must be a number from 0 to 255, but is {}", kind(other)))
        }
        (_, other) => Err(format!("must be true or false, but is {}", kind(other))),
    }
}

fn scalar(value: &Value, wanted: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Datetime(time) => Ok(time.to_string()),
        Value::Array(_) | Value::Table(_) => {
            Err(format!("must be {wanted}, but has {} in it", kind(value)))
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}

/// A configuration file, its keys known to be options.
#[derive(Default)]
struct File {
    path: String,
    text: String,
    values: BTreeMap<String, Spanned<Value>>,
}

impl File {
    fn read(path: &Path, settable: &BTreeMap<&str, &Arg>) -> Result<Self, String> {
        let path_text = path.display().to_string();
        let text = read_bounded(path)
            .map_err(|e| format!("cannot read the configuration file `{path_text}`: {e}"))?;
        let values = toml::from_str(&text)
            .map_err(|e| format!("the configuration file `{path_text}` is not TOML: {e}"))?;
        let file = Self { path: path_text, text, values };
        for (key, value) in &file.values {
            if !settable.contains_key(key.as_str()) {
                let place = file.place(key, value);
                return Err(format!("{place} is not an option{}", nearest(key, settable.keys())));
            }
        }
        Ok(file)
    }

    /// Names a key and its line, to people.
    fn place(&self, key: &str, value: &Spanned<Value>) -> String {
        let before = self.text.get(..value.span().start).unwrap_or_default();
        format!("`{key}` in {}:{}", self.path, before.matches('\n').count() + 1)
    }
}

/// Advice for a key that is no option.
fn nearest<'a>(key: &str, options: impl Iterator<Item = &'a &'a str>) -> String {
    if key == args::CONFIG {
        return ": a configuration file does not name another".into();
    }
    let likeness = |option: &str| strsim::jaro_winkler(&key.replace('_', "-"), option);
    let best = options.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best {
        Some(best) if likeness(best) > 0.7 => format!("; did you mean `{best}`?"),
        _ => "; --help lists the options, and a key is an option's long name".into(),
    }
}

/// Reads a text file of at most [`FILE_BYTES_MAX`] bytes.
fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 1 MiB, which no such file should be"));
    }
    Ok(text)
}
