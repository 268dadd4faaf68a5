//! Drives readers and writers as a worker does, waiting only where the waker says so and never
//! without a bound.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anabranch::metrics::Counters;
use anabranch::sink::{FrameWriter, Taken};
use anabranch::source::{Frame, FrameReader, OpenContext, Progress, Resume, Waker};
use anabranch::{Origin, RecordId, Result, Time};
use anabranch_connectors::{inlet, outlet};
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

/// The longest that anything may take. Reached only when a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn deadline() -> Instant {
    anabranch::clock::instant() + PATIENCE
}

/// Polls until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = deadline();
    while !condition() {
        assert!(anabranch::clock::instant() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A worker's place to sleep.
#[derive(Default)]
struct Bed {
    woken: Mutex<bool>,
    bell: Condvar,
}

impl Bed {
    /// Sleeps until the waker is called.
    #[track_caller]
    fn sleep(&self) {
        let deadline = deadline();
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            let left = deadline.saturating_duration_since(anabranch::clock::instant());
            assert!(!left.is_zero(), "the waker was never called");
            woken = self.bell.wait_timeout(woken, left).unwrap().0;
        }
        *woken = false;
    }
}

fn context() -> (OpenContext, Arc<Bed>) {
    let bed = Arc::new(Bed::default());
    let rung = Arc::clone(&bed);
    let waker = Waker::new(move || {
        *rung.woken.lock().unwrap() = true;
        rung.bell.notify_all();
    });
    (OpenContext::new("test", waker, Counters::default()), bed)
}

fn count(counters: &Counters, name: &str) -> u64 {
    counters.snapshot().get(name).copied().unwrap_or(0)
}

/// A frame, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) offset: u64,
    pub(crate) stamp: Option<Time>,
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) refusal: Option<String>,
}

impl Got {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }
}

/// One partition, as a worker reads it.
pub(crate) struct Source {
    reader: Box<dyn FrameReader>,
    bed: Arc<Bed>,
    counters: Counters,
}

impl Source {
    pub(crate) fn open(url: &str) -> Self {
        Self::try_open(url, 0).unwrap()
    }

    pub(crate) fn try_open(url: &str, partition: usize) -> Result<Self> {
        let (context, bed) = context();
        let reader = inlet(url)?.open(partition, &context)?;
        Ok(Self { reader, bed, counters: context.counters })
    }

    /// Goes on where an earlier reader stopped.
    pub(crate) fn resume(url: &str, resume: Resume) -> Result<Self> {
        let (mut context, bed) = context();
        context.resume = resume;
        let reader = inlet(url)?.open(0, &context)?;
        Ok(Self { reader, bed, counters: context.counters })
    }

    /// Every frame before this offset is durable.
    pub(crate) fn durable(&mut self, next: u64) {
        self.reader.durable(next);
    }

    pub(crate) fn position(&self) -> Vec<u8> {
        self.reader.position().unwrap_or_default()
    }

    /// The port of a listener.
    pub(crate) fn port(&self) -> u64 {
        self.count("port")
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        count(&self.counters, name)
    }

    /// Reads until there are `count` frames, or the end.
    #[track_caller]
    pub(crate) fn read(&mut self, count: usize) -> Vec<Got> {
        let (frames, result) = self.read_to(count);
        result.unwrap();
        assert_eq!(frames.len(), count);
        frames
    }

    #[track_caller]
    pub(crate) fn texts(&mut self, count: usize) -> Vec<String> {
        self.read(count).iter().map(|frame| frame.text().to_owned()).collect()
    }

    /// Reads to the end.
    #[track_caller]
    pub(crate) fn read_all(&mut self) -> Vec<Got> {
        let (frames, result) = self.read_to(usize::MAX);
        assert_eq!(result.unwrap(), Progress::End);
        frames
    }

    #[track_caller]
    pub(crate) fn read_to(&mut self, count: usize) -> (Vec<Got>, Result<Progress>) {
        let mut frames = Vec::new();
        loop {
            let read = self.reader.read(&mut |frame: Frame<'_>| {
                frames.push(Got {
                    offset: frame.offset,
                    stamp: frame.stamp,
                    columns: frame.columns.map(<[String]>::to_vec),
                    bytes: frame.bytes.to_vec(),
                    refusal: frame.refusal.map(str::to_owned),
                });
                frames.len() < count
            });
            match read {
                _ if frames.len() >= count => return (frames, read),
                Ok(Progress::Ready) => {}
                Ok(Progress::Idle) => self.bed.sleep(),
                Ok(Progress::End) | Err(_) => return (frames, read),
            }
        }
    }
}

/// A sink, as a worker writes to it.
pub(crate) struct Sink {
    writer: Box<dyn FrameWriter>,
    bed: Arc<Bed>,
    counters: Counters,
    written: u64,
}

impl Sink {
    pub(crate) fn open(url: &str) -> Self {
        Self::try_open(url).unwrap()
    }

    pub(crate) fn try_open(url: &str) -> Result<Self> {
        let (context, bed) = context();
        let writer = outlet(url)?.open(&context)?;
        Ok(Self { writer, bed, counters: context.counters, written: 0 })
    }

    /// Goes on where an earlier writer was; `written` records were given before.
    pub(crate) fn resume(url: &str, resume: Resume, written: u64) -> Result<Self> {
        let (mut context, bed) = context();
        context.resume = resume;
        let writer = outlet(url)?.open(&context)?;
        Ok(Self { writer, bed, counters: context.counters, written })
    }

    /// Where it is once everything is durable.
    #[track_caller]
    pub(crate) fn position(&mut self) -> Vec<u8> {
        self.try_position().unwrap()
    }

    #[track_caller]
    pub(crate) fn try_position(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(position) = self.writer.position()? {
                return Ok(position);
            }
            self.bed.sleep();
        }
    }

    pub(crate) fn port(&self) -> u64 {
        self.count("port")
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        count(&self.counters, name)
    }

    /// Offers once.
    pub(crate) fn offer(&mut self, frame: &[u8]) -> Result<Taken> {
        let origin = Origin::new(Time::ZERO, 0, 0, self.written);
        let taken = self.writer.write(RecordId::new("test", origin), frame)?;
        self.written += u64::from(taken == Taken::All);
        Ok(taken)
    }

    /// Writes, waiting for room.
    #[track_caller]
    pub(crate) fn write(&mut self, frame: &[u8]) {
        self.try_write(frame).unwrap();
    }

    #[track_caller]
    pub(crate) fn try_write(&mut self, frame: &[u8]) -> Result<()> {
        while self.offer(frame)? == Taken::Partly {
            self.bed.sleep();
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        while self.writer.flush()? == Taken::Partly {
            self.bed.sleep();
        }
        Ok(())
    }

    /// Brings everything out.
    #[track_caller]
    pub(crate) fn close(&mut self) -> Result<()> {
        while self.writer.close()? == Taken::Partly {
            self.bed.sleep();
        }
        Ok(())
    }
}

/// A WebSocket client of a listener here.
pub(crate) fn connect(port: u64, path: &str) -> WebSocket<TcpStream> {
    try_connect(port, path).unwrap().0
}

pub(crate) fn try_connect(
    port: u64,
    path: &str,
) -> Result<(WebSocket<TcpStream>, Response), tokio_tungstenite::tungstenite::Error> {
    let stream = tcp(port);
    tokio_tungstenite::tungstenite::client(format!("ws://127.0.0.1:{port}{path}"), stream).map_err(
        |error| match error {
            tokio_tungstenite::tungstenite::HandshakeError::Failure(error) => error,
            interrupted => panic!("{interrupted}"),
        },
    )
}

/// A TCP client, whose reads and writes fail after a while.
pub(crate) fn tcp(port: u64) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
    patient(stream)
}

pub(crate) fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The code of the close frame that comes next, after any data; `None` if the connection just ends.
pub(crate) fn close_code(socket: &mut WebSocket<TcpStream>) -> Option<u16> {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => {
                // Answers it.
                let _ = socket.flush();
                return frame.map(|frame| frame.code.into());
            }
            Ok(_) => {}
            Err(error) => {
                eprintln!("no close frame: {error}");
                return None;
            }
        }
    }
}

/// What the engine tells a source or sink that has `folder`.
pub(crate) fn resume(folder: &Path, from: u64, position: &[u8]) -> Resume {
    Resume { from, position: position.to_vec(), folder: Some(folder.into()), generation: 1 }
}

/// A directory that is removed with this value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let mut random = [0; 8];
        anabranch::clock::entropy(&mut random).unwrap();
        let name = format!("anabranch-connectors-{:016x}", u64::from_le_bytes(random));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A folder in it, as the engine gives to a connector.
    pub(crate) fn own(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a file and gives the URL of it.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.url(name)
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("file:{}", self.path(name).display())
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
