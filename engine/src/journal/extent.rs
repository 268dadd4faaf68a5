//! [`Extent`]: how much of a journal there is, for whoever says how far back it goes.
//!
//! Invariant: only names and lengths of files are looked at, and headers of the oldest: it costs the same
//! whatever is in them. It may be looked at while others write and drop.

use std::path::Path;

use super::lanes;
use super::segment::{self, Begins, Header};
use crate::Result;

/// The segments of all lanes: the first epoch of each and its bytes, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Extent(Vec<Vec<(u64, u64)>>);

impl Extent {
    /// That of the journal in this folder: of all workers of the program.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let lane = |lane: &super::LaneName| {
            let found = segment::list(&lane.folder(root))?;
            Ok(found.into_iter().map(|(name, bytes)| (name.first_epoch, bytes)).collect())
        };
        lanes(root)?.iter().map(lane).collect::<Result<_>>().map(Self)
    }

    /// The bytes of the segments that are left when all that is before the boundary `epoch` is
    /// dropped.
    pub(crate) fn since(&self, epoch: u64) -> u64 {
        let lane = |segments: &Vec<(u64, u64)>| -> u64 {
            // One goes when the next begins at the boundary or before it; the last one stays.
            let gone = segments.iter().skip(1).take_while(|(first, _)| *first <= epoch).count();
            segments.iter().skip(gone).map(|(_, bytes)| bytes).sum()
        };
        self.0.iter().map(lane).sum()
    }
}

/// Whether nothing of the journal in this folder was ever dropped, as far as can be seen.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn has_beginning(root: &Path) -> Result<bool> {
    for lane in lanes(root)? {
        let folder = lane.folder(root);
        let Some((name, _)) = segment::list(&folder)?.first().copied() else { continue };
        match Header::read(&folder.join(name.file()), &lane, name) {
            Ok(Begins::Header(header, ..)) if header.prior.is_none() => {}
            Ok(Begins::Torn) => {}
            // Damage there is in nobody's way who begins later.
            Ok(Begins::Header(..)) | Err(_) => return Ok(false),
        }
    }
    Ok(true)
}
