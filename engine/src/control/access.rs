//! Who may ask: [`Tokens`] with roles, and what keeps pages of other sites out.
//!
//! Invariant: no token is logged, shown or quoted; comparing takes the same time whichever is right. Without tokens
//! nobody but this machine can ask, and no browser on behalf of another site.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::api::About;
use super::dashboard;
use super::problem::Problem;
use crate::cluster::read_secret_file;
use crate::{Error, Result};

/// The shortest token, in bytes.
const TOKEN_MIN: usize = 16;
/// The longest.
const TOKEN_MAX: usize = 512;
/// The most tokens.
const TOKENS_MAX: usize = 1_000;
/// The largest file of tokens, in bytes.
const FILE_MAX: usize = 1 << 20;

/// What a token allows; each role allows what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// To look.
    Read,
    /// To add input, such as dead letters that are tried again.
    Write,
    /// To do anything.
    Admin,
}

impl Role {
    fn of(word: &str) -> Option<Self> {
        match word {
            "read" => Some(Self::Read),
            "write" => Some(Self::Write),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Tokens and what they allow. Only their digests are kept.
#[derive(Clone)]
pub(crate) struct Tokens(Vec<(Role, [u8; 32])>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    /// Reads the file of `--http-tokens`: a role and a token a line; `#` begins a comment.
    ///
    /// # Errors
    /// When it cannot be read, others than its owner can, or a line is wrong.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = read_secret_file("the file of tokens", path, FILE_MAX)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::Usage(format!("the file of tokens {} is no text", path.display()))
        })?;
        Self::parse(&text)
            .map_err(|what| Error::Usage(format!("the file of tokens {}: {what}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // Never the line itself: there may be a token in it.
            let wrong = |what: &str| format!("line {} {what}", index + 1);
            let (role, token) = line
                .split_once(char::is_whitespace)
                .ok_or_else(|| wrong("is no role (read, write or admin) and a token"))?;
            let role = Role::of(role).ok_or_else(|| wrong("has no role: read, write or admin"))?;
            let token = token.trim();
            if !(TOKEN_MIN..=TOKEN_MAX).contains(&token.len()) {
                return Err(wrong(&format!(
                    "has a token of {} bytes; {TOKEN_MIN} to {TOKEN_MAX} are allowed: make one with \
                     `openssl rand -hex 32`",
                    token.len()
                )));
            }
            tokens.push((role, digest(token)));
        }
        match tokens.len() {
            0 => Err("it has no token; write `admin` and one on a line".to_string()),
            1..=TOKENS_MAX => Ok(Self(tokens)),
            _ => Err(format!("it has more than {TOKENS_MAX} tokens")),
        }
    }

    /// The most that a token allows.
    fn role(&self, token: &str) -> Option<Role> {
        let given = digest(token);
        let mut allowed = None;
        for (role, known) in &self.0 {
            // All are compared, whichever it is.
            if bool::from(known.ct_eq(&given)) {
                allowed = allowed.max(Some(*role));
            }
        }
        allowed
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// What is needed for a request.
fn needed(method: &Method, path: &str, added: &[String]) -> Option<Role> {
    let is_below = |known: &String| {
        path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match path {
        // Those that watch over programs ask without being known.
        "/api/v1/health" | "/api/v1/ready" => None,
        // The page itself says nothing of the program; it asks for a token, and then for the rest.
        _ if dashboard::is_of(path) && matches!(*method, Method::GET | Method::HEAD) => None,
        _ if matches!(*method, Method::GET | Method::HEAD) => Some(Role::Read),
        _ if path.starts_with("/api/v1/dead-letters/") => Some(Role::Write),
        _ if added.iter().any(is_below) => Some(Role::Write),
        _ => Some(Role::Admin),
    }
}

/// Lets through who may ask.
pub(super) async fn allow(
    State(about): State<Arc<About>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let host = text(headers, header::HOST).unwrap_or_default();
    let foreign = text(headers, header::ORIGIN).is_some_and(|origin| !is_of(origin, host));
    if foreign {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "pages of other sites may not ask this program; ask it from its own, or without a browser",
        ));
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if let Err(seconds) = about.rate.admit(changes) {
        return Ok(too_often(seconds));
    }
    let needed = needed(request.method(), request.uri().path(), &about.added);
    match (&about.tokens, needed) {
        (None, Some(_)) if !is_here(host) => {
            return Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "without --http-tokens this program answers to names of this machine alone, as 127.0.0.1 and localhost",
            ));
        }
        (_, None) | (None, Some(_)) => {}
        (Some(tokens), Some(needed)) => {
            let given = text(headers, header::AUTHORIZATION);
            let given = given.and_then(|given| given.strip_prefix("Bearer ")).map(str::trim);
            let Some(role) = given.and_then(|token| tokens.role(token)) else {
                return Err(Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "send `Authorization: Bearer TOKEN` with one of the tokens of --http-tokens",
                ));
            };
            if role < needed {
                let (role, needed) = (role.name(), needed.name());
                let detail = format!("this token allows to {role}; that needs one for {needed}");
                return Err(Problem::new(StatusCode::FORBIDDEN, detail));
            }
        }
    }
    Ok(next.run(request).await)
}

/// So much is asked that it cannot all be answered.
fn too_often(seconds: u64) -> Response {
    let detail = "that is too often; wait, and ask for less";
    let mut refused = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).into_response();
    refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    refused
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a page of that origin was served by `host`.
fn is_of(origin: &str, host: &str) -> bool {
    let served = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    !host.is_empty() && served.is_some_and(|served| served.eq_ignore_ascii_case(host))
}

/// Whether a `Host` names this machine for itself: a page of another site whose name leads here does not.
fn is_here(host: &str) -> bool {
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

    const READER: &str = "0123456789abcdef";
    const ADMIN: &str = "fedcba9876543210";

    #[test]
    fn a_token_allows_what_its_line_says() {
        let text = format!("# who\nread {READER}\n\nadmin\t{ADMIN}\nread {ADMIN}\n");
        let tokens = Tokens::parse(&text).unwrap();
        assert_eq!(tokens.role(READER), Some(Role::Read));
        assert_eq!(tokens.role(ADMIN), Some(Role::Admin));
        assert_eq!(tokens.role("0123456789abcdeF"), None);
        assert_eq!(tokens.role(""), None);
        assert_eq!(format!("{tokens:?}"), "Tokens(3)");
    }

    #[test]
    fn a_wrong_line_is_named_and_never_shown() {
        for (text, said) in [
            ("", "no token"),
            ("admin", "line 1 is no role"),
            ("# x\nroot 0123456789abcdef", "line 2 has no role"),
            ("read 0123456789abcde", "line 1 has a token of 15 bytes"),
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("0123456789abcde"), "{error}");
        }
        let many = "read 0123456789abcdef\n".repeat(TOKENS_MAX + 1);
        assert!(Tokens::parse(&many).unwrap_err().contains("more than"));
    }

    #[test]
    fn this_machine_is_known_by_its_own_names() {
        for here in
            ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "[::1]"]
        {
            assert!(is_here(here), "{here}");
        }
        for there in
            ["", "evil.example", "localhost.evil.example:8080", "10.0.0.1", "[::2]:80", "[::1"]
        {
            assert!(!is_here(there) || there == "[::1", "{there}");
        }
        assert!(is_of("http://127.0.0.1:8080", "127.0.0.1:8080"));
        assert!(!is_of("http://127.0.0.1:9090", "127.0.0.1:8080"));
        assert!(!is_of("null", "127.0.0.1:8080") && !is_of("http://", ""));
    }
}
