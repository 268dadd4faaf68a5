//! `anabranch state`: what tables and views hold.
//!
//! Invariant: a row is a line: its key, a tab, and its value as JSON.

use serde_json::{Value, json};

use super::args::{State, StateOf};
use super::{encoded, get, place, query, shown};
use crate::failure::Failure;
use crate::place::Place;
use crate::print;

/// Does what was typed.
pub(crate) fn state(command: State) -> Result<(), Failure> {
    let (place, as_json) = (place(&command.of)?, command.of.json);
    let text = |number: u16| Some(number.to_string());
    match command.what {
        StateOf::Ls => ls(&place, as_json),
        StateOf::Get { table, key, from, limit } => {
            let query = query(&[("from", from), ("limit", text(limit))]);
            let row = get(&place, format!("/tables/{}/{}{query}", encoded(&table), encoded(&key)))?;
            match (as_json, row.get("entries").and_then(Value::as_array)) {
                (true, _) => print::line(&row.to_string()),
                (false, None) => print::line(&row["value"].to_string()),
                (false, Some(entries)) => {
                    lines(entries, "key", "value")?;
                    more(&row, entries, "--from")
                }
            }
        }
        StateOf::Scan { table, from, after, to, limit } => {
            let fields = [("from", from), ("after", after), ("to", to), ("limit", text(limit))];
            let rows = get(&place, format!("/tables/{}{}", encoded(&table), query(&fields)))?;
            if as_json {
                return print::line(&rows.to_string());
            }
            let found = rows["rows"].as_array().cloned().unwrap_or_default();
            lines(&found, "key", "value")?;
            more(&rows, &found, "--after")
        }
        StateOf::View { view, from, limit } => {
            let fields = [("from", Some(from.to_string())), ("limit", text(limit))];
            let rows = get(&place, format!("/views/{}{}", encoded(&view), query(&fields)))?;
            match as_json {
                true => print::line(&rows.to_string()),
                false => lines(rows["rows"].as_array().map_or(&[], Vec::as_slice), "row", "times"),
            }
        }
        StateOf::Hot { table } => hot(&place, as_json, &table),
    }
}

fn lines(rows: &[Value], key: &str, value: &str) -> Result<(), Failure> {
    rows.iter().try_for_each(|row| print::line(&format!("{}\t{}", shown(&row[key]), row[value])))
}

/// Says on standard error how to go on, if there is more.
fn more(answer: &Value, rows: &[Value], option: &str) -> Result<(), Failure> {
    if answer["more"] == true
        && let Some(last) = rows.last()
    {
        let total = &answer["total"];
        print::note(&format!(
            "there is more, {total} in all; go on with {option} '{}'",
            last["key"]
        ));
    }
    Ok(())
}

fn ls(place: &Place, as_json: bool) -> Result<(), Failure> {
    let (tables, views) = (get(place, "/tables")?, get(place, "/views")?);
    if as_json {
        return print::line(&json!({"tables": tables, "views": views}).to_string());
    }
    let of_table = |it: &Value| {
        let key = match it["sub_key"].as_str() {
            Some(sub_key) => format!("{}, {sub_key}", shown(&it["key"])),
            None => shown(&it["key"]),
        };
        ["table".to_string(), shown(&it["name"]), key, shown(&it["value"])]
    };
    let of_view = |name: &Value| ["view".into(), shown(name), String::new(), String::new()];
    let rows = tables.as_array().into_iter().flatten().map(of_table);
    let rows: Vec<_> = rows.chain(views.as_array().into_iter().flatten().map(of_view)).collect();
    print::table(["WHAT", "NAME", "KEY", "VALUE"], &rows)
}

fn hot(place: &Place, as_json: bool, table: &str) -> Result<(), Failure> {
    let hot = get(place, format!("/hot-keys/{}", encoded(table)))?;
    let sizes = get(place, "/status")?["tables"][table].clone();
    if as_json {
        return print::line(&json!({"keys": hot, "rows": sizes}).to_string());
    }
    let mut rows = Vec::new();
    for (computation, of) in hot.as_object().into_iter().flatten() {
        let sampled = of["sampled"].as_f64().unwrap_or(0.0).max(1.0);
        for key in of["keys"].as_array().into_iter().flatten() {
            let share = key[1].as_f64().unwrap_or(0.0) * 100.0 / sampled;
            rows.push([computation.clone(), shown(&key[0]), format!("{share:.1} %")]);
        }
    }
    print::table(["COMPUTATION", "KEY", "OF ITS RECORDS"], &rows)?;
    print::line(&format!("rows by worker: {sizes}"))
}
