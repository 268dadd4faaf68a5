//! Printing: bytes, lines, tables.
//!
//! Invariant: a terminal gets no control characters of a record; a file or a pipe gets every byte as it is.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal as _, Write as _};

use crate::failure::Failure;

/// Prints `bytes` as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::unread(),
        _ => Failure::new(format!("cannot print: {error}")),
    })
}

/// Prints a line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Says something on standard error that was not asked for.
pub(crate) fn note(text: &str) {
    // If nobody hears it, nothing is lost.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a record on a line.
pub(crate) fn record(record: &[u8]) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() {
        return bytes(&[record, b"\n"].concat());
    }
    line(&harmless(&String::from_utf8_lossy(record)))
}

/// `text` without what a terminal would do something about.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let is_control = |it: char| it.is_control() && it != '\t' && it != '\n';
    match text.contains(is_control) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(
            text.chars().map(|it| if is_control(it) { '\u{fffd}' } else { it }).collect(),
        ),
    }
}

/// Prints rows below their headings, in columns; numbers to the right.
pub(crate) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heads.get(column).map(|head| head.len())).max().unwrap_or(0)
    };
    let print = |cells: &[String]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            }
        });
        line(cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    print(&heads.map(str::to_owned))?;
    rows.iter().try_for_each(|row| print(row))
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_terminal_is_told_nothing_but_text() {
        assert_eq!(harmless("a\tü\n"), "a\tü\n");
        assert_eq!(harmless("\x1b[31m\u{9b}2J\r"), "\u{fffd}[31m\u{fffd}2J\u{fffd}");
    }
}
