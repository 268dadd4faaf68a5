//! The source `ws://` and `wss://`: one connection that is kept, its messages as frames.
//!
//! Invariant: what the worker does not read is not taken from the socket: the queue is bounded,
//! and then the server's TCP window closes.

use std::path::PathBuf;

use anabranch::Result;
use anabranch::source::{FrameReader, Inlet, Nature, OpenContext};
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::backoff::Backoff;
use crate::queue::{Bounds, EndGuard, Inbound, inbound};
use crate::runtime::runtime;
use crate::websocket::client::{Feed, Verdict, keep_connected};
use crate::websocket::connection::Limits;
use crate::websocket::dial::Dial;
use crate::websocket::tls::tls_client;

/// A server to read from.
#[derive(Clone, Debug)]
pub(crate) struct WebSocketSource {
    /// With the server's own query.
    pub(crate) url: String,
    /// Sent first on every connection.
    pub(crate) subscribe: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) roots: Option<PathBuf>,
    pub(crate) bounds: Bounds,
}

impl Inlet for WebSocketSource {
    fn describe(&self) -> String {
        self.url.split('?').next().unwrap_or_default().into()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        let tls = match &self.roots {
            Some(path) => Some(tls_client(Some(path))?),
            None => None,
        };
        let dial = Dial::new(&self.url, tls, self.limits)?;
        let (queue, reader) = inbound(self.bounds, context.waker.clone(), context.resume.from);
        let mut feed = ToQueue { subscribe: self.subscribe.clone(), queue };
        let context = context.clone();
        let task = runtime()?.spawn(async move {
            let _guard = EndGuard(feed.queue.clone());
            let backoff = Backoff::default();
            keep_connected(&context.name, &dial, backoff, &context.counters, &mut feed).await;
        });
        Ok(Box::new(reader.fed_by(task)))
    }
}

struct ToQueue {
    subscribe: Vec<String>,
    queue: Inbound,
}

impl Feed for ToQueue {
    fn greeting(&mut self) -> Vec<String> {
        self.subscribe.clone()
    }

    async fn message(&mut self, message: Message) -> Verdict {
        match self.queue.send(&message.into_data()).await {
            Ok(_) => Verdict::Good,
            Err(_) => Verdict::Stop,
        }
    }
}
