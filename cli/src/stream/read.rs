//! `read`: from records to lines.
//!
//! Invariant: of a group, what is committed was printed; what was printed and not committed, as when the command was
//! killed between the two, is printed again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::cell;
use crate::failure::Failure;
use crate::place::{Ask, Place};
use crate::print;

/// Records asked for at once.
const PAGE: u64 = 500;
/// How long to wait for more at once.
const WAIT_MS: u64 = 20_000;

#[derive(Deserialize)]
struct Page {
    records: Vec<Box<RawValue>>,
    next: u64,
}

#[derive(Deserialize)]
struct Record {
    offset: u64,
    value: Option<Box<RawValue>>,
    text: Option<String>,
    base64: Option<String>,
}

impl Record {
    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let wrong =
            |_| Failure::new("the answer is not understood: is the server of this version?");
        match (&self.value, &self.text, &self.base64) {
            (Some(value), ..) => Ok(value.get().as_bytes().to_vec()),
            (_, Some(text), _) => Ok(text.clone().into_bytes()),
            (.., Some(encoded)) => STANDARD.decode(encoded).map_err(|e| wrong(e.to_string())),
            // The document `null`.
            (None, None, None) => Ok(b"null".to_vec()),
        }
    }
}

pub(super) fn read(
    place: &Place,
    json: bool,
    name: &str,
    (from, group): (String, Option<String>),
    (limit, follow): (Option<u64>, bool),
) -> Result<(), Failure> {
    let Some(group) = group else {
        let mut from = encoded(&from);
        let asked = |limit, wait_ms| {
            let query = format!("from={from}&limit={limit}&wait_ms={wait_ms}");
            let page: Page = place.json(Ask::get(format!("/streams/{name}/records?{query}")))?;
            from = page.next.to_string();
            Ok(page)
        };
        return print_all(json, (limit, follow), asked, |_| Ok(()));
    };
    let consumers = format!("/streams/{name}/groups/{group}/consumers");
    let ask = Ask::of(Method::POST, consumers.clone()).with(&json!({"from": from}));
    let joined: Value = place.json(ask)?;
    let mine = format!("{consumers}/{}", cell(&joined, "consumer"));
    let asked = |limit, wait_ms| {
        let path = format!("{mine}/read?limit={limit}&wait_ms={wait_ms}");
        place.json(Ask::of(Method::POST, path))
    };
    let commit = |next: u64| {
        let ask = Ask::of(Method::POST, format!("{mine}/commit"));
        place.ask(ask.with(&json!({"next": next}))).map(|_| ())
    };
    let read = print_all(json, (limit, follow), asked, commit);
    // If that fails, the lease ends by itself.
    let left = place.ask(Ask::of(Method::DELETE, mine.clone()));
    read.and(left.map(|_| ()))
}

/// Prints what `page` gives for a number and a wait, and has it committed.
fn print_all(
    json: bool,
    (limit, follow): (Option<u64>, bool),
    mut page: impl FnMut(u64, u64) -> Result<Page, Failure>,
    mut commit: impl FnMut(u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut left = limit.unwrap_or(u64::MAX);
    while left > 0 {
        let page = page(left.min(PAGE), if follow { WAIT_MS } else { 0 })?;
        if page.records.is_empty() && !follow {
            break;
        }
        let mut next = None;
        for line in &page.records {
            let record: Record = serde_json::from_str(line.get())
                .map_err(|e| Failure::new(format!("the answer is not understood: {e}")))?;
            match json {
                true => print::line(line.get())?,
                false => print::record(&record.bytes()?)?,
            }
            next = Some(record.offset + 1);
        }
        left -= (page.records.len() as u64).min(left);
        next.map_or(Ok(()), &mut commit)?;
    }
    Ok(())
}

/// `text` as a part of a query.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let part =
        |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn a_place_cannot_add_to_a_query() {
        assert_eq!(encoded("2026-01-01T00:00:00Z"), "2026-01-01T00%3A00%3A00Z");
        assert_eq!(encoded("1&limit=2#\u{e9}"), "1%26limit%3D2%23%C3%A9");
    }
}
