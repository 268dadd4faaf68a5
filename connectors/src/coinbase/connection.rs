//! One WebSocket connection to the exchange: opens, subscribes, and hands its frames on.
//!
//! Invariant: it ends by itself within its limits, whatever the other side does or does not, and
//! says why; it never connects again (that is the feed's decision). What it has read and nobody
//! took yet is bounded in bytes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::pace::Pace;
use super::{Address, Limits};
use crate::websocket::retry_after;

/// Frames that were read and are not decoded yet: this many, and this many bytes.
const FRAMES_MAX: usize = 1024;

/// What a connection tells its feed.
#[derive(Debug)]
pub(super) enum Event {
    /// It is open and the subscribe is sent.
    Opened,
    /// A frame, with its share of the bytes that may be under way.
    Frame(Bytes, OwnedSemaphorePermit),
    /// It has ended.
    Closed(Closed),
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) why: String,
    /// The exchange asked to wait.
    pub(super) wait: Option<Duration>,
    /// A frame was larger than allowed.
    pub(super) oversized: bool,
    /// Sending failed: what had come before may not have been read.
    unread: bool,
}

impl Closed {
    fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), wait: None, oversized: false, unread: false }
    }
}

/// What all connections of a feed have in common.
pub(super) struct Dialer {
    pub(super) address: Address,
    pub(super) limits: Limits,
    pub(super) pace: Arc<Pace>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) events: mpsc::Sender<(u64, Event)>,
    bytes: Arc<Semaphore>,
}

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Dialer {
    /// A dialer, and where its connections' events arrive.
    pub(super) fn new(
        address: Address,
        limits: Limits,
        pace: Arc<Pace>,
        tls: Arc<ClientConfig>,
    ) -> (Self, mpsc::Receiver<(u64, Event)>) {
        let (events, received) = mpsc::channel(FRAMES_MAX);
        let bytes = Arc::new(Semaphore::new(limits.frame_bytes_max.saturating_mul(2).max(1)));
        (Self { address, limits, pace, tls, events, bytes }, received)
    }

    /// Runs one connection to its end. `orders` are messages to send; when their sender is gone
    /// the connection closes.
    pub(super) async fn run(self: Arc<Self>, id: u64, orders: mpsc::Receiver<String>) {
        self.pace.turn().await;
        let closed = match timeout(self.limits.connect, self.open()).await {
            Err(_) => Closed::because(format!("it did not open within {:?}", self.limits.connect)),
            Ok(Err(closed)) => closed,
            Ok(Ok(mut stream)) => {
                let closed = self.serve(id, &mut stream, orders).await;
                if closed.unread {
                    self.drain(id, &mut stream).await;
                }
                closed
            }
        };
        // Without a receiver the feed has ended, and nobody wants to know.
        let _ = self.events.send((id, Event::Closed(closed))).await;
    }

    async fn open(&self) -> Result<Stream, Closed> {
        let Address { host, port, .. } = &self.address;
        let tcp = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|e| Closed::because(format!("{host}:{port} cannot be reached: {e}")))?;
        // Only a matter of delay: a socket that refuses it still works.
        let _ = tcp.set_nodelay(true);
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(self.limits.frame_bytes_max);
        config.max_frame_size = Some(self.limits.frame_bytes_max);
        let connector = match self.address.tls {
            true => Connector::Rustls(Arc::clone(&self.tls)),
            false => Connector::Plain,
        };
        let url = self.address.websocket();
        let opened = client_async_tls_with_config(url, tcp, Some(config), Some(connector)).await;
        opened.map(|(stream, _)| stream).map_err(|error| self.closed(error))
    }

    async fn serve(
        &self,
        id: u64,
        stream: &mut Stream,
        mut orders: mpsc::Receiver<String>,
    ) -> Closed {
        for subscribe in self.address.subscribes() {
            if let Err(closed) = self.send(stream, Message::text(subscribe)).await {
                return closed;
            }
        }
        if self.events.send((id, Event::Opened)).await.is_err() {
            return Closed::because("the feed has ended");
        }
        let mut ping = std::pin::pin!(tokio::time::sleep(self.limits.ping_every));
        let mut silence = std::pin::pin!(tokio::time::sleep(self.limits.silence));
        loop {
            tokio::select! {
                order = orders.recv() => {
                    let Some(order) = order else {
                        // Politely, but nobody waits for the answer.
                        let _ = timeout(self.limits.connect, stream.close(None)).await;
                        return Closed::because("it was replaced");
                    };
                    if let Err(closed) = self.send(stream, Message::text(order)).await {
                        return closed;
                    }
                }
                message = stream.next() => {
                    if let Err(closed) = self.received(id, message).await {
                        return closed;
                    }
                    restart(silence.as_mut(), self.limits.silence);
                }
                () = ping.as_mut() => {
                    if let Err(closed) = self.send(stream, Message::Ping(Bytes::new())).await {
                        return closed;
                    }
                    restart(ping.as_mut(), self.limits.ping_every);
                }
                () = silence.as_mut() => {
                    let silence = self.limits.silence;
                    return Closed::because(format!("nothing came for {silence:?}, not even a pong"));
                }
            }
        }
    }

    /// Hands on what an exchange that has hung up had sent before: it may be what nobody will
    /// send again.
    async fn drain(&self, id: u64, stream: &mut Stream) {
        let reading = async {
            loop {
                let message = stream.next().await;
                if self.received(id, message).await.is_err() {
                    return;
                }
            }
        };
        // An exchange that goes on sending and takes nothing is left.
        let _ = timeout(self.limits.connect, reading).await;
    }

    async fn received(
        &self,
        id: u64,
        message: Option<Result<Message, WsError>>,
    ) -> Result<(), Closed> {
        let frame = match message {
            None => return Err(Closed::because("the exchange closed it without a word")),
            Some(Err(error)) => return Err(self.closed(error)),
            Some(Ok(Message::Close(reason))) => {
                let why = match reason {
                    None => "the exchange closed it".to_owned(),
                    Some(frame) => {
                        let reason: String = frame.reason.chars().take(120).collect();
                        format!("the exchange closed it: {} {reason}", u16::from(frame.code))
                    }
                };
                return Err(Closed::because(why));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(()),
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => message.into_data(),
        };
        let ended = || Closed::because("the feed has ended");
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX).max(1);
        let share = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.map_err(|_| ended())?;
        self.events.send((id, Event::Frame(frame, share))).await.map_err(|_| ended())
    }

    async fn send(&self, stream: &mut Stream, message: Message) -> Result<(), Closed> {
        match timeout(self.limits.silence, stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Closed { unread: true, ..self.closed(error) }),
            Err(_) => Err(Closed::because("the exchange takes nothing any more")),
        }
    }

    fn closed(&self, error: WsError) -> Closed {
        let mut closed = Closed::because(error.to_string());
        match error {
            WsError::Http(response) => {
                let throttled = matches!(response.status().as_u16(), 429 | 503);
                closed.wait = retry_after(response.headers(), self.limits.retry_after_max)
                    .or(throttled.then_some(self.limits.throttled));
                closed.why = format!("the exchange answered {}", response.status());
            }
            WsError::Capacity(_) => closed.oversized = true,
            _ => {}
        }
        closed
    }
}

fn restart(timer: std::pin::Pin<&mut Sleep>, after: Duration) {
    timer.reset(Instant::from_std(anabranch::clock::instant() + after));
}
