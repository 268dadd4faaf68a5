//! [`run`]: looking at dead letters, and asking for something to be done with them.
//!
//! Invariant: the log is only read; what is asked is appended to the requests, once for each letter and only if
//! it can be done, whether or not the program runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::entry::{Action, Again, Request};
use super::known::{Group, Known, Letter, Status};
use super::retry::Content;
use super::{LETTERS, requests};
use crate::checkpoint::{Manifest, Store};
use crate::config::{Config, LettersAction, LettersCommand, LettersSelection};
use crate::data_dir::DataDir;
use crate::durable::store;
use crate::{Error, Result, clock, reprocess};

/// The longest record that is taken from an editor or standard input.
const RECORD_MAX: u64 = 64 << 20;

/// Does what `dead-letters ls`, `show`, `retry`, `edit`, `ignore` and `export` do, and prints it to `out`.
///
/// # Errors
/// When there is no such letter, it cannot be done, something is damaged or cannot be read, or `out` fails.
pub fn run(config: &Config, command: &LettersCommand, out: &mut dyn Write) -> Result<()> {
    let LettersCommand { action, which } = command;
    let place = Place::of(config)?;
    match action {
        LettersAction::List { groups } => place.list(which, *groups, out),
        LettersAction::Show => place.show(which, out),
        LettersAction::Export => place.export(which, out),
        LettersAction::Retry => {
            let done = "to be tried again, by the program that runs or at its next start";
            tell(&place.retry(which)?, done, out)
        }
        LettersAction::Ignore => tell(&place.ignore(which)?, "ignored", out),
        LettersAction::Edit { record } => {
            let asked = place.edit(which, record.as_deref())?;
            tell(&asked, "edited; `dead-letters retry` tries it again", out)
        }
    }?;
    out.flush().map_err(wrote)
}

/// The letters that are meant, as `export` prints them: `most` of them from number `from` on, and how many there are.
/// Unless `all` are meant, those with which something is yet to be done.
///
/// # Errors
/// When there is no such letter, or something is damaged or cannot be read.
pub(crate) fn page(
    config: &Config,
    which: &LettersSelection,
    (from, most): (usize, usize),
) -> Result<(usize, Vec<Value>)> {
    let known = Place::of(config)?.known()?;
    let letters = listed(which, &known)?;
    let page = letters.iter().skip(from).take(most).map(|letter| exported(letter)).collect();
    Ok((letters.len(), page))
}

/// The groups of the letters that are meant, by name, with how many of each there are.
///
/// # Errors
/// As [`page`].
pub(crate) fn groups(
    config: &Config,
    which: &LettersSelection,
) -> Result<Vec<(String, Group, usize)>> {
    let known = Place::of(config)?.known()?;
    let counts = counted(&listed(which, &known)?);
    Ok(counts.into_iter().map(|(group, count)| (group.name(), group, count)).collect())
}

/// Asks for what `command` says, which is no look.
///
/// # Errors
/// As [`run`].
pub(crate) fn ask(config: &Config, command: &LettersCommand) -> Result<Asked> {
    let LettersCommand { action, which } = command;
    let place = Place::of(config)?;
    match action {
        LettersAction::Retry => place.retry(which),
        LettersAction::Ignore => place.ignore(which),
        LettersAction::Edit { record: Some(record) } => place.edit(which, Some(record)),
        _ => Ok(Asked::default()),
    }
}

/// How many dead letters are to be tried again.
pub(super) fn waiting(folder: &Path) -> Result<usize> {
    let known = Known::read(folder, &requests::all(folder)?)?;
    Ok(known.letters.iter().filter(|letter| letter.status == Status::Retrying).count())
}

fn wrote(error: std::io::Error) -> Error {
    Error::io("cannot write to standard output", error)
}

fn print(out: &mut dyn Write, line: &str) -> Result<()> {
    writeln!(out, "{line}").map_err(wrote)
}

struct Place {
    folder: PathBuf,
    store: Store,
    /// Whether the program is to compute anew what was refused.
    anew: bool,
}

/// Whether a letter is one of those that are meant.
fn selects(which: &LettersSelection, letter: &Letter) -> bool {
    let LettersSelection { ids, group, pipeline, computation, kind, .. } = which;
    let of = |wanted: &Option<String>, is: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
    };
    let record = &letter.kept.letter;
    (ids.is_empty() || ids.contains(&letter.kept.id))
        && of(group, Some(&letter.group().name()))
        && of(pipeline, Some(&record.pipeline))
        && of(computation, record.computation.as_deref())
        && of(kind, Some(&record.failure.kind))
}

/// Those that are meant; every one that is named must be there.
fn selected<'a>(which: &LettersSelection, known: &'a Known) -> Result<Vec<&'a Letter>> {
    let found: Vec<&Letter> = known.letters.iter().filter(|it| selects(which, it)).collect();
    let ids: BTreeSet<&str> = found.iter().map(|letter| letter.kept.id.as_str()).collect();
    match which.ids.iter().find(|id| !ids.contains(id.as_str())) {
        None => Ok(found),
        Some(id) => Err(Error::Usage(format!(
            "there is no dead letter `{id}`; `dead-letters ls --all` lists those there are"
        ))),
    }
}

/// Those that are listed: all that are meant, or those of them with which something is yet to be done.
fn listed<'a>(which: &LettersSelection, known: &'a Known) -> Result<Vec<&'a Letter>> {
    let mut letters = selected(which, known)?;
    let is_open = |letter: &Letter| matches!(letter.status, Status::Open | Status::Retrying);
    letters.retain(|letter| which.all || is_open(letter));
    Ok(letters)
}

fn counted(letters: &[&Letter]) -> BTreeMap<Group, usize> {
    let mut counts: BTreeMap<Group, usize> = BTreeMap::new();
    letters.iter().for_each(|letter| *counts.entry(letter.group()).or_default() += 1);
    counts
}

/// A letter as JSON.
fn exported(letter: &Letter) -> Value {
    let edited = letter.edited.as_ref().map(|_| shown(&letter.text()));
    json!({
        "id": letter.kept.id,
        "status": letter.status,
        "group": letter.group().name(),
        "program": letter.kept.version,
        "letter": letter.kept.letter,
        "tries": letter.tries.count,
        "failed": letter.tries.failed,
        "edited": edited,
    })
}

impl Place {
    fn of(config: &Config) -> Result<Self> {
        let Some(path) = config.data_dir() else {
            return Err(Error::Usage(
                "add --data-dir with the directory of the program".to_string(),
            ));
        };
        let data = DataDir::left(path, config.program(), config.partitions_of(path)?)?;
        let store = store(config, &data)?;
        let anew = reprocess::is_ordered(&data, &store)?;
        Ok(Self { folder: super::folder(data.path()), store, anew })
    }

    fn known(&self) -> Result<Known> {
        Known::read(&self.folder, &requests::all(&self.folder)?)
    }

    fn list(&self, which: &LettersSelection, groups: bool, out: &mut dyn Write) -> Result<()> {
        let known = self.known()?;
        let letters = listed(which, &known)?;
        if groups {
            return counted(&letters).iter().try_for_each(|(group, count)| {
                let name = group.name();
                print(out, &format!("{name}  {count}  {}", describe(group)))
            });
        }
        letters.iter().try_for_each(|letter| {
            let (id, record) = (&letter.kept.id, &letter.kept.letter);
            let failure = letter.tries.failed.clone().unwrap_or_else(|| record.reason());
            let status = match letter.status {
                Status::Open => String::new(),
                status => format!("  [{}]", name(status)),
            };
            let first = failure.lines().next().unwrap_or_default();
            print(out, &format!("{id}  {}  {}{status}  {first}", record.time, record.failure.kind))
        })
    }

    fn show(&self, which: &LettersSelection, out: &mut dyn Write) -> Result<()> {
        let known = self.known()?;
        selected(which, &known)?.into_iter().try_for_each(|letter| {
            let (kept, record) = (&letter.kept, &letter.kept.letter);
            let mut lines = vec![
                format!("{}: {}", kept.id, name(letter.status)),
                format!("group {}: {}", letter.group().name(), describe(&letter.group())),
                format!(
                    "source {}, partition {}, offset {}, time {}",
                    record.source, record.partition, record.offset, record.time
                ),
                format!("program {}", kept.version),
            ];
            for (level, cause) in record.failure.chain.iter().enumerate() {
                let of = if level == 0 { "reason" } else { "because" };
                lines.push(format!("{of}: {cause}"));
            }
            if letter.tries.count > 0 {
                let failed = letter.tries.failed.as_deref().unwrap_or_default();
                lines.push(format!("tried again {} times, last: {failed}", letter.tries.count));
            }
            lines.push(format!("record: {}", shown(&record.bytes)));
            if letter.edited.is_some() {
                lines.push(format!("edited: {}", shown(&letter.text())));
            }
            print(out, &lines.join("\n"))
        })
    }

    fn export(&self, which: &LettersSelection, out: &mut dyn Write) -> Result<()> {
        let known = self.known()?;
        selected(which, &known)?
            .into_iter()
            .try_for_each(|letter| print(out, &exported(letter).to_string()))
    }

    /// How many entries of the log the newest checkpoint knows of: what came later is applied again at the next
    /// start, and may then fare better.
    fn settled(&self) -> Result<u64> {
        let Some(newest) = Manifest::list(&self.store)?.first().copied() else { return Ok(0) };
        let manifest = Manifest::load(&self.store, newest)?;
        let sink = manifest.sinks.iter().find(|sink| sink.name == LETTERS);
        let position = sink.and_then(|sink| <[u8; 8]>::try_from(sink.position.as_slice()).ok());
        Ok(position.map_or(0, u64::from_le_bytes))
    }

    fn retry(&self, which: &LettersSelection) -> Result<Asked> {
        if self.anew {
            return Err(Error::Usage(
                "the program is to compute anew what was refused (`reprocess`): start it, and see what is a \
                 dead letter when it has made a checkpoint"
                    .to_string(),
            ));
        }
        let settled = self.settled()?;
        self.ask(which, |letter| match letter.status {
            Status::Open if letter.number >= settled => Err(
                "it came after the last checkpoint: the program applies it again by itself if it is \
                 started anew; while it runs, wait for the next checkpoint",
            ),
            Status::Open => letter.retry().map(Action::Retry),
            Status::Retrying => Err("it is being tried again"),
            Status::Closed => Err("it is closed"),
            Status::Ignored => Err("it was ignored"),
            Status::Dropped => Err("it was dropped"),
        })
    }

    fn ignore(&self, which: &LettersSelection) -> Result<Asked> {
        self.ask(which, |letter| match letter.status {
            Status::Open => Ok(Action::Ignore),
            Status::Retrying => Err("it is being tried again"),
            Status::Closed => Err("it is closed"),
            Status::Ignored => Err("it was ignored before"),
            Status::Dropped => Err("it was dropped"),
        })
    }

    fn edit(&self, which: &LettersSelection, record: Option<&str>) -> Result<Asked> {
        let known = self.known()?;
        let letters = selected(which, &known)?;
        let [letter] = letters.as_slice() else {
            return Err(Error::Usage("edit takes the name of one dead letter".to_string()));
        };
        let text = match record {
            Some(record) => record.as_bytes().to_vec(),
            None if std::io::stdin().is_terminal() => edited(&letter.text())?,
            None => {
                let mut text = Vec::new();
                let mut from = std::io::stdin().take(RECORD_MAX);
                from.read_to_end(&mut text).map_err(|e| Error::io("standard input", e))?;
                text
            }
        };
        let text = text.strip_suffix(b"\n").unwrap_or(&text).to_vec();
        let content = match &letter.kept.again {
            Again::Frame | Again::Cut => Content::Frame(text),
            Again::Record | Again::Computation { .. } | Again::Never => {
                let text = String::from_utf8_lossy(&text).into_owned();
                let read: Result<Value, _> = serde_json::from_str(&text);
                read.map_err(|e| Error::Usage(format!("the record must be JSON: {e}")))?;
                Content::Json(text)
            }
        };
        self.ask(which, |letter| match letter.status {
            Status::Open => Ok(Action::Edit(content.clone())),
            status => Err(name(status)),
        })
    }

    /// Asks for what `action` says of each letter that is meant.
    fn ask(
        &self,
        which: &LettersSelection,
        action: impl Fn(&Letter) -> Result<Action, &'static str>,
    ) -> Result<Asked> {
        requests::append(&self.folder, |there| {
            let known = Known::read(&self.folder, there)?;
            let (mut asked, mut wanted) = (Asked::default(), Vec::new());
            for letter in selected(which, &known)? {
                let id = &letter.kept.id;
                match action(letter) {
                    Ok(action) => {
                        let (time, letter) = (clock::now(), id.clone());
                        wanted.push(Request { time, letter, action });
                        asked.done += 1;
                    }
                    Err(why) if which.ids.contains(id) => {
                        return Err(Error::Usage(format!("dead letter `{id}`: {why}")));
                    }
                    // Of all of them, those that nothing can be done with any more are of no interest.
                    Err(_) if !matches!(letter.status, Status::Open | Status::Retrying) => {}
                    Err(why) => *asked.refused.entry(why).or_default() += 1,
                }
            }
            Ok((wanted, asked))
        })
    }
}

/// What came of asking.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Of how many letters it was asked.
    pub(crate) done: usize,
    /// How many were left out, and why.
    pub(crate) refused: BTreeMap<&'static str, usize>,
}

fn tell(asked: &Asked, done: &str, out: &mut dyn Write) -> Result<()> {
    print(out, &format!("{} {done}", asked.done))?;
    let mut refused = asked.refused.iter();
    refused.try_for_each(|(why, count)| print(out, &format!("{count} left out: {why}")))
}

fn name(status: Status) -> &'static str {
    match status {
        Status::Open => "open",
        Status::Retrying => "being tried again",
        Status::Closed => "closed",
        Status::Ignored => "ignored",
        Status::Dropped => "dropped",
    }
}

fn describe(group: &Group) -> String {
    let Group { pipeline, computation, kind, place } = group;
    let computation = computation.as_ref().map(|name| format!(" -> {name}")).unwrap_or_default();
    let place = place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
    format!("{pipeline}{computation}: {kind}{place}")
}

/// Bytes as text, or as numbers if they are none.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// What the user makes of `text` in an editor.
fn edited(text: &[u8]) -> Result<Vec<u8>> {
    let editor = std::env::var("EDITOR").unwrap_or_default();
    let mut words = editor.split_whitespace();
    let Some(program) = words.next() else {
        return Err(Error::Usage(
            "say what the record is to be: --record TEXT, standard input, or the variable EDITOR"
                .to_string(),
        ));
    };
    let mut number = [0; 8];
    clock::entropy(&mut number)?;
    let name = format!("dead-letter-{:016x}.json", u64::from_be_bytes(number));
    let path = std::env::temp_dir().join(name);
    let read = || {
        write_private(&path, text)?;
        let ended = std::process::Command::new(program).args(words).arg(&path).status()?;
        if !ended.success() {
            return Err(std::io::Error::other(format!("the editor ended with {ended}")));
        }
        std::fs::read(&path)
    };
    let read =
        read().map_err(|e| Error::io(format!("editing {} with {editor}", path.display()), e));
    let _ = std::fs::remove_file(&path);
    read
}

fn write_private(path: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)?.write_all(text)
}
