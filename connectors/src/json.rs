//! [`Path`]: fields of JSON messages, named by options of a program.
//!
//! Invariant: a field that is not there (or is `null`) is `None`, one that is wrong is refused with its
//! name and what it should be; nothing is guessed.

use std::fmt;
use std::str::FromStr;

use anabranch::{Error, Result, Time};
use serde_json::Value;

/// Where a field is in a message: names from the outside in, joined by dots. A number counts into an
/// array, from 0.
///
/// ```
/// use anabranch_connectors::json::{self, Path};
/// let message = json::message(br#"{"stream":"x","data":{"p":"61837.63","b":[["1.5","2"]]}}"#)?;
/// assert_eq!("data.p".parse::<Path>()?.number(&message)?, Some(61837.63));
/// assert_eq!("data.b.0.1".parse::<Path>()?.number(&message)?, Some(2.0));
/// assert_eq!("data.q".parse::<Path>()?.number(&message)?, None);
/// assert!("stream".parse::<Path>()?.number(&message).is_err());
/// # Ok::<(), anabranch::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    names: Vec<String>,
}

/// A message of a frame's bytes.
///
/// # Errors
/// [`Error::Decode`] if it is not JSON.
pub fn message(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| Error::Decode(format!("not JSON: {e}")))
}

impl FromStr for Path {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.split('.').any(str::is_empty) {
            return Err(Error::Usage(format!(
                "`{text}` names no field: write names from the outside in, joined by dots, as in data.price"
            )));
        }
        Ok(Self { names: text.split('.').map(str::to_owned).collect() })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join("."))
    }
}

impl Path {
    /// The field, if it is there.
    pub fn find<'m>(&self, message: &'m Value) -> Option<&'m Value> {
        let field = self.names.iter().try_fold(message, |inside, name| match inside {
            Value::Array(elements) => elements.get(name.parse::<usize>().ok()?),
            _ => inside.get(name),
        });
        field.filter(|field| !field.is_null())
    }

    /// The field as text: text, or a number or truth value as it would be written.
    ///
    /// # Errors
    /// [`Error::Decode`] if it is an object or an array.
    pub fn text(&self, message: &Value) -> Result<Option<String>> {
        match self.find(message) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Object(_) | Value::Array(_)) => Err(self.is_not("text")),
            Some(other) => Ok(Some(other.to_string())),
        }
    }

    /// The field as a finite number: a number, or text that says one.
    ///
    /// # Errors
    /// [`Error::Decode`] if it is something else.
    pub fn number(&self, message: &Value) -> Result<Option<f64>> {
        let Some(field) = self.find(message) else { return Ok(None) };
        let number = match field {
            Value::String(text) => text.parse().ok(),
            other => other.as_f64(),
        };
        let number = number.filter(|number: &f64| number.is_finite());
        number.map(Some).ok_or_else(|| self.is_not("a finite number, or text that says one"))
    }

    /// The field as a time: RFC 3339, or milliseconds since 1970.
    ///
    /// # Errors
    /// [`Error::Decode`] if it is something else.
    pub fn time(&self, message: &Value) -> Result<Option<Time>> {
        let Some(field) = self.find(message) else { return Ok(None) };
        let time = match field {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64().map(Time::from_millis),
        };
        time.map(Some).ok_or_else(|| self.is_not("an RFC 3339 time, or milliseconds since 1970"))
    }

    fn is_not(&self, what: &str) -> Error {
        Error::Decode(format!("`{self}` is not {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn fields_are_found_or_refused_by_name() {
        let message = message(
            br#"{"n":-2,"t":"x","z":null,"in":{"f":"1e400"},"at":1500,"rfc":"1970-01-01T00:00:01Z","b":true}"#,
        )
        .unwrap();
        assert_eq!(path("n").number(&message).unwrap(), Some(-2.0));
        assert_eq!(path("n").text(&message).unwrap().as_deref(), Some("-2"));
        assert_eq!(path("b").text(&message).unwrap().as_deref(), Some("true"));
        assert_eq!(path("z").number(&message).unwrap(), None);
        assert_eq!(path("t.deeper").text(&message).unwrap(), None);
        assert_eq!(path("at").time(&message).unwrap(), Some(Time::from_millis(1_500)));
        assert_eq!(path("rfc").time(&message).unwrap(), Some(Time::from_millis(1_000)));
        let refused = |result: Result<Option<f64>>| result.unwrap_err().to_string();
        assert!(refused(path("in.f").number(&message)).contains("`in.f` is not a finite number"));
        assert!(refused(path("b").number(&message)).contains("`b` is not"));
        assert!(path("in").text(&message).unwrap_err().to_string().contains("`in` is not text"));
        assert!(path("t").time(&message).unwrap_err().to_string().contains("RFC 3339"));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in ["", ".", "a.", ".a", "a..b"] {
            let error = text.parse::<Path>().unwrap_err().to_string();
            assert!(error.contains("names no field"), "{error}");
        }
        assert!(message(b"{").unwrap_err().to_string().contains("not JSON"));
    }
}
