//! Files as sources and sink, and standard input and output.
//!
//! Invariant: what is read from a file depends on its bytes and its name alone, never on how the
//! reads fall: lines, rows and stamps are the same on every machine. A FIFO is not a file here: it
//! is read through `-`.

mod csv_rows;
mod durable;
mod input;
mod kept;
mod lines;
mod recording;
mod sink;
mod source;
mod standard;

pub(crate) use self::sink::FileSink;
pub(crate) use self::source::{FileSource, Format};
pub(crate) use self::standard::{StandardInput, StandardOutput};

/// How a file is compressed, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn of(path: &std::path::Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            _ => Self::None,
        }
    }
}
