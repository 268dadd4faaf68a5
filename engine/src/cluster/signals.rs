//! SIGINT and SIGTERM: the first asks to drain, the second leaves at once.
//!
//! Invariant: a signal never interrupts a computation; it is read on a thread of its own. A child
//! of the supervisor ignores both: its control pipe says what to do.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::drain::Drain;
use super::link::spawn;
use crate::{Error, Result};

/// The exit code of a program that a signal ended, as shells count.
pub(super) fn exit_code(signal: i32) -> i32 {
    128 + signal
}

/// From now on the first SIGINT or SIGTERM requests `drain`, and the second ends the process at
/// once, with 130 or 143.
///
/// # Errors
/// When the handlers or their thread cannot be made.
pub fn watch(drain: &Drain) -> Result<()> {
    let drain = drain.clone();
    on_signals(&[], move |_| {
        // On a thread of its own: the second signal must be seen whatever those who listen do.
        let asked = drain.clone();
        if spawn("cluster:drain".to_owned(), move || asked.request()).is_err() {
            drain.request();
        }
    })
}

/// Calls `first` at the first SIGINT or SIGTERM and at every one of `others`; ends the process at
/// the second SIGINT or SIGTERM.
pub(super) fn on_signals(others: &[i32], first: impl Fn(i32) + Send + 'static) -> Result<()> {
    let failed = |e| Error::io("watching for SIGINT and SIGTERM", e);
    let mut signals =
        Signals::new([SIGINT, SIGTERM].iter().chain(others).copied()).map_err(failed)?;
    let watching = move || {
        let mut asked = false;
        for signal in signals.forever() {
            let ends = matches!(signal, SIGINT | SIGTERM);
            if ends && std::mem::replace(&mut asked, true) {
                std::process::exit(exit_code(signal));
            }
            if ends {
                tracing::info!("draining; a second signal leaves at once");
            }
            first(signal);
        }
    };
    spawn("cluster:signals".to_owned(), watching)
}

/// From now on SIGINT and SIGTERM do nothing.
pub(super) fn ignore() -> Result<()> {
    // A handler that sets a flag which nobody reads: unlike SIG_IGN it needs no unsafe code.
    let unread = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&unread))
            .map_err(|e| Error::io("ignoring SIGINT and SIGTERM", e))?;
    }
    Ok(())
}
