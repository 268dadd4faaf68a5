//! TCP with frames behind a 4-byte big-endian length: the wire of Wallaroo's applications.
//!
//! Invariant: the length counts the payload alone, and is checked before anything is read for it.

mod sink;
mod source;
mod window;

pub(crate) use self::sink::TcpSink;
pub(crate) use self::source::TcpListenSource;

/// Bytes of the length before each frame.
const HEADER_BYTES: usize = 4;
