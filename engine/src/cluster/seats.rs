//! Who is there already, while the cluster forms.
//!
//! Invariant: a seat holds two connections of one start ("incarnation") of one process; once it
//! does, it is never given to another. Only what a handshake has authenticated sits down here.

use std::io::ErrorKind;
use std::net::TcpStream;

use super::handshake::{Identity, Purpose};
use super::link::Links;

/// The place of one other process.
#[derive(Default)]
pub(super) struct Seat {
    pub(super) incarnation: u64,
    pub(super) control: Option<TcpStream>,
    pub(super) data: Option<TcpStream>,
    /// Complete: the control connection is a link now.
    pub(super) taken: bool,
    /// What the last attempt to reach it has come to.
    pub(super) note: String,
}

/// The places of all processes, while the cluster forms.
pub(super) struct Seats {
    pub(super) seats: Vec<Seat>,
    /// None once the forming is over.
    pub(super) links: Option<Links>,
    /// What keeps the cluster from being formed.
    pub(super) differs: Option<String>,
    pub(super) closed: bool,
}

impl Seats {
    /// Whether `peer` may sit down, or who sits in its place.
    pub(super) fn vacant(&mut self, peer: &Identity) -> Result<(), String> {
        let process = peer.process;
        let at = usize::try_from(process).unwrap_or(usize::MAX);
        let seat = self.seats.get_mut(at).ok_or("there is no such process")?;
        if self.closed {
            return Err("the cluster is closed".to_owned());
        }
        let same = seat.incarnation == peer.incarnation;
        let held = || [&seat.control, &seat.data].into_iter().flatten();
        if seat.taken || (!same && held().any(alive)) {
            let other = held().find_map(|stream| stream.peer_addr().ok());
            let other = other.map_or(String::new(), |address| format!(", from {address}"));
            return Err(format!("has process {process} already{other}: give each its own index"));
        }
        if !same {
            (seat.control, seat.data) = (None, None);
        }
        Ok(())
    }

    pub(super) fn seat(&mut self, peer: &Identity, purpose: Purpose, stream: TcpStream) {
        let process = usize::try_from(peer.process).unwrap_or(usize::MAX);
        let Some(seat) = self.seats.get_mut(process).filter(|_| !self.closed) else { return };
        seat.incarnation = peer.incarnation;
        match purpose {
            Purpose::Control => seat.control = Some(stream),
            Purpose::Data => seat.data = Some(stream),
        }
        if let (Some(_), Some(links)) = (&seat.data, &self.links)
            && let Some(control) = seat.control.take()
        {
            seat.taken = true;
            if let Err(e) = links.attach(process, control) {
                self.differs.get_or_insert_with(|| e.to_string());
            }
        }
    }
}

/// Whether the other side has neither closed nor reset a connection on which it says nothing yet.
fn alive(stream: &TcpStream) -> bool {
    let peek = || {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    };
    match peek() {
        Ok(read) => read > 0,
        Err(e) => e.kind() == ErrorKind::WouldBlock,
    }
}
