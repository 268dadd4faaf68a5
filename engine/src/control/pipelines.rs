//! Pipelines: pausing and resuming what sources bring; and ending the program.
//!
//! Invariant: a pause loses nothing and changes no result: its sources are not read, so what they would bring waits
//! where it is.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::About;
use super::problem::{PROBLEM, Problem};

/// The pipeline of a source.
#[derive(Serialize, ToSchema)]
pub(super) struct Pipeline {
    /// The name of its source.
    source: String,
    state: PipelineState,
}

/// Whether a source is read.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PipelineState {
    Running,
    Paused,
}

/// What was asked for is being done.
#[derive(Serialize, ToSchema)]
pub(super) struct Accepted {
    /// In words.
    doing: &'static str,
}

/// The pipelines, by their sources.
#[utoipa::path(get, path = "/api/v1/pipelines", tag = "pipelines", responses(
    (status = 200, description = "In the order in which the application declares them", body = [Pipeline]),
))]
pub(super) async fn list(State(about): State<Arc<About>>) -> Json<Vec<Pipeline>> {
    Json(pipelines(&about))
}

fn pipelines(about: &About) -> Vec<Pipeline> {
    let paused = about.control.pauses().paused();
    let state = |source: &String| match paused.contains(source) {
        true => PipelineState::Paused,
        false => PipelineState::Running,
    };
    let sources = about.sources.iter();
    sources.map(|source| Pipeline { source: source.clone(), state: state(source) }).collect()
}

/// Reads a source no further until it is resumed, also by the next start of the program if it keeps anything. Of
/// recorded sources all wait for one.
#[utoipa::path(post, path = "/api/v1/pipelines/{source}/pause", tag = "pipelines",
    params(("source" = String, Path, description = "The name of the source")),
    responses(
        (status = 200, description = "The pipelines as they are now", body = [Pipeline]),
        (status = 404, description = "There is no such source", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn pause(
    State(about): State<Arc<About>>,
    source: Result<Path<String>, PathRejection>,
) -> Result<Json<Vec<Pipeline>>, Problem> {
    set(&about, source?.0, true).await
}

/// Reads a source on that was paused.
#[utoipa::path(post, path = "/api/v1/pipelines/{source}/resume", tag = "pipelines",
    params(("source" = String, Path, description = "The name of the source")),
    responses(
        (status = 200, description = "The pipelines as they are now", body = [Pipeline]),
        (status = 404, description = "There is no such source", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn resume(
    State(about): State<Arc<About>>,
    source: Result<Path<String>, PathRejection>,
) -> Result<Json<Vec<Pipeline>>, Problem> {
    set(&about, source?.0, false).await
}

async fn set(
    about: &Arc<About>,
    source: String,
    paused: bool,
) -> Result<Json<Vec<Pipeline>>, Problem> {
    if !about.sources.contains(&source) {
        let names = about.sources.join(", ");
        return Err(Problem::not_found(format!("there is no such source; there are: {names}")));
    }
    let whole = Arc::clone(about);
    // What is kept of it is written to the disk.
    let work = move || whole.control.pauses().set(&source, paused);
    let set = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string());
    set.and_then(|set| set.map_err(|error| error.to_string())).map_err(|problem| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("it was not done: {problem}"))
    })?;
    about.control.wake();
    Ok(Json(pipelines(about)))
}

/// Ends the program in order: no more input is taken, what was accepted is completed, and what is kept says so. The
/// answer comes before that is done.
#[utoipa::path(post, path = "/api/v1/stop", tag = "program", responses(
    (status = 202, description = "It ends", body = Accepted),
))]
pub(super) async fn stop(State(about): State<Arc<About>>) -> (StatusCode, Json<Accepted>) {
    about.control.stop();
    (
        StatusCode::ACCEPTED,
        Json(Accepted { doing: "no more input is taken; what was is completed" }),
    )
}
