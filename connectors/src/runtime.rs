//! The one tokio runtime of the process, for all sockets.
//!
//! Invariant: started at the first use and never stopped, with [`THREADS`] threads however many
//! connectors there are. Workers never run on it and never wait for it: they meet it only at the
//! hand-over queues.

use std::sync::OnceLock;

use anabranch::{Error, Result};
use tokio::runtime::{Builder, Runtime};

/// Threads that serve sockets. They copy bytes; decoding happens on the workers.
const THREADS: usize = 2;
/// Threads for name lookups, which block.
const LOOKUP_THREADS_MAX: usize = 4;

/// The shared runtime, started by the first call.
///
/// # Errors
/// When the operating system gives no threads.
pub fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::result::Result<Runtime, String>> = OnceLock::new();
    let started = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(LOOKUP_THREADS_MAX)
            .thread_name("connectors")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| e.to_string())
    });
    started.as_ref().map_err(|e| {
        Error::Connector(format!(
            "the threads that serve sockets could not be started: {e}; raise the limit of \
             processes (`ulimit -u`) or of open files (`ulimit -n`)"
        ))
    })
}
