//! What people ask of dead letters: a file that commands append to, and the program reads as a source.
//!
//! Invariant: a request is appended whole, on the disk, and by one command at a time; it is never changed, so
//! its number names it for good.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::Retry;
use super::entry::{Action, Request};
use super::frames::{Frames, HEADER, decode, encode};
use crate::source::{
    Decoded, Decoder, Frame, FrameReader, Inlet, Nature, OpenContext, Progress, Waker,
};
use crate::{Error, Result, Time, clock};

/// The file of a folder.
const FILE: &str = "requests";
/// Of recorded input: which requests came in when.
const ADMITTED: &str = "admitted";
/// How often a program looks whether there are new requests.
const LOOK: Duration = Duration::from_millis(250);
/// Locks cannot be awaited with a bound: they are tried this often.
const TRY_EVERY: Duration = Duration::from_millis(20);
/// How long another one may hold a lock.
const LOCK_WITHIN: Duration = Duration::from_secs(30);

/// Locks the file at `path`, which is made if it is not there, for as long as it is open.
///
/// # Errors
/// When it cannot be made, or another process keeps it.
pub(super) fn lock(path: &Path) -> Result<File> {
    let failed = |e| Error::io(format!("locking {}", path.display()), e);
    let began = clock::instant();
    loop {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
            Err(TryLockError::WouldBlock) if began.elapsed() >= LOCK_WITHIN => {
                return Err(Error::Cluster(format!(
                    "{} is held by another process, still after {LOCK_WITHIN:?}: end that one first",
                    path.display()
                )));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(TRY_EVERY),
        }
    }
}

/// All requests of a folder, in order.
///
/// # Errors
/// When the file cannot be read, or is damaged.
pub(super) fn all(folder: &Path) -> Result<Vec<Request>> {
    read(&folder.join(FILE)).map(|(requests, _)| requests)
}

/// How long the file is.
pub(super) fn length(folder: &Path) -> u64 {
    std::fs::metadata(folder.join(FILE)).map_or(0, |found| found.len())
}

/// The letters that people have closed.
pub(super) fn ignored(folder: &Path) -> Result<BTreeSet<String>> {
    let requests = all(folder)?.into_iter();
    Ok(requests.filter(|it| it.action == Action::Ignore).map(|it| it.letter).collect())
}

/// All entries of a file, and where the next one goes.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<(Vec<T>, u64)> {
    let mut entries = Vec::new();
    let Some(mut frames) = Frames::open(path)? else { return Ok((entries, 0)) };
    loop {
        let at = frames.at();
        let Some(payload) = frames.next()? else { return Ok((entries, at)) };
        entries.push(decode(path, at, payload)?);
    }
}

/// Appends to the requests of a folder what `ask` makes of those that are there: it sees them all, and
/// nobody else appends meanwhile. Gives what it gave.
///
/// # Errors
/// When the file cannot be read and written, is damaged, or `ask` fails.
pub(super) fn append<R>(
    folder: &Path,
    ask: impl FnOnce(&[Request]) -> Result<(Vec<Request>, R)>,
) -> Result<R> {
    let failed = |e| Error::io(format!("writing the requests in {}", folder.display()), e);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let _lock = lock(&folder.join("requests.lock"))?;
    let path = folder.join(FILE);
    let (there, end) = read(&path)?;
    let (requests, asked) = ask(&there)?;
    append_at(&path, end, &requests)?;
    Ok(asked)
}

/// Writes entries at the end of a file, which is at `end`: what follows is torn.
fn append_at(path: &Path, end: u64, entries: &[impl serde::Serialize]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let failed = |e| Error::io(format!("writing {}", path.display()), e);
    let mut bytes = if end == 0 { HEADER.to_vec() } else { Vec::new() };
    for entry in entries {
        encode(entry, &mut bytes)?;
    }
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    file.set_len(end).map_err(failed)?;
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // All of them or none.
        let _ = file.set_len(end);
    }
    written.map_err(failed)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// From when on requests before a number count, in recorded input.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Admitted {
    before: u64,
    time: Time,
}

/// Lets the requests that no earlier start has seen into recorded input, of which everything up to `reached`
/// may have left the program.
///
/// # Errors
/// When that cannot be written down.
pub(crate) fn admit(folder: &Path, reached: Option<Time>) -> Result<()> {
    let path = folder.join(ADMITTED);
    let (there, end) = read::<Admitted>(&path)?;
    let before = all(folder)?.len() as u64;
    if before <= there.last().map_or(0, |last| last.before) {
        return Ok(());
    }
    let time = reached.map_or(Time::ZERO, |time| time.after(Duration::from_nanos(1)));
    append_at(&path, end, &[Admitted { before, time }])
}

/// The requests, as a source of a program.
pub(super) struct Requests {
    pub(super) folder: PathBuf,
    pub(super) nature: Nature,
}

impl Inlet for Requests {
    fn describe(&self) -> String {
        "requests of dead letters".to_string()
    }

    fn nature(&self) -> Nature {
        self.nature
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        let path = self.folder.join(FILE);
        let admitted = match self.nature {
            Nature::Live => None,
            Nature::Recorded => Some(read::<Admitted>(&self.folder.join(ADMITTED))?.0),
        };
        let watch = match self.nature {
            Nature::Live => Some(Watch::start(path.clone(), context.waker.clone())?),
            Nature::Recorded => None,
        };
        let (next, from) = (0, context.resume.from);
        Ok(Box::new(RequestReader { path, frames: None, next, from, admitted, watch }))
    }
}

/// Reads the requests.
struct RequestReader {
    path: PathBuf,
    frames: Option<Frames>,
    /// The number of the next request.
    next: u64,
    /// Those before this one are not wanted.
    from: u64,
    /// Recorded: which there are.
    admitted: Option<Vec<Admitted>>,
    /// Live: says when there is something.
    watch: Option<Watch>,
}

impl FrameReader for RequestReader {
    fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
        let rest = if self.watch.is_some() { Progress::Idle } else { Progress::End };
        if self.watch.as_ref().is_some_and(|watch| !watch.grown.swap(false, Ordering::AcqRel)) {
            return Ok(rest);
        }
        if self.frames.is_none() {
            self.frames = Frames::open(&self.path)?;
        }
        let Some(frames) = &mut self.frames else { return Ok(rest) };
        loop {
            let stamp = match &self.admitted {
                None => None,
                Some(admitted) => match admitted.iter().find(|it| self.next < it.before) {
                    None => return Ok(Progress::End),
                    found => found.map(|it| it.time),
                },
            };
            let Some(payload) = frames.next()? else { return Ok(rest) };
            let offset = self.next;
            self.next += 1;
            if offset >= self.from && !each(Frame { stamp, ..Frame::new(offset, payload) }) {
                if let Some(watch) = &self.watch {
                    watch.grown.store(true, Ordering::Release);
                }
                return Ok(Progress::Ready);
            }
        }
    }
}

/// Looks now and then whether a file has grown, and wakes a worker.
struct Watch {
    grown: Arc<AtomicBool>,
    /// The thread ends when this is gone.
    _alive: Sender<()>,
}

impl Watch {
    fn start(path: PathBuf, waker: Waker) -> Result<Self> {
        let (alive, gone) = channel();
        let grown = Arc::new(AtomicBool::new(true));
        let told = Arc::clone(&grown);
        let length = move || std::fs::metadata(&path).map_or(0, |found| found.len());
        let mut known = 0;
        let watch = move || {
            while gone.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let length = length();
                if std::mem::replace(&mut known, length) != length {
                    told.store(true, Ordering::Release);
                    waker.wake();
                }
            }
        };
        let thread = std::thread::Builder::new().name("dead letters".to_string());
        thread.spawn(watch).map_err(|e| Error::io("cannot start a thread", e))?;
        Ok(Self { grown, _alive: alive })
    }
}

/// Decodes a request: only a retry is of interest to a pipeline.
pub(super) struct RequestDecoder;

impl Decoder<Retry> for RequestDecoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Decoded<'_, Retry>) -> Result<()> {
        let request: Request = rmp_serde::from_slice(frame.bytes)
            .map_err(|e| Error::Decode(format!("no request of this program: {e}")))?;
        if let Action::Retry(retry) = request.action {
            out.emit(retry);
        }
        Ok(())
    }
}
