//! Checkpoints: which there are, and one more, now.
//!
//! Invariant: a checkpoint that is asked for is made as those that the clock asks for are, and at most once for all who
//! ask meanwhile.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::About;
use super::letters::kept;
use super::problem::{PROBLEM, Problem};
use crate::checkpoint::{CheckpointId, Manifest, Store};
use crate::data_dir::DataDir;
use crate::durable;

/// The most checkpoints that are told of.
const LISTED_MAX: usize = 100;

/// A checkpoint.
#[derive(Serialize, ToSchema)]
pub(super) struct Checkpoint {
    /// All epochs before this one are in, no other.
    boundary: u64,
    /// The start of the program that made it.
    generation: u64,
    /// When it was written; the rest is not known either of one that cannot be read.
    time: Option<String>,
    /// Of all its files, of which earlier checkpoints may have some.
    bytes: Option<u64>,
    files: Option<usize>,
    tables: Option<usize>,
    /// Why it cannot be read.
    problem: Option<String>,
}

impl Checkpoint {
    fn of(store: &Store, id: CheckpointId) -> Self {
        let CheckpointId { generation, epoch: boundary } = id;
        let loaded = Manifest::load(store, id);
        let known = loaded.as_ref().ok();
        Self {
            boundary,
            generation,
            time: known.map(|manifest| manifest.time.to_string()),
            bytes: known.map(|manifest| manifest.files().map(|file| file.bytes).sum()),
            files: known.map(|manifest| manifest.files().count()),
            tables: known.map(|manifest| manifest.tables.len()),
            problem: loaded.err().map(|error| error.to_string()),
        }
    }
}

/// The newest hundred checkpoints, the newest first.
#[utoipa::path(get, path = "/api/v1/checkpoints", tag = "checkpoints", responses(
    (status = 200, description = "Checkpoints", body = [Checkpoint]),
    (status = 409, description = "The program keeps nothing", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn list(
    State(about): State<Arc<About>>,
) -> Result<Json<Vec<Checkpoint>>, Problem> {
    let listed = kept(&about, |config| {
        let Some(path) = config.data_dir() else { return Ok(Vec::new()) };
        let data = DataDir::left(path, config.program(), config.partitions())?;
        let store = durable::store(config, &data)?;
        let ids = Manifest::list(&store)?.into_iter().take(LISTED_MAX);
        Ok(ids.map(|id| Checkpoint::of(&store, id)).collect())
    });
    listed.await.map(Json)
}

/// What came of asking for a checkpoint.
#[derive(Serialize, ToSchema)]
pub(super) struct Taken {
    /// Of the newest checkpoint: this one, or an earlier one if nothing was read since.
    boundary: u64,
}

/// Makes a checkpoint now, and answers when it is complete.
#[utoipa::path(post, path = "/api/v1/checkpoints", tag = "checkpoints", responses(
    (status = 200, description = "It is complete", body = Taken),
    (status = 409, description = "The program keeps nothing", body = Problem, content_type = PROBLEM),
    (status = 503, description = "It was not made, or the program ends", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn take(State(about): State<Arc<About>>) -> Result<Json<Taken>, Problem> {
    // Whether anything is kept at all.
    kept(&about, |_| Ok(())).await?;
    let taken = about.board.checkpoint();
    about.control.wake();
    match taken.await {
        Ok(Some(boundary)) => Ok(Json(Taken { boundary })),
        Ok(None) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the checkpoint was not made; the log of the program says why, and the one before is intact",
        )),
        Err(_) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the program ends")),
    }
}
