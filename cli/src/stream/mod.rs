//! `anabranch stream`: what is done with streams.
//!
//! Invariant: each command asks a [`Place`] and prints the answer; only `serve` touches a folder by itself.

mod append;
mod read;
mod serve;

use anabranch_connectors::stream::Streams;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::args::{Action, StreamCommand};
use crate::failure::Failure;
use crate::place::{Ask, Place};
use crate::print;

/// Does what was typed.
pub(crate) fn run(command: StreamCommand) -> Result<(), Failure> {
    let StreamCommand { at, json, action } = command;
    if let Action::Serve { http, origin, port_file } = action {
        let Some(dir) = at.dir else {
            return Err(Failure::usage("it is not said which streams to serve")
                .or("give their folder: `--dir DIR`"));
        };
        return serve::serve(Streams::open(dir)?, http, at.token_file, origin, port_file);
    }
    let place = Place::of(&at)?;
    match action {
        Action::Ls => ls(&place, json),
        Action::Create { name } => create(&place, json, &name),
        Action::Append { name, record, batch } => {
            append::append(&place, json, &name, &record, batch.into())
        }
        Action::Read { name, from, group, limit, follow } => {
            read::read(&place, json, &name, (from, group), (limit, follow))
        }
        Action::Groups { name, reset: Some(group), from } => {
            reset(&place, json, (&name, &group), &from)
        }
        Action::Groups { name, reset: None, .. } => groups(&place, json, &name),
        Action::Trim { name, max_age, max_bytes, drop_unread } => {
            let max_age_ms = max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            trim(&place, json, &name, (max_age_ms, max_bytes, drop_unread))
        }
        Action::Rm { name, drop_unread } => {
            let path = format!("/streams/{name}?drop_unread={drop_unread}");
            place.ask(Ask::of(Method::DELETE, path)).map(|_| ()).map_err(
                |failure| match drop_unread {
                    true => failure,
                    false => {
                        failure.or("if nobody needs them: `anabranch stream rm --drop-unread`")
                    }
                },
            )
        }
        // Done above.
        Action::Serve { .. } => Ok(()),
    }
}

/// A field as it is printed in a table.
fn cell(row: &Value, field: &str) -> String {
    match row.get(field) {
        Some(Value::String(text)) => print::harmless(text).into_owned(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn ls(place: &Place, json: bool) -> Result<(), Failure> {
    let streams: Vec<Value> = place.json(Ask::get("/streams".to_owned()))?;
    if json {
        return print::line(&Value::from(streams).to_string());
    }
    let row = |it: &Value| ["name", "first", "end", "groups"].map(|field| cell(it, field));
    print::table(["STREAM", "FIRST", "END", "GROUPS"], &streams.iter().map(row).collect::<Vec<_>>())
}

fn create(place: &Place, json: bool, name: &str) -> Result<(), Failure> {
    let made: Value = place.json(Ask::of(Method::PUT, format!("/streams/{name}")))?;
    match json {
        true => print::line(&made.to_string()),
        false => Ok(()),
    }
}

fn groups(place: &Place, json: bool, name: &str) -> Result<(), Failure> {
    let groups: Vec<Value> = place.json(Ask::get(format!("/streams/{name}/groups")))?;
    if json {
        return print::line(&Value::from(groups).to_string());
    }
    let row = |it: &Value| ["group", "next", "pending"].map(|field| cell(it, field));
    print::table(["GROUP", "NEXT", "PENDING"], &groups.iter().map(row).collect::<Vec<_>>())
}

fn reset(
    place: &Place,
    json: bool,
    (name, group): (&str, &str),
    from: &str,
) -> Result<(), Failure> {
    let ask = Ask::of(Method::PUT, format!("/streams/{name}/groups/{group}"));
    let reset: Value = place.json(ask.with(&json!({"from": from})))?;
    match json {
        true => print::line(&reset.to_string()),
        false => print::line(&format!("{group} goes on at {}", cell(&reset, "next"))),
    }
}

fn trim(
    place: &Place,
    json: bool,
    name: &str,
    (max_age_ms, max_bytes, drop_unread): (Option<u64>, Option<u64>, bool),
) -> Result<(), Failure> {
    let mut keep = Map::new();
    keep.extend(max_age_ms.map(|it| ("max_age_ms".to_owned(), it.into())));
    keep.extend(max_bytes.map(|it| ("max_bytes".to_owned(), it.into())));
    let ask = match (keep.is_empty(), drop_unread) {
        (true, false) => Ask::of(Method::POST, format!("/streams/{name}/trim")),
        (true, true) => {
            return Err(Failure::usage("it is not said what may be dropped unread")
                .or("give --max-age or --max-bytes"));
        }
        (false, _) => {
            keep.insert("drop_unread".to_owned(), drop_unread.into());
            Ask::of(Method::POST, format!("/streams/{name}/retain")).with(&keep.into())
        }
    };
    let kept: Value = place.json(ask)?;
    if json {
        return print::line(&kept.to_string());
    }
    let number = |field| kept.get(field).and_then(Value::as_u64).unwrap_or(0);
    let unread = match number("dropped_unread") {
        0 => String::new(),
        count => format!(", of which {count} were unread"),
    };
    print::line(&format!(
        "dropped {} records{unread}; the first is {}",
        number("dropped"),
        number("first")
    ))?;
    match number("retained_unread") {
        0 => Ok(()),
        count => print::line(&format!(
            "{count} that are due stay, as some group, or nobody, has read them; --drop-unread drops them too"
        )),
    }
}
