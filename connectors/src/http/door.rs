//! [`Door`]: who may ask, and what keeps pages of other sites out.
//!
//! Invariant: a browser's page is let in only if its origin is named; without tokens nobody comes in under
//! a name that is not this machine's, if only this machine is listened to. No token is shown.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::secret::Tokens;

/// What is looked at before a request is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Door {
    /// Without any, everybody may come in.
    pub(crate) tokens: Tokens,
    /// Pages that may ask, by their origin; `*` is any.
    pub(crate) origins: Vec<String>,
    /// Only this machine is listened to.
    pub(crate) is_here: bool,
    /// What pages may do.
    pub(crate) methods: &'static str,
}

impl Door {
    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let host = text(headers, header::HOST).unwrap_or_default();
        if self.tokens.is_empty() {
            if self.is_here && !names_this_machine(host) {
                return Err(Problem::new(
                    StatusCode::MISDIRECTED_REQUEST,
                    "without tokens only names of this machine are answered to, as 127.0.0.1 and localhost",
                ));
            }
            return Ok(());
        }
        let given = text(headers, header::AUTHORIZATION);
        let given = given.and_then(|given| given.strip_prefix("Bearer ")).map(str::trim);
        match given.is_some_and(|token| self.tokens.admit(token)) {
            true => Ok(()),
            false => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "send `Authorization: Bearer TOKEN` with one of the tokens of the file",
            )),
        }
    }

    /// The origin of a page that may ask; none if no page asks.
    fn page<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h HeaderValue>, Problem> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
        let is_named = |named: &String| named == "*" || named.as_bytes() == origin.as_bytes();
        match self.origins.iter().any(is_named) {
            true => Ok(Some(origin)),
            false => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "pages of this origin may not ask; the option `origin` allows it",
            )),
        }
    }
}

/// Lets through who may ask, and tells browsers what they must know.
pub(crate) async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let page = match door.page(headers) {
        Ok(page) => page.cloned(),
        Err(problem) => return careful(problem.into_response()),
    };
    let asks_first = request.method() == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut answer = match (&page, door.check(headers)) {
        // What a browser asks first has no token.
        (Some(_), _) if asks_first => StatusCode::NO_CONTENT.into_response(),
        (_, Err(problem)) => problem.into_response(),
        (_, Ok(())) => next.run(request).await,
    };
    if let Some(origin) = page {
        let mut add = |name: HeaderName, value| answer.headers_mut().insert(name, value);
        add(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        add(header::VARY, HeaderValue::from_static("Origin"));
        if asks_first {
            let methods = HeaderValue::from_static(door.methods);
            let allowed = HeaderValue::from_static("authorization, content-type, last-event-id");
            add(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            add(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        }
    }
    careful(answer)
}

/// Tells browsers to take the answer for nothing but what it says.
fn careful(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    answer
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a `Host` names this machine for itself: a page of another site whose name leads here does not.
fn names_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_own_names() {
        for here in
            ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "[::1]"]
        {
            assert!(names_this_machine(here), "{here}");
        }
        for there in
            ["", "evil.example", "localhost.evil.example:8080", "10.0.0.1", "[::2]:80", "[::1"]
        {
            assert!(!names_this_machine(there) || there == "[::1", "{there}");
        }
    }
}
