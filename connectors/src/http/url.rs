//! `http-listen://HOST:PORT/PATH` and `webhook+https://HOST/PATH`: what their options say.
//!
//! Invariant: as for all URLs: understood whole or refused; no secret is in one.

use std::time::Duration;

use anabranch::{Error, Result};

use super::listener::HttpListener;
use super::webhook::{Key, Webhook};
use crate::connect::{after_slashes, bounds, listen, refuse_credentials, split_query};
use crate::options::Options;

const MIB: usize = 1 << 20;
/// Of a listener, which may hold one a connection.
const BODY_BYTES_MAX: usize = 4 * MIB;
const FRAME_BYTES_MAX: usize = MIB;
/// Of a webhook.
const REQUESTS_MAX: usize = 64;
const BATCH_MAX: usize = 10_000;

/// The source that `rest`, behind `http-listen:`, names.
pub(crate) fn http_listen(rest: &str) -> Result<HttpListener> {
    const SCHEME: &str = "http-listen://";
    let (place, query) = split_query(after_slashes(SCHEME, rest)?);
    let mut options = Options::parse(SCHEME, query)?;
    let (address, path) = match place.find('/') {
        Some(at) => place.split_at(at),
        None => (place, "/"),
    };
    let source = HttpListener {
        listen: listen(SCHEME, address, &mut options)?,
        path: path.into(),
        origins: options.texts("origin"),
        token_file: options.path("token_file")?,
        handshake: options.duration("handshake", Duration::from_secs(5))?,
        request: options.duration("request", Duration::from_secs(30))?,
        body_bytes_max: options.size("body_max", BODY_BYTES_MAX)?,
        frame_bytes_max: options.size("frame_max", FRAME_BYTES_MAX)?,
        bounds: bounds(&mut options)?,
        ack: options.flag("ack")?,
    };
    options.finish()?;
    Ok(source)
}

/// The sink that `rest`, behind `webhook+http:` or `webhook+https:`, names.
pub(crate) fn webhook(is_secure: bool, rest: &str) -> Result<Webhook> {
    let (scheme, transport) = match is_secure {
        true => ("webhook+https://", "https://"),
        false => ("webhook+http://", "http://"),
    };
    let rest = after_slashes(scheme, rest)?;
    let (place, query) = match rest.split_once('#') {
        // The receiver's own query stays where it is, and options are behind the `#`.
        Some((place, options)) => (place, options),
        None => rest.split_once('?').unwrap_or((rest, "")),
    };
    let hint = ". What is meant for the receiver goes before a `#`, options behind it: \
                `webhook+https://HOST/PATH?theirs=1#batch=100`";
    let mut options = Options::parse(scheme, query)?.with_hint(hint);
    refuse_credentials(scheme, place)?;
    let url = reqwest::Url::parse(&format!("{transport}{place}"));
    let url = url.map_err(|e| {
        Error::Usage(format!(
            "the address behind `{scheme}` is malformed ({e}): write `{scheme}HOST/PATH`"
        ))
    })?;
    let sink = Webhook {
        describe: format!("{scheme}{}", place.split('?').next().unwrap_or_default()),
        url,
        key: key(scheme, &mut options)?,
        roots: if is_secure { options.path("ca")? } else { None },
        connect: options.duration("connect", Duration::from_secs(10))?,
        request: options.duration("request", Duration::from_secs(30))?,
        requests: options.count("requests", 1)?,
        batch: match options.text("batch")? {
            None => None,
            Some(text) => Some(batch(scheme, &text)?),
        },
        tries: options.count("tries", 10)?,
        pause: options.duration("pause", Duration::from_millis(500))?,
        pause_max: options.duration("pause_max", Duration::from_secs(60))?,
    };
    options.finish()?;
    if sink.requests > REQUESTS_MAX {
        let text =
            format!("option `requests` of `{scheme}` takes a number between 1 and {REQUESTS_MAX}");
        return Err(Error::Usage(text));
    }
    Ok(sink)
}

fn batch(scheme: &str, text: &str) -> Result<usize> {
    let count = text.parse().ok().filter(|count| (1..=BATCH_MAX).contains(count));
    count.ok_or_else(|| {
        Error::Usage(format!(
            "option `batch` of `{scheme}` takes a number between 1 and {BATCH_MAX}"
        ))
    })
}

fn key(scheme: &str, options: &mut Options) -> Result<Option<Key>> {
    match (options.path("secret_file")?, options.text("secret_env")?) {
        (Some(_), Some(_)) => Err(Error::Usage(format!(
            "`{scheme}` is given `secret_file` and `secret_env`: one of them says where the secret is"
        ))),
        (Some(path), None) => Ok(Some(Key::File(path))),
        (None, name) => Ok(name.map(Key::Variable)),
    }
}
