//! Tables, to be looked at: a row, or some of them in the order of their keys.
//!
//! Invariant: all of one answer is as of one epoch, whichever workers own the rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::api::{About, check_limit, rows as default_limit};
use super::problem::{PROBLEM, Problem};
use crate::looking::{Answer, Ask, HotKeys, TableInfo};
use crate::state::{Found, Span};

/// The tables of the program's computations, also the hidden ones.
#[utoipa::path(get, path = "/api/v1/tables", tag = "tables", responses(
    (status = 200, description = "The tables, by name", body = [TableInfo]),
))]
pub(super) async fn tables(State(about): State<Arc<About>>) -> Json<Vec<TableInfo>> {
    Json(about.board.tables())
}

/// Which keys: JSON, or as text if that is what they are.
#[derive(Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Keys {
    /// The first key; of keys that are lists, the beginning of one will do.
    from: Option<String>,
    /// The key after which the first one comes: for the next page.
    after: Option<String>,
    /// The key that is too far.
    to: Option<String>,
    /// The most rows, or entries.
    #[serde(default = "default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: usize,
}

impl Keys {
    fn span(self) -> Result<Span, Problem> {
        check_limit(self.limit)?;
        let (from, after) = match (self.from, self.after) {
            (Some(_), Some(_)) => {
                return Err(Problem::bad_request("`from` and `after` are one too many: give one"));
            }
            (from, None) => (from, false),
            (None, after) => (after, true),
        };
        Ok(Span { from, after, to: self.to, most: self.limit })
    }
}

/// Rows of a table.
#[derive(Serialize, ToSchema)]
pub(super) struct TableRows {
    /// They are as the epochs before this one have left them.
    before: u64,
    /// How many rows the table has.
    total: usize,
    /// By rising key. Of a map table the row is the number of its entries.
    rows: Vec<TableRow>,
    /// Whether there are more of those that were asked for: ask for those `after` the last key.
    more: bool,
}

/// A row of a table, or an entry of one.
#[derive(Serialize, ToSchema)]
struct TableRow {
    #[schema(value_type = serde_json::Value)]
    key: serde_json::Value,
    #[schema(value_type = serde_json::Value)]
    value: Box<RawValue>,
}

impl TableRows {
    fn of(before: u64, Found { rows, total, more }: Found) -> Self {
        let rows = rows.into_iter().map(|(key, value)| TableRow { key, value }).collect();
        Self { before, total, rows, more }
    }
}

/// A row of a table. Of a map table some of its entries: `entries`, `total` and `more`, and no `value`.
#[derive(Serialize, ToSchema)]
pub(super) struct OneRow {
    /// It is as the epochs before this one have left it.
    before: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<TableRow>>,
    /// How many entries the row has.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    /// Whether there are more of those that were asked for: ask for those `after` the last key.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<bool>,
}

/// Rows of a table in the order of their keys, all as of one epoch. Finding them takes time in proportion to the
/// table, on all workers.
#[utoipa::path(get, path = "/api/v1/tables/{table}", tag = "tables",
    params(("table" = String, Path, description = "The name of the table"), Keys),
    responses(
        (status = 200, description = "The rows", body = TableRows),
        (status = 400, description = "A wrong key or number", body = Problem, content_type = PROBLEM),
        (status = 404, description = "There is no such table", body = Problem, content_type = PROBLEM),
        (status = 503, description = "The workers are not ready, or end", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn rows(
    State(about): State<Arc<About>>,
    name: Result<Path<String>, PathRejection>,
    keys: Result<Query<Keys>, QueryRejection>,
) -> Result<Json<TableRows>, Problem> {
    let (Path(table), Query(keys)) = (name?, keys?);
    look_at_rows(&about, table, keys).await.map(Json)
}

/// Some rows, as they are now.
pub(super) async fn look_at_rows(
    about: &About,
    table: String,
    keys: Keys,
) -> Result<TableRows, Problem> {
    about.table(&table)?;
    match about.ask(Ask::Rows { table, rows: keys.span()? }).await? {
        Answer::Found { before, found } => Ok(TableRows::of(before, found)),
        _ => Err(Problem::not_found("there are no rows")),
    }
}

/// A row of a table, as of one epoch; `from`, `after`, `to` and `limit` are for the entries of a map table's row.
#[utoipa::path(get, path = "/api/v1/tables/{table}/{key}", tag = "tables",
    params(
        ("table" = String, Path, description = "The name of the table"),
        ("key" = String, Path, description = "JSON, or the text that the key is"),
        Keys),
    responses(
        (status = 200, description = "The row", body = OneRow),
        (status = 400, description = "What cannot be a key, or a wrong number", body = Problem, content_type = PROBLEM),
        (status = 404, description = "There is no such table or row", body = Problem, content_type = PROBLEM),
        (status = 503, description = "The workers are not ready, or end", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn row(
    State(about): State<Arc<About>>,
    path: Result<Path<(String, String)>, PathRejection>,
    keys: Result<Query<Keys>, QueryRejection>,
) -> Result<Json<OneRow>, Problem> {
    let (Path((table, key)), Query(keys)) = (path?, keys?);
    look_at_row(&about, table, key, keys).await.map(Json)
}

/// A row, as it is now.
pub(super) async fn look_at_row(
    about: &About,
    table: String,
    key: String,
    keys: Keys,
) -> Result<OneRow, Problem> {
    let has_entries = about.table(&table)?.sub_key.is_some();
    let Answer::Found { before, found } =
        about.ask(Ask::Row { table, key, entries: keys.span()? }).await?
    else {
        return Err(Problem::not_found("there is no row of that key"));
    };
    let TableRows { total, mut rows, more, .. } = TableRows::of(before, found);
    Ok(match has_entries {
        true => OneRow {
            before,
            value: None,
            entries: Some(rows),
            total: Some(total),
            more: Some(more),
        },
        false => {
            let value = rows.pop().map(|row| row.value);
            OneRow { before, value, entries: None, total: None, more: None }
        }
    })
}

/// Which keys of a table come most often, by computation, found by a sample of its records: the first of each epoch
/// on each worker.
#[utoipa::path(get, path = "/api/v1/hot-keys/{table}", tag = "tables",
    params(("table" = String, Path, description = "The name of the table")),
    responses(
        (status = 200, description = "By computation", body = BTreeMap<String, HotKeys>),
        (status = 404, description = "There is no such table", body = Problem, content_type = PROBLEM),
        (status = 503, description = "The workers are not ready, or end", body = Problem, content_type = PROBLEM),
))]
pub(super) async fn hot_keys(
    State(about): State<Arc<About>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<BTreeMap<String, HotKeys>>, Problem> {
    let Path(table) = name?;
    about.table(&table)?;
    match about.ask(Ask::Hot { table }).await? {
        Answer::Hot(keys) => Ok(Json(keys)),
        _ => Ok(Json(BTreeMap::new())),
    }
}

impl About {
    /// The table of that name.
    pub(super) fn table(&self, name: &str) -> Result<TableInfo, Problem> {
        let tables = self.board.tables();
        let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
        let known = match names.is_empty() {
            true => "this program has no tables, or its workers are starting".to_string(),
            false => format!("there is no such table; there are: {}", names.join(", ")),
        };
        tables.into_iter().find(|table| table.name == name).ok_or_else(|| Problem::not_found(known))
    }
}
