//! Length-prefixed frames on a blocking socket, each with a deadline and a cap.
//!
//! Invariant: no read or write outlives its deadline, however slowly the other side trickles its
//! bytes, and no frame is allocated before its length was checked against the cap. This file knows
//! nothing of what the frames mean.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::clock;

/// The moment when something must be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self(clock::instant() + limit)
    }

    /// The time that is left, never zero: a socket takes a timeout of zero for "none".
    pub(super) fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(clock::instant());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    pub(super) fn passed(self) -> bool {
        self.left().is_err()
    }
}

/// Waits until there is something to read, or the end of the stream. A deadline that has passed is
/// believed only after one more look: a process that was stopped for a while finds on its
/// return what has come in the meantime.
pub(super) fn await_bytes(stream: &TcpStream, by: Deadline) -> io::Result<()> {
    loop {
        let left = by.left();
        let last = left.is_err();
        stream.set_read_timeout(Some(left.unwrap_or(Duration::from_millis(1))))?;
        match stream.peek(&mut [0]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(e) if again(&e) && !last => {}
            Err(e) if again(&e) => return Err(ErrorKind::TimedOut.into()),
            Err(e) => return Err(e),
        }
    }
}

/// Reads one frame of at most `max` bytes.
pub(super) fn read_frame(stream: &TcpStream, max: usize, by: Deadline) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    read_exact(stream, &mut length, by)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > max {
        return Err(io::Error::new(ErrorKind::InvalidData, "a frame longer than any of ours"));
    }
    let mut payload = vec![0; length];
    read_exact(stream, &mut payload, by)?;
    Ok(payload)
}

/// Writes one frame, prefix and payload in one write.
pub(super) fn write_frame(stream: &TcpStream, payload: &[u8], by: Deadline) -> io::Result<()> {
    let length = u16::try_from(payload.len())
        .map_err(|_| io::Error::new(ErrorKind::InvalidInput, "a frame longer than 65535 bytes"))?;
    let frame = [&length.to_be_bytes()[..], payload].concat();
    let mut rest = frame.as_slice();
    while !rest.is_empty() {
        stream.set_write_timeout(Some(by.left()?))?;
        match (&mut &*stream).write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(e) if again(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn read_exact(stream: &TcpStream, mut into: &mut [u8], by: Deadline) -> io::Result<()> {
    while !into.is_empty() {
        stream.set_read_timeout(Some(by.left()?))?;
        match (&mut &*stream).read(into) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => into = into.get_mut(read..).unwrap_or_default(),
            Err(e) if again(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether the deadline, not this error, decides what happens next.
fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// What happened to a connection, in the words of a log line.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "connection closed".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "connection reset".to_owned(),
        ErrorKind::ConnectionRefused => "nothing listens there yet".to_owned(),
        ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn frames_keep_their_bounds() {
        let (near, far) = pair();
        let by = Deadline::after(Duration::from_secs(10));
        for payload in [&b""[..], b"x", &[7; 300]] {
            write_frame(&near, payload, by).unwrap();
            assert_eq!(read_frame(&far, 300, by).unwrap(), payload);
        }
        write_frame(&near, &[7; 301], by).unwrap();
        let refused = read_frame(&far, 300, by).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
        assert!(write_frame(&near, &[0; 65536], by).is_err());
    }

    #[test]
    fn what_came_before_the_deadline_is_found_after_it() {
        let (mut near, far) = pair();
        let passed = Deadline::after(Duration::ZERO);
        assert_eq!(await_bytes(&far, passed).unwrap_err().kind(), ErrorKind::TimedOut);
        near.write_all(&[0]).unwrap();
        await_bytes(&far, Deadline::after(Duration::from_secs(10))).unwrap();
        await_bytes(&far, passed).unwrap();
    }

    #[test]
    fn a_trickle_does_not_extend_the_deadline() {
        let (near, far) = pair();
        let trickle = std::thread::spawn(move || {
            let mut near = near;
            while near.write_all(&[0]).is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let late = read_frame(&far, 0, Deadline::after(Duration::from_millis(50)));
        // The prefix of zeros is a whole frame; the next one asks for more than ever comes.
        assert_eq!(late.unwrap(), b"");
        let mut wanted = [0; 4096];
        let late = read_exact(&far, &mut wanted, Deadline::after(Duration::from_millis(50)));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(far);
        trickle.join().unwrap();
    }
}
