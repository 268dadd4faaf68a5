//! `-`: standard input as a source, standard output as a sink, a line a frame.
//!
//! Invariant: each is read or written by a thread of its own, as either can block for ever; the
//! worker does not notice. Standard input has one reader.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use anabranch::sink::{FrameWriter, Outlet};
use anabranch::source::{FrameReader, Inlet, Nature, OpenContext};
use anabranch::{Error, Result};
use tokio::runtime::Builder;

use super::input::Input;
use super::lines::Lines as LineReader;
use super::sink::{Lines, write_lines};
use crate::queue::{Bounds, EndGuard, Inbound, inbound};

/// Lines are taken from it once.
static IS_READ: AtomicBool = AtomicBool::new(false);

/// Standard input.
#[derive(Clone, Debug)]
pub(crate) struct StandardInput {
    pub(crate) line_bytes_max: usize,
    pub(crate) bounds: Bounds,
}

impl Inlet for StandardInput {
    fn describe(&self) -> String {
        "-".into()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        if IS_READ.swap(true, Ordering::Relaxed) {
            let text = "standard input (`-`) is already read by another source; use it once";
            return Err(Error::Usage(text.into()));
        }
        self.read(io::stdin(), context)
    }
}

impl StandardInput {
    /// Reads `from` on a thread. The thread ends at the end of the input, or at the next line
    /// after the reader is gone.
    fn read(
        &self,
        from: impl Read + Send + 'static,
        context: &OpenContext,
    ) -> Result<Box<dyn FrameReader>> {
        let (queue, reader) = inbound(self.bounds, context.waker.clone());
        let lines = LineReader::new(Input::new("standard input", from), self.line_bytes_max);
        let counters = context.counters.clone();
        std::thread::Builder::new()
            .name(format!("source {}", context.name))
            .spawn(move || {
                let _guard = EndGuard(queue.clone());
                queue.finish(hand_over(lines, &queue, &counters.counter("oversized")));
            })
            .map_err(|e| Error::io("cannot start the thread of a source", e))?;
        Ok(Box::new(reader))
    }
}

fn hand_over(
    mut lines: LineReader,
    queue: &Inbound,
    oversized: &anabranch::metrics::Counter,
) -> Result<()> {
    let waiting = Builder::new_current_thread().build();
    let waiting = waiting.map_err(|e| Error::io("cannot wait for a worker", e))?;
    while let Some(line) = lines.next()? {
        if line.is_cut {
            oversized.add(1);
            tracing::warn!(
                "a line is longer than `line_max` allows: its beginning is taken for it"
            );
        }
        if waiting.block_on(queue.send(line.bytes)).is_err() {
            break;
        }
    }
    Ok(())
}

/// Standard output.
#[derive(Clone, Debug)]
pub(crate) struct StandardOutput {
    pub(crate) bounds: Bounds,
}

impl Outlet for StandardOutput {
    fn describe(&self) -> String {
        "-".into()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn FrameWriter>> {
        write_lines(Lines::Plain(Box::new(io::stdout())), self.bounds, context, closed)
    }
}

fn closed(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        let text = "standard output was closed by the program that read it";
        return Error::Connector(text.into());
    }
    Error::io("cannot write to standard output", error)
}
