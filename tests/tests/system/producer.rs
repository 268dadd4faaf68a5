//! Producers that send to a `tcp-listen://` or `ws-listen://` source with acknowledgements, and come back.
//!
//! Invariant: what has not been acknowledged is sent again on the next connection, from the first such
//! record on; what was is never sent again. A producer ends when all it has sent is acknowledged.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, client};

use crate::ledger::{Connection, text};
use crate::sockets::framed;

/// How many records may be without an acknowledgement.
const WINDOW: u64 = 100;
/// The longest that an acknowledgement may take. Reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(180);

/// How records travel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Tcp,
    Ws,
}

/// A connection; what breaks it is none of the producer's business.
enum Line {
    Tcp(TcpStream),
    Ws(Box<WebSocket<TcpStream>>),
}

impl Line {
    /// None if nobody listens, or hangs up at once.
    fn open(transport: Transport, port: u16) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match transport {
            Transport::Tcp => Some(Self::Tcp(stream)),
            Transport::Ws => {
                let (socket, _) = client(format!("ws://127.0.0.1:{port}/"), stream).ok()?;
                Some(Self::Ws(Box::new(socket)))
            }
        }
    }

    /// False if it broke.
    fn send(&mut self, records: &[String]) -> bool {
        match self {
            Self::Tcp(stream) => {
                let frames: Vec<u8> = records.iter().flat_map(framed).collect();
                stream.write_all(&frames).is_ok()
            }
            Self::Ws(socket) => {
                let mut messages = records.iter().map(Message::text);
                messages.all(|message| socket.write(message).is_ok()) && socket.flush().is_ok()
            }
        }
    }

    /// Waits until it is told how many records of this connection are durable; none if it broke.
    fn acknowledged(&mut self) -> Option<u64> {
        let late = |kind| assert!(kind != ErrorKind::WouldBlock, "not told for {PATIENCE:?}");
        match self {
            Self::Tcp(stream) => {
                let mut durable = [0; 8];
                stream.read_exact(&mut durable).map_err(|error| late(error.kind())).ok()?;
                Some(u64::from_be_bytes(durable))
            }
            Self::Ws(socket) => loop {
                match socket.read() {
                    Ok(Message::Text(text)) => {
                        let told: Value = serde_json::from_str(&text).unwrap();
                        return Some(told["ack"].as_u64().unwrap());
                    }
                    Ok(Message::Close(_)) => return None,
                    Ok(_) => {}
                    Err(tungstenite::Error::Io(error)) => {
                        late(error.kind());
                        return None;
                    }
                    Err(_) => return None,
                }
            },
        }
    }
}

/// Several producers, each on a thread.
pub(crate) struct Producers {
    threads: Vec<JoinHandle<Vec<Connection>>>,
    enough: Arc<AtomicBool>,
    acknowledged: Vec<Arc<AtomicU64>>,
}

/// What a producer sends on its connection of that number, as its record of that number.
pub(crate) type Text = fn(usize, usize, u64) -> String;

impl Producers {
    pub(crate) fn start(count: usize, transport: Transport, port: u16) -> Self {
        Self::sending(text, count, transport, port)
    }

    pub(crate) fn sending(text: Text, count: usize, transport: Transport, port: u16) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let acknowledged: Vec<Arc<AtomicU64>> = (0..count).map(|_| Arc::default()).collect();
        let threads = acknowledged.iter().enumerate().map(|(producer, acknowledged)| {
            let (enough, acknowledged) = (Arc::clone(&enough), Arc::clone(acknowledged));
            std::thread::spawn(move || {
                produce(text, producer, (transport, port), &enough, &acknowledged)
            })
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
    text: Text,
    producer: usize,
    (transport, port): (Transport, u16),
    enough: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Vec<Connection> {
    let mut connections: Vec<Connection> = Vec::new();
    let mut tries = 0;
    loop {
        let Some(line) = Line::open(transport, port) else {
            tries += 1;
            assert!(tries < 36_000, "nobody has listened for minutes");
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        tries = 0;
        let first = acknowledged.load(Ordering::SeqCst);
        let number = connections.len();
        connections.push(Connection { first, ..Connection::default() });
        let Some(connection) = connections.last_mut() else { unreachable!() };
        let over =
            serve(line, connection, enough, acknowledged, |record| text(producer, number, record));
        if over {
            return connections;
        }
    }
}

/// Sends on one connection. True if there is nothing more to send, false if it broke.
fn serve(
    mut line: Line,
    connection: &mut Connection,
    enough: &AtomicBool,
    acknowledged: &AtomicU64,
    record: impl Fn(u64) -> String,
) -> bool {
    loop {
        let open = WINDOW - (connection.sent - connection.acknowledged);
        let wish = if enough.load(Ordering::SeqCst) { 0 } else { open };
        let mut records = Vec::new();
        for _ in 0..wish {
            records.push(record(connection.first + connection.sent));
            // Of what cannot be written a part may have been.
            connection.sent += 1;
        }
        if !line.send(&records) {
            return false;
        }
        if connection.sent == connection.acknowledged {
            return true;
        }
        let Some(durable) = line.acknowledged() else { return false };
        assert!(durable > connection.acknowledged, "acknowledged {durable} again");
        assert!(durable <= connection.sent, "acknowledged {durable} of {}", connection.sent);
        connection.acknowledged = durable;
        acknowledged.store(connection.first + durable, Ordering::SeqCst);
    }
}
