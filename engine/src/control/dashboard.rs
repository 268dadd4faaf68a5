//! The dashboard: a page for browsers that shows what the rest of the interface tells, and asks it for what is done.
//!
//! Everything of it is in the program: nothing is built by users or fetched from elsewhere. It is plain modules of
//! JavaScript in `dashboard/`, and uPlot for charts.
//!
//! Invariant: the files say nothing of the program, so everyone may have them. No script or style runs but these: the
//! policy says so to the browser, and names no other place.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_64;

use super::problem::Problem;
use crate::http::Page;
use crate::{Error, Result};

/// What a browser may do with the dashboard: its own scripts and styles, and asking the program.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! file {
    ($kind:expr, $name:literal) => {
        ($name, $kind, include_str!(concat!("dashboard/", $name)))
    };
    ($kind:expr, vendor $name:literal) => {
        ($name, $kind, include_str!(concat!("dashboard/vendor/", $name)))
    };
}

const FILES: [(&str, &str, &str); 17] = [
    file!(HTML, "index.html"),
    file!(IMAGE, "icon.svg"),
    file!(STYLE, "style.css"),
    file!(SCRIPT, "api.js"),
    file!(SCRIPT, "app.js"),
    file!(SCRIPT, "charts.js"),
    file!(SCRIPT, "dom.js"),
    file!(SCRIPT, "format.js"),
    file!(SCRIPT, "graph.js"),
    file!(SCRIPT, "letters.js"),
    file!(SCRIPT, "overview.js"),
    file!(SCRIPT, "status.js"),
    file!(SCRIPT, "tables.js"),
    file!(SCRIPT, "views.js"),
    file!(SCRIPT, "windows.js"),
    file!(SCRIPT, vendor "uPlot.min.js"),
    file!(STYLE, vendor "uPlot.min.css"),
];
/// uPlot's.
const LICENCE: &str = include_str!("dashboard/vendor/uPlot.LICENSE");

/// Whether a path is one of the dashboard's own.
pub(super) fn is_of(path: &str) -> bool {
    path == "/" || path.starts_with("/assets/") || path.starts_with("/pages/")
}

/// What there is to be had.
struct Files(BTreeMap<String, File>);

struct File {
    kind: &'static str,
    text: &'static str,
    /// So that a browser fetches it again only when it is another.
    tag: HeaderValue,
}

/// A page that the application brings.
#[derive(Clone, Serialize, ToSchema)]
pub(super) struct Named {
    /// As it stands in the navigation.
    name: &'static str,
    /// Where its module is.
    script: String,
}

/// The dashboard, with the pages of an application.
///
/// # Errors
/// When a page cannot be named so.
pub(super) fn routes(brought: Vec<Page>) -> Result<Router> {
    let mut files = BTreeMap::new();
    for (name, kind, text) in FILES {
        let path = if name == "index.html" { "/".to_owned() } else { format!("/assets/{name}") };
        files.insert(path, File::of(kind, text)?);
    }
    files.insert("/assets/uPlot.LICENSE".to_owned(), File::of(TEXT, LICENCE)?);
    let mut named = Vec::new();
    for Page { name, script } in brought {
        let word = name.to_lowercase().replace(' ', "-");
        if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Err(Error::Application(format!(
                "a page cannot be named `{name}`: use letters, digits and spaces"
            )));
        }
        let path = format!("/pages/{word}.js");
        files.insert(path.clone(), File::of(SCRIPT, script)?);
        named.push(Named { name, script: path });
    }
    let named: Arc<[Named]> = named.into();
    Ok(Router::new()
        .route("/", get(index))
        .route("/assets/{file}", get(asset))
        .route("/pages/{file}", get(page))
        .with_state(Arc::new(Files(files)))
        .merge(Router::new().route("/api/v1/pages", get(pages)).with_state(named)))
}

impl File {
    fn of(kind: &'static str, text: &'static str) -> Result<Self> {
        let tag = HeaderValue::from_str(&format!("\"{:016x}\"", xxh3_64(text.as_bytes())));
        let tag = tag.map_err(|e| Error::Application(format!("the dashboard: {e}")))?;
        Ok(Self { kind, text, tag })
    }
}

impl Files {
    fn answer(&self, path: &str, asked: &HeaderMap) -> Answered {
        let file = self
            .0
            .get(path)
            .ok_or_else(|| Problem::not_found("there is no such file; the dashboard is at /"))?;
        let known = asked.get(header::IF_NONE_MATCH) == Some(&file.tag);
        let mut answer = match known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => file.text.into_response(),
        };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
        headers.insert(header::ETAG, file.tag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        Ok(answer)
    }
}

type Answered = std::result::Result<Response, Problem>;

async fn index(State(files): State<Arc<Files>>, asked: HeaderMap) -> Answered {
    files.answer("/", &asked)
}

async fn asset(
    State(files): State<Arc<Files>>,
    Path(file): Path<String>,
    asked: HeaderMap,
) -> Answered {
    files.answer(&format!("/assets/{file}"), &asked)
}

async fn page(
    State(files): State<Arc<Files>>,
    Path(file): Path<String>,
    asked: HeaderMap,
) -> Answered {
    files.answer(&format!("/pages/{file}"), &asked)
}

/// The pages that the application brings to the dashboard.
#[utoipa::path(get, path = "/api/v1/pages", tag = "program", responses(
    (status = 200, description = "Pages", body = [Named]),
))]
pub(super) async fn pages(State(named): State<Arc<[Named]>>) -> Json<Vec<Named>> {
    Json(named.to_vec())
}
