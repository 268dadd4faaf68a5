//! What sinks share that keep what they were given: locks, files that appear whole, full disks.
//!
//! Invariant: nothing here waits without a bound or a way out.

mod lock;
mod patient;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

pub(crate) use self::lock::{LOCK_WITHIN, lock, lock_file};
pub(crate) use self::patient::{Patience, Patient};

/// Makes the names in the directory of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes a small file so that whoever sees it sees all of it, also after a power cut.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    sync_parent(path)
}
