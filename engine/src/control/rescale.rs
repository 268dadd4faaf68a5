//! Another number of workers and processes, while the program runs.
//!
//! Invariant: nothing is lost and nothing comes twice: this start ends in order, with a checkpoint, and the next one
//! goes on from there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::About;
use super::problem::{PROBLEM, Problem};
use crate::cluster::Scale;
use crate::config::{PROCESSES_MAX, WORKERS_MAX};

/// Another size.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Workers of each process, from 1 to 256.
    #[schema(minimum = 1, maximum = 256)]
    workers: usize,
    /// Processes, from 1 to 64.
    #[schema(minimum = 1, maximum = 64)]
    processes: usize,
}

/// It is being done.
#[derive(Serialize, ToSchema)]
pub(super) struct Accepted {
    workers: usize,
    processes: usize,
}

/// Goes on with another number of workers: this start takes no more input, completes what it has and leaves a
/// checkpoint; then the next one begins. The answer comes before that; `/api/v1/ready` tells when input is taken
/// again, and the counter `rescale.pause_us` how long that took.
#[utoipa::path(post, path = "/api/v1/rescale", tag = "program", request_body = Wanted, responses(
    (status = 202, description = "It is being done", body = Accepted),
    (status = 400, description = "A wrong number", body = Problem, content_type = PROBLEM),
    (status = 409, description = "It cannot be done with this program", body = Problem, content_type = PROBLEM),
    (status = 415, description = "What was sent is no JSON", body = Problem, content_type = PROBLEM),
    (status = 422, description = "What was sent is other than described", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn rescale(
    State(about): State<Arc<About>>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let Json(Wanted { workers, processes }) = wanted?;
    let limits = [("workers", workers, WORKERS_MAX), ("processes", processes, PROCESSES_MAX)];
    for (name, number, most) in limits {
        if !(1..=usize::from(most)).contains(&number) {
            return Err(Problem::bad_request(format!("`{name}` is from 1 to {most}")));
        }
    }
    let Some(rescaler) = about.rescaler.clone() else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "the next start must find what this one leaves, on this machine: start the program with --data-dir, \
             and without --hosts",
        ));
    };
    // The pipe may be full for a while.
    let scale = Scale { processes, workers: Some(workers) };
    let asked = tokio::task::spawn_blocking(move || rescaler.ask(scale)).await;
    let asked = asked.map_err(|error| error.to_string());
    asked.and_then(|asked| asked.map_err(|error| error.to_string())).map_err(|problem| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("it was not done: {problem}"))
    })?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { workers, processes })))
}
