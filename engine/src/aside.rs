//! Records that were set aside because user code panicked on them.
//!
//! ```text
//! DIR/aside/<source>-<partition>-<offset>.json   {"source":..,"partition":..,"offset":..,"reason":..}
//! ```
//!
//! Invariant: a record is set aside on the disk before the program ends with its panic, and from then
//! on every start goes without it, as its dead letter says; so no panic is met twice.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A record that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aside {
    pub(crate) source: String,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// What the panic said, and where.
    pub(crate) reason: String,
}

impl Aside {
    /// Writes it into `folder`, to the disk.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let Self { source, partition, offset, .. } = self;
        let path = folder.join(format!("{source}-{partition}-{offset}.json"));
        let failed = |e| Error::io(format!("setting a record aside in {}", path.display()), e);
        fs::create_dir_all(folder).map_err(failed)?;
        // A file that was cut off is never read: only its whole text takes the name.
        let partial = path.with_extension("partial");
        let text = serde_json::to_vec(self).map_err(|e| failed(e.into()))?;
        let mut file = File::create(&partial).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&partial, &path).map_err(failed)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

/// The records that were set aside in `folder`.
///
/// # Errors
/// When one of them cannot be read.
pub(crate) fn read(folder: &Path) -> Result<Vec<Aside>> {
    let failed = |e| Error::io(format!("reading {}", folder.display()), e);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read(&path).map_err(failed)?;
        all.push(serde_json::from_slice(&text).map_err(|e| {
            Error::Data(format!(
                "{} is damaged: {e}; remove it if the record that it names may be tried again",
                path.display()
            ))
        })?);
    }
    all.sort_by(|one: &Aside, other: &Aside| {
        (&one.source, one.partition, one.offset).cmp(&(
            &other.source,
            other.partition,
            other.offset,
        ))
    });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_is_read_again() {
        let folder = std::env::temp_dir().join(format!("anabranch-aside-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        assert_eq!(read(&folder).unwrap(), []);
        let aside = |offset, reason: &str| Aside {
            source: "a-b".into(),
            partition: 3,
            offset,
            reason: reason.into(),
        };
        for (offset, reason) in [(20, "later"), (3, "first"), (3, "again")] {
            aside(offset, reason).write(&folder).unwrap();
        }
        fs::write(folder.join("a-b-3-4.partial"), "{").unwrap();
        assert_eq!(read(&folder).unwrap(), [aside(3, "again"), aside(20, "later")]);
        fs::write(folder.join("a-b-3-4.json"), "{").unwrap();
        assert!(read(&folder).unwrap_err().to_string().contains("a-b-3-4.json is damaged"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
