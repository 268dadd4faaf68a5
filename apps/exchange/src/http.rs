//! The exchange's HTTP interface: products, and the trades of each.
//!
//! Invariant: no more requests are answered than the limits allow; the rest get 429.

use std::sync::Arc;

use anabranch::Time;
use anabranch_connectors::coinbase::{Product, encode};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::Misbehaviour;
use crate::server::Shared;

/// The most trades of a page.
const PAGE_MAX: usize = 1000;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/products", get(products))
        .route("/products/{id}/trades", get(trades))
        .route("/time", get(time))
        .with_state(shared)
}

async fn time() -> Response {
    let now: Time = anabranch::clock::now();
    json(format!("{{\"iso\":\"{now}\"}}"), HeaderMap::new())
}

async fn products(State(shared): State<Arc<Shared>>) -> Response {
    if let Some(refused) = throttle(&shared) {
        return refused;
    }
    let all: Vec<String> = shared
        .products
        .iter()
        .map(|product| {
            let (base, quote) = product.as_str().split_once('-').unwrap_or((product.as_str(), ""));
            serde_json::json!({
                "id": product, "base_currency": base, "quote_currency": quote, "status": "online",
            })
            .to_string()
        })
        .collect();
    json(format!("[{}]", all.join(",")), HeaderMap::new())
}

#[derive(Deserialize)]
struct Cursor {
    limit: Option<usize>,
    after: Option<u64>,
}

async fn trades(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(mut cursor): Query<Cursor>,
) -> Response {
    shared.counters.counter("requests").add(1);
    if let Some(refused) = throttle(&shared) {
        return refused;
    }
    let product = id.parse::<Product>().ok().filter(|product| shared.products.contains(product));
    let Some(product) = product else {
        return (StatusCode::NOT_FOUND, r#"{"message":"NotFound"}"#).into_response();
    };
    if shared.strikes(Misbehaviour::Fill429) {
        return too_many("1");
    }
    if shared.strikes(Misbehaviour::Fill500) {
        let body = r#"{"message":"Internal server error"}"#;
        return (StatusCode::INTERNAL_SERVER_ERROR, body).into_response();
    }
    if shared.strikes(Misbehaviour::FillEmpty) {
        return json("[]".to_owned(), HeaderMap::new());
    }
    if shared.strikes(Misbehaviour::FillSlow) {
        tokio::time::sleep(shared.config.trouble.lasts).await;
    }
    if shared.misbehaves(Misbehaviour::Duplicates) {
        cursor.after = cursor.after.map(|after| after.saturating_add(5));
    }
    let limit = cursor.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let page = shared.book.page(product, cursor.after, limit);
    let mut headers = HeaderMap::new();
    // The cursors are ids of the page: older pages are after its last, newer before its first.
    for (name, trade) in [("cb-before", page.first()), ("cb-after", page.last())] {
        if let Some(trade) = trade {
            headers.insert(name, HeaderValue::from(trade.trade_id));
        }
    }
    let page: Vec<String> = page.iter().map(encode::http_trade).collect();
    json(format!("[{}]", page.join(",")), headers)
}

fn throttle(shared: &Shared) -> Option<Response> {
    (!shared.admit()).then(|| {
        shared.counters.counter("throttled").add(1);
        too_many("1")
    })
}

fn too_many(retry_after: &'static str) -> Response {
    let headers = [(header::RETRY_AFTER, retry_after)];
    (StatusCode::TOO_MANY_REQUESTS, headers, r#"{"message":"Public rate limit exceeded"}"#)
        .into_response()
}

fn json(body: String, headers: HeaderMap) -> Response {
    (headers, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
}
