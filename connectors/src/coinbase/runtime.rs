//! The threads that serve the feed handlers' sockets.
//!
//! Invariant: started at the first use and shared by all feeds of the process. Workers never wait
//! for it: they meet it at the bounded output.

use std::sync::OnceLock;

use anabranch::{Error, Result};
use tokio::runtime::{Builder, Runtime};

pub(super) fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let started = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(4)
            .thread_name("coinbase")
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
