//! The sink `stream:`: appends to a durable stream, each frame once, whatever dies.
//!
//! Invariant: with a data directory, what the sink is given again after a restart is compared with the frames
//! that it has appended since its checkpoint, and not appended again; a difference ends the program by
//! name. Frames of others are told apart by who wrote them. The sink writes alone: the stream is locked.

use std::path::{Path, PathBuf};

use anabranch::sink::{FrameWriter, Guarantee, Outlet, Taken};
use anabranch::source::OpenContext;
use anabranch::{Error, RecordId, Result, clock};
use serde::{Deserialize, Serialize};

use super::format::FRAME_HEADER_BYTES;
use super::{
    BATCH_FRAMES_MAX, FRAME_BYTES_MAX, From, Reader, Stream, Streams, Writer, WriterOptions,
};
use crate::durable::{LOCK_WITHIN, write_whole};
use crate::queue::{Batch, Bounds, Outbound, OutboundReceiver, outbound};

/// In the folder of a source or sink: which stream it is, and where it began there.
const MARKER: &str = "stream.json";
/// A block of the sink has about so many bytes.
const BLOCK_BYTES: usize = 1 << 20;
/// What is shown of a frame that differs.
const SHOWN_BYTES: usize = 120;

/// Which stream a source or sink of a data directory has to do with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Marker {
    /// The identity of the stream,
    id: String,
    /// and where it is, for people.
    stream: String,
    /// Where it began there.
    pub(super) begin: u64,
    /// Who it is, to the stream.
    by: String,
}

impl Marker {
    /// The marker in `folder`, which must be of `stream`; made at the first start, with `begin`.
    pub(super) fn claim(
        folder: &Path,
        stream: &Stream,
        context: &OpenContext,
        begin: &mut dyn FnMut() -> Result<u64>,
    ) -> Result<Self> {
        let path = folder.join(MARKER);
        let failed = |what: &str, e| Error::io(format!("cannot {what} {}", path.display()), e);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let marker = Self::new(stream, begin()?)?;
                let text = serde_json::to_vec(&marker);
                let text = text.map_err(|e| failed("write", std::io::Error::other(e)))?;
                write_whole(&path, &text).map_err(|e| failed("write", e))?;
                return Ok(marker);
            }
            Err(error) => return Err(failed("read", error)),
        };
        let marker: Self = serde_json::from_slice(&text).map_err(|e| {
            Error::Data(format!(
                "{} is damaged ({e}): bring the data directory back as it was, or start with a new one",
                path.display()
            ))
        })?;
        if marker.id == format!("{:016x}", stream.id) {
            return Ok(marker);
        }
        Err(Error::Usage(format!(
            "with this data directory `{}` is stream {}, and now it is another one, {}: name the former \
             stream, or start with a new data directory",
            context.name,
            marker.stream,
            stream.folder.display()
        )))
    }

    fn new(stream: &Stream, begin: u64) -> Result<Self> {
        let mut random = [0; 8];
        clock::entropy(&mut random)?;
        Ok(Self {
            id: format!("{:016x}", stream.id),
            stream: stream.folder.display().to_string(),
            begin,
            // 0 is nobody.
            by: format!("{:016x}", u64::from_le_bytes(random).max(1)),
        })
    }
}

/// A stream to write.
#[derive(Clone, Debug)]
pub(crate) struct StreamSink {
    pub(super) dir: PathBuf,
    pub(super) name: String,
    pub(super) bounds: Bounds,
}

impl Outlet for StreamSink {
    fn describe(&self) -> String {
        format!("stream:{}", self.name)
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn FrameWriter>> {
        let stream = Streams::open(&self.dir)?.stream_or_create(&self.name)?;
        let (queue, frames) = outbound(self.bounds, context.waker.clone());
        let mut begin = || stream.end();
        let marker = match &context.resume.folder {
            Some(folder) => Some(Marker::claim(folder, &stream, context, &mut begin)?),
            None => None,
        };
        let by = marker.as_ref().and_then(|marker| u64::from_str_radix(&marker.by, 16).ok());
        let by = by.unwrap_or(0);
        let options = WriterOptions::default();
        let writer = Writer::open_as(&stream, &options, by, frames.patience(), LOCK_WITHIN)?;
        let position = match (<[u8; 8]>::try_from(&context.resume.position[..]), &marker) {
            (Ok(next), _) => u64::from_le_bytes(next),
            (Err(_), Some(marker)) if context.resume.position.is_empty() => marker.begin,
            (Err(_), None) => stream.end()?,
            (Err(_), Some(_)) => {
                return Err(Error::Connector(format!(
                    "the position of sink `{}` in the data directory is not that of a stream: give the \
                     sink its former URL, or start with a new data directory",
                    context.name
                )));
            }
        };
        let known = match marker {
            Some(_) => Some(known(&stream, position, context)?),
            None => None,
        };
        let output = Output { writer, by, known, next: position };
        std::thread::Builder::new()
            .name(format!("sink {}", context.name))
            .spawn(move || {
                let written = output.write_all(&frames);
                frames.finish(written);
            })
            .map_err(|e| Error::io("cannot start the thread of a sink", e))?;
        Ok(Box::new(StreamWriter { queue }))
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Transactional
    }
}

/// Reads what the stream has from the sink's position on.
fn known(stream: &Stream, position: u64, context: &OpenContext) -> Result<Reader> {
    stream.read(From::Offset(position)).map_err(|error| {
        Error::Connector(format!(
            "sink `{}` had written stream `{}` up to offset {position} at its checkpoint, and cannot compare \
             what it has written since ({error}). Bring the stream back as it was, or start with a new data \
             directory",
            context.name,
            stream.name()
        ))
    })
}

struct StreamWriter {
    queue: Outbound,
}

impl FrameWriter for StreamWriter {
    fn write(&mut self, id: RecordId<'_>, frame: &[u8]) -> Result<Taken> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(Error::Connector(format!(
                "record {id} takes {} bytes, and a frame of a stream can have {FRAME_BYTES_MAX} at most: \
                 write it elsewhere, or as several records",
                frame.len()
            )));
        }
        self.queue.offer(&[frame])
    }

    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        self.queue.position()
    }

    fn close(&mut self) -> Result<Taken> {
        self.queue.close()
    }
}

struct Output {
    writer: Writer,
    by: u64,
    /// What the stream has since the sink's checkpoint, until all of it was given again.
    known: Option<Reader>,
    /// After the last frame that was compared or appended.
    next: u64,
}

impl Output {
    fn write_all(mut self, frames: &OutboundReceiver) -> Result<()> {
        let mut batch = Batch::default();
        while frames.take_blocking(&mut batch) {
            let mark = batch.mark();
            let asked = mark.unwrap_or(0);
            self.take(&batch, 0, asked)?;
            if mark.is_some() {
                frames.reached(self.next.to_le_bytes().to_vec());
            }
            self.take(&batch, asked, batch.len())?;
        }
        Ok(())
    }

    /// Takes the frames `from..to`.
    fn take(&mut self, batch: &Batch, from: usize, to: usize) -> Result<()> {
        let mut from = from;
        while from < to && self.has(batch.get(from).unwrap_or_default())? {
            from += 1;
        }
        while from < to {
            let mut block: Vec<&[u8]> = Vec::new();
            let mut bytes = 0;
            while from < to && block.len() < BATCH_FRAMES_MAX {
                let frame = batch.get(from).unwrap_or_default();
                bytes += frame.len() + FRAME_HEADER_BYTES;
                if bytes > BLOCK_BYTES && !block.is_empty() {
                    break;
                }
                block.push(frame);
                from += 1;
            }
            self.next = self.writer.append_batch(&block)?.end;
        }
        Ok(())
    }

    /// Whether the stream has `frame` already, as the next one of this sink.
    fn has(&mut self, frame: &[u8]) -> Result<bool> {
        let Some(known) = &mut self.known else { return Ok(false) };
        loop {
            let Some(entry) = known.next_entry()? else {
                self.known = None;
                return Ok(false);
            };
            let (offset, is_same) = (entry.offset, entry.bytes == frame);
            let shown = |frame: &[u8]| {
                let frame = frame.get(..SHOWN_BYTES).unwrap_or(frame);
                String::from_utf8_lossy(frame).into_owned()
            };
            let there = if is_same { String::new() } else { shown(entry.bytes) };
            if known.by() != self.by {
                continue;
            }
            if is_same {
                self.next = offset + 1;
                return Ok(true);
            }
            return Err(Error::Connector(format!(
                "stream `{}`: after the restart the output differs at offset {offset}. The stream has \
                 `{there}`, and now there is `{}`. A computation is probably not deterministic (it reads a \
                 clock, or depends on what is not in its rows): `verify` finds it. Or the program is another \
                 one than before: then start with a new data directory",
                self.writer.stream().name(),
                shown(frame)
            )));
        }
    }
}
