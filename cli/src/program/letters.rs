//! `anabranch dead-letters`: what was refused, and what is done with it.
//!
//! Invariant: nothing is done with letters that were not named, one way or another.

use serde_json::{Map, Value, json};

use super::args::{Letters, LettersOf, Which};
use super::{get, place, post, query, shown};
use crate::failure::Failure;
use crate::place::Place;
use crate::print;

/// Does what was typed.
pub(crate) fn letters(command: Letters) -> Result<(), Failure> {
    let (place, as_json) = (place(&command.of)?, command.of.json);
    match command.what {
        LettersOf::Ls { which, limit } => ls(&place, as_json, which, limit),
        LettersOf::Groups => groups(&place, as_json),
        LettersOf::Retry { which } => done(&place, as_json, "retry", &selection(which)),
        LettersOf::Ignore { which } => done(&place, as_json, "ignore", &selection(which)),
        LettersOf::Edit { id, record } => {
            done(&place, as_json, "edit", &json!({"id": id, "record": record}))
        }
    }
}

fn ls(place: &Place, as_json: bool, which: Which, limit: u16) -> Result<(), Failure> {
    if !which.ids.is_empty() {
        return Err(Failure::usage("letters are listed by what they have in common, not by name")
            .or("leave the names out, or give --group"));
    }
    let fields = [
        ("group", which.group),
        ("pipeline", which.pipeline),
        ("computation", which.computation),
        ("kind", which.kind),
        ("all", which.all.then(|| "true".to_string())),
        ("limit", Some(limit.to_string())),
    ];
    let page = get(place, format!("/dead-letters{}", query(&fields)))?;
    if as_json {
        return print::line(&page.to_string());
    }
    let row = |it: &Value| {
        let letter = &it["letter"];
        [
            shown(&it["id"]),
            shown(&it["status"]),
            shown(&letter["pipeline"]),
            shown(&letter["reason"]),
        ]
    };
    let rows: Vec<_> = page["letters"].as_array().into_iter().flatten().map(row).collect();
    print::table(["NAME", "STATUS", "PIPELINE", "REASON"], &rows)?;
    if page["total"].as_u64() > Some(rows.len() as u64) {
        print::note(&format!("there are {} in all; --limit shows more", page["total"]));
    }
    Ok(())
}

fn groups(place: &Place, as_json: bool) -> Result<(), Failure> {
    let groups = get(place, "/dead-letters/groups")?;
    if as_json {
        return print::line(&groups.to_string());
    }
    let fields = ["group", "count", "pipeline", "computation", "kind", "place"];
    let row = |it: &Value| fields.map(|field| shown(&it[field]));
    let rows: Vec<_> = groups.as_array().into_iter().flatten().map(row).collect();
    print::table(["GROUP", "COUNT", "PIPELINE", "COMPUTATION", "KIND", "PLACE"], &rows)
}

fn selection(which: Which) -> Value {
    let mut fields = Map::new();
    fields.insert("ids".into(), which.ids.into());
    fields.insert("all".into(), which.all.into());
    let named = [
        ("group", which.group),
        ("pipeline", which.pipeline),
        ("computation", which.computation),
        ("kind", which.kind),
    ];
    for (name, value) in named {
        fields.extend(value.map(|value| (name.to_string(), value.into())));
    }
    fields.into()
}

fn done(place: &Place, as_json: bool, what: &str, body: &Value) -> Result<(), Failure> {
    let done = post(place, format!("/dead-letters/{what}"), body)?;
    if as_json {
        return print::line(&done.to_string());
    }
    print::line(&format!("{what}: {} dead letters", done["done"]))?;
    for (why, count) in done["refused"].as_object().into_iter().flatten() {
        print::note(&format!("{count} were left out: {}", print::harmless(why)));
    }
    Ok(())
}
