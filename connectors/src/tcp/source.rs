//! The source `tcp-listen://`: many senders connect, each length-framed payload is a frame.
//!
//! Invariant: one partition, in the order of arrival; a sender that breaks the framing loses its own
//! connection and nothing else; what a connection holds grows with what came, not with what its
//! lengths promise.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use anabranch::metrics::{Counter, Counters};
use anabranch::source::{FrameReader, Inlet, Nature, OpenContext};
use anabranch::{Error, Result};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::HEADER_BYTES;
use crate::listen::{Listen, count_and_tell};
use crate::queue::{Bounds, Gone, Inbound};

/// Small, as there may be a thousand connections.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// What a connection keeps between frames.
const KEPT_BYTES: usize = 64 << 10;

/// A place for senders to connect to.
#[derive(Clone, Debug)]
pub(crate) struct TcpListenSource {
    pub(crate) listen: Listen,
    pub(crate) frame_bytes_max: usize,
    pub(crate) bounds: Bounds,
}

impl Inlet for TcpListenSource {
    fn describe(&self) -> String {
        format!("tcp-listen://{}", self.listen.address)
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        let (counts, name) = (Counts::of(&context.counters), Arc::clone(&context.name));
        let frame_bytes_max = self.frame_bytes_max;
        self.listen.feed(context, self.bounds, move |queue, stream, peer, place| {
            let (counts, name) = (counts.clone(), Arc::clone(&name));
            Sender { queue, counts, frame_bytes_max, name }.serve(stream, peer, place)
        })
    }
}

#[derive(Clone)]
struct Counts {
    frames: Counter,
    bytes: Counter,
    oversized: Counter,
    partial: Counter,
    broken: Counter,
}

impl Counts {
    fn of(counters: &Counters) -> Self {
        Self {
            frames: counters.counter("frames"),
            bytes: counters.counter("bytes"),
            oversized: counters.counter("oversized"),
            partial: counters.counter("partial_frames"),
            broken: counters.counter("broken_connections"),
        }
    }
}

/// One connection.
struct Sender {
    queue: Inbound,
    counts: Counts,
    frame_bytes_max: usize,
    name: Arc<str>,
}

/// Why a connection is over.
enum Over {
    /// Between two frames, by its sender.
    Closed,
    /// The program ends.
    Gone,
    /// Inside a frame, of which `had` bytes had come.
    Partial {
        had: usize,
        error: Option<std::io::Error>,
    },
    Oversized(usize),
    Broken(std::io::Error),
}

impl Sender {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, _place: OwnedSemaphorePermit) {
        let name = &self.name;
        match self.read(BufReader::with_capacity(READ_BUFFER_BYTES, stream)).await {
            Over::Closed | Over::Gone => {
                tracing::debug!(source = %name, "{peer} disconnected");
            }
            Over::Partial { had, error } if count_and_tell(&self.counts.partial) => {
                let error = error.map(|e| format!(" ({e})")).unwrap_or_default();
                tracing::warn!(
                    source = %name,
                    so_far = self.counts.partial.get(),
                    "{peer} left in the middle of a frame{error}: its first {had} bytes, length \
                     included, are dropped"
                );
            }
            Over::Oversized(length) if count_and_tell(&self.counts.oversized) => {
                tracing::warn!(
                    source = %name,
                    so_far = self.counts.oversized.get(),
                    "{peer} announced a frame of {length} bytes, more than the {} allowed: the \
                     connection is closed. Does it send a 4-byte big-endian length before each \
                     frame? If such frames are right, raise `frame_max`",
                    self.frame_bytes_max
                );
            }
            Over::Broken(error) if count_and_tell(&self.counts.broken) => {
                let so_far = self.counts.broken.get();
                tracing::warn!(source = %name, so_far, "connection of {peer}: {error}");
            }
            // Counted, and logged before.
            Over::Partial { .. } | Over::Oversized(_) | Over::Broken(_) => {}
        }
    }

    async fn read(&self, mut stream: BufReader<TcpStream>) -> Over {
        let mut frame = Vec::new();
        loop {
            let length = match read_length(&mut stream).await {
                Ok(length) => length,
                Err(over) => return over,
            };
            if length > self.frame_bytes_max {
                return Over::Oversized(length);
            }
            frame.clear();
            frame.shrink_to(KEPT_BYTES);
            let read = (&mut stream).take(length as u64).read_to_end(&mut frame).await;
            if frame.len() < length {
                return Over::Partial { had: HEADER_BYTES + frame.len(), error: read.err() };
            }
            self.counts.frames.add(1);
            self.counts.bytes.add(length as u64);
            if let Err(Gone) = self.queue.send(&frame).await {
                return Over::Gone;
            }
        }
    }
}

async fn read_length(stream: &mut BufReader<TcpStream>) -> Result<usize, Over> {
    let mut header = [0; HEADER_BYTES];
    let mut had = 0;
    while let Some(rest) = header.get_mut(had..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest).await {
            Ok(0) if had == 0 => return Err(Over::Closed),
            Ok(0) => return Err(Over::Partial { had, error: None }),
            Ok(n) => had += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if had == 0 => return Err(Over::Broken(error)),
            Err(error) => return Err(Over::Partial { had, error: Some(error) }),
        }
    }
    Ok(u32::from_be_bytes(header) as usize)
}

/// The header of a frame.
///
/// # Errors
/// When the frame is too large for one.
pub(super) fn header(frame: &[u8]) -> Result<[u8; HEADER_BYTES]> {
    u32::try_from(frame.len()).map(u32::to_be_bytes).map_err(|_| {
        Error::Connector(format!(
            "a record of {} bytes does not fit behind a 4-byte length; emit smaller records",
            frame.len()
        ))
    })
}
