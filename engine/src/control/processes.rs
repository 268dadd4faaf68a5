//! How the processes of a program do: their workers and what they have counted.
//!
//! Invariant: process 0 answers for itself without its workers, so it does while they are busy. The others are
//! asked through them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use serde_json::{Value, json};

use super::api::About;
use super::problem::Problem;
use super::pulse::Worker;
use crate::clock;
use crate::looking::{Answer, Ask, Process};
use crate::metrics::Kind;

impl About {
    /// Each process, by its number.
    pub(super) async fn processes(&self) -> Result<BTreeMap<usize, Process>, Problem> {
        if self.board.processes() > 1
            && let Answer::Processes(processes) = self.ask(Ask::Processes).await?
        {
            return Ok(processes);
        }
        Ok([(0, self.local.process())].into())
    }

    /// How far the workers of this process are: another answer may be other.
    pub(super) fn progress(&self) -> Vec<u64> {
        self.control.pulses().iter().map(|(_, pulse)| pulse.finished_before()).collect()
    }
}

/// How far the workers are.
#[utoipa::path(get, path = "/api/v1/workers", tag = "program", responses(
    (status = 200, description = "The workers, by index", body = [Worker]),
    (status = 503, description = "The workers are not ready, or end", body = Problem),
))]
pub(super) async fn workers(State(about): State<Arc<About>>) -> Result<Json<Vec<Worker>>, Problem> {
    let processes = about.processes().await?;
    Ok(Json(processes.into_values().flat_map(|process| process.workers).collect()))
}

/// What all processes have counted, by name; of what is not counted but set, the greatest.
#[utoipa::path(get, path = "/api/v1/counters", tag = "program", responses(
    (status = 200, description = "Numbers by name", body = BTreeMap<String, u64>),
    (status = 503, description = "The workers are not ready, or end", body = Problem),
))]
pub(super) async fn counters(
    State(about): State<Arc<About>>,
) -> Result<Json<BTreeMap<String, u64>>, Problem> {
    Ok(Json(sums(&about.processes().await?)))
}

fn sums(processes: &BTreeMap<usize, Process>) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (name, kind, number) in processes.values().flat_map(|process| &process.counters) {
        let sum = sums.entry(name.clone()).or_insert(0);
        *sum = match kind {
            Kind::Count => *sum + number,
            Kind::Gauge => *number.max(sum),
        };
    }
    sums
}

/// How the program does, in one.
pub(super) async fn status(about: &About) -> Result<Value, Problem> {
    let processes = about.processes().await?;
    let workers: Vec<_> = processes.values().flat_map(|process| &process.workers).collect();
    Ok(
        json!({ "time": clock::now().to_string(), "workers": workers, "counters": sums(&processes) }),
    )
}
