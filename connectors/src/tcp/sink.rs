//! The sink `tcp://`: connects to a receiver and writes length-framed payloads.
//!
//! Invariant: at-least-once as far as the receiver's machine: after a break the new connection
//! begins with every frame that TCP may not have delivered (see [`Window`]), so a receiver may get
//! the last frames again, never a part of one. While there is no connection, or the receiver does
//! not read, the bounded queue fills and the worker is told to wait.
//!
//! What the receiver's machine had acknowledged and the receiver had not yet read when it died is
//! not sent again: the protocol has no acknowledgements.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anabranch::metrics::{Counter, Counters};
use anabranch::sink::{FrameWriter, Outlet, Taken};
use anabranch::source::OpenContext;
use anabranch::{Error, RecordId, Result, clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use super::source::header;
use super::window::Window;
use crate::backoff::{Attempts, Backoff};
use crate::listen::tune;
use crate::queue::{Batch, Bounds, Outbound, OutboundReceiver, outbound};
use crate::runtime::runtime;

/// Asked for, so that little must be written again after a break; the operating system may round.
const SEND_BUFFER_BYTES: u32 = 256 << 10;

/// How long a receiver may take to hang up at the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// A connection that lasts this long proves the receiver good: the back-off starts over.
const PROVEN: Duration = Duration::from_secs(10);

/// A receiver to write to.
#[derive(Clone, Debug)]
pub(crate) struct TcpSink {
    /// `HOST:PORT`.
    pub(crate) address: String,
    pub(crate) connect: Duration,
    /// How long the end may take to bring out what is queued.
    pub(crate) drain: Duration,
    pub(crate) bounds: Bounds,
}

impl Outlet for TcpSink {
    fn describe(&self) -> String {
        format!("tcp://{}", self.address)
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn FrameWriter>> {
        let (queue, frames) = outbound(self.bounds, context.waker.clone());
        let sending = Sending {
            to: self.clone(),
            name: Arc::clone(&context.name),
            counts: Counts::of(&context.counters),
            window: Window::default(),
            asked: false,
        };
        runtime()?.spawn(sending.run(frames));
        Ok(Box::new(TcpWriter { queue }))
    }
}

struct TcpWriter {
    queue: Outbound,
}

impl FrameWriter for TcpWriter {
    fn write(&mut self, _: RecordId<'_>, frame: &[u8]) -> Result<Taken> {
        self.queue.offer(&[&header(frame)?, frame])
    }

    /// It is with the operating system, and so survives this program; and the window is written
    /// again if the connection breaks while the program lives.
    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        self.queue.position()
    }

    fn close(&mut self) -> Result<Taken> {
        self.queue.close()
    }
}

struct Counts {
    attempts: Attempts,
    frames: Counter,
    bytes: Counter,
    again: Counter,
}

impl Counts {
    fn of(counters: &Counters) -> Self {
        Self {
            attempts: Attempts::of(counters),
            frames: counters.counter("frames"),
            bytes: counters.counter("bytes"),
            again: counters.counter("frames_sent_again"),
        }
    }
}

/// What one connection came to.
enum Ended {
    /// Everything is written and nothing more comes.
    Done,
    Broken {
        why: String,
    },
}

struct Sending {
    to: TcpSink,
    name: Arc<str>,
    counts: Counts,
    window: Window,
    /// The worker wants to know when the window is written.
    asked: bool,
}

impl Sending {
    async fn run(mut self, frames: OutboundReceiver) {
        let drain = self.to.drain;
        let too_late = async {
            frames.closing().await;
            tokio::time::sleep(drain).await;
        };
        let done = tokio::select! {
            () = self.keep_sending(&frames) => true,
            () = too_late => false,
        };
        let result = if done { Ok(()) } else { Err(self.undelivered(frames.queued())) };
        frames.finish(result);
    }

    fn undelivered(&self, queued: usize) -> Error {
        Error::Connector(format!(
            "sink `{}`: the last frames, up to {}, did not reach tcp://{} within {:?} after the \
             end of the input: is the receiver running and reading?",
            self.name,
            self.window.len() + queued,
            self.to.address,
            self.to.drain
        ))
    }

    /// Until everything is written and nothing more comes.
    async fn keep_sending(&mut self, frames: &OutboundReceiver) {
        let mut backoff = Backoff::default();
        loop {
            tokio::time::sleep(backoff.wait(clock::instant())).await;
            let why = match self.connect().await {
                Err(error) => {
                    self.counts.attempts.failed();
                    error.to_string()
                }
                Ok((stream, buffer)) => {
                    self.counts.attempts.connected();
                    self.counts.again.add(self.window.rewind() as u64);
                    tracing::info!(sink = %self.name, "connected to tcp://{}", self.to.address);
                    let since = clock::instant();
                    match self.send(stream, buffer, frames).await {
                        Ended::Done => return,
                        Ended::Broken { why } => {
                            if since.elapsed() >= PROVEN {
                                backoff.reset();
                            }
                            why
                        }
                    }
                }
            };
            tracing::warn!(sink = %self.name, "tcp://{}: {why}; trying again", self.to.address);
        }
    }

    /// A connection and the size of its send buffer.
    async fn connect(&self) -> io::Result<(TcpStream, usize)> {
        let connecting = async {
            let mut last = io::Error::other("the name has no address");
            for address in lookup_host(&self.to.address).await? {
                let socket =
                    if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
                let buffer = socket.send_buffer_size()? as usize;
                match socket.connect(address).await {
                    Ok(stream) => return Ok((stream, buffer)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let timed_out = |_| io::Error::other(format!("no connection within {:?}", self.to.connect));
        let (stream, buffer) = timeout(self.to.connect, connecting).await.map_err(timed_out)??;
        tune(&stream);
        Ok((stream, buffer))
    }

    async fn send(&mut self, stream: TcpStream, buffer: usize, frames: &OutboundReceiver) -> Ended {
        let (mut from, mut to) = stream.into_split();
        let mut batch = Batch::default();
        let mut ignored = [0; 1024];
        loop {
            if self.asked && self.window.is_written() {
                self.asked = false;
                frames.reached(Vec::new());
            }
            let open = tokio::select! {
                // A receiver says nothing; the end of what it says is the end of the connection.
                read = from.read(&mut ignored) => match read {
                    Ok(0) => Err(io::Error::other("closed by the receiver")),
                    Ok(_) => Ok(true),
                    Err(error) => Err(error),
                },
                written = to.write(self.window.unwritten()), if !self.window.is_written() => {
                    written.map(|count| {
                        self.counts.bytes.add(count as u64);
                        self.window.wrote(count, buffer);
                        true
                    })
                }
                more = frames.take(&mut batch), if self.window.is_written() => {
                    self.counts.frames.add(batch.len() as u64);
                    self.window.extend(&batch);
                    self.asked |= batch.mark().is_some();
                    batch.clear();
                    Ok(more)
                }
            };
            match open {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Ended::Broken { why: error.to_string() },
            }
        }
        // The receiver hangs up when it has read everything; one that does not is not waited for
        // long: what is left is with the operating system.
        let farewell = async {
            to.shutdown().await?;
            while from.read(&mut ignored).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        match timeout(FAREWELL, farewell).await {
            Ok(Err(error)) => Ended::Broken { why: error.to_string() },
            Ok(Ok(())) | Err(_) => Ended::Done,
        }
    }
}
