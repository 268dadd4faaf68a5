//! A subscriber of a `ws-listen://` sink that comes back with the name of the last record it got.
//!
//! Invariant: it is told of a gap or there is none: what it has got is in one piece from its first
//! record on, each record once. It ends when the program does.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, client};

/// The longest that a read waits. Reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// A name that no record has.
const NOBODY: &str = "nobody-0-0";

/// What it has got.
#[derive(Debug, Default)]
pub(crate) struct Got {
    /// Each record, and a line end after it.
    pub(crate) text: String,
    pub(crate) connections: usize,
    /// How often it was told that something is gone, after its first record.
    pub(crate) gaps: usize,
    last: Option<String>,
    names: BTreeSet<String>,
    over: bool,
}

/// A subscriber, on a thread of its own.
pub(crate) struct Subscription {
    got: Arc<Mutex<Got>>,
    thread: JoinHandle<()>,
}

impl Subscription {
    pub(crate) fn start(port: u16) -> Self {
        let got = Arc::new(Mutex::new(Got::default()));
        let shared = Arc::clone(&got);
        let thread = std::thread::spawn(move || while connected(port, &shared) {});
        Self { got, thread }
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Got) -> T) -> T {
        look(&self.got.lock().unwrap())
    }

    /// The program has ended by itself: all that was for the subscriber is there.
    #[track_caller]
    pub(crate) fn finish(self) -> Got {
        self.got.lock().unwrap().over = true;
        self.thread.join().unwrap();
        Arc::into_inner(self.got).unwrap().into_inner().unwrap()
    }
}

/// One connection, if somebody listens. False if there will be no other.
fn connected(port: u16, got: &Mutex<Got>) -> bool {
    let after = got.lock().unwrap().last.clone().unwrap_or_else(|| NOBODY.to_owned());
    let url = format!("ws://127.0.0.1:{port}/?ids=true&after={after}");
    let socket = TcpStream::connect(("127.0.0.1", port)).ok().and_then(|stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(client(url, stream).ok()?.0)
    });
    let Some(mut socket) = socket else {
        std::thread::sleep(Duration::from_millis(5));
        return !got.lock().unwrap().over;
    };
    got.lock().unwrap().connections += 1;
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => take(&text, &mut got.lock().unwrap()),
            Ok(Message::Binary(bytes)) => {
                take(std::str::from_utf8(&bytes).unwrap(), &mut got.lock().unwrap());
            }
            Ok(Message::Close(_)) | Err(_) => return !got.lock().unwrap().over,
            Ok(_) => {}
        }
    }
}

fn take(message: &str, got: &mut Got) {
    let Some((name, record)) = message.split_once('\n') else {
        let gap: Value = serde_json::from_str(message).unwrap();
        assert!(gap["gap"].is_object(), "{message}");
        got.gaps += usize::from(got.last.is_some());
        return;
    };
    assert!(got.names.insert(name.to_owned()), "{name} has come twice");
    got.last = Some(name.to_owned());
    got.text += record;
    got.text += "\n";
}
