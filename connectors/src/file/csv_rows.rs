//! [`Rows`]: the rows of comma-separated values, each as its exact bytes.
//!
//! Invariant: where a row ends is decided by the `csv` crate's own parser (RFC 4180: a quoted field
//! may hold line ends); the first row names the columns. A row above the cap is cut and marked, as
//! a line is.

use anabranch::{Error, Result};
use csv_core::ReadRecordResult;

use super::input::Input;
use super::lines::{CUT_BYTES, Line, Mark};

/// Reads rows.
pub(super) struct Rows {
    input: Input,
    bytes_max: usize,
    parser: csv_core::Reader,
    /// How much of the window the parser has seen of the present row.
    parsed: usize,
    /// The index of the next row.
    index: u64,
    skipping: bool,
    /// Where the row begins that was given last.
    given: Mark,
}

impl Rows {
    pub(super) fn new(input: Input, bytes_max: usize) -> Self {
        let parser = csv_core::Reader::new();
        let given = Mark::default();
        Self { input, bytes_max, parser, parsed: 0, index: 0, skipping: false, given }
    }

    /// The rows of an input that begins with the row at this index.
    pub(super) fn beginning_at(mut self, index: u64) -> Self {
        // Only at the file's beginning would the parser take a byte order mark away.
        let _ = self.parser.read_record(b"\n", &mut [0; 1], &mut [0; 1]);
        Self { index, ..self }
    }

    /// As [`Lines::mark`](super::lines::Lines::mark).
    pub(super) fn mark(&self) -> Mark {
        match self.skipping {
            true => self.given,
            false => Mark { index: self.index, bytes: self.input.consumed() },
        }
    }

    /// What is read, for messages.
    pub(super) fn what(&self) -> &str {
        self.input.what()
    }

    /// The names of the columns, from the first row; none if there is no row.
    pub(super) fn columns(&mut self) -> Result<Vec<String>> {
        let what = self.input.what().to_owned();
        let refused = |why: &str| Err(Error::Usage(format!("{what}: its first row {why}")));
        let Some(row) = self.next()? else { return Ok(Vec::new()) };
        if row.is_cut {
            return refused("is too long to name columns: is this a CSV file?");
        }
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(row.bytes);
        let names = match reader.records().next() {
            Some(Ok(names)) => names.iter().map(str::to_owned).collect(),
            Some(Err(_)) => return refused("is not UTF-8, so it names no columns"),
            None => Vec::new(),
        };
        self.index = 0;
        Ok(names)
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// When the input cannot be read any further; every whole row before was given.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>> {
        // What the parser unquotes is not needed here.
        let (mut unquoted, mut ends) = ([0; 1024], [0; 64]);
        loop {
            let unparsed = self.input.window().get(self.parsed..).unwrap_or_default();
            if unparsed.is_empty() && !self.input.is_over() {
                self.input.fill();
                continue;
            }
            if unparsed.is_empty() {
                self.input.finish()?;
            }
            let unparsed = self.input.window().get(self.parsed..).unwrap_or_default();
            let (result, count, _, _) = self.parser.read_record(unparsed, &mut unquoted, &mut ends);
            self.parsed += count;
            match result {
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::Record if std::mem::take(&mut self.skipping) => self.skip(),
                ReadRecordResult::Record => return Ok(Some(self.give())),
                _ if self.skipping => self.skip(),
                _ if self.parsed > self.bytes_max => {
                    self.skipping = true;
                    return Ok(Some(self.give()));
                }
                _ => {}
            }
        }
    }

    fn skip(&mut self) {
        self.input.consume(std::mem::take(&mut self.parsed));
    }

    fn give(&mut self) -> Line<'_> {
        let index = self.index;
        self.given = Mark { index, bytes: self.input.consumed() };
        self.index += 1;
        let length = std::mem::take(&mut self.parsed);
        self.input.consume(length);
        let is_cut = length > self.bytes_max;
        let given = if is_cut { CUT_BYTES.min(self.bytes_max) } else { length };
        let mut bytes = self.input.behind(length, given);
        bytes = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| index == 0).unwrap_or(bytes);
        // The end of the row before (the second byte of CRLF) and its own.
        while let [b'\r' | b'\n', rest @ ..] = bytes {
            bytes = rest;
        }
        while let [rest @ .., b'\r' | b'\n'] = bytes
            && !is_cut
        {
            bytes = rest;
        }
        Line { index, bytes, is_cut }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Given = (u64, Vec<u8>, bool);

    fn read(text: &[u8], bytes_max: usize) -> (Vec<String>, Vec<Given>) {
        let mut rows =
            Rows::new(Input::new("test", std::io::Cursor::new(text.to_vec())), bytes_max);
        let columns = rows.columns().unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            all.push((row.index, row.bytes.to_vec(), row.is_cut));
        }
        (columns, all)
    }

    proptest! {
        /// Each row's bytes, parsed alone, are the fields that the whole text gives for it.
        #[test]
        fn rows_are_those_of_the_whole_text(
            rows in proptest::collection::vec(
                proptest::collection::vec("[a,\"\r\n ]{0,6}", 2..4), 1..12),
            crlf: bool,
        ) {
            let terminator =
                if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut writer = csv::WriterBuilder::new()
                .flexible(true).terminator(terminator).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let text = writer.into_inner().unwrap();
            let (columns, read) = read(&text, 1 << 20);
            prop_assert_eq!(&columns, &rows[0]);
            prop_assert_eq!(read.len(), rows.len() - 1);
            for ((index, bytes, is_cut), (expected_index, expected)) in
                read.iter().zip(rows.iter().skip(1).enumerate())
            {
                prop_assert_eq!(*index, expected_index as u64);
                prop_assert!(!is_cut);
                let mut reader = csv::ReaderBuilder::new()
                    .has_headers(false).from_reader(&bytes[..]);
                let fields = reader.records().next().unwrap().unwrap();
                prop_assert_eq!(fields.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn bytes_are_exact_and_blank_lines_are_no_rows() {
        let (columns, rows) = read(b"\xef\xbb\xbf\"a\",b\r\n1,\"x\r\ny\"\r\n\r\n2,z", 99);
        assert_eq!(columns, ["a", "b"]);
        let expected = [(0, b"1,\"x\r\ny\"".to_vec(), false), (1, b"2,z".to_vec(), false)];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_quote_that_never_ends_is_cut() {
        let text = [b"a,b\n1,2\n3,\"".to_vec(), vec![b'x'; 1 << 20], b"\n4,5\n".to_vec()].concat();
        let (_, rows) = read(&text, 1000);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[1].0, rows[1].1.len(), rows[1].2), (1, 1000, true));
    }
}
