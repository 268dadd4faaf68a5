//! How the processes of a program do: their workers and what they have counted.
//!
//! Invariant: process 0 answers for itself without its workers, so it does while they are busy. The others are
//! asked through them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;

use serde::Serialize;
use utoipa::ToSchema;

use super::api::About;
use super::problem::{PROBLEM, Problem};
use super::pulse::Worker;
use crate::clock;
use crate::looking::{Answer, Ask, Process};
use crate::metrics::{Durations, Kind, Percentiles};

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
    (status = 503, description = "The workers are not ready, or end", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn workers(State(about): State<Arc<About>>) -> Result<Json<Vec<Worker>>, Problem> {
    let processes = about.processes().await?;
    Ok(Json(processes.into_values().flat_map(|process| process.workers).collect()))
}

/// What all processes have counted, by name; of what is not counted but set, the greatest.
#[utoipa::path(get, path = "/api/v1/counters", tag = "program", responses(
    (status = 200, description = "Numbers by name", body = BTreeMap<String, u64>),
    (status = 503, description = "The workers are not ready, or end", body = Problem, content_type = PROBLEM),
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

/// How the program does.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// By this machine's clock.
    time: String,
    workers: Vec<Worker>,
    /// What all processes have counted.
    counters: BTreeMap<String, u64>,
    /// By sink, of live input: from when a record was read to when the sink had what came of it, in seconds, over the
    /// last five to ten.
    latencies: BTreeMap<String, Percentiles>,
    /// By operator, the share of the time since the last look that it has worked, on each worker.
    busy: BTreeMap<String, Vec<f64>>,
    /// By table, about how many rows each worker has.
    tables: BTreeMap<String, Vec<usize>>,
}

/// How the program does, in one: what [`/api/v1/changes/status`](super::changes::status) tells every second.
#[utoipa::path(get, path = "/api/v1/status", tag = "program", responses(
    (status = 200, description = "How it does", body = Status),
    (status = 503, description = "The workers are not ready, or end", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn status(State(about): State<Arc<About>>) -> Result<Json<Status>, Problem> {
    look(&about).await.map(Json)
}

/// How the program does now.
pub(super) async fn look(about: &About) -> Result<Status, Problem> {
    let processes = about.processes().await?;
    let workers: Vec<_> =
        processes.values().flat_map(|process| &process.workers).cloned().collect();
    let mut latencies: BTreeMap<String, Durations> = BTreeMap::new();
    for (sink, durations) in processes.values().flat_map(|process| &process.latencies) {
        latencies.entry(sink.clone()).or_default().add(durations);
    }
    // Workers that are busy tell it the next time.
    let tables = match about.ask(Ask::Sizes).await {
        Ok(Answer::Sizes(sizes)) => sizes,
        _ => BTreeMap::new(),
    };
    Ok(Status {
        time: clock::now().to_string(),
        busy: about.busy.shares(&workers),
        counters: sums(&processes),
        latencies: latencies
            .into_iter()
            .filter_map(|(sink, durations)| Some((sink, durations.recent()?)))
            .collect(),
        tables: tables.into_iter().map(|(name, of)| (name, of.into_values().collect())).collect(),
        workers,
    })
}

/// How long operators had worked when that was looked at.
#[derive(Default)]
pub(super) struct BusySince(Mutex<Option<Shares>>);

struct Shares {
    at: Instant,
    /// By operator, on each worker.
    nanos: BTreeMap<String, Vec<u64>>,
    shares: BTreeMap<String, Vec<f64>>,
}

/// Shares are of spans that are no shorter, however many look.
const SPAN: Duration = Duration::from_millis(500);

impl BusySince {
    fn shares(&self, workers: &[Worker]) -> BTreeMap<String, Vec<f64>> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = since.as_ref().filter(|last| last.at.elapsed() < SPAN) {
            return last.shares.clone();
        }
        let mut nanos: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (index, worker) in workers.iter().enumerate() {
            for (name, busy) in &worker.counters {
                let Some(operator) = name.strip_suffix(".busy_ns") else { continue };
                let of = nanos.entry(operator.to_string()).or_default();
                of.resize(workers.len(), 0);
                if let Some(of) = of.get_mut(index) {
                    *of = *busy;
                }
            }
        }
        let at = clock::instant();
        let span = since.as_ref().map(|last| at.duration_since(last.at).as_nanos() as f64);
        let share = |operator: &String, index: usize, now: u64| {
            let before = since.as_ref().and_then(|last| last.nanos.get(operator)?.get(index));
            let worked = now.saturating_sub(before.copied().unwrap_or(now)) as f64;
            span.map_or(0.0, |span| (worked / span).min(1.0))
        };
        let shares: BTreeMap<String, Vec<f64>> = nanos
            .iter()
            .map(|(operator, of)| {
                let of = of.iter().enumerate().map(|(index, now)| share(operator, index, *now));
                (operator.clone(), of.collect())
            })
            .collect();
        *since = Some(Shares { at, nanos, shares: shares.clone() });
        shares
    }
}
