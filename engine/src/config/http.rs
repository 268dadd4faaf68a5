//! [`Http`]: where the HTTP interface listens, and who may ask.
//!
//! Invariant: beyond this machine nobody may ask without a token.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::args::Args;

/// The HTTP interface of a program (`--http`, `--http-tokens`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    address: SocketAddr,
    tokens: Option<PathBuf>,
}

impl Http {
    /// Where it listens. With port 0 the operating system chooses one, which the log tells.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file of those who may ask; without one whoever is on this machine may.
    pub fn tokens(&self) -> Option<&Path> {
        self.tokens.as_deref()
    }

    pub(super) fn checked(args: &Args) -> Result<Option<Self>, String> {
        let tokens = args.http_tokens.clone();
        let Some(Place::At(address)) = args.http else {
            return match tokens {
                Some(_) if args.http.is_none() => {
                    Err("--http-tokens says who may ask, but not where; add --http ADDR".into())
                }
                _ => Ok(None),
            };
        };
        if tokens.is_none() && !address.ip().is_loopback() {
            return Err(format!(
                "--http {address} lets others than this machine ask, and anyone of them; add \
                 --http-tokens FILE, with a role (read, write or admin) and a token a line"
            ));
        }
        Ok(Some(Self { address, tokens }))
    }
}

/// What `--http` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Off,
    At(SocketAddr),
}

/// `off`, `ADDRESS:PORT`, or `PORT` or `:PORT` of this machine.
pub(super) fn place(text: &str) -> Result<Place, String> {
    if text == "off" {
        return Ok(Place::Off);
    }
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
        return Ok(Place::At((Ipv4Addr::LOCALHOST, port).into()));
    }
    let text = text
        .strip_prefix("localhost:")
        .map_or(text.to_string(), |port| format!("{}:{port}", Ipv4Addr::LOCALHOST));
    let wrong = "it is an address and a port as in 127.0.0.1:8080, a port of this machine, or off";
    text.parse().map(Place::At).map_err(|_| wrong.to_string())
}
