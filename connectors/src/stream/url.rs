//! `stream:NAME?dir=DIR`: the options of streams as sources and sinks.

use std::path::PathBuf;

use anabranch::{Error, Result, Time};

use super::From;
use super::folder::checked;
use super::sink::StreamSink;
use super::source::StreamSource;
use crate::options::Options;
use crate::queue::Bounds;

const SCHEME: &str = "stream:";

/// The source that `rest`, behind `stream:`, names.
pub(crate) fn source(rest: &str) -> Result<StreamSource> {
    let (name, mut options) = split(rest)?;
    let (dir, from) = (options.path("dir")?, options.text("from")?);
    let follow = options.flag("follow")?;
    options.finish()?;
    let (name, dir) = place(name, dir)?;
    let from = from.map_or(Ok(From::Beginning), |text| begin(&text))?;
    if from == From::End && !follow {
        return Err(Error::Usage(format!(
            "`stream:{name}` would read nothing: from its end on there is only what comes; add \
             `follow=true`, or leave out `from=end`"
        )));
    }
    Ok(StreamSource { dir, name, from, follow })
}

/// The sink that `rest`, behind `stream:`, names; its queues have the bounds that `bounds` reads.
pub(crate) fn sink(
    rest: &str,
    bounds: impl FnOnce(&mut Options) -> Result<Bounds>,
) -> Result<StreamSink> {
    let (name, mut options) = split(rest)?;
    let (dir, bounds) = (options.path("dir")?, bounds(&mut options)?);
    options.finish()?;
    let (name, dir) = place(name, dir)?;
    Ok(StreamSink { dir, name, bounds })
}

fn split(rest: &str) -> Result<(&str, Options)> {
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok((name, Options::parse(SCHEME, query)?))
}

fn place(name: &str, dir: Option<PathBuf>) -> Result<(String, PathBuf)> {
    checked("stream", name)?;
    let dir = dir.filter(|dir| !dir.as_os_str().is_empty()).ok_or_else(|| {
        Error::Usage(format!(
            "`stream:{name}` does not say in which folder it is: write `stream:{name}?dir=DIR`"
        ))
    })?;
    Ok((name.to_owned(), dir))
}

fn begin(text: &str) -> Result<From> {
    match text {
        "beginning" => return Ok(From::Beginning),
        "end" => return Ok(From::End),
        _ => {}
    }
    let offset = text.parse().map(From::Offset).ok();
    offset.or_else(|| text.parse::<Time>().map(From::Time).ok()).ok_or_else(|| {
        Error::Usage(format!(
            "option `from` of `{SCHEME}` takes `beginning`, `end`, an offset (`1000`) or a time \
             (`2026-01-01T00:00:00Z`), not `{text}`"
        ))
    })
}
