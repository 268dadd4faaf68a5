//! The source `http-listen://`: producers POST records, each record is a frame.
//!
//! Invariant: one partition, in the order of arrival; of a request all records are taken, one after the other,
//! or none. What does not fit is answered 503, never kept. With `ack` an answer says that all are durable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anabranch::Result;
use anabranch::metrics::{Counter, Counters};
use anabranch::source::{FrameReader, Inlet, Nature, OpenContext};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::{Budget, Door, Form, Most, Pace, Problem, connection, guard, records};
use crate::listen::{Listen, count_and_tell};
use crate::queue::{Bounds, Inbound, NoRoom, can_acknowledge};
use crate::secret::Tokens;

/// A place for producers to POST to.
#[derive(Clone, Debug)]
pub(crate) struct HttpListener {
    pub(crate) listen: Listen,
    /// Any other path is answered 404.
    pub(crate) path: String,
    /// Web pages that may send, by their origin; `*` is any.
    pub(crate) origins: Vec<String>,
    /// Who sends needs one of the tokens in it.
    pub(crate) token_file: Option<PathBuf>,
    /// The longest for the head of a request, also between two of them.
    pub(crate) handshake: Duration,
    /// The longest for a body, and then again for it to be durable.
    pub(crate) request: Duration,
    pub(crate) body_bytes_max: usize,
    pub(crate) frame_bytes_max: usize,
    pub(crate) bounds: Bounds,
    /// Answers wait until what they say is durable.
    pub(crate) ack: bool,
}

impl Inlet for HttpListener {
    fn describe(&self) -> String {
        format!("http-listen://{}{}", self.listen.address, self.path)
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        if self.ack {
            can_acknowledge(context, &self.describe())?;
        }
        let door = Arc::new(Door {
            tokens: self.token_file.as_deref().map(Tokens::read).transpose()?.unwrap_or_default(),
            origins: self.origins.clone(),
            is_here: self.listen.is_here(),
            methods: "POST",
        });
        let shared = Arc::new(Shared::new(self.clone(), context));
        let (counts, name) = (shared.counts.clone(), Arc::clone(&context.name));
        let pace = Pace { head: self.handshake, answer: self.request };
        self.listen.feed(context, self.bounds, move |queue, stream, peer, place| {
            let producer = Arc::new(Producer { shared: Arc::clone(&shared), queue });
            let router = Router::new()
                .fallback(take)
                .layer(from_fn_with_state(Arc::clone(&door), guard))
                .with_state(producer);
            serve(stream, peer, place, (router, pace), (counts.clone(), Arc::clone(&name)))
        })
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
    (router, pace): (Router, Pace),
    (counts, name): (Counts, Arc<str>),
) {
    if let Err(why) = connection(stream, router, pace).await
        && count_and_tell(&counts.broken)
    {
        let so_far = counts.broken.get();
        tracing::warn!(source = %name, so_far, "producer {peer}: {why}");
    }
}

#[derive(Clone)]
struct Counts {
    frames: Counter,
    bytes: Counter,
    requests: Counter,
    refused: Counter,
    full: Counter,
    oversized: Counter,
    broken: Counter,
}

impl Counts {
    fn of(counters: &Counters) -> Self {
        Self {
            frames: counters.counter("frames"),
            bytes: counters.counter("bytes"),
            requests: counters.counter("requests"),
            refused: counters.counter("refused_requests"),
            full: counters.counter("full"),
            oversized: counters.counter("oversized"),
            broken: counters.counter("broken_connections"),
        }
    }

    fn count(&self, problem: &Problem) {
        self.refused.add(1);
        self.full.add(u64::from(problem.status() == StatusCode::SERVICE_UNAVAILABLE));
        self.oversized.add(u64::from(problem.status() == StatusCode::PAYLOAD_TOO_LARGE));
    }
}

struct Shared {
    of: HttpListener,
    budget: Budget,
    counts: Counts,
}

impl Shared {
    fn new(of: HttpListener, context: &OpenContext) -> Self {
        let budget = Budget::new(of.bounds.bytes, of.body_bytes_max, of.request);
        Self { budget, counts: Counts::of(&context.counters), of }
    }
}

/// Who takes what is sent.
pub(super) struct Producer {
    shared: Arc<Shared>,
    queue: Inbound,
}

/// What a producer is told.
#[derive(Serialize)]
struct Took {
    /// How many records were taken.
    taken: usize,
    /// Whether they survive whatever happens.
    durable: bool,
}

async fn take(State(producer): State<Arc<Producer>>, request: Request) -> Response {
    producer.answer(request).await
}

impl Producer {
    /// One that hands over to `queue`, within the bounds of `of`.
    pub(super) fn new(of: HttpListener, context: &OpenContext, queue: Inbound) -> Self {
        Self { shared: Arc::new(Shared::new(of, context)), queue }
    }

    /// Takes the records of a request, and says how many.
    pub(super) async fn answer(&self, request: Request) -> Response {
        let counts = &self.shared.counts;
        counts.requests.add(1);
        match self.take(request).await {
            Ok(took) => {
                // Without `ack` it is accepted and not done.
                let status = if took.durable { StatusCode::OK } else { StatusCode::ACCEPTED };
                (status, Json(took)).into_response()
            }
            Err(problem) => {
                counts.count(&problem);
                let not_so = problem.status() == StatusCode::METHOD_NOT_ALLOWED;
                let mut answer = problem.into_response();
                if not_so {
                    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
                }
                answer
            }
        }
    }

    async fn take(&self, request: Request) -> Result<Took, Problem> {
        let Shared { of, budget, counts } = &*self.shared;
        let (head, body) = request.into_parts();
        if head.uri.path() != of.path {
            return Err(Problem::not_found(format!("there is nothing here; POST to {}", of.path)));
        }
        if head.method != Method::POST {
            let detail = "records are sent by POST";
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail));
        }
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let form = Form::of(kind);
        let body = budget.collect(&head.headers, body).await?;
        let most = Most { records: of.bounds.half().frames, record_bytes: of.frame_bytes_max };
        let frames = records(form, &body.bytes, most)?;
        let taken = frames.len();
        let end = match self.queue.offer_all(&frames) {
            Ok(end) => end,
            Err(NoRoom::Full) => {
                let detail =
                    "the program does not keep up: nothing was taken of this request; try again";
                return Err(Problem::busy(detail));
            }
            Err(NoRoom::Gone) => {
                return Err(Problem::busy("the program ends: nothing was taken; try again later"));
            }
        };
        counts.frames.add(taken as u64);
        counts.bytes.add(frames.iter().map(|frame| frame.len() as u64).sum());
        drop(frames);
        drop(body);
        let durable = of.ack && self.durable(end).await?;
        Ok(Took { taken, durable })
    }

    /// Waits until every frame before `end` is durable.
    async fn durable(&self, end: u64) -> Result<bool, Problem> {
        let owed = self.queue.owed();
        if let Some(last) = end.checked_sub(1) {
            owed.sent(last);
        }
        owed.finish();
        let time = self.shared.of.request;
        let late = |why: &str| {
            let detail = format!(
                "the records were taken, and {why}: they may or may not survive; if they are sent again, \
                 they may come twice"
            );
            Problem::new(StatusCode::GATEWAY_TIMEOUT, detail)
        };
        match timeout(time, owed.due()).await {
            Ok(Some(_)) => Ok(true),
            Ok(None) => Err(late("the program ends")),
            Err(_) => Err(late(&format!("are not durable after {time:?}"))),
        }
    }
}
