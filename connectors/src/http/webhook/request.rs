//! [`Post`]: one request, and what its answer means.
//!
//! Invariant: a request ends within its time, whatever the receiver does; of an answer only the status and
//! `Retry-After` are looked at, and no body is read.

use std::sync::Arc;
use std::time::Duration;

use anabranch::{Error, Result, clock};
use reqwest::{Client, RequestBuilder, StatusCode, header};
use rustls::ClientConfig;
use serde_json::value::RawValue;

use super::Webhook;
use super::sign::signature;
use super::window::Record;
use crate::secret::Secret;
use crate::websocket::retry_after;

/// The longest `Retry-After` that is honoured.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Without `Retry-After`, a receiver that answered 429 is left alone for at least this long.
const TOO_MANY_PAUSE: Duration = Duration::from_secs(5);

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Delivered,
    /// It may succeed later, after so long at least.
    Again {
        why: String,
        wait: Option<Duration>,
    },
    /// It never will.
    Refused(String),
    /// Nothing ever will.
    Gone(String),
}

/// How requests are made.
pub(super) struct Post {
    client: Client,
    to: Webhook,
    key: Option<Secret>,
}

/// A request that was made and not sent.
pub(super) struct Request {
    builder: RequestBuilder,
    to: Arc<str>,
    time: Duration,
}

impl Post {
    pub(super) fn new(to: &Webhook, key: Option<Secret>, tls: &ClientConfig) -> Result<Self> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(to.connect)
            .timeout(to.request)
            .pool_max_idle_per_host(to.requests)
            .no_proxy()
            .user_agent(concat!("anabranch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::Connector(format!("HTTP cannot be set up: {e}")))?;
        Ok(Self { client, to: to.clone(), key })
    }

    /// The request that brings `records`: signed now.
    pub(super) fn request(&self, records: &[Record<'_>]) -> Request {
        let (body, kind) = match self.to.batch {
            None => single(records),
            Some(_) => (array(records), "application/json"),
        };
        let seconds = clock::now().as_nanos().div_euclid(1_000_000_000);
        let signed = self.key.as_ref().and_then(|key| signature(key, seconds, &body));
        let mut builder = self
            .client
            .post(self.to.url.clone())
            .header(header::CONTENT_TYPE, kind)
            .header("Idempotency-Key", key(records));
        if let Some(signed) = signed {
            builder = builder.header("Anabranch-Signature", signed);
        }
        let to = Arc::from(self.to.describe.as_str());
        Request { builder: builder.body(body), to, time: self.to.request }
    }
}

/// The name of a record, or of the first and the last.
fn key(records: &[Record<'_>]) -> String {
    match records {
        [first, .., last] => format!("{}..{}", first.id, last.id),
        records => records.first().map_or("", |record| record.id).to_owned(),
    }
}

fn single(records: &[Record<'_>]) -> (Vec<u8>, &'static str) {
    let frame = records.first().map_or(&[][..], |record| record.frame);
    let kind = match serde_json::from_slice::<&RawValue>(frame) {
        Ok(_) => "application/json",
        Err(_) if std::str::from_utf8(frame).is_ok() => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    };
    (frame.to_vec(), kind)
}

/// `[{"id":NAME,"record":RECORD},..]`; what is no JSON document is text.
fn array(records: &[Record<'_>]) -> Vec<u8> {
    let mut body = vec![b'['];
    for (place, record) in records.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"id\":");
        body.extend_from_slice(serde_json::Value::from(record.id).to_string().as_bytes());
        body.extend_from_slice(b",\"record\":");
        match serde_json::from_slice::<&RawValue>(record.frame) {
            Ok(_) => body.extend_from_slice(record.frame),
            Err(_) => {
                let text = String::from_utf8_lossy(record.frame);
                body.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
            }
        }
        body.push(b'}');
    }
    body.push(b']');
    body
}

impl Request {
    /// Sends it, and waits for the answer.
    pub(super) async fn answer(self) -> Answer {
        match self.builder.send().await {
            Ok(response) => {
                let wait = retry_after(response.headers(), RETRY_AFTER_MAX);
                meaning(response.status(), wait, &self.to)
            }
            Err(error) => {
                let why = match error.is_timeout() {
                    true => format!("{} did not answer within {:?}", self.to, self.time),
                    // Not with its URL, which may have a query.
                    false => format!("{}: {}", self.to, innermost(&error.without_url())),
                };
                Answer::Again { why, wait: None }
            }
        }
    }
}

/// What an error is in the end.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What an answer with that status means.
fn meaning(status: StatusCode, wait: Option<Duration>, to: &str) -> Answer {
    let why = |what: &str| format!("{to} answered {status}{what}");
    match status.as_u16() {
        200..=299 => Answer::Delivered,
        300..=399 => {
            let what = ", and redirects are not followed: name the new address";
            Answer::Again { why: why(what), wait: None }
        }
        410 => Answer::Gone(why(
            ": it wants nothing any more. Nothing is lost: take the sink out, or name another receiver",
        )),
        429 => Answer::Again { why: why(""), wait: Some(wait.unwrap_or(TOO_MANY_PAUSE)) },
        // About the receiver, not about the record.
        401 | 403 | 404 | 407 | 408 | 409 | 425 => Answer::Again { why: why(""), wait },
        400..=499 => Answer::Refused(why("")),
        _ => Answer::Again { why: why(""), wait },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_means_what_one_expects() {
        let of = |status: u16, wait| meaning(StatusCode::from_u16(status).unwrap(), wait, "it");
        let second = Some(Duration::from_secs(1));
        for status in [200, 201, 202, 204] {
            assert_eq!(of(status, None), Answer::Delivered);
        }
        for status in [301, 307, 401, 403, 404, 408, 409, 425, 500, 502, 504] {
            assert!(matches!(of(status, None), Answer::Again { wait: None, .. }), "{status}");
        }
        for status in [400, 405, 406, 413, 415, 422, 451] {
            assert!(matches!(of(status, None), Answer::Refused(_)), "{status}");
        }
        assert!(matches!(of(410, None), Answer::Gone(_)));
        let waits = |answer| matches!(answer, Answer::Again { wait, .. } if wait == second);
        assert!(waits(of(503, second)) && waits(of(429, second)));
        assert!(matches!(of(429, None), Answer::Again { wait: Some(TOO_MANY_PAUSE), .. }));
    }

    #[test]
    fn a_batch_is_an_array_of_names_and_records() {
        let record = |id, frame: &'static str| Record { id, frame: frame.as_bytes() };
        let records = [record("a-0-1", "{\"x\": 1}"), record("a-0-\"2", "no \"JSON\"")];
        let body: serde_json::Value = serde_json::from_slice(&array(&records)).unwrap();
        let expected = serde_json::json!([
            {"id": "a-0-1", "record": {"x": 1}},
            {"id": "a-0-\"2", "record": "no \"JSON\""},
        ]);
        assert_eq!(body, expected);
        assert_eq!(key(&records), "a-0-1..a-0-\"2");
        assert_eq!(key(&records[..1]), "a-0-1");
        assert_eq!(single(&records[..1]).1, "application/json");
        assert_eq!(single(&records[1..]).1, "text/plain; charset=utf-8");
    }
}
