//! `serve`: the streams of a folder over HTTP, until a signal comes.
//!
//! Invariant: other machines are let in only with tokens.

use std::net::ToSocketAddrs as _;
use std::path::PathBuf;

use anabranch_connectors::stream::{ServeOptions, ServiceLimits, Streams};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;
use crate::print;

pub(super) fn serve(
    streams: Streams,
    http: String,
    token_file: Option<PathBuf>,
    origins: Vec<String>,
    port_file: Option<PathBuf>,
) -> Result<(), Failure> {
    let addresses = http.to_socket_addrs().map_err(|e| {
        Failure::usage(format!("`--http {http}` is no address: {e}"))
            .or("write HOST:PORT: 127.0.0.1:8090")
    })?;
    if token_file.is_none() && addresses.into_iter().any(|address| !address.ip().is_loopback()) {
        return Err(Failure::usage(format!(
            "at {http} other machines could read and write all streams"
        ))
        .or("give a file of tokens, `--token-file FILE`, or listen on 127.0.0.1"));
    }
    // Before anybody knows where it listens.
    let signals = Signals::new([SIGINT, SIGTERM]);
    let mut signals =
        signals.map_err(|e| Failure::new(format!("signals cannot be waited for: {e}")))?;
    let options =
        ServeOptions { address: http, token_file, origins, port_file, ..ServeOptions::default() };
    let serving = anabranch_connectors::stream::serve(streams, ServiceLimits::default(), &options)?;
    print::line(&format!("http://{}/api/v1/streams", serving.address()))?;
    signals.forever().next();
    drop(serving);
    Ok(())
}
