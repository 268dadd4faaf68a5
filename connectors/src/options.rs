//! [`Options`]: what stands behind the `?` of a URL.
//!
//! Invariant: every option is taken by the connector or refused by name; a value is read whole or
//! refused, with an example of a right one.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anabranch::{Error, Result};

/// The options of one URL, each taken once.
#[derive(Debug)]
pub(crate) struct Options {
    /// `ws-listen://` and the like, for messages.
    scheme: &'static str,
    given: Vec<(String, String)>,
    /// The names that the connector has asked for.
    known: Vec<&'static str>,
    /// What an unknown option may have been meant for.
    hint: &'static str,
}

impl Options {
    /// Reads `name=value&name=value`; `%XX` stands for a byte.
    pub(crate) fn parse(scheme: &'static str, query: &str) -> Result<Self> {
        let mut given = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(Error::Usage(format!(
                    "option `{pair}` of `{scheme}` has no value; write `{pair}=VALUE`"
                )));
            };
            given.push((name.to_owned(), decode(scheme, name, value)?));
        }
        Ok(Self { scheme, given, known: Vec::new(), hint: "" })
    }

    /// Adds `hint` to the refusal of an unknown option.
    pub(crate) fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }

    /// All values of an option that can be given several times.
    pub(crate) fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        let (mine, rest) =
            std::mem::take(&mut self.given).into_iter().partition(|(given, _)| given == name);
        self.given = rest;
        let mine: Vec<(String, String)> = mine;
        mine.into_iter().map(|(_, value)| value).collect()
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        let mut values = self.texts(name);
        if values.len() > 1 {
            let scheme = self.scheme;
            let text = format!("option `{name}` of `{scheme}` is given {} times", values.len());
            return Err(Error::Usage(text));
        }
        Ok(values.pop())
    }

    pub(crate) fn path(&mut self, name: &'static str) -> Result<Option<PathBuf>> {
        Ok(self.text(name)?.map(PathBuf::from))
    }

    /// `500ms`, `30s`, `2m`; more than nothing.
    pub(crate) fn duration(&mut self, name: &'static str, default: Duration) -> Result<Duration> {
        const UNITS: [(&str, u64); 3] = [("ms", 1), ("s", 1000), ("m", 60_000)];
        self.quantity(name, &UNITS, "a time: `500ms`, `30s`, `2m`")
            .map(|ms| ms.map_or(default, Duration::from_millis))
    }

    /// `65536`, `64KiB`, `16MiB`, `1GiB`; more than nothing.
    pub(crate) fn size(&mut self, name: &'static str, default: usize) -> Result<usize> {
        const UNITS: [(&str, u64); 4] =
            [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
        let wanted = "a number of bytes: `65536`, `64KiB`, `16MiB`; at most 2GiB";
        let size = self.quantity(name, &UNITS, wanted)?;
        match size.map(|size| u32::try_from(size).ok().filter(|size| *size <= 1 << 31)) {
            None => Ok(default),
            Some(Some(size)) => Ok(size as usize),
            Some(None) => Err(self.wrong(name, wanted)),
        }
    }

    /// A number of things, more than none.
    pub(crate) fn count(&mut self, name: &'static str, default: usize) -> Result<usize> {
        let wanted = "a number between 1 and 1000000";
        match self.quantity(name, &[("", 1)], wanted)? {
            None => Ok(default),
            Some(count @ 1..=1_000_000) => Ok(usize::try_from(count).unwrap_or(default)),
            Some(_) => Err(self.wrong(name, wanted)),
        }
    }

    /// `true` or `false`; without it `false`.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<bool> {
        self.choice(name, &[("true", true), ("false", false)], false)
    }

    /// One of `values`, by its name.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        values: &[(&str, T)],
        default: T,
    ) -> Result<T> {
        let Some(text) = self.text(name)? else { return Ok(default) };
        let found = values.iter().find(|(value, _)| *value == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let all: Vec<_> = values.iter().map(|(value, _)| format!("`{value}`")).collect();
            self.wrong(name, &format!("one of {}", all.join(", ")))
        })
    }

    /// Refuses what no one has taken.
    pub(crate) fn finish(self) -> Result<()> {
        let Some((name, _)) = self.given.first() else { return Ok(()) };
        let known: Vec<_> = self.known.iter().map(|name| format!("`{name}`")).collect();
        let known = if known.is_empty() { "it has none".into() } else { known.join(", ") };
        Err(Error::Usage(format!(
            "`{}` has no option `{name}`; its options: {known}{}",
            self.scheme, self.hint
        )))
    }

    fn quantity(
        &mut self,
        name: &'static str,
        units: &[(&str, u64)],
        wanted: &str,
    ) -> Result<Option<u64>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = units.iter().find(|(known, _)| *known == unit);
        u64::from_str(number)
            .ok()
            .zip(unit)
            .and_then(|(number, (_, scale))| number.checked_mul(*scale))
            .filter(|quantity| *quantity > 0)
            .map(Some)
            .ok_or_else(|| self.wrong(name, wanted))
    }

    fn wrong(&self, name: &str, wanted: &str) -> Error {
        Error::Usage(format!("option `{name}` of `{}` takes {wanted}", self.scheme))
    }
}

pub(crate) fn decode(scheme: &str, name: &str, value: &str) -> Result<String> {
    let wrong = || {
        Error::Usage(format!("option `{name}` of `{scheme}`: `%` must begin a byte, as in `%26`"))
    };
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            let (high, low) = digit().zip(digit()).ok_or_else(wrong)?;
            bytes.push(u8::try_from(high << 4 | low).map_err(|_| wrong())?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(query: &str) -> Options {
        Options::parse("ws://", query).unwrap()
    }

    #[test]
    fn values_have_units() {
        let mut given = options("idle=30s&ping=250ms&late=2m&frame_max=16MiB&small=9&n=3");
        let second = Duration::from_secs(1);
        assert_eq!(given.duration("idle", second).unwrap(), 30 * second);
        assert_eq!(given.duration("ping", second).unwrap(), second / 4);
        assert_eq!(given.duration("late", second).unwrap(), 120 * second);
        assert_eq!(given.duration("absent", second).unwrap(), second);
        assert_eq!(given.size("frame_max", 1).unwrap(), 16 << 20);
        assert_eq!(given.size("small", 1).unwrap(), 9);
        assert_eq!(given.count("n", 1).unwrap(), 3);
        given.finish().unwrap();
    }

    #[test]
    fn wrong_values_are_refused_with_an_example() {
        for wrong in ["30", "s", "-1s", "1h", "0s", "99999999999999999999s", "1.5s", ""] {
            let refused = options(&format!("idle={wrong}")).duration("idle", Duration::ZERO);
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("`idle`") && text.contains("`30s`"), "{wrong}: {text}");
        }
        for wrong in ["3GiB", "16MB", "0", "x", "4294967296"] {
            assert!(options(&format!("m={wrong}")).size("m", 1).is_err(), "{wrong}");
        }
        for wrong in ["0", "1000001", "1KiB"] {
            assert!(options(&format!("m={wrong}")).count("m", 1).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_option_twice_without_value_or_unknown_is_refused_by_name() {
        assert!(Options::parse("-", "idle").unwrap_err().to_string().contains("`idle`"));
        let twice = options("a=1&a=2").text("a").unwrap_err().to_string();
        assert!(twice.contains("`a`") && twice.contains("2 times"), "{twice}");
        let mut given = options("idel=30s");
        given.text("idle").unwrap();
        let unknown = given.finish().unwrap_err().to_string();
        assert!(unknown.contains("no option `idel`") && unknown.contains("`idle`"), "{unknown}");
    }

    #[test]
    fn bytes_can_be_written_in_hex() {
        let mut given = options("subscribe={%22a%22:%22%26%22}&subscribe=ü%C3%BC");
        assert_eq!(given.texts("subscribe"), [r#"{"a":"&"}"#, "üü"]);
        for wrong in ["%", "%2", "%zz", "%ff"] {
            assert!(Options::parse("ws://", &format!("a={wrong}")).is_err(), "{wrong}");
        }
    }
}
