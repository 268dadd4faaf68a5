//! [`Consumer`]: a reader whose position has a name and survives.
//!
//! Invariant: a group is consumed by one owner at a time, and its position is on the disk when
//! [`commit`](Consumer::commit) returns, as a file that is written whole and then gets its name. From
//! its first position on, nothing that it has not consumed is dropped without saying so.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anabranch::{Error, Result};
use serde::{Deserialize, Serialize};

use super::folder::{LOCK_WITHIN, checked, own};
use super::{Entry, From, GROUPS_MAX, Reader, Stream};
use crate::durable::write_whole;

/// What is kept of a group.
#[derive(Serialize, Deserialize)]
struct Position {
    next: u64,
}

/// Consumes a stream for a group; made by [`Stream::consume`].
pub struct Consumer {
    reader: Reader,
    stream: Stream,
    group: String,
    committed: u64,
    /// Held for as long as this is.
    _lock: File,
}

impl Stream {
    /// Consumes the stream for `group`, from where it has committed; a new group begins at `from`, and from
    /// then on frames that it has not consumed are not dropped silently. While this consumer lives there
    /// is no other of the group, in any process: another call waits for so long, then is refused.
    ///
    /// ```
    /// use std::time::Duration;
    /// use anabranch_connectors::stream::{From, Streams};
    /// # let mut random = [0; 8];
    /// # anabranch::clock::entropy(&mut random)?;
    /// # let dir = std::env::temp_dir().join(format!("anabranch-doc-{:x}", u64::from_le_bytes(random)));
    /// let orders = Streams::open(&dir)?.create("orders")?;
    /// orders.writer()?.append_batch(&["one", "two"])?;
    /// let mut billing = orders.consume("billing", From::Beginning, Duration::ZERO)?;
    /// assert!(orders.consume("billing", From::Beginning, Duration::ZERO).is_err(), "it has its owner");
    /// billing.next_entry()?;
    /// billing.commit()?;
    /// drop(billing);
    /// let mut billing = orders.consume("billing", From::Beginning, Duration::ZERO)?;
    /// assert_eq!(billing.next_entry()?.map(|entry| entry.bytes), Some(&b"two"[..]));
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the group has an owner, still after `within` (the message says which process); when it is new
    /// and there are [`GROUPS_MAX`]; [`Error::Usage`] when the name is not one; [`Error::Data`] when what it
    /// was to consume next was dropped, or its position is damaged.
    pub fn consume(&self, group: &str, from: From, within: Duration) -> Result<Consumer> {
        checked("group", group)?;
        let lock = own(&self.path("groups").join(format!("{group}.lock")), group, within)?;
        let (reader, committed) = match position(self, group)? {
            Some(next) => (self.go_on(group, next)?, next),
            None => {
                let count = groups(self)?.len();
                if count >= GROUPS_MAX {
                    return Err(Error::Connector(format!(
                        "stream `{}` has {count} groups, the most that it can have: remove the files of \
                         those that are not wanted any more from {}",
                        self.name(),
                        self.path("groups").display()
                    )));
                }
                self.begin(group, from)?
            }
        };
        let (stream, group) = (self.clone(), group.to_owned());
        Ok(Consumer { reader, stream, group, committed, _lock: lock })
    }

    /// Has `group` go on at `from`, whatever it has consumed, and gives the offset: to read again, or to leave
    /// out what was dropped. A group that is new is made.
    ///
    /// # Errors
    /// As [`consume`](Self::consume): the group must have no owner.
    pub fn reset(&self, group: &str, from: From, within: Duration) -> Result<u64> {
        checked("group", group)?;
        let _lock = own(&self.path("groups").join(format!("{group}.lock")), group, within)?;
        self.begin(group, from).map(|(_, next)| next)
    }

    fn begin(&self, group: &str, from: From) -> Result<(Reader, u64)> {
        // What is there now must stay until the position is.
        let _retention = own(&self.path("groups.lock"), self.name(), LOCK_WITHIN)?;
        let reader = self.read(from)?;
        let next = reader.position();
        keep(self, group, next)?;
        Ok((reader, next))
    }

    fn go_on(&self, group: &str, next: u64) -> Result<Reader> {
        self.read(From::Offset(next)).map_err(|error| match error {
            Error::Data(text) if self.first().is_ok_and(|first| next < first) => Error::Data(format!(
                "group `{group}` has not consumed all that was dropped: {text}. `Stream::reset` has the \
                 group go on there"
            )),
            error => error,
        })
    }
}

impl Consumer {
    /// The next frame, if it is durable by now; none otherwise, and again later there may be.
    ///
    /// # Errors
    /// As [`Reader::next_entry`].
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>> {
        self.reader.next_entry()
    }

    /// Everything that was given is consumed: after a restart the group begins behind it. On the disk when
    /// this returns.
    ///
    /// # Errors
    /// When it cannot be written; then the former position holds.
    pub fn commit(&mut self) -> Result<()> {
        let next = self.reader.position();
        if next != self.committed {
            keep(&self.stream, &self.group, next)?;
            self.committed = next;
        }
        Ok(())
    }

    /// Everything before the offset `next` is consumed, as by [`commit`](Self::commit): for who has dealt with a
    /// part of what was given.
    ///
    /// # Errors
    /// [`Error::Usage`] when that was not given yet, or is committed already; else as [`commit`](Self::commit).
    pub fn commit_to(&mut self, next: u64) -> Result<()> {
        let given = self.reader.position();
        if !(self.committed..=given).contains(&next) {
            return Err(Error::Usage(format!(
                "group `{}` cannot commit {next}: it has committed {}, and was given everything before {given}",
                self.group, self.committed
            )));
        }
        if next != self.committed {
            keep(&self.stream, &self.group, next)?;
            self.committed = next;
        }
        Ok(())
    }

    /// The offset of the frame that comes next.
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// The offset of the first frame that is not committed.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// How many frames that are durable now the group has not committed.
    ///
    /// # Errors
    /// When what is durable cannot be read.
    pub fn pending(&self) -> Result<u64> {
        Ok(self.stream.end()?.saturating_sub(self.committed))
    }
}

fn path(stream: &Stream, group: &str) -> PathBuf {
    stream.path("groups").join(format!("{group}.json"))
}

fn keep(stream: &Stream, group: &str, next: u64) -> Result<()> {
    let path = path(stream, group);
    let failed = |e| Error::io(format!("cannot write {}", path.display()), e);
    let text = serde_json::to_vec(&Position { next }).map_err(|e| failed(io::Error::other(e)))?;
    write_whole(&path, &text).map_err(failed)
}

fn position(stream: &Stream, group: &str) -> Result<Option<u64>> {
    let path = path(stream, group);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
    };
    let position: Position = serde_json::from_slice(&text).map_err(|e| {
        Error::Data(format!(
            "{} is damaged ({e}): put `{{\"next\":N}}` into it, where N is the offset that group \
             `{group}` is to consume next",
            path.display()
        ))
    })?;
    Ok(Some(position.next))
}

/// All groups and their positions, by name.
pub(super) fn groups(stream: &Stream) -> Result<Vec<(String, u64)>> {
    let folder = stream.path("groups");
    let failed = |e| Error::io(format!("cannot read the folder {}", folder.display()), e);
    let mut groups = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if let Some(group) = name.to_str().and_then(|name| name.strip_suffix(".json"))
            && let Some(next) = position(stream, group)?
        {
            groups.push((group.to_owned(), next));
        }
    }
    groups.sort();
    Ok(groups)
}

pub(super) fn pending(stream: &Stream, group: &str) -> Result<u64> {
    checked("group", group)?;
    let next = position(stream, group)?.ok_or_else(|| {
        Error::Usage(format!(
            "stream `{}` has no group `{group}`: one is made when it consumes first",
            stream.name()
        ))
    })?;
    Ok(stream.end()?.saturating_sub(next))
}
