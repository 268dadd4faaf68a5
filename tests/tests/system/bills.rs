//! What `pricing` must tell: a loop over its orders.
//!
//! Invariant: it shares no code with the engine, nor with the program; lines are compared as they are in the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::support::Dice;

/// A record of the program's input.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) shop: u8,
    pub(crate) number: u32,
    pub(crate) price: u64,
    pub(crate) by: String,
}

impl Order {
    /// Of some shop that has this one for its first, and for some number of it.
    pub(crate) fn some(dice: &mut Dice, shop: u8, by: String) -> Self {
        let number = u32::from(shop) * 1000 + dice.below(400) as u32;
        Self { shop: shop + (number % 5) as u8, number, price: dice.below(1000), by }
    }

    pub(crate) fn json(&self) -> String {
        let Self { shop, number, price, by } = self;
        format!("{{\"shop\":{shop},\"number\":{number},\"price\":{price},\"by\":\"{by}\"}}")
    }

    /// Whether a version of the program refuses it.
    pub(crate) fn is_refused(&self, version: u64) -> bool {
        self.price % 20 == version + 4
    }
}

/// The arguments that make the program that version.
pub(crate) fn arguments(version: u64) -> [String; 4] {
    ["--tax".into(), version.to_string(), "--refuse".into(), (version + 4).to_string()]
}

/// A price, and the line of the bill that says it.
type Priced = (u64, String);

/// What a version of the program has made of its input.
#[derive(Clone, Default)]
pub(crate) struct Bills {
    version: u64,
    /// By number of the order.
    lines: BTreeMap<u32, Vec<Priced>>,
    totals: BTreeMap<u8, u64>,
    counts: BTreeMap<u8, u64>,
    /// What it has told, by shop and line.
    pub(crate) told: Vec<(u8, String)>,
    pub(crate) counted: Vec<(u8, String)>,
}

impl Bills {
    pub(crate) fn new(version: u64) -> Self {
        Self { version, ..Self::default() }
    }

    /// What that version makes of these.
    pub(crate) fn of<'a>(version: u64, orders: impl IntoIterator<Item = &'a Order>) -> Self {
        let mut bills = Self::new(version);
        orders.into_iter().for_each(|order| bills.price(order));
        bills
    }

    pub(crate) fn price(&mut self, order: &Order) {
        if order.is_refused(self.version) {
            return;
        }
        let Order { shop, number, price, by } = order;
        let former = self.lines.remove(number).unwrap_or_default();
        let total = self.totals.entry(*shop).or_default();
        *total -= former.iter().map(|(price, _)| price).sum::<u64>();
        let mut prices = Vec::new();
        if price % 10 != self.version {
            let goods = price + self.version;
            prices.push(goods);
            if goods.is_multiple_of(3) {
                prices.push(goods / 10 + self.version);
            }
        }
        let line = |price: u64| {
            *total += price;
            let said =
                format!("{{\"shop\":{shop},\"price\":{price},\"total\":{total},\"by\":\"{by}\"}}");
            (price, said)
        };
        let now: Vec<Priced> = prices.into_iter().map(line).collect();
        for told in differences(*number, &former, &now) {
            self.told.push((*shop, told));
            let count = self.counts.entry(*shop).or_default();
            *count += 1;
            self.counted.push((*shop, format!("{shop} {count}")));
        }
        self.lines.insert(*number, now);
    }

    /// What corrects what an earlier version has told.
    pub(crate) fn corrections(&self, earlier: &Self) -> BTreeSet<String> {
        let numbers: BTreeSet<u32> =
            self.lines.keys().chain(earlier.lines.keys()).copied().collect();
        let of = |bills: &Self, number| bills.lines.get(&number).cloned().unwrap_or_default();
        let differing = |number| differences(number, &of(earlier, number), &of(self, number));
        numbers.into_iter().flat_map(differing).collect()
    }

    /// What there is of each order, by its number and the place of the line.
    pub(crate) fn all(&self) -> BTreeMap<(u64, u64), Value> {
        let mut all = BTreeMap::new();
        for (number, lines) in &self.lines {
            for (place, (_, line)) in (0..).zip(lines) {
                all.insert((u64::from(*number), place), line.parse().unwrap());
            }
        }
        all
    }
}

fn differences(number: u32, former: &[Priced], now: &[Priced]) -> Vec<String> {
    let mut told = Vec::new();
    for place in 0..former.len().max(now.len()) {
        let [before, value] = [former, now].map(|lines| lines.get(place).map(|(_, line)| line));
        let op = match (before, value) {
            (None, _) => "insert",
            (_, None) => "delete",
            (before, value) if before == value => continue,
            _ => "update",
        };
        let [before, value] = [before, value].map(|line| line.map_or("null", String::as_str));
        let mut line = format!("{{\"op\":\"{op}\",\"key\":[{number},{place}],");
        write!(line, "\"value\":{value},\"before\":{before}}}").unwrap();
        told.push(line);
    }
    told
}

/// What is left when upserts are taken down in their order, each of which must be of what is there.
#[track_caller]
pub(crate) fn taken_down(lines: &str) -> BTreeMap<(u64, u64), Value> {
    let mut all: BTreeMap<(u64, u64), Value> = BTreeMap::new();
    for line in lines.lines() {
        let told: Value = line.parse().unwrap();
        let key = (told["key"][0].as_u64().unwrap(), told["key"][1].as_u64().unwrap());
        let before = all.remove(&key).unwrap_or_default();
        assert_eq!(before, told["before"], "{line}");
        if !told["value"].is_null() {
            all.insert(key, told["value"].clone());
        }
        let op = match (told["before"].is_null(), told["value"].is_null()) {
            (true, false) => "insert",
            (false, true) => "delete",
            (false, false) => "update",
            (true, true) => "nothing",
        };
        assert_eq!(told["op"], op, "{line}");
    }
    all
}

/// The shop that an upsert is of, and the record that has caused it, unless it takes something back.
pub(crate) fn told(line: &str) -> (u8, Option<String>) {
    let told: Value = line.parse().unwrap();
    let value = if told["value"].is_null() { &told["before"] } else { &told["value"] };
    let shop = value["shop"].as_u64().unwrap() as u8;
    (shop, told["value"]["by"].as_str().map(str::to_owned))
}
