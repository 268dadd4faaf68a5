//! [`posted`]: a source that is fed by POST requests to the program's own HTTP interface.
//!
//! Invariant: what is taken, refused and bounded is as for `http-listen:`. Of a process one source has a name; it is
//! fed where it is read, which is one worker of one process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch::http::Routes;
use anabranch::source::{FrameReader, Inlet, Nature, OpenContext};
use anabranch::{Error, Result};
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::listener::{HttpListener, Producer};
use super::{Problem, http_listen};
use crate::queue::{NoRoom, can_acknowledge, inbound};

/// Those of this process that are read, by name: the application is drawn once for each worker, and once for the
/// interface.
static READ: Mutex<BTreeMap<String, Arc<Producer>>> = Mutex::new(BTreeMap::new());

/// A source of frames that are POSTed to `/api/v1/NAME` of the program: see [`posted`].
#[derive(Clone, Debug)]
pub struct Posted {
    name: String,
    first: Vec<Vec<u8>>,
    bounds: HttpListener,
}

/// A source of the frames that are POSTed to `/api/v1/NAME` of the program's own HTTP interface (`--http`), with its
/// tokens and limits. A body is a record of JSON, an array of them, or lines, as its `Content-Type` says; the answer
/// says how many were taken, and with a data directory that they are durable.
///
/// ```
/// use anabranch::{App, Result, Stream, source};
/// use anabranch_connectors::posted;
///
/// fn build(app: &App) -> Result<()> {
///     // curl -X POST -H 'Content-Type: text/plain' -d hello 127.0.0.1:8080/api/v1/words
///     let words = posted("words")?;
///     app.routes(words.routes());
///     app.source("words", source::frames(words, || source::Text)).sink("out", anabranch::sink::null());
///     Ok(())
/// }
/// # anabranch::TestDriver::new(build).start()?;
/// # Ok::<(), anabranch::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] if `name` is no path of its own.
pub fn posted(name: &str) -> Result<Posted> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(Error::Usage(format!(
            "`{name}` is no name of a posted source: use a-z, 0-9 and -"
        )));
    }
    // The bounds of `http-listen:`; it does not listen.
    let bounds = http_listen("//127.0.0.1:0/")?;
    Ok(Posted { name: name.to_owned(), first: Vec::new(), bounds })
}

impl Posted {
    /// The same, with these frames before all others; they come once, also over restarts.
    #[must_use]
    pub fn beginning_with(self, first: Vec<Vec<u8>>) -> Self {
        Self { first, ..self }
    }

    /// The addresses that feed it, for [`App::routes`](anabranch::App::routes).
    pub fn routes(&self) -> Routes {
        let name = self.name.clone();
        Routes::new(&self.name, move || {
            let take = async move |request: Request| take(&name, request).await;
            Ok(Router::new().route("/", post(take)))
        })
    }
}

async fn take(name: &str, request: Request) -> Response {
    let read = READ.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
    match read {
        Some(producer) => producer.answer(request).await,
        None => Problem::busy(
            "nothing reads this here yet; if that stays so, another process of the program does: start \
             that with `--http` too, and ask it",
        )
        .into_response(),
    }
}

impl Inlet for Posted {
    fn describe(&self) -> String {
        format!("POST /api/v1/{}", self.name)
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        let ack = can_acknowledge(context, &self.describe()).is_ok();
        let of = HttpListener { ack, ..self.bounds.clone() };
        let from = context.resume.from;
        let (queue, reader) = inbound(of.bounds, context.waker.clone(), from);
        let missing = self.first.get(usize::try_from(from).unwrap_or(usize::MAX)..);
        let first: Vec<&[u8]> = missing.unwrap_or_default().iter().map(Vec::as_slice).collect();
        if let Err(NoRoom::Full | NoRoom::Gone) = queue.offer_all(&first) {
            return Err(Error::Usage(format!(
                "source `{}` begins with {} frames, more than it has room for: send them",
                context.name,
                first.len()
            )));
        }
        let producer = Arc::new(Producer::new(of, context, queue));
        READ.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name.clone(), producer);
        Ok(Box::new(reader))
    }
}
