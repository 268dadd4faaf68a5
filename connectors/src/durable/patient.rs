//! [`Patient`]: a writer that waits for room on a full disk.
//!
//! Invariant: a full disk is said once and then waited for, until there is room or nobody is left
//! to write for; every other error is one. What was written is never written again.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

/// How often a full disk is tried.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// Waits the given time; false when waiting has no more sense.
pub(crate) type Patience = std::sync::Arc<dyn Fn(Duration) -> bool + Send + Sync>;

/// A writer to `to`, which `what` names.
pub(crate) struct Patient<W> {
    to: W,
    what: String,
    patience: Patience,
    waiting: bool,
}

impl<W: Write> Patient<W> {
    pub(crate) fn new(to: W, what: impl Into<String>, patience: Patience) -> Self {
        Self { to, what: what.into(), patience, waiting: false }
    }
}

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.to.write(bytes) {
                Err(error) if is_full(&error) => {
                    if !std::mem::replace(&mut self.waiting, true) {
                        tracing::error!(
                            "no room to write {}: {error}; nothing more is taken until there is",
                            self.what
                        );
                    }
                    if !(self.patience)(TRY_EVERY) {
                        return Err(error);
                    }
                }
                written => {
                    if std::mem::take(&mut self.waiting) && written.is_ok() {
                        tracing::info!("there is room again to write {}", self.what);
                    }
                    return written;
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Has room for some bytes at a time; freed by waiting.
    #[derive(Clone)]
    struct Disk {
        room: Arc<AtomicUsize>,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room.load(Ordering::SeqCst));
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room.fetch_sub(count, Ordering::SeqCst);
            self.written.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_waits_for_room_and_writes_everything_once() {
        let room = Arc::new(AtomicUsize::new(3));
        let freed = Arc::clone(&room);
        let patience = Arc::new(move |_| {
            freed.fetch_add(2, Ordering::SeqCst);
            true
        });
        let mut writer =
            Patient::new(Disk { room, written: Vec::new() }, "out", patience as Patience);
        writer.write_all(b"several bytes").unwrap();
        assert_eq!(writer.to.written, b"several bytes");
    }

    #[test]
    fn without_anybody_to_write_for_it_is_an_error() {
        let disk = Disk { room: Arc::new(AtomicUsize::new(3)), written: Vec::new() };
        let mut writer = Patient::new(disk, "out", Arc::new(|_| false));
        let error = writer.write_all(b"several").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(writer.to.written, b"sev");
    }
}
