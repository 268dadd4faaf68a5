//! [`Place`]: what answers, here or elsewhere.
//!
//! Invariant: a folder and a server are asked in the same words and answer in the same ones, so that a command is
//! the same for both. An answer that is too large or takes too long is a failure; no redirect is followed, and
//! the token goes nowhere but where it was told to.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anabranch_connectors::stream::{ServiceLimits, Streams, service};
use anabranch_connectors::tls_client;
use axum::Router;
use axum::body::Body;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use reqwest::{Client, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::args::At;
use crate::failure::Failure;

/// The largest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The longest for an answer, beyond what it was asked to wait.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The largest file of a token.
const TOKEN_BYTES_MAX: u64 = 4 << 10;

/// What answers.
pub(crate) struct Place {
    runtime: Runtime,
    to: To,
}

enum To {
    /// Streams in a folder.
    Here(Router),
    /// A server.
    There { client: Client, base: String, token: Option<String> },
}

/// What is asked.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// Behind `/api/v1`.
    pub(crate) path: String,
    pub(crate) kind: &'a str,
    pub(crate) body: Vec<u8>,
}

impl Ask<'_> {
    pub(crate) fn get(path: String) -> Self {
        Self::of(Method::GET, path)
    }

    pub(crate) fn of(method: Method, path: String) -> Self {
        Self { method, path, kind: "application/json", body: Vec::new() }
    }

    pub(crate) fn with(self, body: &Value) -> Self {
        Self { body: body.to_string().into_bytes(), ..self }
    }
}

impl Place {
    /// What the options name.
    pub(crate) fn of(at: &At) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Failure::new(format!("cannot start: {e}")))?;
        let to = match (&at.dir, &at.at) {
            (Some(dir), None) => Self::here(dir)?,
            (None, Some(url)) => Self::there(url, at.token_file.as_deref())?,
            _ => {
                return Err(Failure::usage("it is not said where the streams are")
                    .or("give their folder, `--dir DIR`, or a server, `--at http://HOST:PORT`"));
            }
        };
        Ok(Self { runtime, to })
    }

    fn here(dir: &Path) -> Result<To, Failure> {
        let streams = service(Streams::open(dir)?, ServiceLimits::default());
        Ok(To::Here(Router::new().nest("/api/v1/streams", streams)))
    }

    fn there(url: &str, token_file: Option<&Path>) -> Result<To, Failure> {
        let parsed = reqwest::Url::parse(url).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
        });
        let is_plain = |url: &reqwest::Url| {
            url.query().is_none() && url.path() == "/" && url.password().is_none()
        };
        if !parsed.is_some_and(|url| is_plain(&url)) {
            return Err(Failure::usage("`--at` is no address of a server")
                .or("write http://HOST:PORT or https://HOST; a token goes into `--token-file`"));
        }
        let tls = tls_client(None)?;
        let client = Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(ANSWER_TIME)
            // A connection that was left open meanwhile may be closed just now.
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()
            .map_err(|e| Failure::new(format!("HTTP cannot be set up: {e}")))?;
        let (base, token) =
            (url.trim_end_matches('/').to_owned(), token_file.map(token).transpose()?);
        Ok(To::There { client, base, token })
    }

    /// Asks, and gives the answer.
    ///
    /// # Errors
    /// What the answer says is wrong, and that there is none.
    pub(crate) fn ask(&self, ask: Ask<'_>) -> Result<Vec<u8>, Failure> {
        let (status, body) = self.answer(ask)?;
        match status {
            200..=299 => Ok(body),
            _ => Err(refused(status, &body)),
        }
    }

    /// The status of an answer, and what it says.
    ///
    /// # Errors
    /// That there is none.
    pub(crate) fn answer(&self, ask: Ask<'_>) -> Result<(u16, Vec<u8>), Failure> {
        self.runtime.block_on(async {
            match &self.to {
                To::Here(router) => here(router.clone(), ask).await,
                To::There { client, base, token } => {
                    there(client, base, token.as_deref(), ask).await
                }
            }
        })
    }

    /// As [`ask`](Self::ask), for an answer that is a JSON document.
    pub(crate) fn json<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, Failure> {
        let body = self.ask(ask)?;
        serde_json::from_slice(&body).map_err(|e| {
            Failure::new(format!("the answer is not understood: {e}"))
                .or("is that a server of streams, of this version?")
        })
    }
}

async fn here(router: Router, ask: Ask<'_>) -> Result<(u16, Vec<u8>), Failure> {
    let failed = |e: String| Failure::new(e);
    let request = hyper::Request::builder()
        .method(ask.method.as_str())
        .uri(format!("/api/v1{}", ask.path))
        .header("content-type", ask.kind)
        .body(Body::from(ask.body))
        .map_err(|e| failed(e.to_string()))?;
    let answer = TowerToHyperService::new(router).call(request).await;
    let answer = answer.unwrap_or_else(|never| match never {});
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await;
    Ok((status, body.map_err(|e| failed(e.to_string()))?.to_vec()))
}

async fn there(
    client: &Client,
    base: &str,
    token: Option<&str>,
    ask: Ask<'_>,
) -> Result<(u16, Vec<u8>), Failure> {
    let lost = |error: reqwest::Error| {
        let why = match error.is_timeout() {
            true => format!("no answer within {ANSWER_TIME:?}"),
            false => innermost(&error.without_url()),
        };
        Failure::new(format!("{base}: {why}"))
            .or("does the server run there? `anabranch stream serve` is one; a program is if it was started with --http")
    };
    let mut request = client
        .request(ask.method, format!("{base}/api/v1{}", ask.path))
        .header("content-type", ask.kind)
        .body(ask.body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let mut answer = request.send().await.map_err(lost)?;
    let (status, mut body) = (answer.status().as_u16(), Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            let what = format!("{base}: an answer of more than {ANSWER_BYTES_MAX} bytes");
            return Err(Failure::new(what).or("ask for less: `--limit`"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, body))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What an answer says that is no success.
fn refused(status: u16, body: &[u8]) -> Failure {
    let problem = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let mut what = match problem.get("detail").and_then(Value::as_str) {
        Some(detail) => detail.to_owned(),
        None => format!("it was answered HTTP {status}"),
    };
    let refused = problem.get("refused").and_then(Value::as_array);
    for it in refused.into_iter().flatten().take(3) {
        let why = it.get("why").and_then(Value::as_str).unwrap_or_default();
        let _ = write!(what, "; record {}: {why}", it.get("place").unwrap_or(&Value::Null));
    }
    match status {
        401 => Failure::usage(what).or("name the file with your token: `--token-file FILE`"),
        400 | 403 | 404 | 405 | 413 | 421 => Failure::usage(what),
        503 => Failure::new(what).or("try again in a moment"),
        _ => Failure::new(what),
    }
}

/// The token in the first line of a file that only its owner can read.
fn token(path: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let shown = path.display();
    let failed = |e| Failure::usage(format!("cannot read the token in {shown}: {e}"));
    let file = std::fs::File::open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Failure::usage(format!(
                "others than its owner can read the token in {shown} (mode {mode:03o})"
            ))
            .or(format!("run `chmod 600 {shown}`")));
        }
    }
    let mut text = String::new();
    file.take(TOKEN_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let mut lines = text.lines().map(str::trim);
    let token = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    // A file of roles and tokens has the token last.
    let token = token.and_then(|line| line.split_whitespace().next_back());
    token.map(str::to_owned).ok_or_else(|| Failure::usage(format!("there is no token in {shown}")))
}
