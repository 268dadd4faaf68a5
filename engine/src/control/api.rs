//! What can be asked: the routes, their description, and the answers that need no room of their own.
//!
//! Invariant: every route is described in `/api/v1/openapi.json`, and nothing is that is not there.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::openapi::OpenApi as OpenApiDescription;
use utoipa::{OpenApi, ToSchema};

use super::access::{self, Tokens};
use super::changes::{self, Watchers};
use super::problem::Problem;
use super::processes::BusySince;
use super::rate::Rate;
use super::{
    checkpoints, dashboard, health, letters, pipelines, processes, prometheus, rescale, tables,
    views,
};
use crate::Error;
use crate::cluster::Rescaler;
use crate::config::{Config, Layout};
use crate::graph::Graph;
use crate::http::Routes;
use crate::looking::{self, Answer, Ask, Board, Refused};
use crate::worker::{Control, Setup};

/// The largest body of a request, in bytes.
const BODY_MAX: usize = 1 << 20;
/// The longest that a request is worked on.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// How many rows an answer has unless it is asked for another number.
const ROWS: usize = 100;
/// The most rows of an answer.
const ROWS_MAX: usize = 1_000;
/// How long workers have to answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// What is known of the program.
pub(super) struct About {
    pub(super) program: String,
    /// As JSON.
    graph: Box<RawValue>,
    processes: Option<usize>,
    /// The names of the sources.
    pub(super) sources: Vec<String>,
    /// Of this process.
    pub(super) workers: usize,
    pub(super) control: Arc<Control>,
    /// This process.
    pub(super) local: looking::About,
    /// Where the workers are asked.
    pub(super) board: Board,
    pub(super) watchers: Watchers,
    pub(super) rate: Rate,
    pub(super) busy: BusySince,
    /// Where things are kept, if they are.
    pub(super) kept: Option<Config>,
    /// Who can give the program another size.
    pub(super) rescaler: Option<Rescaler>,
    pub(super) tokens: Option<Tokens>,
    /// Below which addresses an application's own are.
    pub(super) added: Vec<String>,
    description: OpenApiDescription,
}

impl About {
    pub(super) fn new(
        (config, graph): (&Config, &Graph),
        setup: &Setup,
        rescaler: Option<Rescaler>,
        tokens: Option<Tokens>,
    ) -> Self {
        let processes = match config.layout() {
            Layout::Local { processes } => Some(*processes),
            Layout::Cluster { .. } => None,
        };
        Self {
            program: config.program().to_string(),
            graph: RawValue::from_string(graph.to_json()).unwrap_or_default(),
            processes,
            sources: graph.sources().map(str::to_string).collect(),
            workers: setup.workers_per_process,
            control: Arc::clone(&setup.control),
            local: looking::About::of(setup),
            board: setup.board.clone().unwrap_or_default(),
            watchers: Watchers::default(),
            rate: Rate::default(),
            busy: BusySince::default(),
            kept: setup.durable.is_some().then(|| config.clone()),
            rescaler,
            tokens,
            added: Vec::new(),
            description: described(),
        }
    }
}

impl About {
    /// Makes the routers of an application, and describes what they answer.
    ///
    /// # Errors
    /// When one cannot be made, or an address is taken.
    pub(super) fn add(&mut self, routes: Vec<Routes>) -> crate::Result<Router> {
        let mut added = Router::new();
        for Routes { name, router, description } in routes {
            let path = format!("/api/v1/{name}");
            let is_one = !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            let below = format!("{path}/");
            let mut known = self.description.paths.paths.keys();
            if !is_one || known.any(|known| *known == path || known.starts_with(&below)) {
                return Err(Error::Application(format!(
                    "routes cannot be named `{name}`: that is taken, or no word of letters, digits and `-`"
                )));
            }
            added = added.nest(&path, router()?);
            self.added.push(path);
            if let Some(description) = description {
                self.description.merge(description);
            }
        }
        Ok(added)
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Anabranch",
        description = "A running program: how it does, what it is made of, and what it holds."
    ),
    paths(
        checkpoints::list,
        checkpoints::take,
        pipelines::list,
        pipelines::pause,
        pipelines::resume,
        pipelines::stop,
        rescale::rescale,
        health::health,
        health::ready,
        prometheus::metrics,
        program,
        graph,
        dashboard::pages,
        processes::status,
        processes::workers,
        processes::counters,
        tables::tables,
        tables::rows,
        tables::row,
        tables::hot_keys,
        views::views,
        views::view,
        changes::rows,
        changes::row,
        changes::view,
        changes::status,
        changes::together,
        letters::list,
        letters::groups,
        letters::retry,
        letters::ignore,
        letters::edit,
        description
    ),
    components(schemas(Problem))
)]
struct Description;

/// All routes, with those that an application has `added`, behind all that guards them.
pub(super) fn router(about: Arc<About>, added: Router) -> Router {
    Router::new()
        .route("/api/v1/health", get(health::health))
        .route("/api/v1/ready", get(health::ready))
        .route("/metrics", get(prometheus::metrics))
        .route("/api/v1/openapi.json", get(description))
        .route("/api/v1/program", get(program))
        .route("/api/v1/graph", get(graph))
        .route("/api/v1/checkpoints", get(checkpoints::list).post(checkpoints::take))
        .route("/api/v1/pipelines", get(pipelines::list))
        .route("/api/v1/pipelines/{source}/pause", post(pipelines::pause))
        .route("/api/v1/pipelines/{source}/resume", post(pipelines::resume))
        .route("/api/v1/stop", post(pipelines::stop))
        .route("/api/v1/rescale", post(rescale::rescale))
        .route("/api/v1/status", get(processes::status))
        .route("/api/v1/workers", get(processes::workers))
        .route("/api/v1/counters", get(processes::counters))
        .route("/api/v1/tables", get(tables::tables))
        .route("/api/v1/tables/{table}", get(tables::rows))
        .route("/api/v1/tables/{table}/{key}", get(tables::row))
        .route("/api/v1/hot-keys/{table}", get(tables::hot_keys))
        .route("/api/v1/views", get(views::views))
        .route("/api/v1/views/{view}", get(views::view))
        .route("/api/v1/changes/tables/{table}", get(changes::rows))
        .route("/api/v1/changes/tables/{table}/{key}", get(changes::row))
        .route("/api/v1/changes/views/{view}", get(changes::view))
        .route("/api/v1/changes/status", get(changes::status))
        .route("/api/v1/changes", get(changes::together))
        .route("/api/v1/dead-letters", get(letters::list))
        .route("/api/v1/dead-letters/groups", get(letters::groups))
        .route("/api/v1/dead-letters/retry", post(letters::retry))
        .route("/api/v1/dead-letters/ignore", post(letters::ignore))
        .route("/api/v1/dead-letters/edit", post(letters::edit))
        .merge(added.with_state(()))
        .fallback(unknown)
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(Arc::clone(&about), access::allow))
        .layer(from_fn(guarded))
        .with_state(about)
}

/// Limits the time of a request, and tells browsers to be careful with the answer.
async fn guarded(request: Request, next: Next) -> Response {
    let late = || {
        let detail = format!("it took longer than {REQUEST_TIME:?}; ask for less");
        Problem::new(StatusCode::GATEWAY_TIMEOUT, detail).into_response()
    };
    let answer = tokio::time::timeout(REQUEST_TIME, next.run(request)).await;
    let mut answer = answer.unwrap_or_else(|_| late());
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    answer
}

async fn unknown() -> Problem {
    Problem::not_found("there is nothing at this address; see /api/v1/openapi.json")
}

async fn not_so() -> Problem {
    let detail = "that cannot be done with this address; see /api/v1/openapi.json";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// This description.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "program", responses(
    (status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = serde_json::Value),
))]
async fn description(State(about): State<Arc<About>>) -> Json<OpenApiDescription> {
    Json(about.description.clone())
}

fn described() -> OpenApiDescription {
    let mut description = Description::openapi();
    description.info.version = env!("CARGO_PKG_VERSION").to_string();
    description
}

/// What is running.
#[derive(Serialize, ToSchema)]
struct Program {
    /// As it was called.
    name: String,
    /// Of the engine.
    version: &'static str,
    /// On this machine; not known if the cluster is on several.
    processes: Option<usize>,
    /// Of each process.
    workers_per_process: usize,
}

/// What is running, and on how many workers.
#[utoipa::path(get, path = "/api/v1/program", tag = "program", responses(
    (status = 200, description = "The program", body = Program),
))]
async fn program(State(about): State<Arc<About>>) -> Json<Program> {
    Json(Program {
        name: about.program.clone(),
        version: env!("CARGO_PKG_VERSION"),
        processes: about.processes,
        workers_per_process: about.workers,
    })
}

/// What the application is made of, as `graph --format json` prints it.
#[utoipa::path(get, path = "/api/v1/graph", tag = "program", responses(
    (status = 200, description = "Nodes and edges", body = serde_json::Value),
))]
async fn graph(State(about): State<Arc<About>>) -> Json<Box<RawValue>> {
    Json(about.graph.clone())
}

/// How many rows an answer has that is not asked for another number.
pub(super) fn rows() -> usize {
    ROWS
}

/// Refuses more rows than an answer may have.
pub(super) fn check_limit(limit: usize) -> std::result::Result<(), Problem> {
    match limit {
        1..=ROWS_MAX => Ok(()),
        _ => Err(Problem::bad_request(format!("`limit` is from 1 to {ROWS_MAX}"))),
    }
}

impl About {
    /// What the workers answer.
    pub(super) async fn ask(&self, ask: Ask) -> std::result::Result<Answer, Problem> {
        let answer = self.board.ask(ask);
        self.control.wake();
        let late = || {
            let detail = format!(
                "the workers have not answered for {ANSWER_TIME:?}: a computation, a reader or a writer keeps \
                 them; see /api/v1/health"
            );
            Problem::new(StatusCode::GATEWAY_TIMEOUT, detail)
        };
        let unavailable = |detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        match tokio::time::timeout(ANSWER_TIME, answer).await.map_err(|_| late())? {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Refused::Wrong(what))) => Err(Problem::bad_request(what)),
            Ok(Err(Refused::Busy)) => {
                Err(unavailable("too much is asked at once; try again".to_string()))
            }
            Ok(Err(Refused::NotNow(why))) => Err(unavailable(format!("{why}; see /api/v1/ready"))),
            Err(_) => Err(unavailable("the program ends".to_string())),
        }
    }
}
