//! Streams themselves: which there are, making and removing them, and what of them is kept.
//!
//! Invariant: nothing that some group has not read is dropped unless that is said in the request; what stays for
//! that reason, and what was dropped all the same, is in the answer.

use std::sync::Arc;
use std::time::Duration;

use anabranch::{Result as Done, clock};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::shared::{Part, Shared, document, failed};
use super::writers::keep_swept;
use crate::http::Problem;
use crate::stream::{Retained, Retention, Stream};

/// A stream.
#[derive(Serialize, ToSchema)]
pub(super) struct About {
    name: String,
    /// The first offset that is there.
    first: u64,
    /// The offset after the last record that is durable.
    end: u64,
    /// How many records were ever dropped that some group had not read.
    dropped_unread: u64,
    /// How many groups it has.
    groups: usize,
}

impl About {
    fn of(stream: &Stream) -> Done<Self> {
        Ok(Self {
            name: stream.name().to_owned(),
            first: stream.first()?,
            end: stream.end()?,
            dropped_unread: stream.dropped_unread()?,
            groups: stream.groups()?.len(),
        })
    }
}

/// All streams, by name.
#[utoipa::path(get, path = "/api/v1/streams", tag = "streams", responses(
    (status = 200, description = "The streams, by name", body = [About]),
))]
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<About>>, Problem> {
    let listed = shared.work(|shared| {
        let names = shared.streams.list().map_err(failed)?;
        // One that was removed meanwhile is none.
        let streams = names.iter().filter_map(|name| shared.streams.stream(name).ok());
        streams.map(|stream| About::of(&stream).map_err(failed)).collect()
    });
    listed.await.map(Json)
}

/// One stream.
#[utoipa::path(get, path = "/api/v1/streams/{stream}", tag = "streams",
    params(("stream" = String, Path, description = "The name of the stream")),
    responses(
        (status = 200, description = "The stream", body = About),
        (status = 404, description = "There is no such stream", body = Problem),
))]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Part(Path(name)): Part<Path<String>>,
) -> Result<Json<About>, Problem> {
    let shown = shared.work(move |shared| About::of(&shared.stream(&name)?).map_err(failed));
    shown.await.map(Json)
}

/// Makes a stream, if there is none of that name.
#[utoipa::path(put, path = "/api/v1/streams/{stream}", tag = "streams",
    params(("stream" = String, Path, description = "1 to 128 letters, digits, `.`, `_` and `-`, and no `.` first")),
    responses(
        (status = 200, description = "It was there", body = About),
        (status = 201, description = "It was made", body = About),
        (status = 400, description = "That is no name", body = Problem),
        (status = 409, description = "There are too many streams", body = Problem),
))]
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Part(Path(name)): Part<Path<String>>,
) -> Result<(StatusCode, Json<About>), Problem> {
    let made = shared.work(move |shared| {
        let was = shared.streams.stream(&name).is_ok();
        let stream = shared.streams.stream_or_create(&name).map_err(failed)?;
        let status = if was { StatusCode::OK } else { StatusCode::CREATED };
        Ok((status, About::of(&stream).map_err(failed)?))
    });
    made.await.map(|(status, about)| (status, Json(about)))
}

/// What may be lost.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Loss {
    /// Also what some group has not read, and what nobody has.
    #[serde(default)]
    #[param(default = false)]
    drop_unread: bool,
}

/// Removes a stream with all that is in it. If there is anything in it that some group, or nobody, has read, only
/// with `drop_unread=true`.
#[utoipa::path(delete, path = "/api/v1/streams/{stream}", tag = "streams",
    params(("stream" = String, Path, description = "The name of the stream"), Loss),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such stream", body = Problem),
        (status = 409, description = "Somebody writes or reads it, or has not read all of it", body = Problem),
))]
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    Part(Path(name)): Part<Path<String>>,
    Part(Query(loss)): Part<Query<Loss>>,
) -> Result<StatusCode, Problem> {
    let removed = shared.work(move |shared| {
        shared.stream(&name)?;
        shared.writers.close(&name);
        shared.streams.remove(&name, loss.drop_unread).map_err(failed)
    });
    removed.await.map(|()| StatusCode::NO_CONTENT)
}

/// What became of records that were to be dropped.
#[derive(Serialize, ToSchema)]
pub(super) struct Kept {
    /// The first offset that is there now.
    first: u64,
    /// How many records were dropped.
    dropped: u64,
    /// Of those, how many some group had not read.
    dropped_unread: u64,
    /// How many were to be dropped and stay, since some group has not read them.
    retained_unread: u64,
}

impl From<Retained> for Kept {
    fn from(it: Retained) -> Self {
        let Retained { first, dropped, dropped_unread, retained_unread } = it;
        Self { first, dropped, dropped_unread, retained_unread }
    }
}

/// Drops what all groups have read.
#[utoipa::path(post, path = "/api/v1/streams/{stream}/trim", tag = "streams",
    params(("stream" = String, Path, description = "The name of the stream")),
    responses(
        (status = 200, description = "What was dropped", body = Kept),
        (status = 404, description = "There is no such stream", body = Problem),
        (status = 409, description = "Another process writes it", body = Problem),
))]
pub(super) async fn trim(
    State(shared): State<Arc<Shared>>,
    Part(Path(name)): Part<Path<String>>,
) -> Result<Json<Kept>, Problem> {
    dropped(shared, name, |writer| writer.trim()).await
}

/// What of a stream is kept.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keep {
    /// Records that are as old, in milliseconds, or older are dropped.
    max_age_ms: Option<u64>,
    /// The oldest are dropped until the rest has so many bytes at most.
    max_bytes: Option<u64>,
    /// Also what some group has not read; otherwise that stays.
    drop_unread: bool,
}

/// Drops what is too old or too much. What some group has not read stays, unless it is said that it may go.
#[utoipa::path(post, path = "/api/v1/streams/{stream}/retain", tag = "streams",
    params(("stream" = String, Path, description = "The name of the stream")), request_body = Keep,
    responses(
        (status = 200, description = "What was dropped, and what stays although it is due", body = Kept),
        (status = 404, description = "There is no such stream", body = Problem),
        (status = 409, description = "Another process writes it", body = Problem),
))]
pub(super) async fn retain(
    State(shared): State<Arc<Shared>>,
    Part(Path(name)): Part<Path<String>>,
    body: Bytes,
) -> Result<Json<Kept>, Problem> {
    let keep: Keep = document(&body)?;
    if keep.max_age_ms.is_none() && keep.max_bytes.is_none() {
        return Err(Problem::bad_request("say what is kept: `max_age_ms`, `max_bytes` or both"));
    }
    let retention = Retention {
        max_age: keep.max_age_ms.map(Duration::from_millis),
        max_bytes: keep.max_bytes,
        drop_unread: keep.drop_unread,
    };
    dropped(shared, name, move |writer| writer.retain(&retention, clock::now())).await
}

async fn dropped(
    shared: Arc<Shared>,
    name: String,
    drop: impl FnOnce(&crate::stream::Writer) -> Done<Retained> + Send + 'static,
) -> Result<Json<Kept>, Problem> {
    keep_swept(&shared);
    let dropped = shared.work(move |shared| {
        let stream = shared.stream(&name)?;
        shared.writers.with(&stream, drop)
    });
    dropped.await.map(|retained| Json(retained.into()))
}
