//! [`Problem`]: what is answered when something cannot be done, as RFC 9457 says.
//!
//! Invariant: it says what to do, and nothing of what must stay secret.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The type of a problem.
pub(super) const PROBLEM: &str = "application/problem+json";

/// Why something was not done, and what to do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The status of the answer, in words.
    title: String,
    /// The same as a number.
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("refused").to_string();
        Self { title, status: status.as_u16(), detail: detail.into() }
    }

    /// Whether that is its status.
    pub(super) fn is_of(&self, status: StatusCode) -> bool {
        self.status == status.as_u16()
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, PROBLEM)];
        (status, kind, Json(self)).into_response()
    }
}

impl From<PathRejection> for Problem {
    fn from(wrong: PathRejection) -> Self {
        Self::bad_request(wrong.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(wrong: JsonRejection) -> Self {
        Self::new(wrong.status(), wrong.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(wrong: QueryRejection) -> Self {
        Self::bad_request(wrong.body_text())
    }
}
