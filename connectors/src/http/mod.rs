//! HTTP: a listener for producers, webhooks, and what both and the service of streams share.
//!
//! Invariant: every body, head, connection and wait has a bound; nobody is let in by a page of another site
//! unless its origin is named; no secret is in a URL, an answer or a log.

mod body;
mod door;
mod listener;
mod posted;
mod problem;
mod records;
mod serve;
mod url;
mod webhook;

pub(crate) use self::body::Budget;
pub(crate) use self::door::{Door, guard};
pub use self::posted::{Posted, posted};
pub(crate) use self::problem::Problem;
pub(crate) use self::records::{Form, Most, records};
pub(crate) use self::serve::{Pace, connection};
pub(crate) use self::url::{http_listen, webhook};
