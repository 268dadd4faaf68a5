//! Whether the program does what it should.
//!
//! Invariant: a worker counts as healthy if it has taken a step since it was asked; no older news is believed.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::About;
use super::pulse::{Pulse, State};

/// How long a worker has to take a step.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// How the program does.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`, or `failing`.
    status: &'static str,
    /// What is wrong; empty if nothing is.
    problems: Vec<String>,
    workers: Vec<WorkerHealth>,
}

/// How one worker does.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WorkerHealth {
    worker: usize,
    state: State,
    /// Whether it has taken a step since it was asked.
    responsive: bool,
}

impl Health {
    fn answer(workers: Vec<WorkerHealth>, problems: Vec<String>) -> (StatusCode, Json<Self>) {
        let (code, status) = match problems.is_empty() {
            true => (StatusCode::OK, "ok"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
        };
        (code, Json(Self { status, problems, workers }))
    }
}

/// Wakes all workers of this process, and sees which of them take a step.
async fn workers(about: &About) -> Vec<WorkerHealth> {
    let pulses = about.control.pulses();
    let before: Vec<u64> = pulses.iter().map(|(_, pulse)| pulse.steps()).collect();
    about.control.wake();
    let has_stepped = |(now, before): (&(usize, Arc<Pulse>), &u64)| now.1.steps() != *before;
    let mut waited = Duration::ZERO;
    while waited < PATIENCE && !pulses.iter().zip(&before).all(has_stepped) {
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
    }
    let all = pulses.iter().zip(&before);
    all.map(|((worker, pulse), before)| WorkerHealth {
        worker: *worker,
        state: pulse.state(),
        responsive: pulse.steps() != *before,
    })
    .collect()
}

/// Is it alive? Each worker of process 0 is asked to take a step, and has two seconds for it. One that loads its
/// tables is starting, and takes none.
#[utoipa::path(get, path = "/api/v1/health", tag = "program", responses(
    (status = 200, description = "All workers take steps", body = Health),
    (status = 503, description = "Some worker does not", body = Health),
))]
pub(super) async fn health(Shared(about): Shared<Arc<About>>) -> (StatusCode, Json<Health>) {
    let workers = workers(&about).await;
    let is_stuck = |it: &&WorkerHealth| !it.responsive && it.state != State::Starting;
    let told = |it: &WorkerHealth| {
        format!(
            "worker {} has taken no step for {PATIENCE:?}: a computation, a reader or a writer keeps it",
            it.worker
        )
    };
    let problems = workers.iter().filter(is_stuck).map(told).collect();
    Health::answer(workers, problems)
}

/// Does it take input? Not while it starts, computes again what came after the checkpoint, or drains.
#[utoipa::path(get, path = "/api/v1/ready", tag = "program", responses(
    (status = 200, description = "All workers take input", body = Health),
    (status = 503, description = "Some worker does not, yet or any more", body = Health),
))]
pub(super) async fn ready(Shared(about): Shared<Arc<About>>) -> (StatusCode, Json<Health>) {
    let workers = workers(&about).await;
    let told = |it: &WorkerHealth| match (it.responsive, it.state) {
        (true, State::Running) => None,
        (false, State::Running) => Some(format!("worker {} takes no step", it.worker)),
        (_, State::Starting) => Some(format!("worker {} loads its tables", it.worker)),
        (_, State::Replaying) => Some(format!("worker {} replays the journal", it.worker)),
        (_, State::Draining) => Some(format!("worker {} takes no more input", it.worker)),
    };
    let mut problems: Vec<String> = workers.iter().filter_map(told).collect();
    if workers.len() < about.workers {
        problems.push("workers are being started".to_string());
    }
    Health::answer(workers, problems)
}
