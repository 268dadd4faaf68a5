//! Changes as they happen: a snapshot of a table, a row, a view or of how the program does, then what changes in it,
//! as server-sent events.
//!
//! Each event is what the workers answer at one epoch, or how that differs from the event before. What changes back
//! and forth between two events is not seen: they are [`PAUSE`] apart, and further if an answer takes long.
//!
//! Invariant: all who watch together make the workers work at most a part of their time ([`SHARE`]), and none while no
//! epoch passes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{SelectAll, once, unfold};
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::IntoParams;

use super::api::About;
use super::problem::{PROBLEM, Problem};
use super::tables::Keys;
use super::views::{self, Rows};
use super::{processes, tables};
use crate::clock;

/// The shortest time between two events.
const PAUSE: Duration = Duration::from_millis(100);
/// All answers together take at most one part in so many of the time.
const SHARE: u32 = 50;
/// How often it is told how the program does.
const BEAT: Duration = Duration::from_secs(1);
/// How often something is sent though nothing happens, so that both ends know that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How many may watch at once.
const WATCHERS_MAX: usize = 64;
/// How much one connection may watch.
const TOGETHER_MAX: usize = 16;

type Events<S> = Sse<axum::response::sse::KeepAliveStream<S>>;

/// How many watch.
#[derive(Clone, Debug, Default)]
pub(super) struct Watchers(Arc<AtomicUsize>);

/// One of them.
struct Place(Watchers);

impl Watchers {
    /// How long each is to wait after an answer that took so long, so that all together stay within their share.
    fn pause(&self, took: Duration) -> Duration {
        let watchers = u32::try_from(self.0.load(Ordering::SeqCst)).unwrap_or(u32::MAX).max(1);
        took.saturating_mul(SHARE).saturating_mul(watchers)
    }

    fn enter(&self) -> Result<Place, Problem> {
        if self.0.fetch_add(1, Ordering::SeqCst) < WATCHERS_MAX {
            return Ok(Place(self.clone()));
        }
        self.0.fetch_sub(1, Ordering::SeqCst);
        Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{WATCHERS_MAX} watch already; close one, or try again"),
        ))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What is watched.
#[derive(Clone)]
enum What {
    Rows { table: String, keys: Keys },
    Row { table: String, key: String, keys: Keys },
    View { view: String, rows: Rows },
    Program,
}

impl What {
    /// What it is now.
    async fn look(&self, about: &Arc<About>) -> Result<Value, Problem> {
        match self {
            Self::Rows { table, keys } => {
                Ok(json!(tables::look_at_rows(about, table.clone(), keys.clone()).await?))
            }
            Self::Row { table, key, keys } => {
                let row = tables::look_at_row(about, table.clone(), key.clone(), keys.clone());
                match row.await {
                    Ok(row) => Ok(json!(row)),
                    Err(problem) if problem.is_of(StatusCode::NOT_FOUND) => Ok(Value::Null),
                    Err(problem) => Err(problem),
                }
            }
            Self::View { view, rows } => {
                Ok(json!(views::look_at(about, view.clone(), rows.clone()).await?))
            }
            Self::Program => processes::look(about).await.map(|status| json!(status)),
        }
    }
}

/// Somebody who watches.
struct Watching {
    about: Arc<About>,
    what: What,
    /// Whether it was looked at before.
    looked: bool,
    /// As it was told last; nothing before the first event.
    told: Option<Value>,
    /// How far the workers were then.
    seen: Vec<u64>,
    pause: Duration,
    _place: Place,
}

impl Watching {
    /// Watches `what`, if it is there.
    async fn begin(about: Arc<About>, what: What) -> Result<Self, Problem> {
        let place = about.watchers.enter()?;
        // What cannot be looked at is told at once, as by the address that gives it once.
        if let What::Row { table, .. } = &what {
            about.table(table)?;
        }
        what.look(&about).await?;
        let seen = Vec::new();
        Ok(Self { about, what, looked: false, told: None, seen, pause: PAUSE, _place: place })
    }

    /// The next event: its name, and what it tells; none when the program ends.
    async fn next(mut self) -> Option<((&'static str, String), Self)> {
        loop {
            if std::mem::replace(&mut self.looked, true) {
                tokio::time::sleep(self.pause).await;
            }
            let seen = self.about.progress();
            if self.told.is_some() && seen == self.seen && !matches!(self.what, What::Program) {
                continue;
            }
            let began = clock::instant();
            let looked = self.what.look(&self.about).await;
            let now = match looked {
                Ok(now) => now,
                Err(_) if self.about.board.is_closed() => return None,
                Err(_) => {
                    self.pause = self.pause.max(PAUSE);
                    continue;
                }
            };
            self.seen = seen;
            let event = match &self.told {
                None => Some(("snapshot", now.clone())),
                Some(told) => change(told, &now).map(|change| ("change", change)),
            };
            self.told = Some(now);
            let event = event.map(|(name, data)| (name, data.to_string()));
            let least = if matches!(self.what, What::Program) { BEAT } else { PAUSE };
            self.pause = least.max(self.about.watchers.pause(began.elapsed()));
            if let Some(event) = event {
                return Some((event, self));
            }
        }
    }
}

/// How what is watched differs from what was told; nothing if it does not. Of rows those that are new or other, and
/// the keys of those that are gone; of anything else all of it.
fn change(told: &Value, now: &Value) -> Option<Value> {
    let without = |value: &Value| {
        let mut fields = value.as_object().cloned().unwrap_or_default();
        fields.remove("before");
        fields
    };
    let (old, new) = (without(told), without(now));
    if old == new && told.is_null() == now.is_null() {
        return None;
    }
    for (list, id) in [("rows", "key"), ("rows", "row"), ("entries", "key")] {
        if let (Some(Value::Array(before)), Some(Value::Array(after))) =
            (old.get(list), new.get(list))
            && before.iter().chain(after).all(|row| row.get(id).is_some())
        {
            let by_id = |rows: &[Value]| -> BTreeMap<String, Value> {
                rows.iter().map(|row| (row[id].to_string(), row.clone())).collect()
            };
            let (was, is) = (by_id(before), by_id(after));
            let fresh = after.iter().filter(|row| was.get(&row[id].to_string()) != Some(row));
            let gone = before.iter().filter(|row| !is.contains_key(&row[id].to_string()));
            let mut told: Map<String, Value> = new.clone();
            told.insert(list.to_string(), fresh.cloned().collect());
            told.insert("gone".to_string(), gone.map(|row| row[id].clone()).collect());
            told.insert("before".to_string(), now["before"].clone());
            return Some(told.into());
        }
    }
    Some(now.clone())
}

/// Tells of `what`, if it is there.
async fn watch(
    about: Arc<About>,
    what: What,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let events = unfold(Watching::begin(about, what).await?, Watching::next);
    let events = events.map(|(name, data)| Ok(Event::default().event(name).data(data)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// What is watched by one connection, as JSON.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Together {
    /// A list, of at most 16: `{"status":{}}`, `{"table":{"name":"prices","key":"BTC-USD","limit":50}}` (without `key` its
    /// rows), `{"view":{"name":"open"}}`.
    of: String,
}

/// One of them.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum One {
    Status {},
    Table {
        name: String,
        key: Option<String>,
        #[serde(flatten)]
        keys: Keys,
    },
    View {
        name: String,
        #[serde(flatten)]
        rows: Rows,
    },
}

impl From<One> for What {
    fn from(one: One) -> Self {
        match one {
            One::Status {} => Self::Program,
            One::Table { name: table, key: None, keys } => Self::Rows { table, keys },
            One::Table { name: table, key: Some(key), keys } => Self::Row { table, key, keys },
            One::View { name: view, rows } => Self::View { view, rows },
        }
    }
}

/// Several things by one connection, as a browser has few: the `id` of an event is the number, from 0, of that of which
/// it tells. What cannot be watched is told by an event `refused`, with its status and the reason, and the others go on.
#[utoipa::path(get, path = "/api/v1/changes", tag = "changes", params(Together), responses(
    (status = 200, description = "Events", content_type = "text/event-stream", body = String),
    (status = 400, description = "No such list", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn together(
    State(about): State<Arc<About>>,
    which: Result<Query<Together>, QueryRejection>,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Query(Together { of }) = which?;
    let of: Vec<One> = serde_json::from_str(&of).map_err(|e| {
        Problem::bad_request(format!("`of` is no list of what can be watched: {e}"))
    })?;
    if of.is_empty() || of.len() > TOGETHER_MAX {
        let detail = format!("`of` has {} elements, and must have 1 to {TOGETHER_MAX}", of.len());
        return Err(Problem::bad_request(detail));
    }
    let mut all = SelectAll::new();
    for (number, one) in of.into_iter().enumerate() {
        let event = move |name: &str, data: String| {
            Ok(Event::default().id(number.to_string()).event(name).data(data))
        };
        match Watching::begin(Arc::clone(&about), one.into()).await {
            Ok(watching) => {
                let events = unfold(watching, Watching::next);
                all.push(events.map(move |(name, data)| event(name, data)).boxed());
            }
            Err(problem) => {
                let told = json!(problem).to_string();
                all.push(once(async move { event("refused", told) }).boxed());
            }
        }
    }
    Ok(Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Some rows of a table: a `snapshot`, then each `change`: `rows` that are new or other, the keys of those that are
/// `gone`.
#[utoipa::path(get, path = "/api/v1/changes/tables/{table}", tag = "changes",
    params(("table" = String, Path, description = "The name of the table"), Keys),
    responses(
        (status = 200, description = "Events", content_type = "text/event-stream", body = String),
        (status = 400, description = "A wrong key or number", body = Problem, content_type = PROBLEM),
        (status = 404, description = "There is no such table", body = Problem, content_type = PROBLEM),
        (status = 503, description = "The workers are not ready, or too many watch", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn rows(
    State(about): State<Arc<About>>,
    name: Result<Path<String>, PathRejection>,
    keys: Result<Query<Keys>, QueryRejection>,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let (Path(table), Query(keys)) = (name?, keys?);
    watch(about, What::Rows { table, keys }).await
}

/// A row of a table: a `snapshot`, then each `change`, which is the whole row (of a map table, entries that are new
/// or other, and the keys of those that are `gone`); `null` while there is none.
#[utoipa::path(get, path = "/api/v1/changes/tables/{table}/{key}", tag = "changes",
    params(
        ("table" = String, Path, description = "The name of the table"),
        ("key" = String, Path, description = "JSON, or the text that the key is"),
        Keys),
    responses(
        (status = 200, description = "Events", content_type = "text/event-stream", body = String),
        (status = 400, description = "What cannot be a key, or a wrong number", body = Problem, content_type = PROBLEM),
        (status = 404, description = "There is no such table", body = Problem, content_type = PROBLEM),
        (status = 503, description = "The workers are not ready, or too many watch", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn row(
    State(about): State<Arc<About>>,
    path: Result<Path<(String, String)>, PathRejection>,
    keys: Result<Query<Keys>, QueryRejection>,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let (Path((table, key)), Query(keys)) = (path?, keys?);
    watch(about, What::Row { table, key, keys }).await
}

/// Some rows of a view: a `snapshot`, then each `change`: `rows` that are new or other, and those that are `gone`.
#[utoipa::path(get, path = "/api/v1/changes/views/{view}", tag = "changes",
    params(("view" = String, Path, description = "The name of the view"), Rows),
    responses(
        (status = 200, description = "Events", content_type = "text/event-stream", body = String),
        (status = 400, description = "A wrong number", body = Problem, content_type = PROBLEM),
        (status = 404, description = "There is no such view", body = Problem, content_type = PROBLEM),
        (status = 503, description = "The workers are not ready, or too many watch", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn view(
    State(about): State<Arc<About>>,
    name: Result<Path<String>, PathRejection>,
    which: Result<Query<Rows>, QueryRejection>,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let (Path(view), Query(rows)) = (name?, which?);
    watch(about, What::View { view, rows }).await
}

/// How the program does, every second: its workers, what they have counted, and how long records take.
#[utoipa::path(get, path = "/api/v1/changes/status", tag = "changes", responses(
    (status = 200, description = "Events", content_type = "text/event-stream", body = String),
    (status = 503, description = "The workers are not ready, or too many watch", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn status(
    State(about): State<Arc<About>>,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    watch(about, What::Program).await
}
