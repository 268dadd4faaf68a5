//! Steps on their way from one program to another, over its standard output.
//!
//! ```text
//! u32 length, then a Header; for each step: u32 length, then the Step; u32 zero
//! ```
//!
//! Lengths are little-endian; what they count is postcard.
//!
//! Invariant: a stream without the zero at its end is not whole; one of another version is refused.

use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Common;
use crate::config::Config;
use crate::durable::Span;
use crate::trace::{Give, Step, Trace};
use crate::worker::Build;
use crate::{Error, Result, program};

const MAGIC: &str = "anabranch trace 1";
/// Bytes of what came of one epoch, at most.
const STEP_BYTES: u32 = 1 << 30;

/// What comes before the steps.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    magic: String,
    /// The first epoch that is replayed.
    pub(super) from: u64,
    pub(super) sinks: Vec<String>,
}

/// Replays, and writes to `out` what the sinks are given.
///
/// # Errors
/// Those of the replay, and when `out` cannot be written.
pub(crate) fn trace(
    config: &Config,
    span: Span,
    build: Build,
    out: impl Write + Send + 'static,
) -> Result<()> {
    let common = Common::of(config, span, build)?;
    let out = Arc::new(Mutex::new(BufWriter::new(out)));
    let put = move |bytes: &[u8]| {
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= STEP_BYTES);
        let length = length.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidData));
        let put = length.and_then(|length| {
            out.write_all(&length.to_le_bytes())?;
            out.write_all(bytes)?;
            if length == 0 { out.flush() } else { Ok(()) }
        });
        put.map_err(|e| Error::io("writing what a replay released", e))
    };
    let header = Header { magic: MAGIC.into(), from: common.from(), sinks: common.sinks.to_vec() };
    put(&bytes(&header)?)?;
    let give: Give = {
        let put = put.clone();
        Box::new(move |step| put(&bytes(&step)?))
    };
    let trace = Trace::new(false, give);
    let setup = common.setup(config.workers(), Arc::clone(&trace))?;
    program::run_alone(setup, program::worker_config(config))?;
    trace.complete(u64::MAX)?;
    put(&[])
}

fn bytes(value: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|e| Error::Data(format!("what a replay released: {e}")))
}

/// Reads such a stream.
pub(super) struct Incoming<R> {
    from: BufReader<R>,
    frame: Vec<u8>,
}

impl<R: Read> Incoming<R> {
    /// # Errors
    /// When it is no such stream.
    pub(super) fn open(from: R) -> Result<(Self, Header)> {
        let mut incoming = Self { from: BufReader::new(from), frame: Vec::new() };
        let header: Option<Header> = incoming.next()?;
        let header = header.filter(|header| header.magic == MAGIC);
        Ok((incoming, header.ok_or_else(not_a_trace)?))
    }

    /// The next step; none at the end.
    ///
    /// # Errors
    /// When it ends elsewhere, or cannot be read.
    pub(super) fn step(&mut self) -> Result<Option<Step>> {
        self.next()
    }

    fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length).map_err(|_| cut_off())?;
        let length = u32::from_le_bytes(length);
        if length == 0 {
            return Ok(None);
        }
        if length > STEP_BYTES {
            return Err(not_a_trace());
        }
        self.frame.clear();
        let read = self.from.by_ref().take(u64::from(length)).read_to_end(&mut self.frame);
        if read.ok() != usize::try_from(length).ok() {
            return Err(cut_off());
        }
        postcard::from_bytes(&self.frame).map(Some).map_err(|_| not_a_trace())
    }
}

fn cut_off() -> Error {
    Error::Cluster("it ended before its replay did: see above for its own message".to_string())
}

fn not_a_trace() -> Error {
    Error::Usage(
        "it does not tell what it replays as this program does: build both with the same version of \
         anabranch"
            .to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_or_foreign_is_refused() {
        let header = Header { magic: MAGIC.into(), from: 7, sinks: vec!["out".into()] };
        let mut whole = Vec::new();
        let step = Step { epoch: 9, ..Step::default() };
        for frame in [bytes(&header).unwrap(), bytes(&step).unwrap(), Vec::new()] {
            whole.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_le_bytes());
            whole.extend_from_slice(&frame);
        }
        let read = |bytes: &[u8]| {
            let (mut incoming, header) = Incoming::open(bytes)?;
            assert_eq!((header.from, header.sinks), (7, vec!["out".to_string()]));
            let mut steps = Vec::new();
            while let Some(step) = incoming.step()? {
                steps.push(step);
            }
            Ok::<_, Error>(steps)
        };
        assert_eq!(read(&whole).unwrap(), [step]);
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end}");
        }
        let foreign = read(b"error: unexpected argument").unwrap_err();
        assert_eq!(foreign.exit_code(), 2, "{foreign}");
        let mut other = whole.clone();
        other[6] ^= 1;
        assert!(read(&other).unwrap_err().to_string().contains("same version"));
    }
}
