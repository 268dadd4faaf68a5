//! What a client asks for, and what it is subscribed to.
//!
//! Invariant: only channels and products that exist are subscribed; a client speaks one dialect.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_connectors::coinbase::{Dialect, Product};
use serde::Deserialize;

/// The channels of each dialect that carry something here.
const EXCHANGE: [&str; 5] = ["matches", "heartbeat", "ticker", "level2", "status"];
const ADVANCED: [&str; 4] = ["market_trades", "heartbeats", "ticker", "level2"];

/// The channels and products of one client.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(crate) dialect: Option<Dialect>,
    channels: BTreeMap<String, BTreeSet<Product>>,
}

/// A message of a client.
#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    product_ids: Vec<String>,
    #[serde(default)]
    channels: Vec<Channel>,
    channel: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Channel {
    Name(String),
    WithProducts { name: String, product_ids: Vec<String> },
}

impl Order {
    fn dialect(&self) -> Dialect {
        if self.channel.is_some() { Dialect::AdvancedTrade } else { Dialect::Exchange }
    }

    /// Each channel with its products.
    fn wishes(&self) -> Vec<(&str, &[String])> {
        let mut wishes: Vec<(&str, &[String])> = Vec::new();
        wishes.extend(self.channel.iter().map(|name| (name.as_str(), &self.product_ids[..])));
        wishes.extend(self.channels.iter().map(|channel| match channel {
            Channel::Name(name) => (name.as_str(), &self.product_ids[..]),
            Channel::WithProducts { name, product_ids } => (name.as_str(), &product_ids[..]),
        }));
        wishes
    }
}

impl Subscriptions {
    /// Subscribes; gives the products whose trades are new to the client.
    ///
    /// # Errors
    /// The reason, for the client.
    pub(crate) fn add(&mut self, order: &Order, all: &[Product]) -> Result<Vec<Product>, String> {
        let dialect = order.dialect();
        let known: &[&str] = match dialect {
            Dialect::Exchange => &EXCHANGE,
            Dialect::AdvancedTrade => &ADVANCED,
        };
        let wishes = order.wishes();
        if wishes.is_empty() {
            return Err("no channels provided".into());
        }
        let mut added = Vec::new();
        for (name, product_ids) in wishes {
            if !known.contains(&name) {
                let name: String = name.chars().take(40).collect();
                return Err(format!("{name} is not a valid channel"));
            }
            for id in product_ids {
                let product = id.parse().ok().filter(|product| all.contains(product));
                let Some(product) = product else {
                    let id: String = id.chars().take(40).collect();
                    return Err(format!("{id} is not a valid product"));
                };
                added.push((name, product));
            }
            if product_ids.is_empty() && !matches!(name, "heartbeats" | "status") {
                return Err(format!("{name} needs product_ids"));
            }
            self.channels.entry(name.to_owned()).or_default();
        }
        self.dialect = Some(dialect);
        let mut new = Vec::new();
        for (name, product) in added {
            let fresh = self.channels.entry(name.to_owned()).or_default().insert(product);
            if fresh && matches!(name, "matches" | "market_trades") {
                new.push(product);
            }
        }
        Ok(new)
    }

    /// Unsubscribes; without products from the whole channel.
    pub(crate) fn remove(&mut self, order: &Order) {
        for (name, product_ids) in order.wishes() {
            if product_ids.is_empty() {
                self.channels.remove(name);
            } else if let Some(products) = self.channels.get_mut(name) {
                products.retain(|product| !product_ids.iter().any(|id| id == product.as_str()));
            }
        }
    }

    /// Drops the second half of what is subscribed.
    pub(crate) fn halve(&mut self) {
        self.channels.remove("heartbeat");
        self.channels.remove("heartbeats");
        for products in self.channels.values_mut() {
            let keep = products.len() / 2;
            *products = products.iter().copied().take(keep.max(1)).collect();
        }
    }

    pub(crate) fn has(&self, channel: &str, product: Product) -> bool {
        self.channels.get(channel).is_some_and(|products| products.contains(&product))
    }

    pub(crate) fn has_channel(&self, channel: &str) -> bool {
        self.channels.contains_key(channel)
    }

    /// The products of a channel.
    pub(crate) fn products(&self, channel: &str) -> Vec<Product> {
        self.channels.get(channel).into_iter().flatten().copied().collect()
    }

    /// The whole list, as the dialect writes it: for Exchange the message, else its event.
    pub(crate) fn listed(&self) -> String {
        let products = |products: &BTreeSet<Product>| {
            let quoted: Vec<String> = products.iter().map(|p| format!("\"{p}\"")).collect();
            quoted.join(",")
        };
        match self.dialect {
            Some(Dialect::AdvancedTrade) => {
                let channels: Vec<String> = self
                    .channels
                    .iter()
                    .map(|(name, all)| match all.is_empty() {
                        true => format!("\"{name}\":[\"{name}\"]"),
                        false => format!("\"{name}\":[{}]", products(all)),
                    })
                    .collect();
                format!("{{\"subscriptions\":{{{}}}}}", channels.join(","))
            }
            _ => {
                let channels: Vec<String> = self
                    .channels
                    .iter()
                    .map(|(name, all)| {
                        format!("{{\"name\":\"{name}\",\"product_ids\":[{}]}}", products(all))
                    })
                    .collect();
                format!("{{\"type\":\"subscriptions\",\"channels\":[{}]}}", channels.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(json: &str) -> Order {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_exists_is_subscribed_and_the_whole_list_is_answered() {
        let all: Vec<Product> = ["A-B", "C-D"].map(|id| id.parse().unwrap()).into();
        let mut subscriptions = Subscriptions::default();
        for (json, reason) in [
            (
                r#"{"type":"subscribe","product_ids":["A-B"],"channels":["full"]}"#,
                "full is not a valid channel",
            ),
            (
                r#"{"type":"subscribe","product_ids":["X-Y"],"channels":["matches"]}"#,
                "X-Y is not a valid product",
            ),
            (r#"{"type":"subscribe","channels":["matches"]}"#, "matches needs product_ids"),
            (r#"{"type":"subscribe"}"#, "no channels provided"),
        ] {
            assert_eq!(subscriptions.add(&order(json), &all).unwrap_err(), reason);
        }
        let json = r#"{"type":"subscribe","product_ids":["A-B"],"channels":["matches",{"name":"heartbeat","product_ids":["A-B","C-D"]}]}"#;
        assert_eq!(subscriptions.add(&order(json), &all).unwrap(), all[..1]);
        assert_eq!(
            subscriptions.listed(),
            r#"{"type":"subscriptions","channels":[{"name":"heartbeat","product_ids":["A-B","C-D"]},{"name":"matches","product_ids":["A-B"]}]}"#
        );
        assert_eq!(subscriptions.add(&order(json), &all).unwrap(), [], "nothing new");
        subscriptions.remove(&order(
            r#"{"type":"unsubscribe","product_ids":["A-B"],"channels":["heartbeat"]}"#,
        ));
        assert!(!subscriptions.has("heartbeat", all[0]) && subscriptions.has("heartbeat", all[1]));

        let mut subscriptions = Subscriptions::default();
        let json = r#"{"type":"subscribe","product_ids":["A-B","C-D"],"channel":"market_trades"}"#;
        assert_eq!(subscriptions.add(&order(json), &all).unwrap(), all);
        subscriptions.add(&order(r#"{"type":"subscribe","channel":"heartbeats"}"#), &all).unwrap();
        assert_eq!(
            subscriptions.listed(),
            r#"{"subscriptions":{"heartbeats":["heartbeats"],"market_trades":["A-B","C-D"]}}"#
        );
    }
}
