//! Groups: who consumes a stream, and how far it is.
//!
//! Invariant: a group has one consumer at a time, in any process; it is named by who joined, and has left when it
//! asks for nothing during its lease. Only what a consumer was given can be committed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anabranch::clock;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::follow::{beyond, place as waiting_place};
use super::page::Page;
use super::read::{limit, wait};
use super::shared::{Part, Shared, document, failed, place, unread};
use super::writers::keep_swept;
use crate::http::Problem;
use crate::stream::folder::checked;
use crate::stream::{Consumer, From, Stream};

/// A group that is consumed through this process.
pub(super) struct Held {
    /// What its consumer is called.
    id: String,
    stream: Stream,
    consumer: Arc<Mutex<Consumer>>,
    used: Instant,
}

/// How far a group is.
#[derive(Serialize, ToSchema)]
pub(super) struct Group {
    group: String,
    /// The offset of the first record that it has not committed.
    next: u64,
    /// How many records it has not committed.
    pending: u64,
}

/// Where to begin.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Begin {
    /// `beginning` (without more), `end`, an offset, or a time.
    from: Option<String>,
}

impl Begin {
    fn place(&self) -> Result<From, Problem> {
        place(self.from.as_deref().unwrap_or("beginning"))
    }
}

/// A consumer that has joined.
#[derive(Serialize, ToSchema)]
pub(super) struct Joined {
    /// Its name in the addresses for reading, committing and leaving.
    consumer: String,
    /// The offset of the record that it is given first.
    next: u64,
    /// When it asks for nothing for so long it has left, in milliseconds.
    lease_ms: u64,
}

/// How far everything is consumed.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// The offset of the first record that is not.
    next: u64,
}

/// How much to read.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct More {
    /// The most records.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// If there is none yet, how long to wait for one, in milliseconds.
    #[param(default = 0, minimum = 0, maximum = 25000)]
    wait_ms: Option<u64>,
}

/// The groups of a stream, by name.
#[utoipa::path(get, path = "/api/v1/streams/{stream}/groups", tag = "groups",
    params(("stream" = String, Path, description = "The name of the stream")),
    responses(
        (status = 200, description = "The groups, by name", body = [Group]),
        (status = 404, description = "There is no such stream", body = Problem),
))]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Part(Path(name)): Part<Path<String>>,
) -> Result<Json<Vec<Group>>, Problem> {
    let listed = shared.work(move |shared| {
        let stream = shared.stream(&name)?;
        let (groups, end) = (stream.groups().map_err(failed)?, stream.end().map_err(failed)?);
        let group = |(group, next)| Group { group, next, pending: end.saturating_sub(next) };
        Ok(groups.into_iter().map(group).collect())
    });
    listed.await.map(Json)
}

/// How far a group is.
#[utoipa::path(get, path = "/api/v1/streams/{stream}/groups/{group}", tag = "groups",
    params(("stream" = String, Path), ("group" = String, Path)),
    responses(
        (status = 200, description = "The group", body = Group),
        (status = 404, description = "There is no such stream or group", body = Problem),
))]
pub(super) async fn show(
    state: State<Arc<Shared>>,
    Part(Path((name, group))): Part<Path<(String, String)>>,
) -> Result<Json<Group>, Problem> {
    let Json(all) = list(state, Part(Path(name))).await?;
    let found = all.into_iter().find(|it| it.group == group);
    found.map(Json).ok_or_else(|| {
        Problem::not_found("there is no such group: one is made when a consumer joins it first")
    })
}

/// Has a group go on somewhere else, whatever it has committed; it must have no consumer. A new one is made.
#[utoipa::path(put, path = "/api/v1/streams/{stream}/groups/{group}", tag = "groups",
    params(("stream" = String, Path), ("group" = String, Path)), request_body = Begin,
    responses(
        (status = 200, description = "Where it goes on", body = Position),
        (status = 409, description = "The group has a consumer", body = Problem),
        (status = 410, description = "Records from there on were dropped", body = Problem),
))]
pub(super) async fn reset(
    State(shared): State<Arc<Shared>>,
    Part(Path((name, group))): Part<Path<(String, String)>>,
    body: Bytes,
) -> Result<Json<Position>, Problem> {
    let from = document::<Begin>(&body)?.place()?;
    let reset = shared.work(move |shared| {
        let stream = shared.stream(&name)?;
        let next = stream.reset(&group, from, Duration::ZERO);
        Ok(Position { next: next.map_err(|error| unread(&stream, from, error))? })
    });
    reset.await.map(Json)
}

/// Joins a group, which is made if it is new and then begins at `from`; else it goes on where it has committed.
#[utoipa::path(post, path = "/api/v1/streams/{stream}/groups/{group}/consumers", tag = "groups",
    params(("stream" = String, Path), ("group" = String, Path)), request_body = Begin,
    responses(
        (status = 201, description = "It is the group's consumer", body = Joined),
        (status = 409, description = "The group has another consumer", body = Problem),
        (status = 410, description = "What the group would be given first was dropped", body = Problem),
        (status = 503, description = "There are too many consumers", body = Problem),
))]
pub(super) async fn join(
    State(shared): State<Arc<Shared>>,
    Part(Path((name, group))): Part<Path<(String, String)>>,
    body: Bytes,
) -> Result<(StatusCode, Json<Joined>), Problem> {
    let from = document::<Begin>(&body)?.place()?;
    keep_swept(&shared);
    let joined = shared.work(move |shared| {
        let stream = shared.stream(&name)?;
        checked("group", &group).map_err(failed)?;
        expire(shared);
        if shared.consumers().len() >= shared.limits.consumers_max {
            return Err(Problem::busy("there are too many consumers at this moment: try again"));
        }
        let was = stream.groups().map_err(failed)?.into_iter().find(|(it, _)| *it == group);
        let from = was.map_or(from, |(_, next)| From::Offset(next));
        let consumer = stream.consume(&group, from, Duration::ZERO);
        let consumer = consumer.map_err(|error| unread(&stream, from, error))?;
        let mut random = [0; 16];
        clock::entropy(&mut random).map_err(failed)?;
        let id = format!("{:032x}", u128::from_le_bytes(random));
        let next = consumer.committed();
        let (consumer, used) = (Arc::new(Mutex::new(consumer)), clock::instant());
        let held = Held { id: id.clone(), stream, consumer, used };
        shared.consumers().insert((name, group), held);
        let lease_ms = u64::try_from(shared.limits.lease.as_millis()).unwrap_or(u64::MAX);
        Ok(Joined { consumer: id, next, lease_ms })
    });
    joined.await.map(|joined| (StatusCode::CREATED, Json(joined)))
}

/// Has those leave that have asked for nothing during their lease.
pub(super) fn expire(shared: &Shared) {
    let (now, lease) = (clock::instant(), shared.limits.lease);
    shared.consumers().retain(|_, held| {
        // One that is at work has not left.
        Arc::strong_count(&held.consumer) > 1 || now.saturating_duration_since(held.used) < lease
    });
}

/// The consumer of that name, which is known to be there.
fn held(
    shared: &Shared,
    (name, group, id): (String, String, &str),
) -> Result<(Stream, Arc<Mutex<Consumer>>), Problem> {
    let mut consumers = shared.consumers();
    let held = consumers.get_mut(&(name, group)).filter(|held| held.id == id);
    let held = held.ok_or_else(|| {
        Problem::not_found(format!(
            "there is no such consumer: it has left, or has asked for nothing for {:?}; join again, and the group \
             goes on where it has committed",
            shared.limits.lease
        ))
    })?;
    held.used = clock::instant();
    Ok((held.stream.clone(), Arc::clone(&held.consumer)))
}

/// The next records of the group, which are committed only when that is asked for.
#[utoipa::path(post, path = "/api/v1/streams/{stream}/groups/{group}/consumers/{consumer}/read", tag = "groups",
    params(("stream" = String, Path), ("group" = String, Path), ("consumer" = String, Path), More),
    responses(
        (status = 200, description = "Records, in order", body = Page),
        (status = 404, description = "There is no such consumer any more", body = Problem),
        (status = 410, description = "Records were dropped before they were read", body = Problem),
))]
pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Part(Path((name, group, id))): Part<Path<(String, String, String)>>,
    Part(Query(more)): Part<Query<More>>,
) -> Result<Json<Page>, Problem> {
    let (limit, wait) = (limit(&shared, more.limit)?, wait(&shared, more.wait_ms)?);
    let (stream, consumer) = held(&shared, (name, group, &id))?;
    let first = taken(&shared, &stream, &consumer, limit).await?;
    if !first.records.is_empty() || wait.is_zero() {
        return Ok(Json(first));
    }
    let _place = waiting_place(&shared)?;
    match tokio::time::timeout(wait, beyond(&shared, &stream, first.next)).await {
        Ok(()) => taken(&shared, &stream, &consumer, limit).await.map(Json),
        Err(_) => Ok(Json(first)),
    }
}

async fn taken(
    shared: &Arc<Shared>,
    stream: &Stream,
    consumer: &Arc<Mutex<Consumer>>,
    limit: usize,
) -> Result<Page, Problem> {
    let (stream, consumer) = (stream.clone(), Arc::clone(consumer));
    let taken = shared.work(move |shared| {
        let mut consumer = consumer.lock().unwrap_or_else(PoisonError::into_inner);
        let at = From::Offset(consumer.position());
        let page = Page::take(&mut *consumer, limit, shared.limits.page_bytes_max);
        let page = page.map_err(|error| unread(&stream, at, error))?;
        if page.records.is_empty() {
            // There is nothing, or it is gone.
            shared.is_there(&stream)?;
        }
        Ok(page)
    });
    taken.await
}

/// Everything before `next` is consumed: on the disk when this is answered. `next` is at most what was read.
#[utoipa::path(post, path = "/api/v1/streams/{stream}/groups/{group}/consumers/{consumer}/commit", tag = "groups",
    params(("stream" = String, Path), ("group" = String, Path), ("consumer" = String, Path)),
    request_body = Position,
    responses(
        (status = 200, description = "It is kept", body = Position),
        (status = 400, description = "That was not read, or is committed already", body = Problem),
        (status = 404, description = "There is no such consumer any more", body = Problem),
))]
pub(super) async fn commit(
    State(shared): State<Arc<Shared>>,
    Part(Path((name, group, id))): Part<Path<(String, String, String)>>,
    body: Bytes,
) -> Result<Json<Position>, Problem> {
    let Position { next } = serde_json::from_slice(&body)
        .map_err(|_| Problem::bad_request("say how far: `{\"next\": OFFSET}`"))?;
    let (_, consumer) = held(&shared, (name, group, &id))?;
    let committed = shared.work(move |_| {
        let mut consumer = consumer.lock().unwrap_or_else(PoisonError::into_inner);
        consumer.commit_to(next).map_err(failed)?;
        Ok(Position { next: consumer.committed() })
    });
    committed.await.map(Json)
}

/// Leaves the group: another one can join at once.
#[utoipa::path(delete, path = "/api/v1/streams/{stream}/groups/{group}/consumers/{consumer}", tag = "groups",
    params(("stream" = String, Path), ("group" = String, Path), ("consumer" = String, Path)),
    responses(
        (status = 204, description = "It has left"),
        (status = 404, description = "There is no such consumer any more", body = Problem),
))]
pub(super) async fn leave(
    State(shared): State<Arc<Shared>>,
    Part(Path((name, group, id))): Part<Path<(String, String, String)>>,
) -> Result<StatusCode, Problem> {
    let left = held(&shared, (name.clone(), group.clone(), &id))?;
    let _ = shared.consumers().remove(&(name, group));
    // Closes files.
    let closed = shared.work(move |_| {
        drop(left);
        Ok(StatusCode::NO_CONTENT)
    });
    closed.await
}
