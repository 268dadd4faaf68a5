//! [`Undo`]: why what a record did is undone; [`Failure`]: what went wrong.
//!
//! Invariant: a record that is undone was never there, but for its dead letter.

use std::any::type_name;
use std::error::Error;
use std::fmt;
use std::panic::Location;

use serde::{Deserialize, Serialize};

/// Why what a record did is undone: what a computation gives that
/// [tries](crate::Keyed::try_compute), in place of `Ok`. Any error becomes [`Fail`](Self::Fail) by `?`.
///
/// `Ok` goes on. A record that is not an item of a [batch](crate::Keyed::try_batch) is a batch of its own:
/// there [`Break`](Self::Break) is as [`Ignore`](Self::Ignore), and [`Abort`](Self::Abort) as `Fail`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undo {
    /// The record counts for nothing.
    Ignore,
    /// The record counts for nothing, and neither does the rest of its batch; what came before it stays.
    Break,
    /// The record is a dead letter.
    Fail(Box<Failure>),
    /// The whole batch is a dead letter: nothing stays of it.
    Abort(Box<Failure>),
}

impl Undo {
    /// The record is a dead letter, for this reason.
    #[track_caller]
    pub fn fail(reason: impl fmt::Display) -> Self {
        Self::Fail(Box::new(Failure::said("failed", reason)))
    }

    /// The whole batch is a dead letter, for this reason.
    #[track_caller]
    pub fn abort(reason: impl fmt::Display) -> Self {
        Self::Abort(Box::new(Failure::said("aborted", reason)))
    }
}

/// With all that caused it.
impl<E: Error> From<E> for Undo {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::Fail(Box::new(Failure::of(error)))
    }
}

/// What went wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failure {
    /// The type of the error; `failed` or `aborted` if it is text only, `panic`, or `refused` by a decoder.
    pub kind: String,
    /// The error, and what caused it, one by one.
    pub chain: Vec<String>,
    /// Where in the program, as `file:line`, if that is known.
    pub place: Option<String>,
}

impl Failure {
    /// What `error` and its causes say, here.
    #[track_caller]
    pub fn of<E: Error>(error: E) -> Self {
        let mut failure = Self::said(type_name::<E>(), &error);
        let mut cause = error.source();
        while let Some(error) = cause {
            failure.chain.push(error.to_string());
            cause = error.source();
        }
        failure
    }

    /// Text alone, here.
    #[track_caller]
    fn said(kind: &str, reason: impl fmt::Display) -> Self {
        let here = Location::caller();
        let place = format!("{}:{}", here.file(), here.line());
        Self { kind: kind.to_string(), chain: vec![reason.to_string()], place: Some(place) }
    }

    /// A panic, of which the text says where it was.
    pub(crate) fn panic(text: String) -> Self {
        let place = text.rsplit_once(" (").and_then(|(_, place)| place.strip_suffix(')'));
        let place = place.map(ToString::to_string);
        Self { kind: "panic".to_string(), chain: vec![text], place }
    }

    /// What a decoder said.
    pub(crate) fn refused(reason: String) -> Self {
        Self { kind: "refused".to_string(), chain: vec![reason], place: None }
    }

    /// The error and its causes, in one line.
    pub fn reason(&self) -> String {
        self.chain.join(": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the price")]
    struct Outer(#[from] std::num::ParseIntError);

    #[test]
    fn an_error_is_told_with_its_causes_and_its_place() {
        let line = line!() + 1;
        let parse = |text: &str| -> Result<u8, Undo> { Ok(text.parse().map_err(Outer)?) };
        assert_eq!(parse("7"), Ok(7));
        let Err(Undo::Fail(failure)) = parse("x") else { panic!("it is no number") };
        assert_eq!(failure.chain, ["cannot read the price", "invalid digit found in string"]);
        assert_eq!(failure.reason(), "cannot read the price: invalid digit found in string");
        assert!(failure.kind.ends_with("Outer"), "{}", failure.kind);
        assert_eq!(failure.place, Some(format!("{}:{line}", file!())));
        let Undo::Abort(failure) = Undo::abort("enough") else { panic!("it was aborted") };
        assert_eq!(failure.place, Some(format!("{}:{}", file!(), line!() - 1)));
    }

    #[test]
    fn the_place_of_a_panic_is_in_its_text() {
        let failure = Failure::panic("no (known) price (src/main.rs:7)".to_string());
        assert_eq!(failure.place.as_deref(), Some("src/main.rs:7"));
        assert_eq!(Failure::panic("no price".to_string()).place, None);
    }
}
