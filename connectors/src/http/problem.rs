//! [`Problem`]: what is answered when something cannot be done, as RFC 9457 says.
//!
//! Invariant: it says what to do, and nothing of what must stay secret.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why something was not done, and what to do.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The status of the answer, in words.
    title: String,
    /// The same as a number.
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
    /// Which records of the request are wrong; the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<Refused>,
    /// In so many seconds it may be tried again.
    #[serde(skip)]
    again_s: Option<u32>,
}

/// A record of a request that is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Refused {
    /// Its place among the records of the request, from 0.
    pub(crate) place: usize,
    /// What is wrong.
    pub(crate) why: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("refused").to_string();
        let (status, detail) = (status.as_u16(), detail.into());
        Self { title, status, detail, refused: Vec::new(), again_s: None }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// There is no room now; there may be in a second.
    pub(crate) fn busy(detail: impl Into<String>) -> Self {
        Self { again_s: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    pub(crate) fn with_refused(self, refused: Vec<Refused>) -> Self {
        Self { refused, ..self }
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The status in words.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    #[cfg(test)]
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, again) = (self.status(), self.again_s);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut answer = (status, kind, Json(self)).into_response();
        let headers = answer.headers_mut();
        if let Some(seconds) = again {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}
