//! Logs for people, on standard error, and a limit for lines that would repeat.
//!
//! Invariant: a flood of bad input cannot become a flood of log lines, and nothing is left out
//! without its number. Not the record of anything: an output never depends on a log.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::{Error, Result, clock};

/// Starts the log of this process: `filter` as [`Config::log`](crate::config::Config::log) has it;
/// with `process`, each line says which process of several wrote it.
///
/// A program that has set a log of its own keeps it.
///
/// # Errors
/// [`Error::Usage`] when `filter` cannot be read.
pub fn start(filter: &str, process: Option<usize>) -> Result<()> {
    let (coloured, erases) = (colours(&std::io::stderr()), is_screen(&std::io::stderr()));
    let subscriber = subscriber(filter, Clock { process, erases }, coloured, std::io::stderr)?;
    // Refused when there is one already: a second engine in one process, or the program's own.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

fn subscriber<W>(
    filter: &str,
    clock: Clock,
    coloured: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + 'static>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|e| Error::Usage(format!("the log filter `{filter}` cannot be read: {e}")))?;
    Ok(tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_ansi(coloured)
        .with_target(false)
        .with_timer(clock)
        .with_writer(writer)
        .finish())
}

/// Whether to colour what goes to `stream`: on a terminal, unless `NO_COLOR` is set.
pub fn colours(stream: &impl IsTerminal) -> bool {
    is_screen(stream) && set("NO_COLOR").is_none()
}

/// Whether `stream` is a terminal that can erase what it shows.
pub fn is_screen(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && set("TERM").is_none_or(|t| t != "dumb")
}

fn set(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Takes a line of a terminal that is redrawn in place (and leaves the cursor at its beginning)
/// off the screen: what is written next stands in its place. Each line of the log begins so, that
/// of any process; programs that redraw a line themselves begin other output so.
pub const ERASE: &str = "\r\x1b[J";

/// The time of a line, to the millisecond, and the process.
#[derive(Clone, Copy, Default)]
struct Clock {
    process: Option<usize>,
    erases: bool,
}

impl FormatTime for Clock {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        if self.erases {
            w.write_str(ERASE)?;
        }
        write!(w, "{:.3}", clock::now().timestamp())?;
        match self.process {
            Some(process) => write!(w, " p{process}"),
            None => Ok(()),
        }
    }
}

/// How many dead letters of a partition, or of a computation, are logged in a second; the others are counted.
pub(crate) const DEAD_LETTER_LINES: u32 = 5;

/// Lets one line in a program be logged a few times a second, and counts the others.
///
/// ```
/// use anabranch::log::Limited;
/// let letters = Limited::new(2);
/// for offset in 0..5 {
///     letters.warn(format_args!("prices: dead letter at offset {offset}"));
/// }
/// assert_eq!(letters.held_back(), 3);
/// letters.finish(); // "and 3 more like the line before"
/// ```
#[derive(Debug)]
pub struct Limited {
    lines_per_second: u32,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    lines: u32,
    held_back: u64,
}

/// What to log now.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// How many lines were held back and have not been told of.
    more: Option<u64>,
    /// Whether this line is logged.
    admitted: bool,
}

impl Limited {
    /// At most so many lines a second, and at least one.
    pub const fn new(lines_per_second: u32) -> Self {
        let lines_per_second = if lines_per_second == 0 { 1 } else { lines_per_second };
        let window = Mutex::new(Window { began: None, lines: 0, held_back: 0 });
        Self { lines_per_second, window }
    }

    /// Logs a warning, or counts it when there were enough in this second. The first line of a
    /// later second is preceded by how many were left out.
    pub fn warn(&self, line: fmt::Arguments<'_>) {
        let verdict = self.judge(clock::instant());
        if let Some(more) = verdict.more {
            tell(more);
        }
        if verdict.admitted {
            tracing::warn!("{line}");
        }
    }

    /// Tells how many lines were left out, once their second is over: for a loop that runs anyway,
    /// so that the number is told even when no further line comes.
    pub fn poll(&self) {
        if let Some(more) = self.told(Some(clock::instant())) {
            tell(more);
        }
    }

    /// Tells at once how many lines were left out, for the end of a program.
    pub fn finish(&self) {
        if let Some(more) = self.told(None) {
            tell(more);
        }
    }

    /// How many lines were left out and have not been told of.
    pub fn held_back(&self) -> u64 {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).held_back
    }

    fn judge(&self, now: Instant) -> Verdict {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut more = None;
        if window.is_over(now) {
            more = Some(window.held_back).filter(|held_back| *held_back > 0);
            *window = Window { began: Some(now), lines: 0, held_back: 0 };
        }
        let admitted = window.lines < self.lines_per_second;
        if admitted {
            window.lines += 1;
        } else {
            window.held_back += 1;
        }
        Verdict { more, admitted }
    }

    /// Takes the number that is to be told, if the second is over or `now` is none.
    fn told(&self, now: Option<Instant>) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.is_some_and(|now| !window.is_over(now)) {
            return None;
        }
        Some(std::mem::take(&mut window.held_back)).filter(|held_back| *held_back > 0)
    }
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        self.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1))
    }
}

fn tell(more: u64) {
    tracing::warn!("and {more} more like the line before");
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, process: Option<usize>, coloured: bool, act: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let clock = Clock { process, erases: false };
        let made = subscriber(filter, clock, coloured, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(made, act);
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_has_time_level_and_message() {
        let before = clock::now();
        let line = logged("info", None, false, || tracing::info!(records = 3, "prices: connected"));
        let (time, rest) = line.split_once(' ').unwrap();
        let time: crate::Time = time.parse().unwrap();
        assert!(time.after(Duration::from_millis(1)) >= before && time <= clock::now());
        assert_eq!(rest.trim(), "INFO prices: connected records=3");
    }

    #[test]
    fn a_line_names_the_process_of_several() {
        let line = logged("info", Some(3), false, || tracing::info!("ready"));
        assert!(line.contains("Z p3  INFO ready"), "{line:?}");
    }

    #[test]
    fn a_line_on_a_screen_takes_the_place_of_one_that_is_redrawn() {
        let (buffer, clock) = (Buffer::default(), Clock { process: None, erases: true });
        let writer = buffer.clone();
        let made = subscriber("info", clock, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(made, || tracing::info!("ready"));
        let line = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert!(line.starts_with(ERASE) && line.ends_with("ready\n"), "{line:?}");
    }

    #[test]
    fn colour_only_when_asked() {
        let act = || tracing::warn!("slow");
        assert!(logged("info", None, true, act).contains("\u{1b}[33m"));
        assert!(!logged("info", None, false, act).contains('\u{1b}'));
    }

    #[test]
    fn the_filter_decides() {
        let act = || {
            tracing::info!("i");
            tracing::warn!("w");
        };
        assert!(!logged("warn", None, false, act).contains("INFO"));
        assert!(logged("warn", None, false, act).contains("WARN w"));
        assert_eq!(logged("off", None, false, act), "");
        assert_eq!(logged("anabranch=error", None, false, act), "");
        assert_eq!(
            subscriber("a=b=c", Clock::default(), false, std::io::sink).err().unwrap().exit_code(),
            2
        );
    }

    #[test]
    fn a_site_is_limited_each_second_and_tells_the_rest() {
        let (limited, start) = (Limited::new(2), clock::instant());
        let at = |ms| limited.judge(start + Duration::from_millis(ms));
        let yes = Verdict { more: None, admitted: true };
        let no = Verdict { more: None, admitted: false };
        assert_eq!(
            [at(0), at(1), at(2), at(999)],
            [
                yes,
                Verdict { more: None, admitted: true },
                no,
                Verdict { more: None, admitted: false }
            ]
        );
        assert_eq!(at(1000), Verdict { more: Some(2), admitted: true });
        assert_eq!(at(1500), Verdict { more: None, admitted: true });
        assert_eq!(at(1600), Verdict { more: None, admitted: false });
        assert_eq!(limited.told(Some(start + Duration::from_millis(1700))), None);
        assert_eq!(limited.told(Some(start + Duration::from_millis(2000))), Some(1));
        assert_eq!(limited.told(None), None);
    }

    #[test]
    fn ten_thousand_dead_letters_are_six_lines() {
        let limited = Limited::new(5);
        let lines = logged("info", None, false, || {
            // One instant for all of them, so that no second can pass in between.
            let now = clock::instant();
            for offset in 0..10_000 {
                if limited.judge(now).admitted {
                    tracing::warn!("dead letter at {offset}");
                }
            }
            limited.finish();
        });
        assert_eq!(lines.lines().count(), 6);
        assert!(lines.ends_with("WARN and 9995 more like the line before\n"), "{lines}");
    }
}
