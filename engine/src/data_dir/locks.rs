//! Who uses a data directory: locks of the operating system, with a note of who holds them.
//!
//! Invariant: a lock ends with its process, however that ends, so none is ever left behind; and a
//! new start has its place only when no process of an earlier one lives. The note in a lock's file
//! only names the holder, it decides nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DataDir, read};
use crate::{Error, Result, clock};

/// How often a lock is tried: the operating system has no wait with a limit.
const LOOK: Duration = Duration::from_millis(20);

/// A place that one process takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// The whole directory, for a program that runs on one machine.
    Program,
    /// That machine's part in a program that runs on several.
    Host(usize),
    /// One process of the cluster.
    Process(usize),
}

/// What a lock's file says about its holder.
#[derive(Serialize, Deserialize)]
struct Note {
    program: String,
    pid: u32,
    host: String,
    since: String,
}

/// A file that was locked, or who has it.
enum Tried {
    Locked(File),
    Busy(String),
}

impl DataDir {
    /// Takes a place for as long as this directory is open, or says who has it.
    pub(crate) fn try_take(&self, seat: Seat) -> Result<Option<String>> {
        let mut taken = Vec::new();
        let (names, free): (Vec<(String, bool)>, _) = match seat {
            Seat::Program => (vec![("lock".to_owned(), true)], Some("process-".to_owned())),
            Seat::Host(host) => (
                vec![("lock".to_owned(), false), (format!("host-{host}.lock"), true)],
                Some(format!("process-{host}.lock")),
            ),
            Seat::Process(process) => (vec![(format!("process-{process}.lock"), true)], None),
        };
        for (name, alone) in names {
            match self.try_lock(&name, alone)? {
                Tried::Locked(file) => taken.push(file),
                Tried::Busy(holder) => return Ok(Some(holder)),
            }
        }
        // Those of an earlier start may not have noticed yet that their supervisor is gone.
        if let Some(prefix) = free
            && let Some(holder) = self.first_held(&prefix)?
        {
            return Ok(Some(format!("a process of an earlier start, {holder}")));
        }
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).append(&mut taken);
        Ok(None)
    }

    /// Takes a place, and waits for whoever has it for at most `limit`.
    pub(crate) fn take(&self, seat: Seat, limit: Duration) -> Result<()> {
        let start = clock::instant();
        loop {
            match self.try_take(seat)? {
                None => return Ok(()),
                Some(holder) if start.elapsed() >= limit => return Err(self.in_use(&holder)),
                Some(_) => thread::sleep(LOOK),
            }
        }
    }

    /// Whether a program runs on the directory.
    pub(crate) fn is_used(&self) -> Result<bool> {
        Ok(self.first_held("")?.is_some())
    }

    /// The refusal of a directory that `holder` uses.
    pub(crate) fn in_use(&self, holder: &str) -> Error {
        Error::Cluster(format!(
            "the data directory {} is in use by {holder}: end that first, or start this program \
             with another --data-dir",
            self.path().display()
        ))
    }

    fn try_lock(&self, name: &str, alone: bool) -> Result<Tried> {
        let path = self.path().join(name);
        let failed = |e| Error::io(format!("locking {}", path.display()), e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        match if alone { file.try_lock() } else { file.try_lock_shared() } {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Tried::Busy(self.holder(&path)?)),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        file.set_len(0).map_err(failed)?;
        // Of those that share a lock, each has another one for itself, and its note there.
        if alone {
            let note = Note {
                program: self.0.program.clone(),
                pid: std::process::id(),
                host: host_name(),
                since: clock::now().to_string(),
            };
            let note = serde_json::to_string(&note).map_err(|e| failed(e.into()))? + "\n";
            file.write_all(note.as_bytes()).map_err(failed)?;
        }
        Ok(Tried::Locked(file))
    }

    /// Who holds the lock of that file, in words.
    fn holder(&self, path: &Path) -> Result<String> {
        if let Some(note) = read(path)?.and_then(|text| serde_json::from_str::<Note>(&text).ok()) {
            let Note { program, pid, host, since } = note;
            return Ok(format!("`{program}` (pid {pid} on {host}, since {since})"));
        }
        if path.ends_with("lock")
            && let Some(holder) = self.first_held("host-")?
        {
            return Ok(holder);
        }
        Ok("another process".to_owned())
    }

    /// Who holds the first lock whose file's name begins so; none if nobody does.
    fn first_held(&self, prefix: &str) -> Result<Option<String>> {
        let shown = self.path().display();
        let failed = |e| Error::io(format!("reading {shown}"), e);
        let mut found: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(self.path()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(prefix) && name.ends_with("lock") {
                found.push(entry.path());
            }
        }
        found.sort();
        for path in found {
            let failed = |e| Error::io(format!("locking {}", path.display()), e);
            let file = OpenOptions::new().read(true).open(&path).map_err(failed)?;
            // Shared: two that look do not take each other for a holder.
            match file.try_lock_shared() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return self.holder(&path).map(Some),
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
        }
        Ok(None)
    }
}

/// The name of this machine.
pub(super) fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "an unnamed machine".to_owned() } else { name.to_owned() }
}
