//! What the supervisor and a child say to each other: JSON lines on two pipes.
//!
//! Invariant: a line has a cap. The pipes are the child's descriptors 3 (orders) and 4 (reports);
//! their ends are what tells one side that the other is gone.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::failure::Cause;
use crate::Time;

/// The descriptor on which a child reads orders.
pub(super) const ORDERS: i32 = 3;
/// The descriptor on which it reports.
pub(super) const REPORTS: i32 = 4;
/// The longest line, in bytes: a key and the addresses of all processes fit.
const LINE_MAX: u64 = 128 << 10;

/// How many processes and workers a start has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scale {
    pub(crate) processes: usize,
    /// Of each process; none: as its options say.
    pub(crate) workers: Option<usize>,
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.workers {
            Some(workers) => write!(f, "{} processes of {workers} workers", self.processes),
            None => write!(f, "{} processes", self.processes),
        }
    }
}

/// From the supervisor. It has no `Debug`: it carries the key.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    /// Form the cluster, as that generation. A process of a hosts file has key and hosts already.
    Start {
        generation: u64,
        secret: Option<String>,
        hosts: Vec<String>,
        /// When an earlier start was asked to make place for this one, of another size.
        rescaled_at: Option<Time>,
    },
    /// Say that you are alive.
    Ping,
    /// End the sources and finish what is in flight.
    Drain,
}

/// From a child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// It listens there, and obeys orders instead of signals.
    Listening(String),
    /// The cluster is formed.
    Formed,
    /// The answer to a ping.
    Alive,
    /// Something that lasts was brought forward.
    Progress,
    /// The next start shall be of that size, and come now.
    Rescale(Scale),
    /// It ends, and this is the first cause that it knows.
    Failed(Cause),
}

pub(super) fn write_line<T: Serialize>(mut to: impl Write, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    // One write: lines of two threads do not mix.
    to.write_all(&line)
}

/// The next line; none at the end of the pipe.
pub(super) fn read_line<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    match from.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? {
        0 => Ok(None),
        _ if line.ends_with(b"\n") => Ok(Some(serde_json::from_slice(&line)?)),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "half a line, or too long a one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_or_refused() {
        let mut bytes = Vec::new();
        write_line(&mut bytes, &Report::Listening("127.0.0.1:1".to_owned())).unwrap();
        let mut from = bytes.as_slice();
        let read: Option<Report> = read_line(&mut from).unwrap();
        assert!(matches!(read, Some(Report::Listening(address)) if address == "127.0.0.1:1"));
        assert!(read_line::<Report>(&mut from).unwrap().is_none());
        assert!(read_line::<Report>(&mut &bytes[..bytes.len() - 1]).is_err());
        let long = vec![b' '; usize::try_from(LINE_MAX).unwrap() + 1];
        assert!(read_line::<Report>(&mut long.as_slice()).is_err());
    }
}
