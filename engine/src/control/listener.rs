//! Takes connections, as many as there may be, and gives each so much time.
//!
//! Invariant: who sends slowly, or nothing, holds one of [`CONNECTIONS_MAX`] places for [`HEAD_TIME`] at most; the
//! program waits for nobody.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Connections at once; who comes then waits in the operating system's queue.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// The longest from connecting, or from an answer, to a whole head of a request.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(5);
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The pause after a connection could not be taken, as when there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` until `stopped`, by TLS alone if there is a certificate.
pub(super) async fn run(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    stopped: oneshot::Receiver<()>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("http: the interface cannot be served: {error}"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let take = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn(encrypted(stream, tls.clone(), router.clone(), place));
                }
                Err(error) => {
                    tracing::warn!("http: a connection could not be taken: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            // Those that have ended leave nothing behind.
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = take => {}
        _ = stopped => {}
    }
}

/// Agrees on keys first, if there is a certificate.
async fn encrypted(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    place: OwnedSemaphorePermit,
) {
    let Some(tls) = tls else { return connection(stream, router, place).await };
    match tokio::time::timeout(HEAD_TIME, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection(stream, router, place).await,
        Ok(Err(error)) => tracing::debug!("http: no keys were agreed on: {error}"),
        Err(_) => tracing::debug!("http: no keys were agreed on within {HEAD_TIME:?}"),
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    place: OwnedSemaphorePermit,
) {
    let service = TowerToHyperService::new(router);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!("http: a connection ended: {error}");
    }
    drop(place);
}
