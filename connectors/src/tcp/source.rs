//! The source `tcp-listen://`: many senders connect, each length-framed payload is a frame.
//!
//! Invariant: one partition, in the order of arrival; a sender that breaks the framing loses its own
//! connection and nothing else; what a connection holds grows with what came, not with what its
//! lengths promise. A frame is acknowledged, if that was asked for, when it is durable and not
//! before; a sender that does not read its acknowledgements is not read either, then left.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anabranch::metrics::{Counter, Counters};
use anabranch::source::{FrameReader, Inlet, Nature, OpenContext};
use anabranch::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::HEADER_BYTES;
use crate::listen::{Listen, count_and_tell};
use crate::queue::{Bounds, Gone, Inbound, Owed, can_acknowledge};

/// Small, as there may be a thousand connections.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// What a connection keeps between frames.
const KEPT_BYTES: usize = 64 << 10;
/// The longest that a sender may leave an acknowledgement unread that TCP has no room for.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);

/// A place for senders to connect to.
#[derive(Clone, Debug)]
pub(crate) struct TcpListenSource {
    pub(crate) listen: Listen,
    pub(crate) frame_bytes_max: usize,
    pub(crate) bounds: Bounds,
    /// Senders are told when their frames are durable.
    pub(crate) ack: bool,
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
        let (frame_bytes_max, ack) = (self.frame_bytes_max, self.ack);
        if ack {
            can_acknowledge(context, &self.describe())?;
        }
        self.listen.feed(context, self.bounds, move |queue, stream, peer, place| {
            let (counts, name) = (counts.clone(), Arc::clone(&name));
            let owed = ack.then(|| queue.owed());
            Sender { queue, owed, counts, frame_bytes_max, name }.serve(stream, peer, place)
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
    /// The acknowledgements that this sender is owed, if it gets any.
    owed: Option<Owed>,
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
        let over = match &self.owed {
            None => self.read(BufReader::with_capacity(READ_BUFFER_BYTES, stream)).await,
            Some(owed) => {
                let (from, to) = stream.into_split();
                let from = BufReader::with_capacity(READ_BUFFER_BYTES, from);
                self.read_and_acknowledge(from, to, owed).await
            }
        };
        match over {
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

    /// A sender that has sent everything and reads on gets the last acknowledgements.
    async fn read_and_acknowledge(
        &self,
        from: BufReader<impl AsyncRead + Unpin>,
        mut to: impl AsyncWrite + Unpin,
        owed: &Owed,
    ) -> Over {
        let reading = async {
            let over = self.read(from).await;
            owed.finish();
            match over {
                // Now only the other side has something to do.
                Over::Closed => std::future::pending().await,
                over => over,
            }
        };
        let acknowledging = async {
            while let Some(count) = owed.due().await {
                match timeout(ACKNOWLEDGED_WITHIN, to.write_all(&count.to_be_bytes())).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Over::Broken(error),
                    Err(_) => {
                        let text = "it does not read its acknowledgements";
                        return Over::Broken(std::io::Error::other(text));
                    }
                }
            }
            Over::Closed
        };
        tokio::select! {
            over = reading => over,
            over = acknowledging => over,
        }
    }

    async fn read(&self, mut stream: BufReader<impl AsyncRead + Unpin>) -> Over {
        let mut frame = Vec::new();
        loop {
            if let Some(owed) = &self.owed {
                owed.room().await;
            }
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
            match (self.queue.send(&frame).await, &self.owed) {
                (Ok(offset), Some(owed)) => owed.sent(offset),
                (Ok(_), None) => {}
                (Err(Gone), _) => return Over::Gone,
            }
        }
    }
}

async fn read_length(stream: &mut BufReader<impl AsyncRead + Unpin>) -> Result<usize, Over> {
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
