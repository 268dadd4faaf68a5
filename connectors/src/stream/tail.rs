//! Where a stream ends, found by reading its last segment: for who starts to write, and for who reads
//! what no writer has told.
//!
//! Invariant: an end that a crash tore was never acknowledged; everything else that is not good is damage
//! and refused. They are told apart by what was told, and by what later blocks say was durable before them.

use std::path::Path;

use anabranch::Result;
use memchr::memmem;

use super::end::End;
use super::format::{BLOCK_MAGIC, Block, SEGMENT_HEADER_BYTES};
use super::segment::{self, Found, Opened, Walk, damaged, time_after};

/// The end of the last segment.
pub(super) struct Tail {
    pub(super) end: End,
    /// How long its file is: more than the end if that is torn.
    pub(super) length: u64,
    pub(super) walk: Walk,
}

/// Reads the last of `segments`, of a stream that is durable up to `told` at least, and after `dropped`
/// frames. None if there is no segment; those without a header, which a crash left, are removed from
/// `segments`.
pub(super) fn find(
    folder: &Path,
    id: u64,
    segments: &mut Vec<u64>,
    told: Option<End>,
    dropped: u64,
) -> Result<Option<Tail>> {
    let was_told = |first: u64| told.is_some_and(|end| first < end.next || first == end.segment);
    let told = told.unwrap_or(End::NONE);
    while let Some(first) = segments.last().copied() {
        let path = segment::path(folder, first);
        let mut walk = match Walk::open(folder, first, id)? {
            Opened::Walk(walk) => walk,
            // It has its header before it is told of and before it has blocks.
            Opened::Headless(length) if length <= SEGMENT_HEADER_BYTES && !was_told(first) => {
                segments.pop();
                continue;
            }
            Opened::Headless(_) => return Err(damaged(&path, 0, first, "it has no header")),
            Opened::Missing => return Err(damaged(&path, 0, first, "it is gone")),
        };
        let tail = read(&mut walk, told)?;
        if tail.0.next < told.next.max(dropped) {
            let why = format!("frames up to {} were durable, and are missing", told.next);
            return Err(damaged(&path, tail.0.bytes, tail.0.next, &why));
        }
        return Ok(Some(Tail { end: tail.0, length: tail.1, walk }));
    }
    if told.next.max(dropped) > 0 {
        let path = segment::path(folder, told.segment);
        return Err(damaged(&path, 0, told.segment, "no segment is left"));
    }
    Ok(None)
}

/// The end of one segment, and the length of its file.
fn read(walk: &mut Walk, told: End) -> Result<(End, u64)> {
    let length = walk.length()?;
    let first = walk.header.first;
    let durable = if told.segment == first { told.bytes } else { 0 };
    let (mut payload, mut last) = (Vec::new(), None);
    let why = loop {
        match walk.find(length)? {
            Found::End => break None,
            Found::Bad(why) => break Some(why),
            Found::Block(block) => {
                if !walk.payload(&block, &mut payload)? {
                    break Some("its frames are not those that were written");
                }
                last = Some(block);
            }
        }
    };
    if let Some(why) = why {
        // Of what is written at once, what is later may reach the disk first: only a block that was
        // written when this was durable tells.
        if walk.at < durable || is_followed(walk)? {
            return Err(walk.damaged(why));
        }
    }
    let time = time_after(last.as_ref(), walk);
    Ok((End { next: walk.next, segment: first, bytes: walk.at, time }, length))
}

/// Whether, after what is bad, there is a block that was written when the bad one was durable.
fn is_followed(walk: &mut Walk) -> Result<bool> {
    let (rest, next, id) = (walk.rest()?, walk.next, walk.id());
    Ok(memmem::find_iter(&rest, BLOCK_MAGIC).any(|at| {
        let block = rest.get(at..).and_then(|bytes| Block::decode(bytes, id));
        block.is_some_and(|block| block.first > next && block.synced > next)
    }))
}
