//! The sink `file:`: one line a frame, written by a thread of its own.
//!
//! Invariant: the file's bytes depend on the frames alone, compressed ones included: a compressor
//! sees pieces of fixed size whatever the writes were. The file is truncated when it is opened. It
//! is not synced to the disk. With a data directory all this is otherwise: see
//! [`durable`](super::durable).

use std::fs::File;
use std::io::{self, Write};
#[cfg(unix)]
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anabranch::sink::{FrameWriter, Guarantee, Outlet, Taken};
use anabranch::source::OpenContext;
use anabranch::{Error, RecordId, Result};

use super::kept::Compressor;
use super::{Compression, durable};
use crate::queue::{Batch, Bounds, Outbound, OutboundReceiver, outbound};

/// What a compressor is given at once.
const PIECE_BYTES: usize = 128 << 10;

/// A file to write.
#[derive(Clone, Debug)]
pub(crate) struct FileSink {
    pub(crate) path: PathBuf,
    pub(crate) bounds: Bounds,
}

impl Outlet for FileSink {
    fn describe(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn FrameWriter>> {
        let what = self.path.display().to_string();
        let failed = |e| Error::io(format!("cannot write {what}"), e);
        refuse_fifo(&self.path)?;
        if let Some(folder) = &context.resume.folder {
            return durable::open(&self.path, self.bounds, folder, context);
        }
        let file = File::create(&self.path).map_err(failed)?;
        let to = match Compression::of(&self.path) {
            Compression::None => Lines::Plain(Box::new(file)),
            compression => {
                let encoder = Compressor::new(compression, file).map_err(failed)?;
                Lines::Compressed(encoder, Vec::new())
            }
        };
        write_lines(to, self.bounds, context, move |e| {
            Error::io(format!("cannot write {what} (what was written before is there)"), e)
        })
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Transactional
    }
}

/// Opening a FIFO would block the worker until someone reads it.
fn refuse_fifo(path: &Path) -> Result<()> {
    #[cfg(unix)]
    if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        let text = format!("`{}` is a FIFO; write to it through `-`", path.display());
        return Err(Error::Usage(text));
    }
    let _ = path;
    Ok(())
}

/// Starts the thread that writes to `to`; `failed` names it in errors.
pub(super) fn write_lines(
    to: Lines,
    bounds: Bounds,
    context: &OpenContext,
    failed: impl FnOnce(io::Error) -> Error + Send + 'static,
) -> Result<Box<dyn FrameWriter>> {
    let (queue, frames) = outbound(bounds, context.waker.clone());
    std::thread::Builder::new()
        .name(format!("sink {}", context.name))
        .spawn(move || {
            let written = to.write_all(&frames).map_err(failed);
            frames.finish(written);
        })
        .map_err(|e| Error::io("cannot start the thread of a sink", e))?;
    Ok(Box::new(LineWriter { queue }))
}

struct LineWriter {
    queue: Outbound,
}

impl FrameWriter for LineWriter {
    fn write(&mut self, _: RecordId<'_>, frame: &[u8]) -> Result<Taken> {
        self.queue.offer(&[frame, b"\n"])
    }

    /// It is with the operating system, and so survives this program.
    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        self.queue.position()
    }

    fn close(&mut self) -> Result<Taken> {
        self.queue.close()
    }
}

/// Where lines go.
pub(super) enum Lines {
    /// Written as soon as they come.
    Plain(Box<dyn Write + Send>),
    /// Written when a piece is full, and at the end.
    Compressed(Compressor<File>, Vec<u8>),
}

impl Lines {
    fn write_all(mut self, frames: &OutboundReceiver) -> io::Result<()> {
        let mut batch = Batch::default();
        while frames.take_blocking(&mut batch) {
            match &mut self {
                Self::Plain(to) => {
                    to.write_all(batch.bytes())?;
                    to.flush()?;
                }
                Self::Compressed(to, pending) => {
                    pending.extend_from_slice(batch.bytes());
                    let whole = pending.len() - pending.len() % PIECE_BYTES;
                    for piece in pending.chunks_exact(PIECE_BYTES) {
                        to.write_all(piece)?;
                    }
                    pending.drain(..whole);
                    pending.shrink_to(4 * PIECE_BYTES);
                }
            }
            if batch.mark().is_some() {
                frames.reached(Vec::new());
            }
        }
        match self {
            Self::Plain(_) => Ok(()),
            Self::Compressed(mut to, pending) => {
                to.write_all(&pending)?;
                to.finish().map(drop)
            }
        }
    }
}
