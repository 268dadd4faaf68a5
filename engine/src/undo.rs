//! [`Undo`]: why what a record did is undone.
//!
//! Invariant: a record that is undone was never there, but for its dead letter.

use std::error::Error;
use std::fmt;

/// Why what a record did is undone: what a computation gives that
/// [tries](crate::Keyed::try_compute), in place of `Ok`. Any error becomes [`Fail`](Self::Fail) by `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undo {
    /// The record counts for nothing.
    Ignore,
    /// The record is a dead letter, for this reason.
    Fail(String),
}

impl Undo {
    /// The record is a dead letter, for this reason.
    pub fn fail(reason: impl fmt::Display) -> Self {
        Self::Fail(reason.to_string())
    }
}

/// With all that caused it.
impl<E: Error> From<E> for Undo {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        Self::Fail(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the price")]
    struct Outer(#[from] std::num::ParseIntError);

    #[test]
    fn an_error_is_told_with_its_causes() {
        let parse = |text: &str| -> Result<u8, Undo> { Ok(text.parse().map_err(Outer)?) };
        assert_eq!(parse("7"), Ok(7));
        let reason = "cannot read the price: invalid digit found in string".to_string();
        assert_eq!(parse("x"), Err(Undo::Fail(reason)));
    }
}
