//! Dead letters: looking at them, and asking for something to be done with them.
//!
//! Invariant: it is done as the command `dead-letters` does it, from the data directory; the running program takes a
//! retry up as it would one of the command.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::api::{About, check_limit, rows};
use super::problem::{PROBLEM, Problem};
use crate::config::{Config, LettersAction, LettersCommand, LettersSelection};
use crate::{Error, Result, letters};

/// Which letters, and which of these.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Of this group, by its name.
    group: Option<String>,
    /// Of this pipeline.
    pipeline: Option<String>,
    /// Of this computation.
    computation: Option<String>,
    /// Of this kind of failure.
    kind: Option<String>,
    /// Those too with which nothing is to be done any more.
    #[serde(default)]
    all: bool,
    /// The number of the first, from 0.
    #[serde(default)]
    #[param(default = 0, minimum = 0)]
    from: usize,
    /// The most of them.
    #[serde(default = "rows")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: usize,
}

impl Wanted {
    fn selection(self) -> LettersSelection {
        let Self { group, pipeline, computation, kind, all, .. } = self;
        LettersSelection { ids: Vec::new(), group, pipeline, computation, kind, all }
    }
}

/// A page of letters.
#[derive(Serialize, ToSchema)]
pub(super) struct Page {
    /// How many there are.
    total: usize,
    /// As `dead-letters export` prints them.
    letters: Vec<Value>,
}

/// Letters that have in common where and how they failed.
#[derive(Serialize, ToSchema)]
pub(super) struct Group {
    group: String,
    count: usize,
    pipeline: String,
    computation: Option<String>,
    kind: String,
    /// Where in the code, if that is known.
    place: Option<String>,
}

/// Which letters something is to be done with: those for which all of this is true.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Selected {
    /// By name.
    #[serde(default)]
    ids: Vec<String>,
    group: Option<String>,
    pipeline: Option<String>,
    computation: Option<String>,
    kind: Option<String>,
    /// All of them, if nothing else is said.
    #[serde(default)]
    all: bool,
}

/// What was asked for.
#[derive(Serialize, ToSchema)]
pub(super) struct Asked {
    /// Of how many letters.
    done: usize,
    /// How many were left out, by why.
    refused: BTreeMap<String, usize>,
}

/// The record to try instead of a letter's own.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Edited {
    /// The name of the letter.
    id: String,
    /// As text: the frame, or the record as JSON.
    record: String,
}

/// Works on the data directory, on a thread that may wait for the disk.
pub(super) async fn kept<T: Send + 'static>(
    about: &About,
    work: impl FnOnce(&Config) -> Result<T> + Send + 'static,
) -> std::result::Result<T, Problem> {
    let Some(config) = about.kept.clone() else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "this program keeps nothing, so there is nothing of that kind; start it with --data-dir DIR",
        ));
    };
    let worked = tokio::task::spawn_blocking(move || work(&config)).await;
    let worked = worked.map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("it was not finished: {error}"))
    })?;
    worked.map_err(|error| match error {
        Error::Usage(what) => Problem::bad_request(what),
        error => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    })
}

fn checked(
    wanted: std::result::Result<Query<Wanted>, QueryRejection>,
) -> std::result::Result<Wanted, Problem> {
    let Query(wanted) = wanted?;
    check_limit(wanted.limit)?;
    Ok(wanted)
}

/// Dead letters, in the order in which they came.
#[utoipa::path(get, path = "/api/v1/dead-letters", tag = "dead letters", params(Wanted), responses(
    (status = 200, description = "A page of them", body = Page),
    (status = 400, description = "A wrong number", body = Problem, content_type = PROBLEM),
    (status = 409, description = "The program keeps nothing", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn list(
    State(about): State<Arc<About>>,
    wanted: std::result::Result<Query<Wanted>, QueryRejection>,
) -> std::result::Result<Json<Page>, Problem> {
    let wanted = checked(wanted)?;
    let part = (wanted.from, wanted.limit);
    let which = wanted.selection();
    let (total, letters) = kept(&about, move |config| letters::page(config, &which, part)).await?;
    Ok(Json(Page { total, letters }))
}

/// What dead letters have in common: pipeline, computation, kind and place of their failures.
#[utoipa::path(get, path = "/api/v1/dead-letters/groups", tag = "dead letters", params(Wanted), responses(
    (status = 200, description = "The groups, in order", body = [Group]),
    (status = 400, description = "A wrong number", body = Problem, content_type = PROBLEM),
    (status = 409, description = "The program keeps nothing", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn groups(
    State(about): State<Arc<About>>,
    wanted: std::result::Result<Query<Wanted>, QueryRejection>,
) -> std::result::Result<Json<Vec<Group>>, Problem> {
    let wanted = checked(wanted)?;
    let (from, limit) = (wanted.from, wanted.limit);
    let which = wanted.selection();
    let all = kept(&about, move |config| letters::groups(config, &which)).await?;
    let groups = all.into_iter().skip(from).take(limit).map(|(name, of, count)| {
        let letters::Group { pipeline, computation, kind, place } = of;
        Group { group: name, count, pipeline, computation, kind, place }
    });
    Ok(Json(groups.collect()))
}

async fn ask(
    about: &About,
    action: LettersAction,
    which: LettersSelection,
) -> std::result::Result<Json<Asked>, Problem> {
    let command = LettersCommand { action, which };
    let asked = kept(about, move |config| letters::ask(config, &command)).await?;
    let letters::Asked { done, refused } = asked;
    let refused = refused.into_iter().map(|(why, count)| (why.to_string(), count)).collect();
    Ok(Json(Asked { done, refused }))
}

fn selection(
    selected: std::result::Result<Json<Selected>, JsonRejection>,
) -> std::result::Result<LettersSelection, Problem> {
    let Json(selected) = selected?;
    let Selected { ids, group, pipeline, computation, kind, all } = selected;
    let which = LettersSelection { ids, group, pipeline, computation, kind, all };
    if which == LettersSelection::default() {
        return Err(Problem::bad_request(
            "say which: `ids`, `group`, `pipeline`, `computation` or `kind`, or `\"all\": true`",
        ));
    }
    Ok(which)
}

/// Asks for dead letters to be tried again.
#[utoipa::path(post, path = "/api/v1/dead-letters/retry", tag = "dead letters",
    request_body = Selected,
    responses(
        (status = 200, description = "The program tries them again", body = Asked),
        (status = 400, description = "That cannot be tried again", body = Problem, content_type = PROBLEM),
        (status = 409, description = "The program keeps nothing", body = Problem, content_type = PROBLEM),
        (status = 415, description = "What was sent is no JSON", body = Problem, content_type = PROBLEM),
        (status = 422, description = "What was sent is other than described", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn retry(
    State(about): State<Arc<About>>,
    selected: std::result::Result<Json<Selected>, JsonRejection>,
) -> std::result::Result<Json<Asked>, Problem> {
    ask(&about, LettersAction::Retry, selection(selected)?).await
}

/// Closes dead letters as they are.
#[utoipa::path(post, path = "/api/v1/dead-letters/ignore", tag = "dead letters",
    request_body = Selected,
    responses(
        (status = 200, description = "They are closed", body = Asked),
        (status = 400, description = "That cannot be ignored", body = Problem, content_type = PROBLEM),
        (status = 409, description = "The program keeps nothing", body = Problem, content_type = PROBLEM),
        (status = 415, description = "What was sent is no JSON", body = Problem, content_type = PROBLEM),
        (status = 422, description = "What was sent is other than described", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn ignore(
    State(about): State<Arc<About>>,
    selected: std::result::Result<Json<Selected>, JsonRejection>,
) -> std::result::Result<Json<Asked>, Problem> {
    ask(&about, LettersAction::Ignore, selection(selected)?).await
}

/// Puts another record in the place of one; a retry takes that.
#[utoipa::path(post, path = "/api/v1/dead-letters/edit", tag = "dead letters",
    request_body = Edited,
    responses(
        (status = 200, description = "It is kept", body = Asked),
        (status = 400, description = "There is no such letter, or the record is wrong", body = Problem, content_type = PROBLEM),
        (status = 409, description = "The program keeps nothing", body = Problem, content_type = PROBLEM),
        (status = 415, description = "What was sent is no JSON", body = Problem, content_type = PROBLEM),
        (status = 422, description = "What was sent is other than described", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn edit(
    State(about): State<Arc<About>>,
    edited: std::result::Result<Json<Edited>, JsonRejection>,
) -> std::result::Result<Json<Asked>, Problem> {
    let Json(Edited { id, record }) = edited?;
    let which = LettersSelection { ids: vec![id], ..LettersSelection::default() };
    ask(&about, LettersAction::Edit { record: Some(record) }, which).await
}
