//! Views, to be looked at.
//!
//! Invariant: rows of one answer are those at the end of one epoch, whichever process gathers the view.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::{About, check_limit, rows};
use super::problem::{PROBLEM, Problem};
use crate::looking::{Answer, Ask};
use crate::view::Page;

/// The furthest row that an answer begins with: those before it are passed over while the view's worker may wait.
const FROM_MAX: usize = 100_000;

/// The names of the views.
#[utoipa::path(get, path = "/api/v1/views", tag = "views", responses(
    (status = 200, description = "Names, in order", body = BTreeSet<String>),
    (status = 503, description = "The workers are not ready, or end", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn views(
    State(about): State<Arc<About>>,
) -> Result<Json<BTreeSet<String>>, Problem> {
    let processes = about.processes().await?;
    Ok(Json(processes.into_values().flat_map(|process| process.views).collect()))
}

/// Which rows.
#[derive(Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Rows {
    /// The number of the first row, from 0.
    #[serde(default)]
    #[param(default = 0, minimum = 0, maximum = 100000)]
    from: usize,
    /// The most rows.
    #[serde(default = "rows")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: usize,
}

/// Rows of a view.
#[derive(Serialize, ToSchema)]
pub(super) struct ViewRows {
    /// They are those at the end of the last epoch before this one.
    before: u64,
    /// How many rows the view has.
    total: usize,
    rows: Vec<ViewRow>,
}

/// A row of a view.
#[derive(Serialize, ToSchema)]
struct ViewRow {
    #[schema(value_type = serde_json::Value)]
    row: serde_json::Value,
    /// How often it is there.
    times: i64,
}

impl From<Page> for ViewRows {
    fn from(page: Page) -> Self {
        let rows = page.rows.into_iter().map(|(row, times)| ViewRow { row, times });
        Self { before: page.before, total: page.total, rows: rows.collect() }
    }
}

/// Rows of a view, in order, all as of the end of one epoch.
#[utoipa::path(get, path = "/api/v1/views/{view}", tag = "views",
    params(("view" = String, Path, description = "The name of the view"), Rows),
    responses(
        (status = 200, description = "The rows", body = ViewRows),
        (status = 400, description = "A wrong number", body = Problem, content_type = PROBLEM),
        (status = 404, description = "There is no such view", body = Problem, content_type = PROBLEM),
        (status = 503, description = "The workers are not ready, or end", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn view(
    State(about): State<Arc<About>>,
    name: Result<Path<String>, PathRejection>,
    which: Result<Query<Rows>, QueryRejection>,
) -> Result<Json<ViewRows>, Problem> {
    let (Path(view), Query(which)) = (name?, which?);
    look_at(&about, view, which).await.map(Json)
}

/// Some rows, as they are now.
pub(super) async fn look_at(
    about: &About,
    view: String,
    Rows { from, limit: most }: Rows,
) -> Result<ViewRows, Problem> {
    check_limit(most)?;
    if from > FROM_MAX {
        return Err(Problem::bad_request(format!(
            "`from` is at most {FROM_MAX}; a sink of the view's changes has all of it"
        )));
    }
    match about.ask(Ask::View { view, from, most }).await? {
        Answer::View(page) => Ok(page.into()),
        _ => Err(Problem::not_found(
            "there is no such view; see /api/v1/views for those that there are",
        )),
    }
}
