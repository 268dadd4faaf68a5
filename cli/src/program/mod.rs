//! `anabranch status`, `top`, `state` and the other commands that speak with a running program.
//!
//! Invariant: each asks what the program's `/api/v1/openapi.json` describes, and prints the answer; with `--json` as it
//! came.

pub(crate) mod args;
mod letters;
mod state;
mod status;
mod top;

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use self::args::{Checkpoint, CheckpointOf, Rescale, Running, Source};
use crate::args::At;
use crate::failure::Failure;
use crate::place::{Ask, Place};
use crate::print;

pub(crate) use self::letters::letters;
pub(crate) use self::state::state;
pub(crate) use self::status::status;
pub(crate) use self::top::top;

/// Between two looks at a program that is to become ready.
const LOOK: Duration = Duration::from_millis(50);
/// The most of them: a minute.
const LOOKS_MAX: u32 = 1_200;

/// The program that is asked.
fn place(of: &Running) -> Result<Place, Failure> {
    Place::of(&At { dir: None, at: Some(of.at.clone()), token_file: of.token_file.clone() })
}

fn get(place: &Place, path: impl Into<String>) -> Result<Value, Failure> {
    place.json(Ask::get(path.into()))
}

fn post(place: &Place, path: impl Into<String>, body: &Value) -> Result<Value, Failure> {
    place.json(Ask::of(Method::POST, path.into()).with(body))
}

/// `text` as a part of an address: all but letters and digits as their bytes.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    match encoded.as_str() {
        // Those would be taken for folders.
        "." => "%2E".to_string(),
        ".." => "%2E%2E".to_string(),
        _ => encoded,
    }
}

/// The fields that are given, as a query.
fn query(fields: &[(&str, Option<String>)]) -> String {
    let given = fields.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let given: Vec<String> =
        given.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

/// What is printed of a value: text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => print::harmless(text).into_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `anabranch checkpoint`.
pub(crate) fn checkpoint(command: &Checkpoint) -> Result<(), Failure> {
    let place = place(&command.of)?;
    match command.what {
        CheckpointOf::Ls => {
            let listed = get(&place, "/checkpoints")?;
            if command.of.json {
                return print::line(&listed.to_string());
            }
            let fields = ["boundary", "generation", "time", "tables", "files", "bytes", "problem"];
            let row = |it: &Value| fields.map(|field| shown(&it[field]));
            let heads = ["BOUNDARY", "GENERATION", "TIME", "TABLES", "FILES", "BYTES", "PROBLEM"];
            let rows: Vec<_> = listed.as_array().into_iter().flatten().map(row).collect();
            print::table(heads, &rows)
        }
        CheckpointOf::Take => {
            let taken = post(&place, "/checkpoints", &json!({}))?;
            match command.of.json {
                true => print::line(&taken.to_string()),
                false => print::line(&format!("the newest checkpoint is at {}", taken["boundary"])),
            }
        }
    }
}

/// `anabranch rescale`: waits until input is taken again.
pub(crate) fn rescale(command: &Rescale) -> Result<(), Failure> {
    let place = place(&command.of)?;
    let wanted = json!({"workers": command.workers, "processes": command.processes});
    let before = get(&place, "/counters")?["rescale.pause_us"].clone();
    post(&place, "/rescale", &wanted)?;
    let workers = usize::from(command.workers) * usize::from(command.processes);
    for _ in 0..LOOKS_MAX {
        std::thread::sleep(LOOK);
        // It answers nothing while the one start ends and the next begins.
        let Ok(now) = get(&place, "/workers") else { continue };
        let Ok(counters) = get(&place, "/counters") else { continue };
        let pause = &counters["rescale.pause_us"];
        let is_there = now.as_array().is_some_and(|all| all.len() == workers);
        if !is_there || pause.is_null() || *pause == before || get(&place, "/ready").is_err() {
            continue;
        }
        return match command.of.json {
            true => print::line(&json!({"workers": now, "pause_us": pause}).to_string()),
            false => {
                let millis = pause.as_u64().unwrap_or_default() / 1_000;
                print::line(&format!("{workers} workers take input; it waited {millis} ms"))
            }
        };
    }
    Err(Failure::new("the program is not ready after a minute")
        .or("see its log, and `anabranch status`"))
}

/// `anabranch pause` and `anabranch resume`.
pub(crate) fn set(command: &Source, to: &str) -> Result<(), Failure> {
    let place = place(&command.of)?;
    let path = format!("/pipelines/{}/{to}", encoded(&command.source));
    let pipelines = post(&place, path, &json!({}))?;
    if command.of.json {
        return print::line(&pipelines.to_string());
    }
    let row = |it: &Value| ["source", "state"].map(|field| shown(&it[field]));
    let rows: Vec<_> = pipelines.as_array().into_iter().flatten().map(row).collect();
    print::table(["SOURCE", "STATE"], &rows)
}

/// `anabranch stop`: it ends in order.
pub(crate) fn stop(of: &Running) -> Result<(), Failure> {
    let told = post(&place(of)?, "/stop", &json!({}))?;
    print::line(&if of.json { told.to_string() } else { shown(&told["doing"]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_can_be_a_key() {
        assert_eq!(encoded("a/../b?c=d&e#f"), "a%2F..%2Fb%3Fc%3Dd%26e%23f");
        assert_eq!(
            (encoded(".."), encoded("."), encoded("é")),
            ("%2E%2E".into(), "%2E".into(), "%C3%A9".into())
        );
        let fields = [("from", Some("a b".to_string())), ("to", None), ("limit", Some("1".into()))];
        assert_eq!(query(&fields), "?from=a%20b&limit=1");
        assert_eq!(query(&[("to", None)]), "");
    }
}
