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
use super::lines::{Lines as LineReader, refusal};
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
        let (queue, reader) = inbound(self.bounds, context.waker.clone(), context.resume.from);
        let lines = LineReader::new(Input::new("standard input", from), self.line_bytes_max);
        let counters = context.counters.clone();
        std::thread::Builder::new()
            .name(format!("source {}", context.name))
            .spawn(move || {
                let _guard = EndGuard(queue.clone());
                queue.finish(hand_over(lines, &queue, &counters.counter("oversized")));
            })
            .map_err(|e| Error::io("cannot start the thread of a source", e))?;
        Ok(Box::new(reader.refusing(refusal(self.line_bytes_max))))
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
        let sent = if line.is_cut {
            oversized.add(1);
            waiting.block_on(queue.refuse(line.bytes))
        } else {
            waiting.block_on(queue.send(line.bytes))
        };
        if sent.is_err() {
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write, pipe};
    use std::sync::mpsc;
    use std::time::Duration;

    use anabranch::sink::Taken;
    use anabranch::source::{Progress, Waker};
    use anabranch::{Origin, RecordId, Time};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn context() -> (OpenContext, mpsc::Receiver<()>) {
        let (wake, woken) = mpsc::channel();
        let waker = Waker::new(move || _ = wake.send(()));
        (OpenContext::new("test", waker, Default::default()), woken)
    }

    fn input(bounds: Bounds) -> (Box<dyn FrameReader>, mpsc::Receiver<()>, PipeWriter) {
        let (from, to) = pipe().unwrap();
        let (context, woken) = context();
        let source = StandardInput { line_bytes_max: 1 << 20, bounds };
        (source.read(from, &context).unwrap(), woken, to)
    }

    fn output(bounds: Bounds) -> (Box<dyn FrameWriter>, mpsc::Receiver<()>, PipeReader) {
        let (from, to) = pipe().unwrap();
        let (context, woken) = context();
        (write_lines(Lines::Plain(Box::new(to)), bounds, &context, closed).unwrap(), woken, from)
    }

    fn read(reader: &mut dyn FrameReader, lines: &mut Vec<String>) -> Progress {
        let each = &mut |frame: anabranch::source::Frame<'_>| {
            assert_eq!(frame.offset, lines.len() as u64);
            lines.push(String::from_utf8(frame.bytes.to_vec()).unwrap());
            true
        };
        reader.read(each).unwrap()
    }

    fn write(writer: &mut dyn FrameWriter, frame: &[u8]) -> Result<Taken> {
        writer.write(RecordId::new("test", Origin::new(Time::ZERO, 0, 0, 0)), frame)
    }

    #[test]
    fn a_line_is_read_when_it_is_there_and_the_end_is_the_end() {
        let (mut reader, woken, mut to) = input(Bounds::default());
        let mut lines = Vec::new();
        for count in 1..4 {
            writeln!(to, "line {count}").unwrap();
            while lines.len() < count {
                if read(&mut *reader, &mut lines) == Progress::Idle && lines.len() < count {
                    woken.recv_timeout(PATIENCE).unwrap();
                }
            }
        }
        write!(to, "the last").unwrap();
        drop(to);
        while read(&mut *reader, &mut lines) != Progress::End {
            woken.recv_timeout(PATIENCE).unwrap();
        }
        assert_eq!(lines, ["line 1", "line 2", "line 3", "the last"]);
    }

    #[test]
    fn a_line_above_the_cap_is_refused_and_the_others_are_not() {
        let (from, mut to) = pipe().unwrap();
        let (context, woken) = context();
        let source = StandardInput { line_bytes_max: 10, bounds: Bounds::default() };
        let mut reader = source.read(from, &context).unwrap();
        let long = "x".repeat(500);
        write!(to, "one\n{long}\nthree\n{long}\n").unwrap();
        drop(to);
        let mut got = Vec::new();
        while got.len() < 4 {
            let each = &mut |frame: anabranch::source::Frame<'_>| {
                got.push((frame.bytes.len(), frame.refusal.map(str::to_owned)));
                true
            };
            if reader.read(each).unwrap() == Progress::Idle {
                woken.recv_timeout(PATIENCE).unwrap();
            }
        }
        let refused = (10, Some(refusal(10)));
        assert_eq!(got, [(3, None), refused.clone(), (5, None), refused]);
    }

    /// The thread stops reading, so the pipe fills and its writer must wait.
    #[test]
    fn input_that_no_worker_reads_stays_in_the_pipe() {
        let (reader, _, mut to) = input(Bounds { frames: 100, bytes: 10_000 });
        let (wrote, writes) = mpsc::channel();
        let writer = std::thread::spawn(move || {
            for n in 0.. {
                if to.write_all(&[b'x'; 999]).and_then(|()| to.write_all(b"\n")).is_err() {
                    return;
                }
                wrote.send(n).unwrap();
            }
        });
        // A pipe holds 64 KiB, the thread's window 256 KiB and the queue 5: far less than this.
        let mut most = 0;
        while let Ok(n) = writes.recv_timeout(Duration::from_millis(500)) {
            most = n;
            assert!(n < 2_000, "{n} KB were taken");
        }
        assert!(most > 5);
        drop(reader);
        writer.join().unwrap();
    }

    #[test]
    fn output_is_written_at_once_and_waits_for_its_reader() {
        let (mut writer, woken, from) = output(Bounds { frames: 1 << 20, bytes: 1 << 20 });
        let mut from = BufReader::new(from).lines();
        assert_eq!(write(&mut *writer, b"first").unwrap(), Taken::All);
        assert_eq!(from.next().unwrap().unwrap(), "first");
        let mut written = 0;
        while write(&mut *writer, &[b'x'; 999]).unwrap() == Taken::All {
            written += 1;
            assert!(written < 3_000, "nobody reads");
        }
        for _ in 0..written {
            assert_eq!(from.next().unwrap().unwrap().len(), 999);
        }
        woken.recv_timeout(PATIENCE).unwrap();
        assert_eq!(write(&mut *writer, b"last").unwrap(), Taken::All);
        while writer.close().unwrap() != Taken::All {
            woken.recv_timeout(PATIENCE).unwrap();
        }
        drop(writer);
        assert_eq!(from.map(|line| line.unwrap()).collect::<Vec<_>>(), ["last"]);
    }

    #[test]
    fn a_closed_pipe_is_an_error_that_says_so() {
        let (mut writer, woken, from) = output(Bounds::default());
        drop(from);
        let error = loop {
            match write(&mut *writer, b"x") {
                Err(error) => break error.to_string(),
                Ok(_) => _ = woken.recv_timeout(Duration::from_millis(20)),
            }
        };
        assert!(error.contains("standard output was closed"), "{error}");
    }
}
