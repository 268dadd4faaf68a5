//! The source `file:`: each file is a partition, read on the worker.
//!
//! Invariant: recorded input: a frame's offset is its line's index (of a CSV file, its row's), its
//! stamp is the one in the line, and neither depends on when or where it is read. A local file does
//! not block for long, so there is no thread and no copy between the file and the decoder. After a
//! restart the frames are those that a reading from the beginning gives: a plain file is read from
//! the next line on, a compressed one is read again and what was given is skipped.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anabranch::metrics::Counter;
use anabranch::source::{Frame, FrameReader, Inlet, Nature, OpenContext, Progress};
use anabranch::{Error, LANES_MAX, Result};

use super::csv_rows::Rows;
use super::input::Input;
use super::lines::{Line, Lines, Mark, refusal};
use super::{Compression, recording};

/// A call of `read` returns after about so many bytes, so that the worker can do its other work.
const CALL_BYTES: usize = 1 << 20;

/// What a file's bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// By name (`.csv`), else by content.
    Auto,
    /// Each line is a frame.
    Lines,
    /// Each line is a receipt stamp and a frame.
    Recording,
    /// Each row is a frame, the first names the columns.
    Csv,
    /// Each file is a frame.
    Whole,
}

/// Files to read.
#[derive(Debug)]
pub(crate) struct FileSource {
    /// Names and globs.
    pub(crate) patterns: Vec<String>,
    pub(crate) format: Format,
    pub(crate) line_bytes_max: usize,
    /// Looked up once, so that partitions keep their numbers.
    pub(crate) found: OnceCell<Vec<PathBuf>>,
}

impl Inlet for FileSource {
    fn describe(&self) -> String {
        format!("file:{}", self.patterns.join(","))
    }

    fn nature(&self) -> Nature {
        Nature::Recorded
    }

    fn partitions(&self) -> Result<usize> {
        Ok(self.files()?.len())
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        let files = self.files()?;
        let path = files.get(partition).ok_or_else(|| {
            let text = format!("{} has no file number {partition}", self.describe());
            Error::Connector(text)
        })?;
        Ok(Box::new(FileReader::open(path, self, context)?))
    }
}

impl FileSource {
    fn files(&self) -> Result<&[PathBuf]> {
        if let Some(files) = self.found.get() {
            return Ok(files);
        }
        let mut files = BTreeSet::new();
        for pattern in &self.patterns {
            find(pattern, &mut files)?;
        }
        if files.len() > LANES_MAX {
            return Err(Error::Usage(format!(
                "{} names {} files, more than the {LANES_MAX} partitions a source can have",
                self.describe(),
                files.len()
            )));
        }
        Ok(self.found.get_or_init(|| files.into_iter().collect()))
    }
}

fn find(pattern: &str, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let literal = Path::new(pattern);
    if !pattern.contains(['*', '?', '[']) || literal.exists() {
        let metadata = std::fs::metadata(literal).map_err(|e| {
            Error::Usage(format!("cannot read `{pattern}`: {e}; is the path right?"))
        })?;
        if metadata.is_dir() {
            return Err(Error::Usage(format!(
                "`{pattern}` is a directory; name the files in it: `file:{}/*`",
                pattern.trim_end_matches('/')
            )));
        }
        if !metadata.is_file() {
            return Err(Error::Usage(format!(
                "`{pattern}` is no regular file; read it through standard input: `-`"
            )));
        }
        files.insert(literal.into());
        return Ok(());
    }
    let wrong = |why: String| Error::Usage(format!("the pattern `{pattern}` {why}"));
    let paths = glob::glob(pattern).map_err(|e| wrong(format!("is malformed: {e}")))?;
    let before = files.len();
    let mut any = false;
    for path in paths {
        let path = path.map_err(|e| wrong(format!("reaches what cannot be read: {e}")))?;
        any |= path.is_file();
        if path.is_file() {
            files.insert(path);
        }
    }
    if !any && files.len() == before {
        return Err(wrong("matches no file; in a shell, quote it".into()));
    }
    Ok(())
}

struct FileReader {
    content: Content,
    oversized: Counter,
    /// Why a line above the cap is refused.
    refusal: String,
    notes: Counter,
    /// The first offset that is wanted.
    from: u64,
    /// Whether a position in the file's bytes is a position in what it holds.
    is_plain: bool,
}

enum Content {
    Lines(Lines),
    Recording(Lines),
    Csv(Box<Rows>, Vec<String>),
}

impl FileReader {
    fn open(path: &Path, source: &FileSource, context: &OpenContext) -> Result<Self> {
        let input = Input::open(path)?;
        let lines = |input| Lines::new(input, source.line_bytes_max);
        let content = match source.format {
            Format::Lines => Content::Lines(lines(input)),
            Format::Recording => Content::Recording(lines(input)),
            Format::Whole => Content::Lines(lines(input).whole()),
            Format::Auto if !is_csv(path) => {
                let mut lines = lines(input);
                let within = recording::DETECTED_WITHIN_BYTES;
                match lines.any_ahead(within, recording::shows_recording) {
                    true => Content::Recording(lines),
                    false => Content::Lines(lines),
                }
            }
            Format::Csv | Format::Auto => {
                let mut rows = Rows::new(input, source.line_bytes_max);
                let columns = rows.columns()?;
                Content::Csv(Box::new(rows), columns)
            }
        };
        let (from, is_plain) = (context.resume.from, Compression::of(path) == Compression::None);
        // What the beginning tells (columns, whether it is a recording) is known by now.
        let content = match mark(&context.resume.position, from) {
            Some(mark) if is_plain => {
                let input = Input::open_at(path, mark.bytes)?;
                let input = input.ok_or_else(|| changed(&path.display().to_string(), from))?;
                content.beginning_at(input, mark.index, source.line_bytes_max)
            }
            _ => content,
        };
        let counter = |name| context.counters.counter(name);
        let refusal = refusal(source.line_bytes_max);
        let (oversized, notes) = (counter("oversized"), counter("notes"));
        Ok(Self { content, oversized, refusal, notes, from, is_plain })
    }
}

/// A position as the reader gave it; `None` if it leads beyond `from`, or says nothing.
fn mark(position: &[u8], from: u64) -> Option<Mark> {
    let (index, bytes) = position.split_first_chunk::<8>()?;
    let bytes = u64::from_le_bytes(bytes.try_into().ok()?);
    // At its very beginning a file may have a byte order mark and the names of columns.
    Some(Mark { index: u64::from_le_bytes(*index), bytes })
        .filter(|mark| mark.index <= from && mark.bytes > 0)
}

fn changed(what: &str, from: u64) -> Error {
    Error::Connector(format!(
        "{what} has changed since an earlier run read it up to line (of CSV, row) {from}: now it \
         is shorter, or has other lines. Bring the former file back, or start with a new data \
         directory"
    ))
}

impl Content {
    fn beginning_at(self, input: Input, index: u64, line_bytes_max: usize) -> Self {
        let lines = |input| Lines::new(input, line_bytes_max).beginning_at(index);
        match self {
            Self::Lines(_) => Self::Lines(lines(input)),
            Self::Recording(_) => Self::Recording(lines(input)),
            Self::Csv(_, columns) => {
                let rows = Rows::new(input, line_bytes_max).beginning_at(index);
                Self::Csv(Box::new(rows), columns)
            }
        }
    }

    fn mark(&self) -> Mark {
        match self {
            Self::Lines(lines) | Self::Recording(lines) => lines.mark(),
            Self::Csv(rows, _) => rows.mark(),
        }
    }

    fn what(&self) -> &str {
        match self {
            Self::Lines(lines) | Self::Recording(lines) => lines.what(),
            Self::Csv(rows, _) => rows.what(),
        }
    }
}

/// By the end of the name, before `.gz` or `.zst`.
fn is_csv(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
    name.ends_with(".csv")
}

impl FrameReader for FileReader {
    fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
        let mut done = 0;
        while done < CALL_BYTES {
            let (line, stamp, columns) = match &mut self.content {
                Content::Lines(lines) => (lines.next()?, None, None),
                Content::Csv(rows, columns) => (rows.next()?, None, Some(&columns[..])),
                Content::Recording(lines) => match lines.next()? {
                    None => (None, None, None),
                    Some(line) => {
                        done += line.bytes.len() + 1;
                        match recording::stamped(line.bytes) {
                            Some((stamp, bytes)) => {
                                (Some(Line { bytes, ..line }), Some(stamp), None)
                            }
                            None if recording::is_document(line.bytes) => (Some(line), None, None),
                            None => {
                                self.notes.add(1);
                                continue;
                            }
                        }
                    }
                },
            };
            let Some(line) = line else {
                let end = self.content.mark().index;
                if end < self.from {
                    return Err(changed(self.content.what(), self.from));
                }
                return Ok(Progress::End);
            };
            if line.index < self.from {
                done += line.bytes.len() + 1;
                continue;
            }
            if line.is_cut {
                self.oversized.add(1);
            }
            let refusal = line.is_cut.then_some(self.refusal.as_str());
            done += line.bytes.len() + 1;
            let frame = Frame { stamp, columns, refusal, ..Frame::new(line.index, line.bytes) };
            if !each(frame) {
                break;
            }
        }
        Ok(Progress::Ready)
    }

    fn position(&self) -> Option<Vec<u8>> {
        let Mark { index, bytes } = self.content.mark();
        self.is_plain.then(|| [index.to_le_bytes(), bytes.to_le_bytes()].concat())
    }
}
