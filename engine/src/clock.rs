//! The one door to clocks and random sources.
//!
//! Invariant: nothing else in the workspace asks the machine for the time or for randomness
//! (`clippy.toml` bans it), so what enters here is all that can differ between two runs. User code
//! has no reason to come here: [`Context::now`](crate::Context::now) is the record's ingest time
//! and [`Context::random`](crate::Context::random) is seeded by its origin.
#![allow(clippy::disallowed_methods)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::Time;

/// The wall clock, in nanoseconds since the Unix epoch.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A monotonic instant, for timeouts, rates and measurements; never for an output.
pub fn instant() -> Instant {
    Instant::now()
}

/// Random bytes of the operating system, for keys, nonces and jitter; never for an output.
///
/// # Errors
/// When the operating system has no random source.
pub fn entropy(bytes: &mut [u8]) -> crate::Result<()> {
    getrandom::fill(bytes)
        .map_err(|e| crate::Error::Connector(format!("no random source on this machine: {e}")))
}
