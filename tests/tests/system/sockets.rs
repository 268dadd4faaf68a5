//! The other ends of the programs' sockets: plain, blocking, and never without a bound.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

/// The longest that a read waits. Reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a program of this machine.
pub(crate) fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// `payload` behind its length, as Wallaroo's senders write it.
pub(crate) fn framed(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap();
    [&length.to_be_bytes()[..], payload].concat()
}

/// One frame; none at the end of the stream.
pub(crate) fn read_frame(stream: &mut impl Read) -> Option<String> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).unwrap();
    Some(String::from_utf8(frame).unwrap())
}

/// A client of a program's WebSocket.
pub(crate) struct Socket(WebSocket<TcpStream>);

impl Socket {
    pub(crate) fn connect(port: u16, path: &str) -> Self {
        let url = format!("ws://127.0.0.1:{port}{path}");
        Self(client(url, dial(port)).unwrap().0)
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).unwrap();
    }

    /// The next message; none when the program has ended the connection.
    pub(crate) fn read(&mut self) -> Option<String> {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Binary(bytes)) => {
                    return Some(String::from_utf8(bytes.to_vec()).unwrap());
                }
                Ok(Message::Close(_)) => return None,
                Ok(_) => {}
                Err(error) => panic!("no message: {error}"),
            }
        }
    }
}
