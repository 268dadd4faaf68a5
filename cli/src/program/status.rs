//! `anabranch status`: how a program does, once.
//!
//! Invariant: the exit code is 0 only if the program takes input.

use serde_json::{Value, json};

use super::args::Status;
use super::{get, place, shown};
use crate::failure::Failure;
use crate::place::{Ask, Place};
use crate::print;

/// Does what was typed.
pub(crate) fn status(command: &Status) -> Result<(), Failure> {
    let place = place(&command.of)?;
    let (program, status) = (get(&place, "/program")?, get(&place, "/status")?);
    let (pipelines, ready) = (get(&place, "/pipelines")?, ready(&place)?);
    if command.of.json {
        let all = json!({
            "program": program, "status": status, "pipelines": pipelines, "ready": ready,
        });
        print::line(&all.to_string())?;
    } else {
        let workers = status["workers"].as_array().map_or(0, Vec::len);
        let name = print::harmless(program["name"].as_str().unwrap_or("the program")).into_owned();
        print::line(&format!("{name} {}: {workers} workers", shown(&program["version"])))?;
        for line in report(&status, &pipelines) {
            print::line(&line)?;
        }
    }
    match ready.as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        _ => {
            let problems = ready.as_array().into_iter().flatten().map(shown);
            Err(Failure::new(problems.collect::<Vec<_>>().join("; ")))
        }
    }
}

/// What keeps the program from taking input.
fn ready(place: &Place) -> Result<Value, Failure> {
    let (_, body) = place.answer(Ask::get("/ready".to_string()))?;
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(told["problems"].clone())
}

/// What is worth a look, a line each.
pub(super) fn report(status: &Value, pipelines: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let each = |field: &str| status[field].as_object().into_iter().flatten();
    for pipeline in pipelines.as_array().into_iter().flatten() {
        let source = shown(&pipeline["source"]);
        let counter = |of: &str| status["counters"][format!("{source}.{of}")].clone();
        let (records, refused) = (counter("records"), counter("dead_letters"));
        let state = shown(&pipeline["state"]);
        lines.push(format!("source  {source:<24} {state:<8} {records} records, {refused} refused"));
    }
    for (sink, of) in each("latencies") {
        let millis = |name: &str| of[name].as_f64().unwrap_or(0.0) * 1e3;
        lines.push(format!(
            "sink    {:<24} p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            print::harmless(sink),
            millis("p50"),
            millis("p99"),
            millis("max")
        ));
    }
    for (table, rows) in each("tables") {
        let of = rows.as_array().into_iter().flatten().filter_map(Value::as_u64);
        let (sum, most) = of.fold((0, 0), |(sum, most), rows| (sum + rows, most.max(rows)));
        let table = print::harmless(table);
        lines.push(format!("table   {table:<24} {sum} rows, at most {most} on a worker"));
    }
    for (operator, shares) in each("busy") {
        let shares: Vec<String> = shares
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .map(|share| format!("{:.0}%", share * 100.0))
            .collect();
        lines.push(format!("busy    {:<24} {}", print::harmless(operator), shares.join(" ")));
    }
    lines
}
