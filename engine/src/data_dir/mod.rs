//! The data directory: what `--data-dir` names, whose it is, and who uses it now.
//!
//! ```text
//! DIR/format.json                 what the directory is: format, program, partitions, hash
//! DIR/lock                        held by the program while it runs
//! DIR/host-<i>.lock               held by the supervisor of one of several machines
//! DIR/process-<i>.lock            held by one process of the cluster while it lives
//! DIR/generations/<n>.json        one per start
//! DIR/journal DIR/checkpoints DIR/connectors DIR/aside
//! ```
//!
//! Invariant: a directory belongs to one program and one number of partitions for good, and is
//! used by one start of it at a time. What is in the folders below is the business of others.

mod generations;
mod locks;
#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

pub(crate) use self::locks::Seat;
use crate::failpoint::hit;
use crate::{Error, Result, clock};

/// The version of the directory's layout. Each part below has a version of its own.
const FORMAT: u32 = 1;
/// How keys find their partitions: it cannot change under tables that exist.
const HASH: &str = "xxh3";
/// No file of this module is longer, in bytes.
const FILE_MAX: u64 = 64 << 10;

/// What `format.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct Format {
    format: u32,
    program: String,
    partitions: u32,
    hash: String,
}

/// An open data directory; clones share it, and what it holds is held until the last one is gone.
#[derive(Clone, Debug)]
pub struct DataDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    program: String,
    held: Mutex<Vec<File>>,
}

impl DataDir {
    /// Opens the directory at `path`, or makes it, for nobody but its owner to read.
    ///
    /// # Errors
    /// [`Error::Usage`] when it belongs to another program, has another number of partitions, or
    /// is no data directory; [`Error::Data`] when it is damaged or of a newer version.
    ///
    /// ```
    /// use anabranch::data_dir::DataDir;
    /// let path = std::env::temp_dir().join(format!("anabranch-doc-{}", std::process::id()));
    /// let data = DataDir::open(&path, "alerts", 1024)?;
    /// assert_eq!(data.claim()?, 1);
    /// assert!(data.is_current(1)?);
    /// assert!(DataDir::open(&path, "alerts", 512).is_err());
    /// # std::fs::remove_dir_all(&path).unwrap();
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>, program: &str, partitions: u32) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&path)
            .map_err(|e| Error::io(format!("making the data directory {}", path.display()), e))?;
        let hash = HASH.to_owned();
        let wanted = Format { format: FORMAT, program: program.to_owned(), partitions, hash };
        if read(&path.join("format.json"))?.is_none() {
            first_use(&path, &wanted)?;
        }
        check(&path, &wanted)?;
        let held = Mutex::default();
        Ok(Self(Arc::new(Inner { path, program: program.to_owned(), held })))
    }

    /// Whether the directory at `path` is this program's; makes and holds nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Usage`] too when there is none.
    pub(crate) fn look(path: &Path, program: &str, partitions: u32) -> Result<()> {
        if read(&path.join("format.json"))?.is_none() {
            return Err(Error::Usage(format!(
                "{} is no data directory: name the --data-dir that the program was started with",
                path.display()
            )));
        }
        let (program, hash) = (program.to_owned(), HASH.to_owned());
        check(path, &Format { format: FORMAT, program, partitions, hash })
    }

    /// Opens the directory that a run has left at `path`, of this program or of one that it is compared
    /// with, to look at; makes and holds nothing.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub(crate) fn left(path: &Path, program: &str, partitions: u32) -> Result<Self> {
        let text = read(&path.join("format.json"))?.unwrap_or_default();
        let known = serde_json::from_str::<Format>(&text).ok().map(|known| known.program);
        let program = known.unwrap_or_else(|| program.to_owned());
        Self::look(path, &program, partitions)?;
        let (path, held) = (path.to_owned(), Mutex::default());
        Ok(Self(Arc::new(Inner { path, program, held })))
    }

    /// How many partitions the directory at `path` was made with; none if it is no data directory.
    pub(crate) fn partitions_of(path: &Path) -> Result<Option<u32>> {
        let text = read(&path.join("format.json"))?.unwrap_or_default();
        Ok(serde_json::from_str::<Format>(&text).ok().map(|known| known.partitions))
    }

    /// The same directory, for one that does not keep what is held of it: its places are free when this
    /// one is gone.
    pub(crate) fn unheld(&self) -> Self {
        let Inner { path, program, .. } = &*self.0;
        let (path, program) = (path.clone(), program.clone());
        Self(Arc::new(Inner { path, program, held: Mutex::default() }))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Where the journals are.
    pub fn journal(&self) -> PathBuf {
        self.0.path.join("journal")
    }

    /// Where checkpoints are, unless `--store` names another place.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.path.join("checkpoints")
    }

    /// A connector's own folder.
    pub fn connectors(&self, name: &str) -> PathBuf {
        // Names are letters, digits and `-_.`; one that is a path of its own leads nowhere else.
        let name = match name.strip_prefix('.') {
            Some(rest) => format!("%2E{rest}"),
            None => name.to_owned(),
        };
        self.0.path.join("connectors").join(name)
    }

    /// Where each start has its file.
    pub fn generations(&self) -> PathBuf {
        self.0.path.join("generations")
    }

    /// Where the origins of records are that were set aside.
    pub fn aside(&self) -> PathBuf {
        self.0.path.join("aside")
    }
}

/// The text of a small file; none if there is no such file.
///
/// # Errors
/// When it cannot be read, or is longer than any.
pub(crate) fn read(path: &Path) -> Result<Option<String>> {
    let failed = |e| Error::io(format!("reading {}", path.display()), e);
    let length = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    if length > FILE_MAX {
        return Err(damaged(path, &format!("it has {length} bytes")));
    }
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

/// Writes a small file, whole or not at all, in the place of the one that is there.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("tmp");
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|e| Error::io(format!("writing {}", path.display()), e))?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Makes what was done to the entries of a directory last.
fn sync_directory(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|e| Error::io(format!("syncing the directory {}", path.display()), e))
}

fn damaged(path: &Path, how: &str) -> Error {
    Error::Data(format!(
        "{} is damaged ({how}): restore it from a backup, or use another --data-dir",
        path.display()
    ))
}

/// Writes `format.json` into a directory that has none: whole or not at all, and only one of
/// several that try at the same time.
fn first_use(path: &Path, wanted: &Format) -> Result<()> {
    let shown = path.display();
    let failed = |e| Error::io(format!("preparing the data directory {shown}"), e);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        // What an interrupted first start, or the root of a file system, leaves behind.
        if !name.starts_with("format.json") && name != "lost+found" {
            return Err(Error::Usage(format!(
                "{shown} is not empty and no data directory (it has `{name}`, but no \
                 format.json): name a directory that is empty or does not exist yet"
            )));
        }
    }
    let mut number = [0; 8];
    clock::entropy(&mut number)?;
    let unfinished = path.join(format!("format.json.{:016x}", u64::from_be_bytes(number)));
    let target = path.join("format.json");
    let write = || {
        hit("data-dir::format")?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let mut text = serde_json::to_string(wanted)?;
        text.push('\n');
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        hit("data-dir::written")?;
        // A link, as a rename would replace what another start has written meanwhile.
        match fs::hard_link(&unfinished, &target) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    };
    let written = write();
    let _ = fs::remove_file(&unfinished);
    let written = written.and_then(|()| hit("data-dir::linked"));
    written.map_err(|e| Error::io(format!("writing {}", target.display()), e))?;
    sync_directory(path)
}

/// Whether the directory is what this program wants.
fn check(path: &Path, wanted: &Format) -> Result<()> {
    let shown = path.display();
    let file = path.join("format.json");
    let text = read(&file)?.ok_or_else(|| damaged(&file, "it is gone"))?;
    // The version first: a newer one may have other fields.
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| damaged(&file, &e.to_string()))?;
    let version = json.get("format").and_then(serde_json::Value::as_u64);
    match version {
        Some(version) if version > u64::from(FORMAT) => {
            return Err(Error::Data(format!(
                "the data directory {shown} has format {version}, and this program knows {FORMAT}: \
                 start the newer program that made it, or use another --data-dir"
            )));
        }
        Some(version) if version == u64::from(FORMAT) => {}
        _ => return Err(damaged(&file, "it has no format that ever was")),
    }
    let found: Format = serde_json::from_value(json).map_err(|e| damaged(&file, &e.to_string()))?;
    if found.program != wanted.program {
        return Err(Error::Usage(format!(
            "the data directory {shown} belongs to the program `{}`, and this is `{}`: use \
             another --data-dir, or, if the program was renamed, change its name in {}",
            found.program,
            wanted.program,
            file.display()
        )));
    }
    if found.partitions != wanted.partitions {
        return Err(Error::Usage(format!(
            "the data directory {shown} was made with --partitions {}, which is fixed at the \
             first start: start with --partitions {} instead of {}, or use another --data-dir",
            found.partitions, found.partitions, wanted.partitions
        )));
    }
    if found.hash != wanted.hash {
        return Err(Error::Data(format!(
            "the data directory {shown} places keys by `{}`, and this program by `{}`: start the \
             program that made it, or use another --data-dir",
            found.hash, wanted.hash
        )));
    }
    Ok(())
}
