//! Durable streams over HTTP and WebSockets: [`service`] is a router for any server, [`serve`] a server.
//!
//! Invariant: an append is answered when it is durable, with its offsets, and never before. Everything has a
//! bound: bodies, answers, those who wait, writers, consumers. A name is a name and no path. No file is touched on
//! a thread of the runtime.

mod append;
mod follow;
mod groups;
mod manage;
mod page;
mod read;
mod serving;
mod shared;
mod socket;
mod writers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anabranch::http::Routes;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use utoipa::OpenApi;

pub use self::serving::{ServeOptions, Serving, serve};
use self::shared::Shared;
use super::Streams;
use crate::http::Problem;

/// The largest body of a request that is no append.
const SMALL_BODY_MAX: usize = 16 << 10;

/// Bounds of [`service`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// The largest body of an append; up to half of [`BATCH_BYTES_MAX`](super::BATCH_BYTES_MAX).
    pub body_bytes_max: usize,
    /// The largest message of a WebSocket, of which each may hold two; up to `body_bytes_max`.
    pub message_bytes_max: usize,
    /// What all bodies that are being received or written have together.
    pub bodies_bytes_max: usize,
    /// The longest for a body to come.
    pub body_time: Duration,
    /// The most records of an answer.
    pub page_records_max: usize,
    /// About the most bytes of an answer; one larger record still passes.
    pub page_bytes_max: usize,
    /// The longest that a reader may wait for more.
    pub wait_max: Duration,
    /// How many readers may wait or follow at a time.
    pub followers_max: usize,
    /// How many calls may work on files at a time; others wait.
    pub work_max: usize,
    /// How many streams may be open to be written.
    pub writers_max: usize,
    /// A stream that nobody has appended to for so long is let go, so that another process can write it.
    pub writer_idle: Duration,
    /// How many consumers there may be.
    pub consumers_max: usize,
    /// A consumer that asks for nothing for so long has left its group.
    pub lease: Duration,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 8 << 20,
            message_bytes_max: 1 << 20,
            bodies_bytes_max: 64 << 20,
            body_time: Duration::from_secs(30),
            page_records_max: 1_000,
            page_bytes_max: 1 << 20,
            wait_max: Duration::from_secs(25),
            followers_max: 256,
            work_max: 64,
            writers_max: 256,
            writer_idle: Duration::from_secs(10),
            consumers_max: 256,
            lease: Duration::from_secs(30),
        }
    }
}

/// All routes, to be mounted at `/api/v1/streams` by who guards them: who may ask is not looked at here.
///
/// WebSockets need a server that lets connections be upgraded; blocking work is done on the blocking threads of
/// the runtime that serves.
///
/// ```
/// use anabranch_connectors::stream::{ServiceLimits, Streams, service};
/// # let mut random = [0; 8];
/// # anabranch::clock::entropy(&mut random)?;
/// # let dir = std::env::temp_dir().join(format!("anabranch-doc-{:x}", u64::from_le_bytes(random)));
/// let streams = service(Streams::open(&dir)?, ServiceLimits::default());
/// let router: axum::Router = axum::Router::new().nest("/api/v1/streams", streams);
/// # drop(router);
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn service(streams: Streams, limits: ServiceLimits) -> Router {
    let shared = Arc::new(Shared::new(streams, limits));
    Router::new()
        .route("/", get(manage::list))
        .route("/{stream}", get(manage::show).put(manage::create).delete(manage::remove))
        .route("/{stream}/trim", post(manage::trim))
        .route("/{stream}/retain", post(manage::retain))
        .route("/{stream}/records", get(read::read).post(append::append))
        .route("/{stream}/append", get(socket::append))
        .route("/{stream}/follow", get(socket::follow))
        .route("/{stream}/groups", get(groups::list))
        .route("/{stream}/groups/{group}", get(groups::show).put(groups::reset))
        .route("/{stream}/groups/{group}/consumers", post(groups::join))
        .route(
            "/{stream}/groups/{group}/consumers/{consumer}",
            axum::routing::delete(groups::leave),
        )
        .route("/{stream}/groups/{group}/consumers/{consumer}/read", post(groups::read))
        .route("/{stream}/groups/{group}/consumers/{consumer}/commit", post(groups::commit))
        .method_not_allowed_fallback(not_so)
        // Appends have their own.
        .layer(DefaultBodyLimit::max(SMALL_BODY_MAX))
        .layer(from_fn(careful))
        .with_state(shared)
}

async fn not_so() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "that cannot be done with this address")
}

/// Tells browsers to take an answer for nothing but what it says.
async fn careful(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Anabranch streams", description = "Durable streams over HTTP and WebSockets."),
    paths(
        manage::list,
        manage::show,
        manage::create,
        manage::remove,
        manage::trim,
        manage::retain,
        append::append,
        read::read,
        socket::append,
        socket::follow,
        groups::list,
        groups::show,
        groups::reset,
        groups::join,
        groups::leave,
        groups::read,
        groups::commit,
    ),
    components(schemas(Problem))
)]
struct Description;

/// The streams in a folder, for an application to answer for at `/api/v1/streams` of its program.
///
/// ```
/// use anabranch::App;
/// use anabranch_connectors::stream::routes;
///
/// fn build(app: &App) {
///     app.routes(routes("streams"));
/// }
/// # let _ = build;
/// ```
pub fn routes(dir: impl Into<PathBuf>) -> Routes {
    let dir = dir.into();
    let serve = move || Ok(service(Streams::open(&dir)?, ServiceLimits::default()));
    Routes::new("streams", serve).described(description())
}

/// What [`service`] answers, mounted at `/api/v1/streams`, as OpenAPI 3.1.
///
/// ```
/// let paths = anabranch_connectors::stream::description().paths.paths;
/// assert!(paths.contains_key("/api/v1/streams/{stream}/records"));
/// ```
pub fn description() -> utoipa::openapi::OpenApi {
    let mut description = Description::openapi();
    description.info.version = env!("CARGO_PKG_VERSION").to_string();
    description
}
