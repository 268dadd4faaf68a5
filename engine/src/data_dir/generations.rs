//! Generations: each start of a program on its data directory has the next number.
//!
//! Invariant: a number is given once, by making a file that must not exist yet, and is never given
//! again; so whoever finds a number after its own has lost its place. What the files say is for
//! people: only their names count, and one that was cut off counts too.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::locks::host_name;
use super::{DataDir, read, sync_directory};
use crate::failpoint::hit;
use crate::{Error, Result, clock};

/// How many numbers are tried when others start at the same time.
const TRIES: u64 = 100;
/// How many files are kept: enough to read what happened lately.
const KEPT: u64 = 100;

/// What a generation's file says.
#[derive(Serialize, Deserialize)]
struct Generation {
    generation: u64,
    program: String,
    version: String,
    pid: u32,
    host: String,
    time: String,
}

impl DataDir {
    /// Takes the next generation: from now on all earlier ones have lost their place.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn claim(&self) -> Result<u64> {
        let folder = self.generations();
        let failed = |e| Error::io(format!("making {}", folder.display()), e);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        // The folder itself must last as long as what is in it.
        sync_directory(self.path())?;
        let last = self.current()?;
        for generation in (last.saturating_add(1)..).take(TRIES as usize) {
            if self.make(&folder, generation)? {
                prune(&folder, generation);
                return Ok(generation);
            }
        }
        Err(Error::Cluster(format!(
            "{TRIES} generations were taken in {} while this program tried to take one: end the \
             other programs that start there again and again",
            folder.display()
        )))
    }

    /// The newest generation; 0 if there was none yet.
    ///
    /// # Errors
    /// When the folder of the generations cannot be read.
    pub fn current(&self) -> Result<u64> {
        Ok(numbers(&self.generations())?.into_iter().max().unwrap_or(0))
    }

    /// Whether `generation` is still the newest. Whoever is about to commit asks.
    ///
    /// # Errors
    /// When the folder of the generations cannot be read.
    pub fn is_current(&self, generation: u64) -> Result<bool> {
        let folder = self.generations();
        let exists = |generation| {
            let path = file(&folder, generation);
            path.try_exists().map_err(|e| Error::io(format!("looking for {}", path.display()), e))
        };
        // In this order: of two old ones the earlier is removed first, so a later one that is
        // missing because it is old is never found beside an earlier one.
        Ok(!exists(generation.saturating_add(1))? && exists(generation)?)
    }

    /// As [`is_current`](Self::is_current), in words.
    ///
    /// # Errors
    /// [`Error::Replaced`] if a later generation has begun, with who it is; as `is_current`.
    pub(crate) fn check_place(&self, generation: u64) -> Result<()> {
        if self.is_current(generation)? {
            return Ok(());
        }
        let (newest, path) = (self.current()?, self.path().display());
        let taken = match newest > generation {
            true => format!("generation {newest} has begun{}", self.claimed_by(newest)),
            false => format!("its file in {} is gone", self.generations().display()),
        };
        Err(Error::Replaced(format!(
            "generation {generation} has lost its place in {path}: {taken}; this one ends, and leaves \
             everything to it"
        )))
    }

    /// Who took a generation, as far as its file says it.
    fn claimed_by(&self, generation: u64) -> String {
        let text = read(&file(&self.generations(), generation)).ok().flatten();
        let says = text.and_then(|text| serde_json::from_str(&text).ok());
        says.map(|Generation { program, pid, host, time, .. }| {
            format!(" (`{program}`, pid {pid} on {host}, at {time})")
        })
        .unwrap_or_default()
    }

    /// Whether it could be made: false if it exists.
    fn make(&self, folder: &Path, generation: u64) -> Result<bool> {
        let path = file(folder, generation);
        let failed = |e| Error::io(format!("making {}", path.display()), e);
        hit("generation::claim").map_err(failed)?;
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut made = match made {
            Ok(made) => made,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(e) => return Err(failed(e)),
        };
        hit("generation::made").map_err(failed)?;
        let says = Generation {
            generation,
            program: self.0.program.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            host: host_name(),
            time: clock::now().to_string(),
        };
        let text = serde_json::to_string(&says).map_err(|e| failed(e.into()))? + "\n";
        made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).map_err(failed)?;
        sync_directory(folder)?;
        hit("generation::claimed").map_err(failed)?;
        Ok(true)
    }
}

fn file(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("{generation:010}.json"))
}

/// The numbers of all files, in no order.
fn numbers(folder: &Path) -> Result<Vec<u64>> {
    let failed = |e| Error::io(format!("reading {}", folder.display()), e);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

/// Removes old files, the oldest first. What cannot be removed now is at the next start.
fn prune(folder: &Path, newest: u64) {
    let Ok(mut numbers) = numbers(folder) else { return };
    numbers.sort_unstable();
    for old in numbers.into_iter().take_while(|number| number.saturating_add(KEPT) <= newest) {
        if let Err(e) = fs::remove_file(file(folder, old)) {
            tracing::warn!("removing generation {old} from {}: {e}", folder.display());
            return;
        }
    }
}
