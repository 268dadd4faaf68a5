//! The exchange's history over HTTP: trades that the feed did not bring.
//!
//! Invariant: a request begins only in its turn, and ends within its limits of time and bytes.

use std::sync::Arc;
use std::time::Duration;

use anabranch::{Error, Result};
use reqwest::{Client, Response, StatusCode, Url};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::frame::decode_page;
use super::pace::Pace;
use super::{Fetch, Limits, Page};
use crate::websocket::retry_after;

/// Asks for pages of trades.
pub(super) struct History {
    client: Client,
    base: Url,
    limits: Limits,
    pace: Arc<Pace>,
}

/// Why a page did not come.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) why: String,
    /// The exchange asked to wait.
    pub(super) wait: Option<Duration>,
}

impl Failed {
    fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), wait: None }
    }
}

impl History {
    pub(super) fn new(
        http: &str,
        limits: Limits,
        pace: Arc<Pace>,
        tls: &ClientConfig,
    ) -> Result<Self> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits.connect)
            .user_agent(concat!("anabranch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::Connector(format!("HTTP cannot be set up: {e}")))?;
        let base = Url::parse(http)
            .map_err(|e| Error::Usage(format!("http=`{http}` is no URL: {e}; correct it")))?;
        Ok(Self { client, base, limits, pace })
    }

    /// Asks for one page, in its turn.
    pub(super) async fn fetch(&self, fetch: Fetch) -> Result<Page, Failed> {
        self.pace.turn().await;
        let limit = self.limits.page_timeout;
        match timeout(limit, self.fetch_now(fetch)).await {
            Ok(result) => result,
            Err(_) => Err(Failed::because(format!("no page within {limit:?}"))),
        }
    }

    async fn fetch_now(&self, fetch: Fetch) -> Result<Page, Failed> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["products", fetch.product.as_str(), "trades"]);
        }
        url.query_pairs_mut().append_pair("limit", &self.limits.page_trades.to_string());
        if let Some(after) = fetch.after {
            url.query_pairs_mut().append_pair("after", &after.to_string());
        }
        let request = self.client.get(url).send();
        let response = request.await.map_err(|e| Failed::because(e.to_string()))?;
        self.check(&response)?;
        let next = response
            .headers()
            .get("cb-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = self.body(response).await?;
        let trades =
            decode_page(fetch.product, &body).map_err(|e| Failed::because(e.to_string()))?;
        // An exchange without the header means what it would have said.
        let oldest = trades.iter().map(|trade| trade.trade_id).min();
        Ok(Page { trades, next: next.or(oldest) })
    }

    fn check(&self, response: &Response) -> Result<(), Failed> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let throttled =
            matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let wait = retry_after(response.headers(), self.limits.retry_after_max)
            .or(throttled.then_some(self.limits.throttled));
        Err(Failed { why: format!("the exchange answered {status}"), wait })
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failed> {
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|e| Failed::because(e.to_string()))?
        {
            if body.len() + chunk.len() > self.limits.page_bytes_max {
                let limit = self.limits.page_bytes_max;
                return Err(Failed::because(format!("the page is larger than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
