//! Reading: a page as JSON or lines, waiting for more if asked to, or all that comes as server-sent events.
//!
//! Invariant: no record is left out: what was dropped is answered 410, or told as an event `gone`, and ends it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::follow::{beyond, place as waiting_place};
use super::page::Page;
use super::shared::{Part, Shared, place, unread};
use crate::http::Problem;
use crate::stream::{From, Reader, Stream};

/// A comment is sent this often to who follows, so that it is known to be there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Which records.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Where to begin: `beginning`, `end`, an offset, or a time (RFC 3339).
    from: Option<String>,
    /// The most records.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// If there is none yet, how long to wait for one, in milliseconds.
    #[param(default = 0, minimum = 0, maximum = 25000)]
    wait_ms: Option<u64>,
}

/// The most records of an answer, of which `asked` are wanted.
pub(super) fn limit(shared: &Shared, asked: Option<usize>) -> Result<usize, Problem> {
    let most = shared.limits.page_records_max;
    match asked.unwrap_or(100.min(most)) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        _ => Err(Problem::bad_request(format!("`limit` is from 1 to {most}"))),
    }
}

/// How long to wait, of which so many milliseconds are wanted.
pub(super) fn wait(shared: &Shared, asked: Option<u64>) -> Result<Duration, Problem> {
    let wait = Duration::from_millis(asked.unwrap_or(0));
    match wait <= shared.limits.wait_max {
        true => Ok(wait),
        false => Err(Problem::bad_request(format!(
            "`wait_ms` is at most {}; ask again after that, or follow",
            shared.limits.wait_max.as_millis()
        ))),
    }
}

/// Records from some place on. `Accept: application/json` is a page, `application/x-ndjson` the same a record a line,
/// and `text/event-stream` all records and those that come, each an event whose id is its offset; a browser that
/// comes back with `Last-Event-ID` goes on behind it.
#[utoipa::path(get, path = "/api/v1/streams/{stream}/records", tag = "streams",
    params(("stream" = String, Path, description = "The name of the stream"), Wanted),
    responses(
        (status = 200, description = "Records, in order", body = Page),
        (status = 400, description = "A wrong place or number", body = Problem),
        (status = 404, description = "There is no such stream", body = Problem),
        (status = 410, description = "Records from there on were dropped", body = Problem),
        (status = 503, description = "Too many wait for more", body = Problem),
))]
pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Part(Path(name)): Part<Path<String>>,
    Part(Query(wanted)): Part<Query<Wanted>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let accepted = text("accept").unwrap_or_default();
    let (limit, wait) = (limit(&shared, wanted.limit)?, wait(&shared, wanted.wait_ms)?);
    let mut from = place(wanted.from.as_deref().unwrap_or("beginning"))?;
    let follows = accepted.contains("text/event-stream");
    if follows && let Some(last) = text("last-event-id").and_then(|id| id.parse::<u64>().ok()) {
        from = From::Offset(last.saturating_add(1));
    }
    let (stream, reader) = open(&shared, name, from).await?;
    if follows {
        return events(shared, stream, reader);
    }
    let page = paged(&shared, &stream, reader, (limit, wait)).await?;
    if accepted.contains("ndjson") || accepted.contains("jsonl") {
        let next = HeaderValue::from(page.next);
        let lines: String = page.records.iter().map(|record| record.line() + "\n").collect();
        let kind = HeaderValue::from_static("application/x-ndjson");
        let mut answer = lines.into_response();
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        answer.headers_mut().insert("anabranch-next", next);
        return Ok(answer);
    }
    Ok(Json(page).into_response())
}

/// Opens a stream to be read from there.
pub(super) async fn open(
    shared: &Arc<Shared>,
    name: String,
    from: From,
) -> Result<(Stream, Reader), Problem> {
    let opened = shared.work(move |shared| {
        let stream = shared.stream(&name)?;
        let reader = stream.read(from).map_err(|error| unread(&stream, from, error))?;
        Ok((stream, reader))
    });
    opened.await
}

/// A page of what is there, and the reader back.
pub(super) async fn page(
    shared: &Arc<Shared>,
    stream: &Stream,
    mut reader: Reader,
    limit: usize,
) -> Result<(Page, Reader), Problem> {
    let stream = stream.clone();
    let read = shared.work(move |shared| {
        let at = From::Offset(reader.position());
        let page = Page::take(&mut reader, limit, shared.limits.page_bytes_max);
        let page = page.map_err(|error| unread(&stream, at, error))?;
        if page.records.is_empty() {
            // There is nothing, or it is gone.
            shared.is_there(&stream)?;
        }
        Ok((page, reader))
    });
    read.await
}

async fn paged(
    shared: &Arc<Shared>,
    stream: &Stream,
    reader: Reader,
    (limit, wait): (usize, Duration),
) -> Result<Page, Problem> {
    let (first, reader) = page(shared, stream, reader, limit).await?;
    if !first.records.is_empty() || wait.is_zero() {
        return Ok(first);
    }
    let _place = waiting_place(shared)?;
    match tokio::time::timeout(wait, beyond(shared, stream, first.next)).await {
        Ok(()) => page(shared, stream, reader, limit).await.map(|(page, _)| page),
        Err(_) => Ok(first),
    }
}

/// All records and those that come, as server-sent events, until the reader hangs up or something is wrong.
fn events(shared: Arc<Shared>, stream: Stream, reader: Reader) -> Result<Response, Problem> {
    let place = waiting_place(&shared)?;
    let state = Some((shared, stream, reader, place));
    let body = stream::unfold(state, |state| async {
        let (shared, stream, reader, place) = state?;
        let limit = shared.limits.page_records_max;
        match page(&shared, &stream, reader, limit).await {
            Err(problem) => {
                let told = serde_json::to_string(&problem).unwrap_or_default();
                Some((format!("event: gone\ndata: {told}\n\n"), None))
            }
            Ok((page, reader)) if page.records.is_empty() => {
                let more = beyond(&shared, &stream, page.next);
                let _ = tokio::time::timeout(KEEP_ALIVE, more).await;
                Some((":\n".to_owned(), Some((shared, stream, reader, place))))
            }
            Ok((page, reader)) => {
                let event = |it: &super::page::Record| {
                    format!("id: {}\ndata: {}\n\n", it.offset(), it.line())
                };
                let text: String = page.records.iter().map(event).collect();
                Some((text, Some((shared, stream, reader, place))))
            }
        }
    });
    let body = futures_util::StreamExt::map(body, Ok::<_, std::convert::Infallible>);
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    Ok((kind, Body::from_stream(body)).into_response())
}
