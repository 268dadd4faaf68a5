//! [`Budget`]: what all bodies that are being received take together.
//!
//! Invariant: bytes are counted before they are kept, for each body and for all; who sends slowly is left after a
//! time, and what it sent is given back.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::problem::Problem;

/// Bounds on bodies.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// Bytes that there is room for, of all bodies together.
    room: Arc<Semaphore>,
    /// Of one body.
    bytes_max: usize,
    /// The longest from the head of a request to the end of its body.
    time: Duration,
}

/// A whole body; it takes room until it is dropped.
pub(crate) struct Collected {
    pub(crate) bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Budget {
    pub(crate) fn new(all_bytes_max: usize, bytes_max: usize, time: Duration) -> Self {
        let all = all_bytes_max.max(bytes_max).min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(all)), bytes_max, time }
    }

    /// Receives a body.
    ///
    /// # Errors
    /// When it is too large, too slow, compressed, does not come whole, or there is no room for it.
    pub(crate) async fn collect(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Collected, Problem> {
        let encoding = headers.get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            let detail = "compressed bodies are not understood: send it as it is";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if declared
            .and_then(|length| length.parse().ok())
            .is_some_and(|length| self.is_too_large(length))
        {
            return Err(self.too_large());
        }
        let collected = timeout(self.time, self.collect_whole(body)).await;
        collected.unwrap_or_else(|_| {
            let detail = format!("the body did not come within {:?}: nothing was taken", self.time);
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        })
    }

    async fn collect_whole(&self, body: Body) -> Result<Collected, Problem> {
        let mut collected = Collected { bytes: Vec::new(), _room: None };
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| {
                Problem::bad_request(format!(
                    "the body did not come whole ({error}): nothing was taken"
                ))
            })?;
            if self.is_too_large(collected.bytes.len() + chunk.len()) {
                return Err(self.too_large());
            }
            let bytes = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bytes) else {
                return Err(Problem::busy("too much is being sent at this moment: try again"));
            };
            match &mut collected._room {
                None => collected._room = Some(room),
                Some(held) => held.merge(room),
            }
            collected.bytes.extend_from_slice(&chunk);
        }
        Ok(collected)
    }

    fn is_too_large(&self, bytes: usize) -> bool {
        bytes > self.bytes_max
    }

    fn too_large(&self) -> Problem {
        Problem::too_large(format!(
            "the body has more than {} bytes: nothing was taken; send less at a time",
            self.bytes_max
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap().block_on(future)
    }

    fn status(budget: &Budget, headers: &HeaderMap, body: Body) -> u16 {
        block_on(budget.collect(headers, body))
            .map_or_else(|problem| problem.status().as_u16(), |_| 200)
    }

    #[test]
    fn bodies_are_bounded_each_and_together() {
        let (budget, none) = (Budget::new(10, 8, Duration::from_secs(30)), HeaderMap::new());
        assert_eq!(status(&budget, &none, Body::from("12345678")), 200);
        assert_eq!(status(&budget, &none, Body::from("123456789")), 413);
        let held = block_on(budget.collect(&none, Body::from("1234"))).ok().unwrap();
        assert_eq!(status(&budget, &none, Body::from("1234567")), 503);
        assert_eq!(status(&budget, &none, Body::from("123456")), 200);
        drop(held);
        assert_eq!(status(&budget, &none, Body::from("1234567")), 200);
    }

    #[test]
    fn a_declared_length_and_a_compression_are_refused_unread() {
        let budget = Budget::new(10, 8, Duration::from_secs(30));
        let header =
            |name, value: &'static str| HeaderMap::from_iter([(name, value.parse().unwrap())]);
        assert_eq!(status(&budget, &header(header::CONTENT_LENGTH, "9"), Body::empty()), 413);
        assert_eq!(status(&budget, &header(header::CONTENT_ENCODING, "gzip"), Body::empty()), 415);
        assert_eq!(
            status(&budget, &header(header::CONTENT_ENCODING, "identity"), Body::empty()),
            200
        );
    }

    #[test]
    fn who_is_too_slow_is_left_and_gives_its_room_back() {
        let budget = Budget::new(4, 4, Duration::from_millis(20));
        let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>("1234")]);
        let never = Body::from_stream(chunks.chain(futures_util::stream::pending()));
        assert_eq!(status(&budget, &HeaderMap::new(), never), 408);
        assert_eq!(status(&budget, &HeaderMap::new(), Body::from("1234")), 200);
    }
}
