//! Which exchange, which dialect, which products: the URL of a feed.
//!
//! Invariant: what is not understood is refused by name, and a connection without TLS never
//! leaves this machine.

use std::fmt;
use std::net::IpAddr;

use anabranch::{Error, Result};
use reqwest::Url;

use super::{Limits, Product};

const KNOWN: &str = "products, http, dialect";

/// Which of the exchange's two feeds is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `ws-feed.exchange.coinbase.com`: `match`, `heartbeat`.
    Exchange,
    /// `advanced-trade-ws.coinbase.com`: `market_trades`, `heartbeats`.
    AdvancedTrade,
}

/// Where a feed connects and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Which feed is spoken there.
    pub dialect: Dialect,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The name or address of the host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The path of the WebSocket.
    pub path: String,
    /// Where trades that were missed are asked for, without a slash at its end.
    pub http: String,
    /// What is asked for.
    pub products: Vec<Product>,
}

impl Address {
    /// Reads `coinbase://<host>?products=BTC-USD,ETH-USD`, `coinbase+advanced://...`, or without
    /// TLS on this machine `coinbase+ws://127.0.0.1:<port>?http=http://127.0.0.1:<port>`. What is
    /// left out is the public exchange's, and the product `BTC-USD`.
    ///
    /// ```
    /// use anabranch_connectors::coinbase::Address;
    /// let address = Address::parse("coinbase:?products=BTC-USD,ETH-USD")?;
    /// assert_eq!(address.host, "ws-feed.exchange.coinbase.com");
    /// assert!(Address::parse("coinbase:?prodcuts=BTC-USD").is_err());
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Usage`] that names the part that is wrong and says what it takes.
    pub fn parse(url: &str) -> Result<Self> {
        let refused = |what: String| Error::Usage(format!("`{url}`: {what}"));
        let parsed = Url::parse(url).map_err(|e| refused(format!("it is no URL: {e}")))?;
        let (mut dialect, tls) = match parsed.scheme() {
            "coinbase" => (Dialect::Exchange, true),
            "coinbase+advanced" => (Dialect::AdvancedTrade, true),
            "coinbase+ws" => (Dialect::Exchange, false),
            other => {
                return Err(refused(format!(
                    "`{other}:` is no Coinbase feed: write coinbase:, coinbase+advanced: or, on \
                     this machine, coinbase+ws:"
                )));
            }
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            // Not quoted: it would end up in a log.
            return Err(Error::Usage("a public feed takes no user or password: remove it".into()));
        }
        let (mut http, mut products) = (None, Vec::new());
        for (name, value) in parsed.query_pairs() {
            match &*name {
                "products" => products = parse_products(&value).map_err(&refused)?,
                "http" => http = Some(parse_http(&value).map_err(&refused)?),
                "dialect" => {
                    dialect = match &*value {
                        "exchange" => Dialect::Exchange,
                        "advanced" => Dialect::AdvancedTrade,
                        _ => return Err(refused("dialect takes exchange or advanced".into())),
                    };
                }
                other => {
                    return Err(refused(format!(
                        "there is no option `{other}` (options: {KNOWN}); correct or remove it"
                    )));
                }
            }
        }
        let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if !tls && !is_loopback(&host) {
            return Err(refused(
                "coinbase+ws: is not encrypted and only for this machine (127.0.0.1, localhost): \
                 write coinbase:// for a host elsewhere"
                    .into(),
            ));
        }
        let port = parsed.port().or(tls.then_some(443)).ok_or_else(|| {
            refused("it names no port: write coinbase+ws://127.0.0.1:<port>".into())
        })?;
        let path = Some(parsed.path()).filter(|path| path.starts_with('/')).unwrap_or("/");
        Ok(Self {
            dialect,
            tls,
            host: if host.is_empty() { dialect.public_host().to_owned() } else { host },
            port,
            path: path.to_owned(),
            http: http.unwrap_or_else(|| "https://api.exchange.coinbase.com".to_owned()),
            products: if products.is_empty() { vec![Product::BTC_USD] } else { products },
        })
    }

    /// The URL of the WebSocket.
    pub(super) fn websocket(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        let Self { host, port, path, .. } = self;
        match host.contains(':') {
            true => format!("{scheme}://[{host}]:{port}{path}"),
            false => format!("{scheme}://{host}:{port}{path}"),
        }
    }

    /// The messages that ask for the products' trades.
    pub(super) fn subscribes(&self) -> Vec<String> {
        match self.dialect {
            Dialect::Exchange => vec![self.subscribe(&["matches", "heartbeat"])],
            Dialect::AdvancedTrade => vec![
                format!(
                    r#"{{"type":"subscribe","product_ids":[{}],"channel":"market_trades"}}"#,
                    self.product_ids()
                ),
                r#"{"type":"subscribe","channel":"heartbeats"}"#.to_owned(),
            ],
        }
    }

    /// The message that asks for heartbeats again.
    pub(super) fn subscribe_heartbeats(&self) -> String {
        match self.dialect {
            Dialect::Exchange => self.subscribe(&["heartbeat"]),
            Dialect::AdvancedTrade => r#"{"type":"subscribe","channel":"heartbeats"}"#.to_owned(),
        }
    }

    fn subscribe(&self, channels: &[&str]) -> String {
        let channels: Vec<String> = channels.iter().map(|name| format!("\"{name}\"")).collect();
        format!(
            r#"{{"type":"subscribe","product_ids":[{}],"channels":[{}]}}"#,
            self.product_ids(),
            channels.join(",")
        )
    }

    fn product_ids(&self) -> String {
        // Through the JSON writer: a product's name may hold a quote.
        let quoted: Vec<String> = self
            .products
            .iter()
            .map(|product| serde_json::Value::from(product.as_str()).to_string())
            .collect();
        quoted.join(",")
    }

    /// Refuses more products than a feed takes.
    pub(super) fn check(&self, limits: &Limits) -> Result<()> {
        if self.products.len() > limits.products_max {
            return Err(Error::Usage(format!(
                "{} products are more than a feed takes ({}): split them over several sources",
                self.products.len(),
                limits.products_max
            )));
        }
        Ok(())
    }
}

impl Dialect {
    const fn public_host(self) -> &'static str {
        match self {
            Self::Exchange => "ws-feed.exchange.coinbase.com",
            Self::AdvancedTrade => "advanced-trade-ws.coinbase.com",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let products: Vec<&str> = self.products.iter().map(Product::as_str).collect();
        write!(f, "{} for {}", self.websocket(), products.join(","))
    }
}

fn parse_products(value: &str) -> Result<Vec<Product>, String> {
    let mut products = Vec::new();
    for name in value.split(',').filter(|name| !name.is_empty()) {
        let product = name.parse().map_err(|e: Error| e.to_string())?;
        if !products.contains(&product) {
            products.push(product);
        }
    }
    Ok(products)
}

fn parse_http(value: &str) -> Result<String, String> {
    let url = Url::parse(value).map_err(|e| format!("http=`{value}` is no URL: {e}"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(host) => {}
        _ => return Err(format!("http=`{value}` takes https:, or http: on this machine")),
    }
    Ok(value.trim_end_matches('/').to_owned())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read() {
        let address = Address::parse(
            "coinbase://ws-feed.exchange.coinbase.com?products=BTC-USD,ETH-USD,BTC-USD",
        )
        .unwrap();
        assert_eq!(address.websocket(), "wss://ws-feed.exchange.coinbase.com:443/");
        assert_eq!(address.products.len(), 2);
        assert_eq!(
            address.subscribes(),
            [
                r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["matches","heartbeat"]}"#
            ]
        );
        let address = Address::parse("coinbase+advanced:?products=A\"B").unwrap();
        assert_eq!(address.websocket(), "wss://advanced-trade-ws.coinbase.com:443/");
        assert!(address.subscribes()[0].contains(r#"["A\"B"]"#));
        let address = Address::parse(
            "coinbase+ws://[::1]:8080/feed?dialect=advanced&http=http://127.0.0.1:9/",
        )
        .unwrap();
        assert_eq!(address.websocket(), "ws://[::1]:8080/feed");
        assert_eq!(address.dialect, Dialect::AdvancedTrade);
        assert_eq!(address.http, "http://127.0.0.1:9");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, named) in [
            ("coinbase:?prodcuts=BTC-USD", "`prodcuts`"),
            ("coinbase:?products=BTC%20USD", "names no product"),
            ("coinbase:?dialect=klingon", "exchange or advanced"),
            ("coinbase:?http=http://example.com", "takes https:"),
            ("coinbase+ws://example.com:80", "only for this machine"),
            ("coinbase+ws://127.0.0.1", "no port"),
            ("coinbase+tls://x", "no Coinbase feed"),
            ("BTC-USD", "no URL"),
            ("coinbase://me:secret@x", "no user or password"),
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains(named), "{url}: {error}");
            assert!(!error.contains("secret"));
        }
        let many: Vec<String> = (0..1001).map(|n| format!("P{n}")).collect();
        let address = Address::parse(&format!("coinbase:?products={}", many.join(","))).unwrap();
        assert!(address.check(&Limits::default()).is_err());
    }
}
