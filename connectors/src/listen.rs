//! Listening: binding, accepting, and how a connector says where it listens.
//!
//! Invariant: never more connections than the bound, and nothing that a client does ends the
//! accepting; without a host in the URL only this machine can connect.

use std::future::Future;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anabranch::metrics::Counter;
use anabranch::source::{FrameReader, OpenContext};
use anabranch::{Error, Result};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::queue::{Bounds, EndGuard, Inbound, inbound};
use crate::runtime::runtime;

/// After an error of accepting (no file descriptors left) the next attempt is made this late.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A peer whose machine vanished is noticed after about a minute and a half.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// Where to listen, for how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    /// `HOST:PORT`.
    pub(crate) address: String,
    pub(crate) connections_max: usize,
    /// Written with the bound `HOST:PORT` and a newline once connections are accepted.
    pub(crate) port_file: Option<PathBuf>,
}

impl Listen {
    /// Whether nobody but this machine can connect, as far as the URL says.
    pub(crate) fn is_here(&self) -> bool {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = host.parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Binds, tells where (log, the counter `port`, the port file), and gives the listener.
    pub(crate) fn bind(&self, context: &OpenContext, what: &str) -> Result<TcpListener> {
        let wrong = |e| {
            Error::io(
                format!(
                    "`{}` cannot listen on {}: is the port in use, by another program or another \
                     source or sink of this one? Port 0 takes any free one",
                    context.name, self.address
                ),
                e,
            )
        };
        let addresses: Vec<SocketAddr> = self.address.to_socket_addrs().map_err(wrong)?.collect();
        let listener = std::net::TcpListener::bind(&addresses[..]).map_err(wrong)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let bound = listener.local_addr().map_err(wrong)?;
        let _inside = runtime()?.enter();
        let listener = TcpListener::from_std(listener).map_err(wrong)?;
        context.counters.gauge("port").set(u64::from(bound.port()));
        if !bound.ip().is_loopback() {
            tracing::warn!(name = %context.name, "{what} can be reached from other machines: anyone who reaches {bound} can connect");
        }
        tracing::info!(name = %context.name, "{what} listens on {bound}");
        self.write_port_file(bound)?;
        Ok(listener)
    }

    /// Renamed into place, so that who sees the file sees all of it.
    fn write_port_file(&self, bound: SocketAddr) -> Result<()> {
        let Some(path) = &self.port_file else { return Ok(()) };
        let partial = path.with_extension("partial");
        std::fs::write(&partial, format!("{bound}\n"))
            .and_then(|()| std::fs::rename(&partial, path))
            .map_err(|e| Error::io(format!("cannot write `port_file={}`", path.display()), e))
    }

    /// Opens a source that listens: every connection feeds one queue, until the reader is dropped.
    /// `serve` is as for [`accept`](Listen::accept), with the queue.
    pub(crate) fn feed<F, S>(
        &self,
        context: &OpenContext,
        bounds: Bounds,
        serve: F,
    ) -> Result<Box<dyn FrameReader>>
    where
        F: Fn(Inbound, TcpStream, SocketAddr, OwnedSemaphorePermit) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = self.bind(context, "the source")?;
        let (queue, reader) = inbound(bounds, context.waker.clone(), context.resume.from);
        let (listen, context) = (self.clone(), context.clone());
        let task = runtime()?.spawn(async move {
            let _guard = EndGuard(queue.clone());
            let serve = |stream, peer, place| serve(queue.clone(), stream, peer, place);
            listen.accept(listener, context, serve).await;
        });
        Ok(Box::new(reader.fed_by(task)))
    }

    /// Accepts until the future is dropped, which also ends every connection. `serve` makes the
    /// future of one connection, which holds its place until it ends.
    pub(crate) async fn accept<F, S>(&self, listener: TcpListener, context: OpenContext, serve: F)
    where
        F: Fn(TcpStream, SocketAddr, OwnedSemaphorePermit) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.connections_max));
        let (accepted, refused) =
            (context.counters.counter("connections"), context.counters.counter("refused"));
        let mut connections = JoinSet::new();
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(name = %context.name, "cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                // Closed by the drop of the stream.
                if count_and_tell(&refused) {
                    tracing::warn!(
                        name = %context.name,
                        so_far = refused.get(),
                        "refused a connection of {peer}: {} are open, the most that `connections` \
                         allows",
                        self.connections_max
                    );
                }
                continue;
            };
            accepted.add(1);
            tune(&stream);
            connections.spawn(serve(stream, peer, place));
        }
    }
}

/// Small frames go at once, and a peer whose machine vanished is noticed. Failing to ask for it
/// costs only that.
pub(crate) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Counts one more, and says whether to log it: the first, second, fourth, eighth and so on, so
/// that a client that fails a million times fills no disk.
pub(crate) fn count_and_tell(counter: &Counter) -> bool {
    counter.add(1);
    counter.get().is_power_of_two()
}
