//! Producers that send to a `tcp-listen://` source with acknowledgements, and come back.
//!
//! Invariant: what has not been acknowledged is sent again on the next connection, from the first such
//! record on; what was is never sent again. A producer ends when all it has sent is acknowledged.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::ledger::{Connection, text};
use crate::sockets::framed;

/// How many records may be without an acknowledgement.
const WINDOW: u64 = 100;
/// The longest that an acknowledgement may take. Reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Several producers, each on a thread.
pub(crate) struct Producers {
    threads: Vec<JoinHandle<Vec<Connection>>>,
    enough: Arc<AtomicBool>,
    acknowledged: Vec<Arc<AtomicU64>>,
}

impl Producers {
    pub(crate) fn start(count: usize, port: u16) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let acknowledged: Vec<Arc<AtomicU64>> = (0..count).map(|_| Arc::default()).collect();
        let threads = acknowledged.iter().enumerate().map(|(producer, acknowledged)| {
            let (enough, acknowledged) = (Arc::clone(&enough), Arc::clone(acknowledged));
            std::thread::spawn(move || produce(producer, port, &enough, &acknowledged))
        });
        let threads = threads.collect();
        Self { threads, enough, acknowledged }
    }

    /// How many records of all producers are durable, they were told.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.iter().map(|count| count.load(Ordering::SeqCst)).sum()
    }

    /// Waits until all that was sent is acknowledged; gives the connections that each has made.
    #[track_caller]
    pub(crate) fn finish(self) -> Vec<Vec<Connection>> {
        self.enough.store(true, Ordering::SeqCst);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

fn produce(
    producer: usize,
    port: u16,
    enough: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Vec<Connection> {
    let mut connections: Vec<Connection> = Vec::new();
    let mut tries = 0;
    loop {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else {
            tries += 1;
            assert!(tries < 12_000, "nobody has listened for a minute");
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        tries = 0;
        let first = acknowledged.load(Ordering::SeqCst);
        let number = connections.len();
        connections.push(Connection { first, ..Connection::default() });
        let Some(connection) = connections.last_mut() else { unreachable!() };
        let over = serve(stream, connection, enough, acknowledged, |record| {
            framed(text(producer, number, record))
        });
        if over {
            return connections;
        }
    }
}

/// Sends on one connection. True if there is nothing more to send, false if it broke.
fn serve(
    mut stream: TcpStream,
    connection: &mut Connection,
    enough: &AtomicBool,
    acknowledged: &AtomicU64,
    frame: impl Fn(u64) -> Vec<u8>,
) -> bool {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        let open = WINDOW - (connection.sent - connection.acknowledged);
        let wish = if enough.load(Ordering::SeqCst) { 0 } else { open };
        let mut frames = Vec::new();
        for _ in 0..wish {
            frames.extend(frame(connection.first + connection.sent));
            // Of what cannot be written a part may have been.
            connection.sent += 1;
        }
        if stream.write_all(&frames).is_err() {
            return false;
        }
        if connection.sent == connection.acknowledged {
            return true;
        }
        let mut durable = [0; 8];
        match stream.read_exact(&mut durable) {
            Ok(()) => {}
            Err(error) => {
                let kind = error.kind();
                let late = kind == std::io::ErrorKind::WouldBlock;
                assert!(!late, "nothing was acknowledged for {PATIENCE:?}");
                return false;
            }
        }
        let durable = u64::from_be_bytes(durable);
        assert!(durable > connection.acknowledged, "acknowledged {durable} again");
        assert!(durable <= connection.sent, "acknowledged {durable} of {}", connection.sent);
        connection.acknowledged = durable;
        acknowledged.store(connection.first + durable, Ordering::SeqCst);
    }
}
