//! Durable streams: named, append-only logs of frames in a folder, which any program can write and read.
//!
//! Invariant: what was acknowledged is there, under its offset, until someone who may drops it, and nobody
//! sees what a crash could make unhappen. Offsets count from 0 without gaps; times never go back. Nothing
//! is skipped silently: what is missing, damaged or dropped is said, with its place.
//!
//! ```
//! use std::time::Duration;
//!
//! use anabranch_connectors::stream::{From, Streams};
//! # let mut random = [0; 8];
//! # anabranch::clock::entropy(&mut random)?;
//! # let dir = std::env::temp_dir().join(format!("anabranch-doc-{:x}", u64::from_le_bytes(random)));
//! let streams = Streams::open(&dir)?;
//! let orders = streams.create("orders")?;
//! let writer = orders.writer()?;
//! assert_eq!(writer.append(b"one")?, 0);
//! assert_eq!(writer.append_batch(&["two", "three"])?, 1..3);
//!
//! let mut reader = orders.read(From::Offset(1))?;
//! let two = reader.next_entry()?.map(|entry| (entry.offset, entry.bytes.to_vec()));
//! assert_eq!(two, Some((1, b"two".to_vec())));
//!
//! let mut billing = orders.consume("billing", From::Beginning, Duration::ZERO)?;
//! while billing.next_entry()?.is_some() {}
//! billing.commit()?;
//! assert_eq!(orders.pending("billing")?, 0);
//! # std::fs::remove_dir_all(&dir).ok();
//! # Ok::<(), anabranch::Error>(())
//! ```
//!
//! # What lies in a stream's folder
//!
//! | file | what |
//! |---|---|
//! | `stream.json` | that it is a stream, and which: without it there is none |
//! | `00000000000000000042.frames` | a segment: the frames from that offset on, in blocks with checksums; the last one is written |
//! | `end` | how far the segments are durable |
//! | `first.json` | what was dropped |
//! | `groups/NAME.json` | what a group has consumed |
//! | `*.lock` | held by who writes, or consumes, and naming it |

mod consumer;
mod end;
mod folder;
mod format;
mod horizon;
mod http;
mod reader;
mod retention;
mod segment;
mod segment_file;
mod sink;
mod source;
mod tail;
mod url;
mod writer;

use anabranch::Time;

pub use self::consumer::Consumer;
pub use self::folder::{Stream, Streams};
pub use self::http::{ServeOptions, ServiceLimits, Serving, description, routes, serve, service};
pub use self::reader::{Entry, Reader};
pub use self::retention::{Retained, Retention};
pub(crate) use self::url::{sink, source};
pub use self::writer::{Writer, WriterOptions};

/// The longest frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// The most frames of one batch.
pub const BATCH_FRAMES_MAX: usize = 1 << 16;
/// The most bytes of one batch, with 4 for each of its frames.
pub const BATCH_BYTES_MAX: usize = 32 << 20;
/// The longest name of a stream or a group, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The most streams in a folder.
pub const STREAMS_MAX: usize = 1024;
/// The most groups of a stream.
pub const GROUPS_MAX: usize = 1024;
/// The most segments of a stream.
pub const SEGMENTS_MAX: usize = 4096;
/// The most frames that a stream can ever be given: offsets are below.
pub const OFFSETS_MAX: u64 = 1 << 40;

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the first frame that is there.
    Beginning,
    /// Behind the last frame that is durable now: only what comes.
    End,
    /// At the frame of that offset.
    Offset(u64),
    /// At the first frame whose ingest time is that or a later one.
    Time(Time),
}
