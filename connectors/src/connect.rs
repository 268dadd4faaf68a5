//! [`inlet`] and [`outlet`]: from a URL to the connector that it names.
//!
//! Invariant: a URL is understood whole or refused with what would be right; looking at one
//! touches nothing outside. Credentials have no place in a URL, and messages show no query.

use std::path::PathBuf;
use std::time::Duration;

use anabranch::sink::Outlet;
use anabranch::source::Inlet;
use anabranch::{Error, Result};

use crate::file::{FileSink, FileSource, Format, StandardInput, StandardOutput};
use crate::http;
use crate::listen::Listen;
use crate::null::Null;
use crate::options::Options;
use crate::queue::Bounds;
use crate::stream;
use crate::tcp::{TcpListenSource, TcpSink};
use crate::websocket::{Broadcast, Dial, Endpoint, Limits, WebSocketListener, WebSocketSource};

const MIB: usize = 1 << 20;
/// A client's message, a sender's frame, a line.
const FRAME_BYTES_MAX: usize = 16 * MIB;
/// Of a listener, which may hold one a connection.
const LISTENER_FRAME_BYTES_MAX: usize = MIB;
const CONNECTIONS_MAX: usize = 1024;

/// The source that `url` names. See the [crate](crate) for schemes and options.
///
/// ```
/// let prices = anabranch_connectors::inlet("wss://feed.example.com/v1?idle=30s")?;
/// assert_eq!(prices.describe(), "wss://feed.example.com/v1");
/// let wrong = anabranch_connectors::inlet("wss://feed.example.com/v1?idel=30s").err();
/// assert!(wrong.is_some_and(|e| e.to_string().contains("no option `idel`")));
/// # Ok::<(), anabranch::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] when the scheme is not one of a source, or the URL or an option is malformed.
pub fn inlet(url: &str) -> Result<Box<dyn Inlet>> {
    if let Some(query) = standard(url) {
        let mut options = Options::parse("-", query)?;
        let source = StandardInput {
            line_bytes_max: options.size("line_max", FRAME_BYTES_MAX)?,
            bounds: bounds(&mut options)?,
        };
        options.finish()?;
        return Ok(Box::new(source));
    }
    match url.split_once(':') {
        Some(("file", rest)) => file_source(rest),
        Some(("ws", rest)) => websocket_client("ws://", after_slashes("ws://", rest)?),
        Some(("wss", rest)) => websocket_client("wss://", after_slashes("wss://", rest)?),
        Some(("ws-listen", rest)) => {
            let (endpoint, mut options) = endpoint(rest)?;
            let (bounds, ack) = (bounds(&mut options)?, options.flag("ack")?);
            options.finish()?;
            Ok(Box::new(WebSocketListener { endpoint, bounds, ack }))
        }
        Some(("http-listen", rest)) => Ok(Box::new(http::http_listen(rest)?)),
        Some(("tcp-listen", rest)) => tcp_listener(rest),
        Some(("stream", rest)) => Ok(Box::new(stream::source(rest)?)),
        _ => Err(unknown(url, &SOURCES)),
    }
}

/// The sink that `url` names. See the [crate](crate) for schemes and options.
///
/// ```
/// let notify = anabranch_connectors::outlet("ws-listen://:9001/notify")?;
/// assert_eq!(notify.describe(), "ws-listen://127.0.0.1:9001/notify");
/// # Ok::<(), anabranch::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] when the scheme is not one of a sink, or the URL or an option is malformed.
pub fn outlet(url: &str) -> Result<Box<dyn Outlet>> {
    if let Some(query) = standard(url) {
        let mut options = Options::parse("-", query)?;
        let sink = StandardOutput { bounds: bounds(&mut options)? };
        options.finish()?;
        return Ok(Box::new(sink));
    }
    match url.split_once(':') {
        Some(("file", rest)) => file_sink(rest),
        Some(("ws-listen", rest)) => {
            let (endpoint, mut options) = endpoint(rest)?;
            let each = Bounds { frames: 64 << 10, bytes: 16 * MIB };
            let sink = Broadcast {
                endpoint,
                bounds: bounds(&mut options)?,
                subscriber: Bounds {
                    frames: options.count("subscriber_records", each.frames)?,
                    bytes: options.size("subscriber_bytes", each.bytes)?,
                },
                drain: options.duration("drain", Duration::from_secs(5))?,
                log_bytes: options.size("log", 64 * MIB)?,
            };
            options.finish()?;
            Ok(Box::new(sink))
        }
        Some(("webhook+http", rest)) => Ok(Box::new(http::webhook(false, rest)?)),
        Some(("webhook+https", rest)) => Ok(Box::new(http::webhook(true, rest)?)),
        Some(("tcp", rest)) => tcp_sink(rest),
        Some(("stream", rest)) => Ok(Box::new(stream::sink(rest, bounds)?)),
        Some(("null", "")) => Ok(Box::new(Null)),
        _ => Err(unknown(url, &SINKS)),
    }
}

/// Schemes of one direction, for messages.
struct Schemes {
    what: &'static str,
    valid: &'static str,
    example: &'static str,
    /// What the other direction is called, by its scheme.
    other: &'static [(&'static str, &'static str)],
}

const SOURCES: Schemes = Schemes {
    what: "source",
    valid: "`ws://`, `wss://`, `ws-listen://`, `http-listen://`, `tcp-listen://`, `file:`, `stream:` and `-` (standard input); \
            programs that read market data also take `gen:` and `coinbase:`",
    example: "`ws-listen://127.0.0.1:9000/updates` or `file:prices.jsonl`",
    other: &[
        ("tcp", "a sink writes to `tcp://`; a source listens: `tcp-listen://HOST:PORT`"),
        ("null", "`null:` is a sink"),
        ("http", "a source listens for those who send: `http-listen://HOST:PORT/PATH`"),
        ("webhook+http", "`webhook+http://` is a sink"),
        ("webhook+https", "`webhook+https://` is a sink"),
    ],
};

const SINKS: Schemes = Schemes {
    what: "sink",
    valid: "`ws-listen://`, `webhook+https://`, `webhook+http://`, `tcp://`, `file:`, `stream:`, `-` (standard output) and `null:` (nowhere)",
    example: "`ws-listen://127.0.0.1:9001/notify` or `file:alerts.jsonl`",
    other: &[
        ("ws", "a sink broadcasts to those who connect: `ws-listen://HOST:PORT/PATH`"),
        ("wss", "a sink broadcasts to those who connect: `ws-listen://HOST:PORT/PATH`"),
        ("tcp-listen", "a sink connects to its receiver: `tcp://HOST:PORT`"),
        ("http", "a sink POSTs to its receiver: `webhook+http://HOST:PORT/PATH`"),
        ("https", "a sink POSTs to its receiver: `webhook+https://HOST/PATH`"),
        ("http-listen", "`http-listen://` is a source"),
        ("gen", "`gen:` is a source"),
        ("coinbase", "`coinbase:` is a source"),
    ],
};

fn unknown(url: &str, schemes: &Schemes) -> Error {
    let Schemes { what, valid, example, other } = schemes;
    let problem = match url.split_once(':') {
        None if url.is_empty() => format!("the URL of a {what} is empty"),
        None => format!("`{url}` has no scheme; a file is `file:{url}`"),
        Some((scheme, _)) => match other.iter().find(|(known, _)| *known == scheme) {
            Some((_, hint)) => format!("`{scheme}:` is no {what}: {hint}"),
            None => format!("`{scheme}:` is no {what}"),
        },
    };
    Error::Usage(format!("{problem}. A {what} is one of {valid}. For example {example}"))
}

fn standard(url: &str) -> Option<&str> {
    match url.strip_prefix('-') {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('?'),
        None => None,
    }
}

pub(crate) fn bounds(options: &mut Options) -> Result<Bounds> {
    let default = Bounds::default();
    Ok(Bounds {
        frames: options.count("queue_records", default.frames)?,
        bytes: options.size("queue_bytes", default.bytes)?,
    })
}

fn limits(options: &mut Options, frame_bytes_max: usize) -> Result<Limits> {
    let default = Limits::default();
    Ok(Limits {
        connect: default.connect,
        ping: options.duration("ping", default.ping)?,
        idle: options.duration("idle", default.idle)?,
        frame_bytes_max: options.size("frame_max", frame_bytes_max)?,
    })
}

fn websocket_client(scheme: &'static str, rest: &str) -> Result<Box<dyn Inlet>> {
    let (url, query) = match rest.split_once('#') {
        // The server's own query stays where it is, and options are behind the `#`.
        Some((url, options)) => (url, options),
        None => rest.split_once('?').unwrap_or((rest, "")),
    };
    let hint = ". What is meant for the server goes before a `#`, options behind it: \
                `ws://HOST/PATH?theirs=1#idle=30s`";
    let mut options = Options::parse(scheme, query)?.with_hint(hint);
    refuse_credentials(scheme, url)?;
    let mut limits = limits(&mut options, FRAME_BYTES_MAX)?;
    limits.connect = options.duration("connect", limits.connect)?;
    let source = WebSocketSource {
        url: format!("{scheme}{url}"),
        subscribe: options.texts("subscribe"),
        limits,
        roots: if scheme == "wss://" { options.path("ca")? } else { None },
        bounds: bounds(&mut options)?,
    };
    options.finish()?;
    Dial::new(&source.url, None, limits)?;
    Ok(Box::new(source))
}

fn endpoint(rest: &str) -> Result<(Endpoint, Options)> {
    const SCHEME: &str = "ws-listen://";
    let (place, query) = split_query(after_slashes(SCHEME, rest)?);
    let mut options = Options::parse(SCHEME, query)?;
    let (address, path) = match place.find('/') {
        Some(at) => place.split_at(at),
        None => (place, "/"),
    };
    let endpoint = Endpoint {
        listen: listen(SCHEME, address, &mut options)?,
        path: path.into(),
        origins: options.texts("origin"),
        handshake: options.duration("handshake", Duration::from_secs(5))?,
        limits: limits(&mut options, LISTENER_FRAME_BYTES_MAX)?,
    };
    Ok((endpoint, options))
}

fn tcp_listener(rest: &str) -> Result<Box<dyn Inlet>> {
    const SCHEME: &str = "tcp-listen://";
    let (address, query) = split_query(after_slashes(SCHEME, rest)?);
    let mut options = Options::parse(SCHEME, query)?;
    let source = TcpListenSource {
        listen: listen(SCHEME, address, &mut options)?,
        frame_bytes_max: options.size("frame_max", FRAME_BYTES_MAX)?,
        bounds: bounds(&mut options)?,
        ack: options.flag("ack")?,
    };
    options.finish()?;
    Ok(Box::new(source))
}

fn tcp_sink(rest: &str) -> Result<Box<dyn Outlet>> {
    const SCHEME: &str = "tcp://";
    let (address, query) = split_query(after_slashes(SCHEME, rest)?);
    let mut options = Options::parse(SCHEME, query)?;
    let (host, port) = host_port(SCHEME, address)?;
    if host.is_empty() {
        return Err(Error::Usage(format!("`{SCHEME}{address}` names no host to connect to")));
    }
    let sink = TcpSink {
        address: format!("{host}:{port}"),
        connect: options.duration("connect", Duration::from_secs(10))?,
        drain: options.duration("drain", Duration::from_secs(10))?,
        bounds: bounds(&mut options)?,
    };
    options.finish()?;
    Ok(Box::new(sink))
}

pub(crate) fn listen(scheme: &'static str, address: &str, options: &mut Options) -> Result<Listen> {
    let (host, port) = host_port(scheme, address)?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(Listen {
        address: format!("{host}:{port}"),
        connections_max: options.count("connections", CONNECTIONS_MAX)?,
        port_file: options.path("port_file")?,
    })
}

/// `HOST:PORT`, where the host may be empty or an IPv6 address in brackets.
fn host_port<'a>(scheme: &str, address: &'a str) -> Result<(&'a str, u16)> {
    refuse_credentials(scheme, address)?;
    let address = address.trim_end_matches('/');
    let parts = address.rsplit_once(':').and_then(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = !bare.unwrap_or(host).contains(['/', '[', ']'])
            && (bare.is_some() || !host.contains(':'));
        Some((host, port.parse().ok()?)).filter(|_| is_host)
    });
    parts.ok_or_else(|| {
        Error::Usage(format!(
            "`{scheme}{address}` is not `{scheme}HOST:PORT`; for example `{scheme}127.0.0.1:9000`"
        ))
    })
}

fn file_source(rest: &str) -> Result<Box<dyn Inlet>> {
    let (path, query) = split_file_query(rest);
    let mut options = Options::parse("file:", query)?;
    let path = local_path(path)?;
    let formats = [
        ("auto", Format::Auto),
        ("lines", Format::Lines),
        ("recording", Format::Recording),
        ("csv", Format::Csv),
        ("whole", Format::Whole),
    ];
    let source = FileSource {
        patterns: path.split(',').map(str::to_owned).collect(),
        format: options.choice("format", &formats, Format::Auto)?,
        line_bytes_max: options.size("line_max", FRAME_BYTES_MAX)?,
        found: Default::default(),
    };
    options.finish()?;
    if source.patterns.iter().any(String::is_empty) {
        let text = format!("`file:{path}` names no file before or after a comma");
        return Err(Error::Usage(text));
    }
    Ok(Box::new(source))
}

fn file_sink(rest: &str) -> Result<Box<dyn Outlet>> {
    let (path, query) = split_file_query(rest);
    let mut options = Options::parse("file:", query)?;
    let sink = FileSink { path: PathBuf::from(local_path(path)?), bounds: bounds(&mut options)? };
    options.finish()?;
    Ok(Box::new(sink))
}

fn local_path(path: &str) -> Result<&str> {
    let local = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(relative) => {
            return Err(Error::Usage(format!(
                "`file:{path}` names another machine; write `file:/{relative}` or \
                 `file:{relative}`"
            )));
        }
        None => path,
    };
    if local.is_empty() {
        return Err(Error::Usage("`file:` names no file; for example `file:prices.jsonl`".into()));
    }
    Ok(local)
}

pub(crate) fn after_slashes<'a>(scheme: &str, rest: &'a str) -> Result<&'a str> {
    rest.strip_prefix("//").filter(|rest| !rest.is_empty()).ok_or_else(|| {
        Error::Usage(format!(
            "`{scheme}` must be followed by an address; for example `{scheme}127.0.0.1:9000`"
        ))
    })
}

pub(crate) fn split_query(rest: &str) -> (&str, &str) {
    rest.split_once('?').unwrap_or((rest, ""))
}

/// In a path a `?` may belong to a glob: options begin at the first one that is followed by
/// `name=`.
fn split_file_query(rest: &str) -> (&str, &str) {
    let is_option = |tail: &str| {
        let name = tail.split('=').next().unwrap_or_default();
        name.len() < tail.len()
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    rest.match_indices('?')
        .filter_map(|(at, _)| Some((rest.get(..at)?, rest.get(at + 1..)?)))
        .find(|(_, tail)| is_option(tail))
        .unwrap_or((rest, ""))
}

pub(crate) fn refuse_credentials(scheme: &str, place: &str) -> Result<()> {
    if place.split('/').next().unwrap_or_default().contains('@') {
        return Err(Error::Usage(format!(
            "a `{scheme}` URL must not hold credentials: they would show in logs and process lists"
        )));
    }
    Ok(())
}
