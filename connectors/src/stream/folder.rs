//! [`Streams`] and [`Stream`]: folders, their names, and what is known of a stream without reading it.
//!
//! Invariant: a name is a name and no path. A stream exists once its `stream.json` does, which is written
//! last; it has an identity, so that another of the same name is not taken for it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anabranch::{Error, Result, Time, clock};
use serde::{Deserialize, Serialize};

use super::horizon::Horizon;
use super::{From, NAME_BYTES_MAX, Reader, STREAMS_MAX, Writer, WriterOptions, consumer};
use crate::durable::{lock, sync_parent, write_whole};

const FORMAT: u32 = 1;
/// Long enough for a reader that looks at an end that no writer tells, and one that makes a stream.
pub(super) const LOCK_WITHIN: Duration = Duration::from_secs(2);
/// What is read of a lock that another holds.
const HOLDER_BYTES_MAX: u64 = 200;

/// A folder of streams.
#[derive(Clone, Debug)]
pub struct Streams {
    dir: PathBuf,
}

impl Streams {
    /// The streams in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)
            .map_err(|e| Error::io(format!("cannot make the folder {}", dir.display()), e))?;
        Ok(Self { dir })
    }

    /// Makes a stream without frames.
    ///
    /// # Errors
    /// When there is one of that name, the name is not one (1 to 128 letters, digits, `.`, `_`, `-`, and no
    /// `.` first), the folder has [`STREAMS_MAX`], or it cannot be written.
    pub fn create(&self, name: &str) -> Result<Stream> {
        checked("stream", name)?;
        let folder = self.dir.join(name);
        let failed = |e| Error::io(format!("cannot make the stream {}", folder.display()), e);
        if self.list()?.len() >= STREAMS_MAX {
            return Err(Error::Connector(format!(
                "{} has {STREAMS_MAX} streams, the most that a folder can have: use another one",
                self.dir.display()
            )));
        }
        fs::create_dir_all(folder.join("groups")).map_err(failed)?;
        let _lock = own(&folder.join("writer.lock"), name, LOCK_WITHIN)?;
        let about = folder.join("stream.json");
        if about.exists() {
            return Err(Error::Connector(format!(
                "there is a stream `{name}` in {} already: open it, or choose another name",
                self.dir.display()
            )));
        }
        let mut random = [0; 8];
        clock::entropy(&mut random)?;
        let id = format!("{:016x}", u64::from_le_bytes(random));
        let text = serde_json::to_vec(&About { format: FORMAT, id });
        let text = text.map_err(|e| failed(io::Error::other(e)))?;
        write_whole(&about, &text).and_then(|()| sync_parent(&folder)).map_err(failed)?;
        sync_parent(&self.dir).map_err(failed)?;
        self.stream(name)
    }

    /// The stream of that name.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is none, or the name is not one; [`Error::Data`] when what says which
    /// stream it is cannot be read.
    pub fn stream(&self, name: &str) -> Result<Stream> {
        Stream::open(&self.dir, name)
    }

    /// The stream of that name, made if there is none.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`stream`](Self::stream).
    pub fn stream_or_create(&self, name: &str) -> Result<Stream> {
        if checked("stream", name).is_ok() && !self.dir.join(name).join("stream.json").exists() {
            let made = self.create(name);
            if made.is_ok() || !self.dir.join(name).join("stream.json").exists() {
                return made;
            }
        }
        self.stream(name)
    }

    /// Removes a stream with all that is in it. What some group, or nobody, has consumed is lost with it, and so
    /// must be asked for by `drop_unread`.
    ///
    /// ```
    /// use anabranch_connectors::stream::Streams;
    /// # let mut random = [0; 8];
    /// # anabranch::clock::entropy(&mut random)?;
    /// # let dir = std::env::temp_dir().join(format!("anabranch-doc-{:x}", u64::from_le_bytes(random)));
    /// let streams = Streams::open(&dir)?;
    /// streams.create("orders")?.writer()?.append(b"one")?;
    /// assert!(streams.remove("orders", false).is_err(), "nobody has consumed it");
    /// streams.remove("orders", true)?;
    /// assert!(streams.list()?.is_empty());
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Usage`] when there is none; [`Error::Connector`] when somebody writes or consumes it, or not
    /// everything in it is consumed; else when it cannot be removed.
    pub fn remove(&self, name: &str, drop_unread: bool) -> Result<()> {
        let stream = self.stream(name)?;
        let failed =
            |e| Error::io(format!("cannot remove the stream {}", stream.folder.display()), e);
        let _writer = own(&stream.path("writer.lock"), name, LOCK_WITHIN)?;
        // No group may begin meanwhile, and none may have an owner.
        let _groups = own(&stream.path("groups.lock"), name, LOCK_WITHIN)?;
        let groups = stream.groups()?;
        let mut owned = Vec::new();
        for (group, _) in &groups {
            let lock = stream.path("groups").join(format!("{group}.lock"));
            owned.push(own(&lock, group, Duration::ZERO)?);
        }
        let (first, end) = (stream.first()?, stream.end()?);
        let consumed = groups.iter().map(|(_, next)| *next).min().unwrap_or(first);
        let unread = end.saturating_sub(consumed.max(first));
        if unread > 0 && !drop_unread {
            return Err(Error::Connector(format!(
                "{unread} frames of stream `{name}` are not consumed by all groups, or by anybody: say that they \
                 may be lost (`drop_unread`), or have them consumed first"
            )));
        }
        // Gone at once, or not at all: what is left of it is no stream.
        let gone = self.dir.join(format!(".removed-{name}-{:016x}", stream.id));
        fs::rename(&stream.folder, &gone).map_err(failed)?;
        sync_parent(&stream.folder).map_err(failed)?;
        if unread > 0 {
            tracing::warn!(
                stream = name,
                "removed with {unread} frames that some group has not consumed"
            );
        }
        fs::remove_dir_all(&gone).map_err(failed)
    }

    /// The names of all streams, in their order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<String>> {
        let failed = |e| Error::io(format!("cannot read the folder {}", self.dir.display()), e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Ok(name) = entry.file_name().into_string()
                && checked("stream", &name).is_ok()
                && entry.path().join("stream.json").exists()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// `stream.json`.
#[derive(Serialize, Deserialize)]
struct About {
    format: u32,
    id: String,
}

/// `first.json`: what was dropped.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Dropped {
    /// The first offset that is there.
    pub(super) first: u64,
    /// Of those before it, how many some group had not consumed.
    pub(super) unread: u64,
    /// No dropped frame has a later time.
    pub(super) until: Time,
}

/// One stream; cheap to clone.
///
/// Any number of processes can read it. One can write it, by its [`writer`](Self::writer).
#[derive(Clone, Debug)]
pub struct Stream {
    name: Arc<str>,
    pub(super) folder: Arc<Path>,
    pub(super) id: u64,
}

impl Stream {
    pub(super) fn open(dir: &Path, name: &str) -> Result<Self> {
        checked("stream", name)?;
        let folder = dir.join(name);
        let path = folder.join("stream.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Usage(format!(
                    "there is no stream `{name}` in {}: is the folder right? A stream is made by its \
                     writer: a sink `stream:{name}`, or `Streams::create`",
                    dir.display()
                )));
            }
            Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
        };
        let about: About = serde_json::from_slice(&text).map_err(|e| {
            Error::Data(format!("{} is damaged ({e}): bring it back from a copy", path.display()))
        })?;
        let id = u64::from_str_radix(&about.id, 16).ok().filter(|_| about.format == FORMAT);
        let id = id.ok_or_else(|| {
            Error::Data(format!(
                "{} is of another version of this program (format {}, id `{}`): use that one",
                path.display(),
                about.format,
                about.id
            ))
        })?;
        Ok(Self { name: Arc::from(name), folder: Arc::from(folder), id })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The offset of the first frame that was not dropped; there may be none there yet.
    ///
    /// # Errors
    /// When what says so cannot be read.
    pub fn first(&self) -> Result<u64> {
        Ok(self.dropped()?.first)
    }

    /// The offset after the last frame that is durable: how many frames it was ever given.
    ///
    /// # Errors
    /// When what says so cannot be read, or is damaged.
    pub fn end(&self) -> Result<u64> {
        Ok(Horizon::new(self).refresh()?.next)
    }

    /// How many frames were dropped that some group had not consumed, in all.
    ///
    /// # Errors
    /// When what says so cannot be read.
    pub fn dropped_unread(&self) -> Result<u64> {
        Ok(self.dropped()?.unread)
    }

    /// Reads it from there on.
    ///
    /// # Errors
    /// [`Error::Data`] when frames from there on were dropped (the message says which is the first that is
    /// there), or are damaged; [`Error::Usage`] when the stream has never been that far.
    pub fn read(&self, from: From) -> Result<Reader> {
        Reader::open(self, from)
    }

    /// Takes the stream to write: nobody else can, in any process, until the writer is dropped. What a crash
    /// of the writer before has left of an append that was not acknowledged is removed, or is whole and
    /// stays.
    ///
    /// # Errors
    /// When another one holds it (the message says who), still after 2 seconds; [`Error::Data`] when the
    /// last segment is damaged, with file, byte and offset.
    pub fn writer(&self) -> Result<Writer> {
        self.writer_with(&WriterOptions::default())
    }

    /// As [`writer`](Self::writer), with options.
    ///
    /// # Errors
    /// As [`writer`](Self::writer); [`Error::Usage`] when an option is out of its bounds.
    pub fn writer_with(&self, options: &WriterOptions) -> Result<Writer> {
        Writer::open(self, options)
    }

    /// The groups that have consumed of it, and the offset that each consumes next, by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn groups(&self) -> Result<Vec<(String, u64)>> {
        consumer::groups(self)
    }

    /// How many frames `group` has not consumed yet: has not [committed](super::Consumer::commit).
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no such group; else when it cannot be read.
    pub fn pending(&self, group: &str) -> Result<u64> {
        consumer::pending(self, group)
    }

    pub(super) fn dropped(&self) -> Result<Dropped> {
        let path = self.path("first.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| {
                Error::Data(format!(
                    "{} is damaged ({e}): bring it back from a copy; it says what was dropped",
                    path.display()
                ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Dropped { first: 0, unread: 0, until: Time::BEGIN })
            }
            Err(error) => Err(Error::io(format!("cannot read {}", path.display()), error)),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Refuses what is no name of a `what`.
pub(super) fn checked(what: &str, name: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    if fits && name.bytes().all(good) && !name.starts_with('.') {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    Err(Error::Usage(format!(
        "`{shown}` is no name of a {what}: 1 to {NAME_BYTES_MAX} letters (a to z), digits, `.`, `_` and \
         `-`, and no `.` first"
    )))
}

/// Takes the lock at `path` and writes into it who has it; `name` is what it is of.
pub(super) fn own(path: &Path, name: &str, within: Duration) -> Result<File> {
    let mut file = lock(path, name, within).map_err(|error| match error {
        Error::Connector(text) => Error::Connector(format!("{text}. {}", holder(path))),
        error => error,
    })?;
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).unwrap_or_default();
    let text = format!("process {} ({})", std::process::id(), program.to_string_lossy());
    let written = file.set_len(0).and_then(|()| file.rewind());
    written
        .and_then(|()| file.write_all(text.as_bytes()))
        .map_err(|e| Error::io(format!("cannot write {}", path.display()), e))?;
    Ok(file)
}

fn holder(path: &Path) -> String {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|f| f.take(HOLDER_BYTES_MAX).read_to_end(&mut text));
    match read {
        Ok(1..) => format!("It is held by {}", String::from_utf8_lossy(&text)),
        _ => "Who holds it is not known".to_owned(),
    }
}
