//! [`Store`]: where checkpoints are, a directory or an object store.
//!
//! Invariant: what `put` has returned for is durable, whole, and under its name; a reader never
//! sees half of it. Every call blocks and comes back: retries have a limit. Not a cache: nothing is
//! remembered between calls.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use super::local::Local;
use crate::config::Config;
use crate::{Error, Result};

/// How often an operation is tried before its error counts.
const ATTEMPTS: u32 = 5;
/// The pause after the first attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// Something in a [`Store`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, from the root of the store, with `/` between folders.
    pub path: String,
    /// How large it is.
    pub bytes: u64,
}

/// What a place of storage must do. Paths were checked before they come here.
pub(super) trait Backend: Send + Sync {
    /// Writes a whole file, over an old one.
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Writes a whole file unless there is one; says whether it did.
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> io::Result<bool>;
    /// Reads a whole file of at most `max` bytes; none if there is none.
    fn get(&self, path: &str, max: u64) -> io::Result<Option<Vec<u8>>>;
    /// What is in a folder, in no order.
    fn list(&self, folder: &str) -> io::Result<Vec<Entry>>;
    /// Removes a file; it may be gone already.
    fn delete(&self, path: &str) -> io::Result<()>;
}

/// A directory or an object store, for whole files.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    place: Arc<str>,
    pause: Duration,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.place).finish()
    }
}

impl Store {
    /// A directory, or the URL of an object store: `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://container/prefix` in programs that were built for it. Credentials come from the
    /// environment, as the store's own tools take them.
    ///
    /// # Errors
    /// [`Error::Usage`] when the URL is not understood or needs a feature that is not built in.
    pub fn open(url: &str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Ok(Self::directory(Path::new(url.strip_prefix("file:").unwrap_or(url))));
        };
        let feature = match scheme.to_ascii_lowercase().as_str() {
            "file" => return Ok(Self::directory(Path::new(rest))),
            "s3" => "s3",
            "gs" => "gcs",
            "az" | "azure" => "azure",
            _ => {
                return Err(Error::Usage(format!(
                    "--store: checkpoints cannot be kept at a URL that begins with `{scheme}://`; \
                     give a directory, or s3://bucket/prefix, gs://bucket/prefix or \
                     az://container/prefix"
                )));
            }
        };
        let (shown, _) = url.split_once(['?', '#']).unwrap_or((url, ""));
        Ok(Self::over(super::remote::open(feature, url)?, shown))
    }

    /// Where `config` keeps checkpoints: `--store`, or `checkpoints` in the data directory; none if
    /// it keeps none.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of_config(config: &Config) -> Result<Option<Self>> {
        if let Some(url) = config.store() {
            return Self::open(url).map(Some);
        }
        Ok(config.data_dir().map(|folder| Self::directory(&folder.join("checkpoints"))))
    }

    /// The directory `root`, which is made when something is put into it.
    pub fn directory(root: &Path) -> Self {
        Self::over(Arc::new(Local::new(root.to_owned())), &root.display().to_string())
    }

    pub(super) fn over(backend: Arc<dyn Backend>, place: &str) -> Self {
        Self { backend, place: place.trim_end_matches('/').into(), pause: PAUSE }
    }

    /// Without pauses between attempts.
    #[cfg(test)]
    pub(super) fn hurried(mut self) -> Self {
        self.pause = Duration::ZERO;
        self
    }

    /// Where `path` is, for messages.
    pub fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.place)
    }

    /// Writes a file, over an old one of that name.
    ///
    /// # Errors
    /// When it cannot be written, after several attempts.
    pub fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.attempt("write", path, || self.backend.put(path, bytes))
    }

    /// Writes a file unless there is one of that name; says whether it did. Of several who try at
    /// once, one succeeds.
    ///
    /// # Errors
    /// When it cannot be written, after several attempts.
    pub fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<bool> {
        let mut attempts = 0;
        let written = self.attempt("write", path, || {
            attempts += 1;
            self.backend.put_if_absent(path, bytes)
        })?;
        if written || attempts == 1 {
            return Ok(written);
        }
        // An earlier attempt may have succeeded without being told.
        Ok(self.get(path, bytes.len() as u64).is_ok_and(|found| found.as_deref() == Some(bytes)))
    }

    /// Reads a file of at most `max` bytes; none if there is none.
    ///
    /// # Errors
    /// When it cannot be read, after several attempts, or is larger.
    pub fn get(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>> {
        self.attempt("read", path, || self.backend.get(path, max))
    }

    /// What is in a folder, by name; nothing if there is no such folder. What begins with a dot
    /// is not looked at.
    ///
    /// # Errors
    /// When it cannot be read, after several attempts.
    pub fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let mut entries = self.attempt("list", folder, || self.backend.list(folder))?;
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    /// Removes a file; it may be gone already.
    ///
    /// # Errors
    /// When it cannot be removed, after several attempts.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.attempt("delete", path, || self.backend.delete(path))
    }

    fn attempt<T>(
        &self,
        verb: &str,
        path: &str,
        mut once: impl FnMut() -> io::Result<T>,
    ) -> Result<T> {
        let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !inside {
            let name = self.name(path);
            return Err(Error::Data(format!("`{name}` leads out of the store: refused")));
        }
        let mut pause = self.pause;
        let mut tried = 1;
        loop {
            match once() {
                Err(error) if tried < ATTEMPTS && is_transient(error.kind()) => {
                    let name = self.name(path);
                    tracing::debug!("cannot {verb} {name}: {error}; trying again");
                    std::thread::sleep(pause);
                    pause *= 2;
                    tried += 1;
                }
                Err(error) => {
                    return Err(Error::io(format!("cannot {verb} {}", self.name(path)), error));
                }
                Ok(done) => return Ok(done),
            }
        }
    }
}

/// Whether the same may succeed a moment later.
fn is_transient(kind: ErrorKind) -> bool {
    use ErrorKind as E;
    matches!(
        kind,
        E::Interrupted
            | E::TimedOut
            | E::WouldBlock
            | E::ResourceBusy
            | E::ConnectionReset
            | E::ConnectionRefused
            | E::ConnectionAborted
            | E::BrokenPipe
            | E::StaleNetworkFileHandle
    )
}
