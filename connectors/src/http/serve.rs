//! [`connection`]: serves one connection, within bounds of time.
//!
//! Invariant: who sends the head of a request slowly, or nothing, or does not read its answer, loses its
//! connection after a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// From connecting, or from an answer, to a whole head of a request.
    pub(crate) head: Duration,
    /// To read anything of an answer.
    pub(crate) answer: Duration,
}

/// Serves requests by `router` until the peer hangs up or is too slow. Gives why, if that was no good end.
///
/// # Errors
/// What the peer did wrong, or the network.
pub(crate) async fn connection(
    stream: TcpStream,
    router: Router,
    pace: Pace,
) -> Result<(), hyper::Error> {
    let service = TowerToHyperService::new(router);
    let stream = Punctual { stream, limit: pace.answer, late: None };
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(pace.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    serving.await
}

/// A stream whose writes fail if none gets on for some time.
struct Punctual {
    stream: TcpStream,
    limit: Duration,
    late: Option<Pin<Box<Sleep>>>,
}

impl Punctual {
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        work: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = work(Pin::new(&mut self.stream), cx) {
            self.late = None;
            return Poll::Ready(done);
        }
        let limit = self.limit;
        let late = self.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        late.as_mut().poll(cx).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read its answer"))
        })
    }
}

impl AsyncRead for Punctual {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Punctual {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.in_time(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx, |stream, cx| stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.in_time(cx, |stream, cx| stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
