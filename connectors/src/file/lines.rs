//! [`Lines`]: the lines of an input, numbered.
//!
//! Invariant: a line above the cap, blank or not, is cut to its beginning and marked, to be refused; the
//! rest of it is skipped without being held, and the numbering goes on as if it had been whole.

use anabranch::Result;

use super::input::Input;

/// What is given of a line (or row) that is too long.
pub(super) const CUT_BYTES: usize = 64 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads lines.
pub(super) struct Lines {
    input: Input,
    bytes_max: usize,
    /// The index of the next line.
    index: u64,
    /// How much of the window is known to hold no line end.
    searched: usize,
    /// Within a line that was cut.
    skipping: bool,
    /// Where the line begins that was given last.
    given: Mark,
    /// All that is read is one line.
    whole: bool,
}

/// A place where a line (or row) begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The line's index.
    pub(super) index: u64,
    /// How many bytes are before it.
    pub(super) bytes: u64,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// From 0, counting blank lines.
    pub(super) index: u64,
    pub(super) bytes: &'a [u8],
    /// Whether there was more of it than the cap allows.
    pub(super) is_cut: bool,
}

impl Lines {
    pub(super) fn new(input: Input, bytes_max: usize) -> Self {
        let given = Mark::default();
        Self { input, bytes_max, index: 0, searched: 0, skipping: false, given, whole: false }
    }

    /// The lines of an input that begins with the line at this index.
    pub(super) fn beginning_at(self, index: u64) -> Self {
        Self { index, ..self }
    }

    /// The same, with all that is read as one line.
    pub(super) fn whole(self) -> Self {
        Self { whole: true, ..self }
    }

    /// Where to go on after the line that was given last. In the middle of one that was cut, that
    /// is its own beginning.
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

    /// The next line that is not blank; `None` at the end.
    ///
    /// # Errors
    /// When the input cannot be read any further; every whole line before was given.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>> {
        loop {
            // The consumed length and how much of it belongs to the line.
            let unsearched = self.input.window().get(self.searched..).unwrap_or_default();
            let end = if self.whole { None } else { memchr::memchr(b'\n', unsearched) };
            let (consumed, length) = match end {
                Some(at) => (self.searched + at + 1, self.searched + at),
                None if self.input.is_over() => {
                    self.input.finish()?;
                    let length = self.input.window().len();
                    if length == 0 {
                        return Ok(None);
                    }
                    (length, length)
                }
                None => {
                    self.searched = self.input.window().len();
                    if self.skipping {
                        self.input.consume(self.searched);
                        self.searched = 0;
                    } else if self.searched > self.bytes_max {
                        self.skipping = true;
                        let length = self.searched;
                        return Ok(Some(self.give(length, length)));
                    }
                    self.input.fill();
                    continue;
                }
            };
            if std::mem::take(&mut self.skipping) {
                self.input.consume(consumed);
                self.searched = 0;
                continue;
            }
            // Of one above the cap nobody may have seen the end when it is given.
            let is_cut = length > self.bytes_max;
            if !is_cut && is_blank(self.input.window().get(..length).unwrap_or_default()) {
                self.index += 1;
                self.input.consume(consumed);
                self.searched = 0;
                continue;
            }
            return Ok(Some(self.give(consumed, length)));
        }
    }

    /// Whether any line in the first window satisfies `test`; the last one may be a part.
    pub(super) fn any_ahead(&mut self, bytes: usize, test: impl Fn(&[u8]) -> bool) -> bool {
        while self.input.window().len() < bytes && self.input.fill() {}
        self.input.window().split(|byte| *byte == b'\n').any(test)
    }

    fn give(&mut self, consumed: usize, length: usize) -> Line<'_> {
        let index = self.index;
        self.given = Mark { index, bytes: self.input.consumed() };
        self.index += 1;
        self.searched = 0;
        self.input.consume(consumed);
        let is_cut = length > self.bytes_max;
        let given = if is_cut { CUT_BYTES.min(self.bytes_max) } else { length };
        let mut bytes = self.input.behind(consumed, given);
        if index == 0 {
            bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        }
        if !is_cut {
            bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        }
        Line { index, bytes, is_cut }
    }
}

/// Why a line (or row) above the cap is refused.
pub(super) fn refusal(bytes_max: usize) -> String {
    format!("longer than the {bytes_max} bytes that `line_max` allows; this is its beginning")
}

fn is_blank(line: &[u8]) -> bool {
    // Most lines are told by their first byte.
    line.first().is_none_or(u8::is_ascii_whitespace) && line.trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in pieces of the given sizes.
    struct Pieces(Vec<u8>, Vec<usize>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let piece = self.1.pop().unwrap_or(usize::MAX);
            let count = piece.clamp(1, buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    fn read(text: &[u8], pieces: &[usize], bytes_max: usize) -> Vec<(u64, Vec<u8>, bool)> {
        let mut lines =
            Lines::new(Input::new("test", Pieces(text.to_vec(), pieces.to_vec())), bytes_max);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push((line.index, line.bytes.to_vec(), line.is_cut));
        }
        all
    }

    proptest! {
        /// Against splitting the whole text, however the reads fall.
        #[test]
        fn lines_are_those_of_the_whole_text(
            text in "[ab\r\n ]{0,60}",
            pieces in proptest::collection::vec(1..9_usize, 0..40),
        ) {
            let expected: Vec<_> = text
                .split('\n')
                .enumerate()
                .filter(|(_, line)| !line.trim_ascii().is_empty())
                .map(|(index, line)| {
                    let line = line.strip_suffix('\r').unwrap_or(line);
                    (index as u64, line.as_bytes().to_vec(), false)
                })
                .collect();
            prop_assert_eq!(read(text.as_bytes(), &pieces, 1 << 20), expected);
        }

        #[test]
        fn a_long_line_is_cut_wherever_the_reads_fall(
            byte in prop_oneof![Just(b'x'), Just(b' ')],
            long in 11..400_000_usize,
            pieces in proptest::collection::vec(1..200_000_usize, 0..6),
        ) {
            let text = [b"a\n".to_vec(), vec![byte; long], b"\nb\n".to_vec()].concat();
            let lines = read(&text, &pieces, 10);
            let cut = (1, vec![byte; 10], true);
            prop_assert_eq!(lines, [(0, b"a".to_vec(), false), cut, (2, b"b".to_vec(), false)]);
        }
    }

    #[test]
    fn an_endless_line_is_not_held() {
        let endless = std::io::repeat(b'x').take(64 << 20);
        let mut lines = Lines::new(Input::new("test", endless), 1 << 20);
        let line = lines.next().unwrap().unwrap();
        assert_eq!((line.bytes.len(), line.is_cut), (CUT_BYTES, true));
        assert!(lines.next().unwrap().is_none());
        assert!(lines.input.capacity() <= 4 << 20, "{}", lines.input.capacity());
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        assert_eq!(read(b"\xef\xbb\xbfa\n", &[], 99), [(0, b"a".to_vec(), false)]);
    }
}
