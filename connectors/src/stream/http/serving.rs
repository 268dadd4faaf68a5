//! [`serve`]: streams on a port of their own.
//!
//! Invariant: only this machine is listened to unless the address says otherwise; without tokens no page of
//! another site can ask, and with them only who has one. Dropping [`Serving`] ends it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anabranch::metrics::Counters;
use anabranch::source::{OpenContext, Waker};
use anabranch::{Error, Result};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{ServiceLimits, description, service};
use crate::http::{Door, Pace, Problem, connection, guard};
use crate::listen::Listen;
use crate::secret::Tokens;
use crate::stream::Streams;

/// How long calls that work on files have to end when the server does.
const GOODBYE: Duration = Duration::from_secs(5);

/// Where and to whom streams are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// `HOST:PORT`; with port 0 the operating system chooses.
    pub address: String,
    /// A file with a token a line, of which who asks must send one.
    pub token_file: Option<PathBuf>,
    /// Web pages that may ask, by their origin; `*` is any.
    pub origins: Vec<String>,
    /// The most connections at a time; more are closed at once.
    pub connections_max: usize,
    /// The longest from connecting, or from an answer, to a whole head of a request.
    pub head_time: Duration,
    /// The longest that a peer may read nothing of its answer.
    pub answer_time: Duration,
    /// A file to write the bound `HOST:PORT` to.
    pub port_file: Option<PathBuf>,
}

impl Default for ServeOptions {
    /// On 127.0.0.1, on a port that the operating system chooses, for 1,024 connections.
    fn default() -> Self {
        Self {
            address: "127.0.0.1:0".to_owned(),
            token_file: None,
            origins: Vec::new(),
            connections_max: 1024,
            head_time: Duration::from_secs(5),
            answer_time: Duration::from_secs(30),
            port_file: None,
        }
    }
}

/// Streams while they are served; dropping this ends it.
pub struct Serving {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // If nobody listens any more, it has ended.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Serves [`service`] at `/api/v1/streams`, and its description at `/api/v1/openapi.json`, on threads of its own.
///
/// ```
/// use anabranch_connectors::stream::{ServeOptions, ServiceLimits, Streams, serve};
/// # let mut random = [0; 8];
/// # anabranch::clock::entropy(&mut random)?;
/// # let dir = std::env::temp_dir().join(format!("anabranch-doc-{:x}", u64::from_le_bytes(random)));
/// let serving = serve(Streams::open(&dir)?, ServiceLimits::default(), &ServeOptions::default())?;
/// println!("see http://{}/api/v1/streams", serving.address());
/// # drop(serving);
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), anabranch::Error>(())
/// ```
///
/// # Errors
/// When it cannot listen there, or the file of tokens is wrong.
pub fn serve(streams: Streams, limits: ServiceLimits, options: &ServeOptions) -> Result<Serving> {
    let listen = Listen {
        address: options.address.clone(),
        connections_max: options.connections_max,
        port_file: options.port_file.clone(),
    };
    let door = Arc::new(Door {
        tokens: options.token_file.as_deref().map(Tokens::read).transpose()?.unwrap_or_default(),
        origins: options.origins.clone(),
        is_here: listen.is_here(),
        methods: "GET, POST, PUT, DELETE",
    });
    let router = Router::new()
        .nest("/api/v1/streams", service(streams, limits))
        .route("/api/v1/openapi.json", get(async || Json(description())))
        .fallback(async || Problem::not_found("there is nothing here; see /api/v1/openapi.json"))
        .layer(from_fn_with_state(door, guard));
    let failed = |e| Error::io("starting the server of streams", e);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(limits.work_max + 2)
        .thread_name("streams")
        .enable_all()
        .build()
        .map_err(failed)?;
    let context = OpenContext::new("streams", Waker::new(|| ()), Counters::default());
    let listener = listen.bind(&context, "the server")?;
    let address = listener.local_addr().map_err(failed)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let pace = Pace { head: options.head_time, answer: options.answer_time };
    let work = move || {
        let each = move |stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit| {
            let router = router.clone();
            async move {
                if let Err(why) = connection(stream, router, pace).await {
                    tracing::debug!("{peer}: {why}");
                }
                drop(place);
            }
        };
        runtime.block_on(async move {
            tokio::select! {
                () = listen.accept(listener, context, each) => {}
                _ = stopped => {}
            }
        });
        runtime.shutdown_timeout(GOODBYE);
    };
    let thread = std::thread::Builder::new().name("streams".to_owned()).spawn(work);
    let thread = thread.map_err(failed)?;
    Ok(Serving { address, stop: Some(stop), thread: Some(thread) })
}
