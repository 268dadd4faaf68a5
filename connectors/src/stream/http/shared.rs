//! [`Shared`]: what all requests share, and the door to blocking work.
//!
//! Invariant: no more calls work on files than may; what an error is, is told by what is asked about, not by
//! its words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anabranch::{Error, Result};
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::ServiceLimits;
use super::follow::Ends;
use super::groups::Held;
use super::writers::Writers;
use crate::http::{Budget, Problem};
use crate::stream::folder::checked;
use crate::stream::{BATCH_BYTES_MAX, From, Stream, Streams};

/// What all requests share.
pub(super) struct Shared {
    pub(super) streams: Streams,
    pub(super) limits: ServiceLimits,
    pub(super) budget: Budget,
    pub(super) writers: Writers,
    pub(super) ends: Ends,
    /// Places of those who wait for more.
    pub(super) followers: Arc<Semaphore>,
    /// By stream and group.
    pub(super) consumers: Mutex<BTreeMap<(String, String), Held>>,
    work: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(streams: Streams, mut limits: ServiceLimits) -> Self {
        limits.body_bytes_max = limits.body_bytes_max.clamp(1, BATCH_BYTES_MAX / 2);
        limits.message_bytes_max = limits.message_bytes_max.clamp(1, limits.body_bytes_max);
        Self {
            streams,
            budget: Budget::new(limits.bodies_bytes_max, limits.body_bytes_max, limits.body_time),
            writers: Writers::new(limits.writers_max, limits.writer_idle),
            ends: Ends::default(),
            followers: Arc::new(Semaphore::new(limits.followers_max)),
            consumers: Mutex::default(),
            work: Arc::new(Semaphore::new(limits.work_max.max(1))),
            limits,
        }
    }

    pub(super) fn consumers(&self) -> MutexGuard<'_, BTreeMap<(String, String), Held>> {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` on a thread that may wait for the disk.
    pub(super) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.work).acquire_owned().await;
        let shared = Arc::clone(self);
        let worked = tokio::task::spawn_blocking(move || {
            let done = work(&shared);
            drop(place);
            done
        });
        let broken = |error| {
            let detail = format!("it was not finished: {error}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        };
        worked.await.map_err(broken)?
    }

    /// Makes sure that `stream` was not removed, and is no other one of that name.
    pub(super) fn is_there(&self, stream: &Stream) -> Result<(), Problem> {
        match self.stream(stream.name())?.id == stream.id {
            true => Ok(()),
            false => Err(Problem::not_found(format!(
                "stream `{}` was removed, and there is another one of that name: begin to read that",
                stream.name()
            ))),
        }
    }

    /// The stream of that name.
    pub(super) fn stream(&self, name: &str) -> Result<Stream, Problem> {
        checked("stream", name).map_err(failed)?;
        self.streams.stream(name).map_err(|error| match error {
            Error::Usage(_) => Problem::not_found(format!(
                "there is no stream `{name}`: PUT makes it, and GET of the address above tells which there are"
            )),
            error => failed(error),
        })
    }
}

/// What went wrong with a stream that is there.
pub(super) fn failed(error: Error) -> Problem {
    match error {
        Error::Usage(what) => Problem::bad_request(what),
        // Somebody else has it, or it is full.
        Error::Connector(what) => Problem::new(StatusCode::CONFLICT, what),
        error => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// What went wrong when `stream` was to be read from there.
pub(super) fn unread(stream: &Stream, from: From, error: Error) -> Problem {
    let first = stream.first().unwrap_or(0);
    let is_gone = match from {
        From::Offset(offset) => offset < first,
        From::Time(_) => first > 0,
        From::Beginning | From::End => false,
    };
    match error {
        Error::Data(what) if is_gone => Problem::new(StatusCode::GONE, what),
        error => failed(error),
    }
}

/// Where to begin: `beginning`, `end`, an offset, or a time.
pub(super) fn place(text: &str) -> Result<From, Problem> {
    match text {
        "beginning" => return Ok(From::Beginning),
        "end" => return Ok(From::End),
        _ => {}
    }
    if let Ok(offset) = text.parse() {
        return Ok(From::Offset(offset));
    }
    text.parse().map(From::Time).map_err(|_| {
        Problem::bad_request(
            "`from` is `beginning`, `end`, an offset, or a time such as 2026-01-01T00:00:00Z",
        )
    })
}

/// A part of a request, whose mistakes are problems.
pub(super) struct Part<E>(pub(super) E);

impl<E, S> FromRequestParts<S> for Part<E>
where
    E: FromRequestParts<S>,
    E::Rejection: std::fmt::Display,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let part = E::from_request_parts(parts, state).await;
        part.map(Self).map_err(|wrong| Problem::bad_request(wrong.to_string()))
    }
}

/// A small JSON document in the body; without one what the type is by default.
pub(super) fn document<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    let wrong = |error| Problem::bad_request(format!("the body is not what is asked for: {error}"));
    serde_json::from_slice(body).map_err(wrong)
}
