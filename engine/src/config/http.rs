//! [`Http`]: where the HTTP interface listens, and who may ask.
//!
//! Invariant: beyond this machine nobody may ask without a token.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::Config;
use super::args::Args;

/// The HTTP interface of a program (`--http`, `--http-tokens`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// None if it was said that there shall be none.
    place: Option<SocketAddr>,
    tokens: Option<PathBuf>,
    /// The files of a certificate and of its key.
    tls: Option<(PathBuf, PathBuf)>,
    by_default: bool,
}

impl Http {
    /// Where it listens. With port 0 the operating system chooses one, which the log tells.
    pub fn address(&self) -> SocketAddr {
        self.place.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Whether no option has said it: then the program goes on if it cannot listen there.
    pub fn is_default(&self) -> bool {
        self.by_default
    }

    /// The PEM files of a certificate and of its key, if it is asked by HTTPS alone.
    pub fn tls(&self) -> Option<(&Path, &Path)> {
        self.tls.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()))
    }

    pub(super) fn is_off(&self) -> bool {
        self.place.is_none()
    }

    pub(super) fn by_default(address: SocketAddr) -> Self {
        Self { place: Some(address), tokens: None, tls: None, by_default: true }
    }

    /// The file of those who may ask; without one whoever is on this machine may.
    pub fn tokens(&self) -> Option<&Path> {
        self.tokens.as_deref()
    }

    pub(super) fn checked(args: &Args) -> Result<Option<Self>, String> {
        let (tokens, by_default) = (args.http_tokens.clone(), false);
        let tls = match (args.http_cert.clone(), args.http_key.clone()) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err("--http-cert needs the key; add --http-key FILE".into()),
            (None, Some(_)) => {
                return Err("--http-key needs the certificate; add --http-cert FILE".into());
            }
        };
        let address = match args.http {
            Some(Place::At(address)) => address,
            Some(Place::Off) => {
                return Ok(Some(Self { place: None, tokens: None, tls: None, by_default }));
            }
            None if tokens.is_some() || tls.is_some() => {
                return Err(
                    "--http-tokens and --http-cert say who may ask and how, but not where; add --http ADDR"
                        .into(),
                );
            }
            None => return Ok(None),
        };
        if tokens.is_none() && !address.ip().is_loopback() {
            return Err(format!(
                "--http {address} lets others than this machine ask, and anyone of them; add \
                 --http-tokens FILE, with a role (read, write or admin) and a token a line"
            ));
        }
        Ok(Some(Self { place: Some(address), tokens, tls, by_default }))
    }
}

impl Config {
    /// The HTTP interface (`--http`); none if there is none.
    pub fn http(&self) -> Option<&Http> {
        self.http.as_ref().filter(|http| !http.is_off())
    }

    /// Where it answers over HTTP if no option says it.
    pub(crate) fn or_http(self, address: Option<SocketAddr>) -> Self {
        let http = match self.http {
            None => address.map(Http::by_default),
            said => said,
        };
        Self { http, ..self }
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
