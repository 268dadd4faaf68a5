//! Appending by POST.
//!
//! Invariant: all records of a request are appended as one batch, of which after a crash all are there or none.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::header;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::shared::{Part, Shared};
use super::writers::keep_swept;
use crate::http::{Form, Most, Problem, records};
use crate::stream::{BATCH_FRAMES_MAX, FRAME_BYTES_MAX};

/// What was appended, and is durable.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Appended {
    /// The offset of the first record.
    pub(super) first: u64,
    /// The offset after the last.
    pub(super) end: u64,
}

/// How records are told apart.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    /// `lines`: each line of the body is a record, whatever it and `Content-Type` are.
    #[param(value_type = Option<String>)]
    split: Option<Split>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Split {
    Lines,
}

/// The most that one batch has.
pub(super) const MOST: Most = Most { records: BATCH_FRAMES_MAX, record_bytes: FRAME_BYTES_MAX };

/// Appends records: answered when they are durable. `application/json` is one record, or an array of records;
/// `application/x-ndjson` a record a line; any other type one record as it is.
#[utoipa::path(post, path = "/api/v1/streams/{stream}/records", tag = "streams",
    params(("stream" = String, Path, description = "The name of the stream"), How),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses(
        (status = 200, description = "They are durable", body = Appended),
        (status = 400, description = "The body is not of its form: nothing was appended", body = Problem),
        (status = 404, description = "There is no such stream", body = Problem),
        (status = 409, description = "Another process writes it", body = Problem),
        (status = 413, description = "The body or a record is too large", body = Problem),
        (status = 503, description = "Too much is being sent", body = Problem),
))]
pub(super) async fn append(
    State(shared): State<Arc<Shared>>,
    Part(Path(name)): Part<Path<String>>,
    Part(Query(how)): Part<Query<How>>,
    request: Request,
) -> Result<Json<Appended>, Problem> {
    let (head, body) = request.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let form = match how.split {
        Some(Split::Lines) => Form::Text,
        None => Form::of(kind),
    };
    let body = shared.budget.collect(&head.headers, body).await?;
    keep_swept(&shared);
    let appended = shared.work(move |shared| {
        let stream = shared.stream(&name)?;
        let frames = records(form, &body.bytes, MOST)?;
        let offsets = shared.writers.append(&stream, &frames)?;
        Ok(Appended { first: offsets.start, end: offsets.end })
    });
    appended.await.map(Json)
}
