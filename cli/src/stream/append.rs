//! `append`: from lines to records.
//!
//! Invariant: offsets are printed when the records are durable; a line is a record whole or a failure. At most
//! one batch is held.

use std::io::{BufRead, BufReader, Read as _};

use reqwest::Method;
use serde_json::Value;

use super::cell;
use crate::failure::Failure;
use crate::place::{Ask, Place};
use crate::print;

/// The longest line.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// A batch has about so many bytes at most.
const BATCH_BYTES: usize = 1 << 20;

pub(super) fn append(
    place: &Place,
    json: bool,
    name: &str,
    records: &[String],
    batch_max: usize,
) -> Result<(), Failure> {
    match records {
        [] => {}
        [one] => {
            let ask = Ask {
                kind: "text/plain",
                ..Ask::of(Method::POST, format!("/streams/{name}/records"))
            };
            return tell(place, json, Ask { body: one.clone().into_bytes(), ..ask });
        }
        many if many.iter().any(|record| record.contains('\n')) => {
            return Err(Failure::usage("a record of several has a line break in it")
                .or("append it by itself"));
        }
        many => return tell(place, json, lines(name, (many.join("\n") + "\n").into_bytes())),
    }
    let mut input = BufReader::with_capacity(256 << 10, std::io::stdin().lock());
    loop {
        let batch = batch(&mut input, batch_max)?;
        if batch.is_empty() {
            return Ok(());
        }
        tell(place, json, lines(name, batch))?;
    }
}

fn lines(name: &str, body: Vec<u8>) -> Ask<'static> {
    let path = format!("/streams/{name}/records?split=lines");
    Ask { kind: "text/plain", body, ..Ask::of(Method::POST, path) }
}

/// The next lines: one, and those that have come with it.
fn batch<R: std::io::Read>(input: &mut BufReader<R>, count_max: usize) -> Result<Vec<u8>, Failure> {
    let failed = |e| Failure::new(format!("cannot read standard input: {e}"));
    let (mut batch, mut count) = (Vec::new(), 0);
    while count == 0
        || (count < count_max && batch.len() < BATCH_BYTES && input.buffer().contains(&b'\n'))
    {
        let before = batch.len();
        let mut line = input.by_ref().take(LINE_BYTES_MAX + 1);
        if line.read_until(b'\n', &mut batch).map_err(failed)? == 0 {
            break;
        }
        if (batch.len() - before) as u64 > LINE_BYTES_MAX {
            return Err(Failure::new(format!(
                "a line has more than {LINE_BYTES_MAX} bytes: it was not appended"
            ))
            .or("what was printed before is durable; append it in smaller records"));
        }
        count += 1;
    }
    if !batch.is_empty() && !batch.ends_with(b"\n") {
        batch.push(b'\n');
    }
    Ok(batch)
}

fn tell(place: &Place, json: bool, ask: Ask<'_>) -> Result<(), Failure> {
    let appended: Value = place.json(ask)?;
    match json {
        true => print::line(&appended.to_string()),
        false => print::line(&format!("{}..{}", cell(&appended, "first"), cell(&appended, "end"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_batches_and_none_is_lost_or_cut() {
        let text = (0..10).map(|n| format!("line {n}\n")).collect::<String>() + "\nlast";
        let mut input = BufReader::with_capacity(1 << 10, text.as_bytes());
        let mut all = Vec::new();
        loop {
            let batch = batch(&mut input, 4).unwrap();
            if batch.is_empty() {
                break;
            }
            assert!(batch.iter().filter(|byte| **byte == b'\n').count() <= 4);
            all.extend(batch);
        }
        assert_eq!(String::from_utf8(all).unwrap(), text + "\n");
        let long = vec![b'x'; LINE_BYTES_MAX as usize + 1];
        assert!(batch(&mut BufReader::new(&long[..]), 4).is_err());
    }
}
