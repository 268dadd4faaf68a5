//! One row of comma-separated values, field by field.
//!
//! Invariant: a field is in quotes as a whole or not at all (RFC 4180); anything else is refused,
//! because a quote in the wrong place shifts every field after it.

use std::borrow::Cow;

use anabranch::{Error, Result};

/// The fields of `row`, which has no line end.
pub(crate) fn fields(row: &str) -> impl Iterator<Item = Result<Cow<'_, str>>> {
    let mut rest = Some(row);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        Some(field(text).map(|(field, after)| {
            rest = after;
            field
        }))
    })
}

/// The first field of `text`, and what is behind the comma that ends it.
fn field(text: &str) -> Result<(Cow<'_, str>, Option<&str>)> {
    let Some(inner) = text.strip_prefix('"') else {
        let (field, after) = match text.split_once(',') {
            Some((field, after)) => (field, Some(after)),
            None => (text, None),
        };
        if field.contains('"') {
            return Err(Error::Decode("a field has a quote inside and none around it".into()));
        }
        return Ok((Cow::Borrowed(field), after));
    };
    let mut from = 0;
    loop {
        let close = inner.get(from..).and_then(|open| open.find('"')).map(|at| from + at);
        let Some((quoted, after)) = close.and_then(|at| inner.split_at_checked(at)) else {
            return Err(Error::Decode("a field's quote is not closed".into()));
        };
        let after = after.strip_prefix('"').unwrap_or(after);
        if after.starts_with('"') {
            from = quoted.len() + 2;
            continue;
        }
        let field = if quoted.contains('"') {
            Cow::Owned(quoted.replace("\"\"", "\""))
        } else {
            Cow::Borrowed(quoted)
        };
        return match after.strip_prefix(',') {
            Some(after) => Ok((field, Some(after))),
            None if after.is_empty() => Ok((field, None)),
            None => Err(Error::Decode("text follows a field's closing quote".into())),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(row: &str) -> Option<Vec<String>> {
        fields(row).map(|field| field.map(Cow::into_owned).ok()).collect()
    }

    #[test]
    fn rows_are_split_as_rfc_4180_says() {
        let rows: [(&str, &[&str]); 8] = [
            (r#""BTC-USD","buy",1.5,3.844E-5,"t""#, &["BTC-USD", "buy", "1.5", "3.844E-5", "t"]),
            ("", &[""]),
            (",", &["", ""]),
            (r#""""#, &[""]),
            (r#""a""b,",c"#, &["a\"b,", "c"]),
            (r#""""""#, &["\""]),
            (r#""""""""#, &["\"\""]),
            ("a,\"b\",", &["a", "b", ""]),
        ];
        for (row, wanted) in rows {
            let wanted: Vec<String> = wanted.iter().map(|field| (*field).to_string()).collect();
            assert_eq!(split(row), Some(wanted), "{row}");
        }
        for bad in ["\"a", "a\"b", "\"a\"b", "\"a\" ,b", "x,\"", "\"\"\""] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
