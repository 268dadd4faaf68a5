//! WebSockets: appending message by message, and following.
//!
//! Invariant: each message is answered when its records are durable, in order; messages that come meanwhile are
//! appended together, as many as the bound. A peer that sends nothing, or does not read, is left after a time.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use utoipa::{IntoParams, ToSchema};

use super::append::{Appended, MOST};
use super::follow::{beyond, place as waiting_place};
use super::read;
use super::shared::{Part, Shared, place};
use super::writers::keep_swept;
use crate::http::{Form, Problem, records};
use crate::stream::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX, Reader, Stream};
use crate::websocket::{Connection, Interruption, Limits};

type Socket = Connection<TokioIo<hyper::upgrade::Upgraded>>;

/// Messages that are appended together.
const TOGETHER_MAX: usize = 256;
const READ_BUFFER_BYTES: usize = 16 << 10;

/// How records are in a message.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum In {
    /// A message is one record.
    #[default]
    One,
    /// A message is a JSON document: an array is many records.
    Json,
    /// A message is a JSON document a line.
    Lines,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    /// `one`: a message is a record; `json`: an array of them, or one; `lines`: one a line.
    #[serde(default)]
    #[param(value_type = String, default = "one")]
    records: In,
}

/// The answer to a message: its number, from 0, and its offsets.
#[derive(Serialize)]
struct Answered {
    message: u64,
    #[serde(flatten)]
    offsets: Appended,
}

/// Makes a WebSocket of a request, and has `serve` serve it.
fn upgrade<F>(
    request: &mut Request,
    limits: Limits,
    serve: impl FnOnce(Socket) -> F + Send + 'static,
) -> Result<Response, Problem>
where
    F: Future<Output = ()> + Send + 'static,
{
    let headers = request.headers();
    let has = |name, word: &str| {
        let value = headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        value.is_some_and(|value| value.split(',').any(|it| it.trim().eq_ignore_ascii_case(word)))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let is_asked = has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let Some(key) = key.filter(|_| is_asked) else {
        let detail = "this address is for WebSockets: connect with `ws://`";
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, detail));
    };
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(Ok(upgraded)) = tokio::time::timeout(limits.connect, upgraded).await else { return };
        let config = limits.config(READ_BUFFER_BYTES);
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        serve(Connection::new(socket, limits)).await;
    });
    let head = [
        (header::CONNECTION, "upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, key),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, head, Body::empty()).into_response())
}

fn limits(shared: &Shared) -> Limits {
    Limits { frame_bytes_max: shared.limits.message_bytes_max, ..Limits::default() }
}

/// Appends message by message, over a WebSocket. Each is answered, in order, when it is durable:
/// `{"message":0,"first":42,"end":43}`. One that is refused is answered with a problem, and ends the connection.
#[utoipa::path(get, path = "/api/v1/streams/{stream}/append", tag = "streams",
    params(("stream" = String, Path, description = "The name of the stream"), How),
    responses(
        (status = 101, description = "A WebSocket"),
        (status = 404, description = "There is no such stream", body = Problem),
        (status = 426, description = "That was no WebSocket", body = Problem),
))]
pub(super) async fn append(
    State(shared): State<Arc<Shared>>,
    Part(Path(name)): Part<Path<String>>,
    Part(Query(how)): Part<Query<How>>,
    mut request: Request,
) -> Result<Response, Problem> {
    let stream = shared.work(move |shared| shared.stream(&name)).await?;
    let place = waiting_place(&shared)?;
    upgrade(&mut request, limits(&shared), move |mut socket| async move {
        if let Err(problem) = take(&shared, &stream, how.records, &mut socket).await {
            let told = serde_json::to_string(&problem).unwrap_or_default();
            let _ = socket.send(told).await;
            socket.close(1008, problem.title()).await;
        }
        drop(place);
    })
}

/// Takes messages until the peer leaves, or one is refused.
async fn take(
    shared: &Arc<Shared>,
    stream: &Stream,
    how: In,
    socket: &mut Socket,
) -> Result<(), Problem> {
    let form = match how {
        In::One => Form::Whole,
        In::Json => Form::Json,
        In::Lines => Form::Lines,
    };
    let mut number = 0;
    // Whoever leaves is told nothing.
    while let Ok(message) = socket.next().await {
        let (mut messages, mut bytes) = (vec![message.into_data()], 0);
        while let Some(more) = ready(socket).await {
            bytes += more.len();
            messages.push(more);
            if messages.len() >= TOGETHER_MAX || bytes >= shared.limits.message_bytes_max {
                break;
            }
        }
        keep_swept(shared);
        let stream = stream.clone();
        let work = move |shared: &Shared| appended(shared, &stream, form, &messages);
        let (answers, refused) = shared.work(work).await?;
        for offsets in answers {
            let told = serde_json::to_string(&Answered { message: number, offsets });
            if socket.send(told.unwrap_or_default()).await.is_err() {
                return Ok(());
            }
            number += 1;
        }
        refused.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// A message that has come already.
async fn ready(socket: &mut Socket) -> Option<Bytes> {
    tokio::select! {
        biased;
        next = socket.next() => next.ok().map(Message::into_data),
        () = std::future::ready(()) => None,
    }
}

/// Appends the records of `messages`, up to one that is wrong: their offsets, and what is wrong.
fn appended(
    shared: &Shared,
    stream: &Stream,
    form: Form,
    messages: &[Bytes],
) -> Result<(Vec<Appended>, Option<Problem>), Problem> {
    let (mut answers, mut refused) = (Vec::new(), None);
    let (mut frames, mut counts, mut bytes) = (Vec::<&[u8]>::new(), Vec::new(), 0);
    let mut bring_out = |frames: &mut Vec<&[u8]>, counts: &mut Vec<usize>| {
        let offsets = shared.writers.append(stream, frames)?;
        let mut first = offsets.start;
        for count in counts.drain(..) {
            let end = first + count as u64;
            answers.push(Appended { first, end });
            first = end;
        }
        frames.clear();
        Ok::<_, Problem>(())
    };
    for message in messages {
        match form {
            // A record may be empty.
            Form::Whole => Ok(vec![&message[..]]),
            form => records(form, message, MOST),
        }
        .map_or_else(
            |problem| {
                refused = Some(problem);
                Ok(())
            },
            |found| {
                let size = message.len() + 4 * found.len();
                let is_full =
                    bytes + size > BATCH_BYTES_MAX || frames.len() + found.len() > BATCH_FRAMES_MAX;
                if is_full && !frames.is_empty() {
                    bring_out(&mut frames, &mut counts)?;
                    bytes = 0;
                }
                bytes += size;
                counts.push(found.len());
                frames.extend(found);
                Ok(())
            },
        )?;
        if refused.is_some() {
            break;
        }
    }
    bring_out(&mut frames, &mut counts)?;
    Ok((answers, refused))
}

/// Where to begin.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    /// `beginning`, `end`, an offset, or a time (RFC 3339).
    #[param(default = "beginning")]
    from: Option<String>,
}

/// All records from some place on and those that come, over a WebSocket: each a message, as a line of
/// `application/x-ndjson` is.
#[utoipa::path(get, path = "/api/v1/streams/{stream}/follow", tag = "streams",
    params(("stream" = String, Path, description = "The name of the stream"), Begin),
    responses(
        (status = 101, description = "A WebSocket"),
        (status = 404, description = "There is no such stream", body = Problem),
        (status = 410, description = "Records from there on were dropped", body = Problem),
        (status = 426, description = "That was no WebSocket", body = Problem),
))]
pub(super) async fn follow(
    State(shared): State<Arc<Shared>>,
    Part(Path(name)): Part<Path<String>>,
    Part(Query(begin)): Part<Query<Begin>>,
    mut request: Request,
) -> Result<Response, Problem> {
    let from = place(begin.from.as_deref().unwrap_or("beginning"))?;
    let (stream, reader) = read::open(&shared, name, from).await?;
    let place = waiting_place(&shared)?;
    upgrade(&mut request, limits(&shared), move |mut socket| async move {
        match tell(&shared, &stream, reader, &mut socket).await {
            Err(Told::Problem(problem)) => {
                let told = serde_json::to_string(&problem).unwrap_or_default();
                let _ = socket.send(told).await;
                socket.close(1008, problem.title()).await;
            }
            Ok(()) | Err(Told::Left) => {}
        }
        drop(place);
    })
}

/// Why no more is told.
enum Told {
    Problem(Problem),
    Left,
}

async fn tell(
    shared: &Arc<Shared>,
    stream: &Stream,
    mut reader: Reader,
    socket: &mut Socket,
) -> Result<(), Told> {
    let limit = shared.limits.page_records_max;
    loop {
        let (page, back) =
            read::page(shared, stream, reader, limit).await.map_err(Told::Problem)?;
        reader = back;
        if !page.records.is_empty() {
            let messages = page.records.iter().map(|record| Message::text(record.line()));
            let sent: Result<(), Interruption> = socket.send_all(messages).await;
            sent.map_err(|_| Told::Left)?;
            continue;
        }
        let mut more = std::pin::pin!(beyond(shared, stream, page.next));
        loop {
            tokio::select! {
                () = &mut more => break,
                // What nobody asked for.
                said = socket.next() => drop(said.map_err(|_| Told::Left)?),
            }
        }
    }
}
