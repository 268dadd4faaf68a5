//! [`Local`]: a directory as a place for checkpoints.
//!
//! Invariant: a file gets its name only after its bytes are on the disk, and the call returns only
//! after its name is, too; so are the folders on the way. Written by hand rather than through
//! `object_store`, so that a program which keeps checkpoints on disks needs no async runtime.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::store::{Backend, Entry};
use crate::failpoint::hit;

/// Ends the names of files that are being written. They are listed like others, so that what a
/// killed process left behind can be found and removed.
const PARTIAL: &str = "partial";

/// A directory.
pub(super) struct Local {
    root: PathBuf,
}

impl Local {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Writes `bytes` beside where they will be.
    fn write_partial(&self, path: &str, bytes: &[u8]) -> io::Result<(PathBuf, PathBuf, PathBuf)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let whole = self.root.join(path);
        let folder = whole.parent().unwrap_or(&self.root).to_owned();
        make_folder(&folder)?;
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut partial = OsString::from(&whole);
        partial.push(format!(".{}-{unique}.{PARTIAL}", std::process::id()));
        let partial = PathBuf::from(partial);
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            hit("store::partial")
        });
        if let Err(error) = written {
            // The room that it takes may be what is missing.
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        Ok((folder, partial, whole))
    }
}

impl Backend for Local {
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let (folder, partial, whole) = self.write_partial(path, bytes)?;
        fs::rename(&partial, whole)?;
        sync_named(&folder)
    }

    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> io::Result<bool> {
        let (folder, partial, whole) = self.write_partial(path, bytes)?;
        // Unlike a rename, a link fails where there is one already.
        let linked = match fs::hard_link(&partial, whole) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        };
        let _ = fs::remove_file(&partial);
        // Also when another was faster: who is told so may rely on the other's.
        sync_named(&folder)?;
        linked
    }

    fn get(&self, path: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.root.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = file.metadata()?.len();
        if size > max {
            return Err(too_large(size, max));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(max).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Entry>> {
        let read = match fs::read_dir(self.root.join(folder)) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for found in read {
            let found = found?;
            let Ok(name) = found.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            match found.metadata() {
                Ok(about) if about.is_file() => {
                    let path = format!("{folder}/{name}");
                    entries.push(Entry { path, bytes: about.len() });
                }
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                // A folder, or removed in this moment.
                _ => {}
            }
        }
        Ok(entries)
    }

    fn delete(&self, path: &str) -> io::Result<()> {
        match fs::remove_file(self.root.join(path)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

pub(super) fn too_large(size: u64, max: u64) -> io::Error {
    let what = format!("it has {size} bytes, but at most {max} are expected");
    io::Error::new(ErrorKind::FileTooLarge, what)
}

/// Makes a folder and those above it, so that they are there after a power cut.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new(""));
    make_folder(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(above)
}

/// Makes a name last that a file was just given.
fn sync_named(folder: &Path) -> io::Result<()> {
    hit("store::named")?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}
