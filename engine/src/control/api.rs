//! What can be asked: the routes, their description, and the answers that need no room of their own.
//!
//! Invariant: every route is described in `/api/v1/openapi.json`, and nothing is that is not there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::access::{self, Tokens};
use super::problem::Problem;
use super::pulse;
use super::{health, letters, prometheus};
use crate::Views;
use crate::config::{Config, Layout};
use crate::graph::Graph;
use crate::metrics::Counters;
use crate::worker::{Control, Setup};

/// The largest body of a request, in bytes.
const BODY_MAX: usize = 1 << 20;
/// The longest that a request is worked on.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// How many rows an answer has unless it is asked for another number.
const ROWS: usize = 100;
/// The most rows of an answer.
const ROWS_MAX: usize = 1_000;

/// The furthest row that an answer begins with: those before it are passed over while the view's worker may wait.
const FROM_MAX: usize = 100_000;

/// What is known of the program.
pub(super) struct About {
    pub(super) program: String,
    /// As JSON.
    graph: Box<RawValue>,
    processes: Option<usize>,
    /// Of this process.
    pub(super) workers: usize,
    pub(super) control: Arc<Control>,
    pub(super) counters: Counters,
    views: Views,
    /// Where things are kept, if they are.
    pub(super) kept: Option<Config>,
    pub(super) tokens: Option<Tokens>,
}

impl About {
    pub(super) fn new(
        config: &Config,
        graph: &Graph,
        setup: &Setup,
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
            workers: setup.workers_per_process,
            control: Arc::clone(&setup.control),
            counters: setup.counters.clone(),
            views: setup.views.clone(),
            kept: setup.durable.is_some().then(|| config.clone()),
            tokens,
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Anabranch",
        description = "A running program: how it does, what it is made of, and what it holds."
    ),
    paths(
        health::health,
        health::ready,
        prometheus::metrics,
        program,
        graph,
        workers,
        counters,
        views,
        view,
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

/// All routes, behind all that guards them.
pub(super) fn router(about: Arc<About>) -> Router {
    Router::new()
        .route("/api/v1/health", get(health::health))
        .route("/api/v1/ready", get(health::ready))
        .route("/metrics", get(prometheus::metrics))
        .route("/api/v1/openapi.json", get(description))
        .route("/api/v1/program", get(program))
        .route("/api/v1/graph", get(graph))
        .route("/api/v1/workers", get(workers))
        .route("/api/v1/counters", get(counters))
        .route("/api/v1/views", get(views))
        .route("/api/v1/views/{view}", get(view))
        .route("/api/v1/dead-letters", get(letters::list))
        .route("/api/v1/dead-letters/groups", get(letters::groups))
        .route("/api/v1/dead-letters/retry", post(letters::retry))
        .route("/api/v1/dead-letters/ignore", post(letters::ignore))
        .route("/api/v1/dead-letters/edit", post(letters::edit))
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
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
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
async fn description() -> Json<utoipa::openapi::OpenApi> {
    let mut description = Description::openapi();
    description.info.version = env!("CARGO_PKG_VERSION").to_string();
    Json(description)
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

/// How far a worker is.
#[derive(Serialize, ToSchema)]
struct Worker {
    worker: usize,
    state: pulse::State,
    /// How often it was scheduled.
    steps: u64,
    /// The first epoch that is not finished as far as it knows; none if all are.
    finished_before: Option<u64>,
}

/// How far the workers of process 0 are.
#[utoipa::path(get, path = "/api/v1/workers", tag = "program", responses(
    (status = 200, description = "The workers, by index", body = [Worker]),
))]
async fn workers(State(about): State<Arc<About>>) -> Json<Vec<Worker>> {
    let pulses = about.control.pulses();
    let workers = pulses.iter().map(|(worker, pulse)| Worker {
        worker: *worker,
        state: pulse.state(),
        steps: pulse.steps(),
        finished_before: Some(pulse.finished_before()).filter(|epoch| *epoch != u64::MAX),
    });
    Json(workers.collect())
}

/// What process 0 has counted, by name.
#[utoipa::path(get, path = "/api/v1/counters", tag = "program", responses(
    (status = 200, description = "Numbers by name", body = BTreeMap<String, u64>),
))]
async fn counters(State(about): State<Arc<About>>) -> Json<BTreeMap<String, u64>> {
    Json(about.counters.snapshot())
}

/// The names of the views that process 0 gathers.
#[utoipa::path(get, path = "/api/v1/views", tag = "views", responses(
    (status = 200, description = "Names, in order", body = [String]),
))]
async fn views(State(about): State<Arc<About>>) -> Json<Vec<String>> {
    Json(about.views.names())
}

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Rows {
    /// The number of the first row, from 0.
    #[serde(default)]
    #[param(default = 0, minimum = 0, maximum = 100000)]
    from: usize,
    /// The most rows.
    #[serde(default = "rows")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: usize,
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

/// Rows of a view.
#[derive(Serialize, ToSchema)]
struct ViewRows {
    /// They are those at the end of the last epoch before this one.
    before: u64,
    /// How many rows the view has.
    total: usize,
    rows: Vec<ViewRow>,
}

/// A row of a view.
#[derive(Serialize, ToSchema)]
struct ViewRow {
    #[schema(value_type = serde_json::Value)]
    row: serde_json::Value,
    /// How often it is there.
    times: i64,
}

/// Rows of a view, in order, all as of the end of one epoch.
#[utoipa::path(get, path = "/api/v1/views/{view}", tag = "views",
    params(("view" = String, Path, description = "The name of the view"), Rows),
    responses(
        (status = 200, description = "The rows", body = ViewRows),
        (status = 400, description = "A wrong number", body = Problem),
        (status = 404, description = "There is no such view", body = Problem),
))]
async fn view(
    State(about): State<Arc<About>>,
    name: std::result::Result<Path<String>, PathRejection>,
    which: std::result::Result<Query<Rows>, QueryRejection>,
) -> std::result::Result<Json<ViewRows>, Problem> {
    let Path(name) = name.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let Query(Rows { from, limit }) =
        which.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    check_limit(limit)?;
    if from > FROM_MAX {
        return Err(Problem::bad_request(format!(
            "`from` is at most {FROM_MAX}; a sink of the view's changes has all of it"
        )));
    }
    let page = about
        .views
        .page(&name, from, limit)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let Some(page) = page else {
        let names = about.views.names();
        return Err(Problem::not_found(match names.is_empty() {
            true => "this program has no views, or another process gathers them".to_string(),
            false => format!("there is no such view here; there are: {}", names.join(", ")),
        }));
    };
    let rows = page.rows.into_iter().map(|(row, times)| ViewRow { row, times });
    Ok(Json(ViewRows { before: page.before, total: page.total, rows: rows.collect() }))
}
