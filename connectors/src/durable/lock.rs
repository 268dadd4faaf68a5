//! [`lock`]: a file that only one process writes.
//!
//! Invariant: who holds the lock holds it on the file that has the name now, so a process of an
//! earlier start, woken from a long stop, cannot write beside its successor.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use anabranch::{Error, Result, clock};

/// How long the process before may take to end.
pub(crate) const LOCK_WITHIN: Duration = Duration::from_secs(30);
/// Locks cannot be awaited with a bound: they are tried this often.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Opens `path` to read and write, makes it if it is not there, and locks it: for the sink `name`,
/// for as long as the file is open. Waits for another process, `within` at most.
///
/// # Errors
/// When it cannot be opened, or another process keeps it.
pub(crate) fn lock(path: &Path, name: &str, within: Duration) -> Result<File> {
    let failed = |e| Error::io(format!("cannot open {} to write", path.display()), e);
    let deadline = clock::instant() + within;
    let mut told = false;
    loop {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(failed)?;
        let locked = lock_file(&file, path)?;
        if locked && is_at(&file, path) {
            return Ok(file);
        }
        if clock::instant() >= deadline {
            return Err(Error::Connector(format!(
                "{} is locked by another process, still after {within:?}: is this program running \
                 twice, or another one writing there? End it, or name another file",
                path.display()
            )));
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(
                sink = name,
                "{} is locked by another process; waiting {within:?} at most for it to end",
                path.display()
            );
        }
        std::thread::sleep(TRY_EVERY);
    }
}

/// Locks a file that is open; false if another process has it.
pub(crate) fn lock_file(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => {
            let what = "cannot be locked (a file system without locks? name a file on another one)";
            Err(Error::io(format!("{} {what}", path.display()), e))
        }
    }
}

/// Whether `file` is still the one that has the name.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        match (file.metadata(), std::fs::metadata(path)) {
            (Ok(mine), Ok(there)) => (mine.dev(), mine.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> std::path::PathBuf {
        let mut random = [0; 8];
        clock::entropy(&mut random).unwrap();
        let name = format!("anabranch-lock-{:016x}", u64::from_le_bytes(random));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn one_holds_it_and_another_waits_within_its_bound() {
        let folder = folder();
        let path = folder.join("out");
        let held = lock(&path, "one", Duration::ZERO).unwrap();
        let refused = lock(&path, "two", Duration::from_millis(10)).unwrap_err().to_string();
        assert!(refused.contains("locked by another process"), "{refused}");
        let waiting = std::thread::spawn(move || lock(&path, "two", LOCK_WITHIN).is_ok());
        drop(held);
        assert!(waiting.join().unwrap());
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// As a repair does: a new file takes the name.
    #[test]
    fn a_lock_of_a_file_that_lost_its_name_is_none() {
        let folder = folder();
        let (path, other) = (folder.join("out"), folder.join("new"));
        let held = lock(&path, "one", Duration::ZERO).unwrap();
        let next = lock(&other, "one", Duration::ZERO).unwrap();
        assert!(is_at(&held, &path));
        std::fs::rename(&other, &path).unwrap();
        assert!(!is_at(&held, &path));
        drop(held);
        assert!(lock(&path, "two", Duration::ZERO).is_err(), "the new file is held");
        drop(next);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
