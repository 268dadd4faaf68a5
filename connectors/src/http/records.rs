//! [`records`]: from the body of a request to the records in it.
//!
//! Invariant: all of a body is records, or none of it is taken; a record's bytes are those that were sent. What
//! is wrong is told by its place.

use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::problem::{Problem, Refused};

/// The most wrong records that an answer names.
const REFUSED_MAX: usize = 20;

/// How records are in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A JSON document: an array is many records, anything else one.
    Json,
    /// A JSON document a line; blank lines are none.
    Lines,
    /// Whatever it is, each line is a record, without its end.
    Text,
    /// The body is one record, as it is.
    Whole,
}

impl Form {
    /// By the `Content-Type` of a request.
    pub(crate) fn of(content_type: Option<&str>) -> Self {
        let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        match kind.trim().to_ascii_lowercase().as_str() {
            "application/json" => Self::Json,
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/jsonlines" => Self::Lines,
            _ => Self::Whole,
        }
    }
}

/// How much a body may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) records: usize,
    pub(crate) record_bytes: usize,
}

/// The records in `body`.
///
/// # Errors
/// When it is not of that form, or has too many, or too long ones: the places of those are told.
pub(crate) fn records(form: Form, body: &[u8], most: Most) -> Result<Vec<&[u8]>, Problem> {
    let found = match form {
        Form::Whole if body.is_empty() => {
            return Err(Problem::bad_request("the body is empty: send a record in it"));
        }
        Form::Whole => vec![body],
        Form::Json => of_json(body, most)?,
        Form::Lines => of_lines(body, most)?,
        Form::Text => of_text(body, most)?,
    };
    let too_long = found.iter().enumerate().filter(|(_, record)| record.len() > most.record_bytes);
    let refused: Vec<Refused> = too_long
        .map(|(place, record)| Refused {
            place,
            why: format!("{} bytes; {} are allowed", record.len(), most.record_bytes),
        })
        .take(REFUSED_MAX)
        .collect();
    if !refused.is_empty() {
        let detail = "a record is too long: nothing was taken of this request";
        return Err(Problem::too_large(detail).with_refused(refused));
    }
    Ok(found)
}

fn too_many(count: usize, most: Most) -> Problem {
    Problem::too_large(format!(
        "there are {count} records in the body, and {} are allowed: nothing was taken; send fewer at a \
         time",
        most.records
    ))
}

fn of_json(body: &[u8], most: Most) -> Result<Vec<&[u8]>, Problem> {
    let wrong = |error: serde_json::Error| {
        Problem::bad_request(format!("the body is no JSON document ({error}): nothing was taken"))
    };
    if !body.trim_ascii_start().starts_with(b"[") {
        let one: &RawValue = serde_json::from_slice(body).map_err(wrong)?;
        return Ok(vec![one.get().as_bytes()]);
    }
    let mut document = serde_json::Deserializer::from_slice(body);
    let (found, count) = document.deserialize_seq(Elements(most.records)).map_err(wrong)?;
    document.end().map_err(wrong)?;
    match count > most.records {
        true => Err(too_many(count, most)),
        false => Ok(found.into_iter().map(|element| element.get().as_bytes()).collect()),
    }
}

/// Keeps as many elements of an array, and counts all.
struct Elements(usize);

impl<'de> Visitor<'de> for Elements {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut count) = (Vec::new(), 0);
        while found.len() < self.0 {
            let Some(element) = elements.next_element()? else { return Ok((found, count)) };
            found.push(element);
            count += 1;
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((found, count))
    }
}

fn of_lines(body: &[u8], most: Most) -> Result<Vec<&[u8]>, Problem> {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    for (place, line) in lines.filter(|line| !line.is_empty()).enumerate() {
        if place == most.records {
            let count = body.split(|byte| *byte == b'\n');
            return Err(too_many(count.filter(|line| !line.trim_ascii().is_empty()).count(), most));
        }
        match serde_json::from_slice::<&RawValue>(line) {
            Ok(_) => found.push(line),
            Err(error) if refused.len() < REFUSED_MAX => {
                refused.push(Refused { place, why: format!("no JSON document: {error}") });
            }
            Err(_) => {}
        }
    }
    match refused.is_empty() {
        true => Ok(found),
        false => {
            let detail = "a line is no JSON document: nothing was taken of this request";
            Err(Problem::bad_request(detail).with_refused(refused))
        }
    }
}

fn of_text(body: &[u8], most: Most) -> Result<Vec<&[u8]>, Problem> {
    let whole = body.strip_suffix(b"\n").unwrap_or(body);
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let count = 1 + memchr::memchr_iter(b'\n', whole).count();
    match count > most.records {
        true => Err(too_many(count, most)),
        false => Ok(whole.split(|byte| *byte == b'\n').collect()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const MOST: Most = Most { records: 5, record_bytes: 30 };

    fn texts(form: Form, body: &str) -> Vec<String> {
        let found = records(form, body.as_bytes(), MOST).unwrap();
        found.iter().map(|record| String::from_utf8(record.to_vec()).unwrap()).collect()
    }

    fn refused(form: Form, body: &str) -> (u16, String, Vec<usize>) {
        let problem = records(form, body.as_bytes(), MOST).unwrap_err();
        let told = serde_json::to_value(&problem).unwrap();
        let places = told["refused"].as_array().map_or(&[][..], Vec::as_slice);
        let places = places.iter().map(|it| it["place"].as_u64().unwrap() as usize).collect();
        (problem.status().as_u16(), problem.detail().to_owned(), places)
    }

    #[test]
    fn a_content_type_says_how_records_are_told_apart() {
        assert_eq!(Form::of(Some("application/json; charset=utf-8")), Form::Json);
        assert_eq!(Form::of(Some("Application/X-NDJSON")), Form::Lines);
        for other in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("")]
        {
            assert_eq!(Form::of(other), Form::Whole);
        }
        assert_eq!(
            texts(Form::Json, " [1, {\"a\" : [2]},\n\"x\"] "),
            ["1", "{\"a\" : [2]}", "\"x\""]
        );
        assert_eq!(texts(Form::Json, " {\"a\": 1}\n"), ["{\"a\": 1}"]);
        assert_eq!(texts(Form::Json, "[]"), Vec::<String>::new());
        assert_eq!(texts(Form::Lines, "1\r\n\n  {\"a\":2}\n"), ["1", "{\"a\":2}"]);
        assert_eq!(texts(Form::Text, "a \n\n{\n"), ["a ", "", "{"]);
        assert_eq!(texts(Form::Text, "\n"), [""]);
        assert_eq!(texts(Form::Text, ""), Vec::<String>::new());
        assert_eq!(refused(Form::Text, "1\n2\n3\n4\n5\n6").0, 413);
        assert_eq!(texts(Form::Whole, "[1,\n2]"), ["[1,\n2]"]);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place_and_nothing_is_taken() {
        assert_eq!(refused(Form::Lines, "1\n{\n2\nx").2, [1, 3]);
        assert_eq!(refused(Form::Json, "[1,{]").0, 400);
        assert_eq!(refused(Form::Json, "[1,2").0, 400);
        assert_eq!(refused(Form::Json, "[1] 2").0, 400);
        assert_eq!(refused(Form::Json, "").0, 400);
        assert_eq!(refused(Form::Whole, "").0, 400);
        let long = format!("[1,\"{}\"]", "x".repeat(30));
        assert_eq!((refused(Form::Json, &long).0, refused(Form::Json, &long).2), (413, vec![1]));
        for (form, body) in [(Form::Json, "[1,2,3,4,5,6,7]"), (Form::Lines, "1\n2\n3\n4\n5\n6\n7")]
        {
            let (status, detail, _) = refused(form, body);
            assert!(status == 413 && detail.contains("there are 7 records"), "{detail}");
        }
        assert_eq!(refused(Form::Lines, &"x\n".repeat(5)).2.len(), 5);
    }

    /// A document that is nested as deep as a body allows costs no stack.
    #[test]
    fn depth_is_no_danger() {
        let most = Most { records: 5, record_bytes: 8 << 20 };
        let deep = format!("[{}{}]", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert!(records(Form::Json, deep.as_bytes(), most).is_ok_and(|found| found.len() == 1));
    }

    proptest! {
        /// Beside `serde_json`'s own values; and no bytes make it fail otherwise.
        #[test]
        fn an_array_is_its_elements(numbers in proptest::collection::vec(any::<i32>(), 0..6), noise: Vec<u8>) {
            let body = serde_json::to_vec(&numbers).unwrap();
            let found = records(Form::Json, &body, MOST);
            match numbers.len() <= MOST.records {
                true => {
                    let found = found.unwrap();
                    let found = found.iter().map(|it| serde_json::from_slice::<Value>(it).unwrap());
                    prop_assert_eq!(found.collect::<Vec<_>>(), numbers);
                }
                false => prop_assert!(found.is_err()),
            }
            for form in [Form::Json, Form::Lines, Form::Whole] {
                let _ = records(form, &noise, MOST);
            }
        }
    }
}
