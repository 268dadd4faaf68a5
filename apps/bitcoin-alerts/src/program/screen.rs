//! [`Screen`]: the sink of a program that people watch. Alerts on standard output as they fire,
//! and on standard error a live line, what this is, and in the end what it came to.
//!
//! Invariant: one thread writes to the terminal, whatever blocks it blocks no worker, and of what
//! waits for it there is a bound. After each write the cursor is at the beginning of the live line,
//! so whatever is printed next, by any process, takes its place; see [`ERASE`].

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use anabranch::log::{ERASE, colours, is_screen};
use anabranch::sink::{Outgoing, Sink, Taken, Writer};
use anabranch::source::{OpenContext, Waker};
use anabranch::{Error, Result, clock};
use jiff::tz::TimeZone;

use super::Options;
use super::figures::Figures;
use super::introduction::introduction;
use super::style::Style;
use crate::Observation;

/// How many notifications wait for the terminal.
const WAITING_MAX: usize = 256;
/// Between live lines on a terminal, which are redrawn in place.
const REDRAW: Duration = Duration::from_secs(1);
/// Between live lines elsewhere.
const REPEAT: Duration = Duration::from_secs(5);

/// Shows what happens to people.
pub(super) struct Screen {
    introduction: String,
}

impl Screen {
    /// The screen of the program with these options.
    pub(super) fn of(options: &Options) -> Self {
        Self { introduction: introduction(options) }
    }
}

impl Sink for Screen {
    type Item = Observation;

    fn describe(&self) -> String {
        "readable, on this terminal".to_owned()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn Writer<Observation>>> {
        let (out, err) = (io::stdout(), io::stderr());
        let zone = TimeZone::system();
        let outs = Style { colours: colours(&out), zone: zone.clone() };
        let shared = Arc::new(Shared::new(context.waker.clone()));
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let show = Show {
            redraws: is_screen(&err),
            erases: is_screen(&err) && out.is_terminal(),
            style: Style { colours: colours(&err), zone },
            shared: Arc::clone(&shared),
            began: clock::instant(),
            drawn: clock::instant(),
            prices: 0,
            rate: 0,
            out,
            err,
        };
        let introduction = self.introduction.clone();
        Builder::new()
            .name("screen".to_owned())
            .spawn(move || show.run(&introduction, &waiting))
            .map_err(|e| Error::io("starting the thread that shows alerts", e))?;
        Ok(Box::new(ScreenWriter { queue: Some(queue), shared, style: outs }))
    }
}

/// What the worker and the thread share.
struct Shared {
    figures: Mutex<Figures>,
    /// Whether the worker waits for room.
    full: AtomicBool,
    /// Whether the thread has ended, and if so why too early.
    ended: Mutex<Option<io::Result<()>>>,
    waker: Waker,
}

impl Shared {
    fn new(waker: Waker) -> Self {
        Self {
            figures: Mutex::default(),
            full: AtomicBool::new(false),
            ended: Mutex::new(None),
            waker,
        }
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything was shown.
    fn end(&self) -> Result<Taken> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *ended {
            None => Ok(Taken::Partly),
            Some(Ok(())) => Ok(Taken::All),
            Some(result) => match std::mem::replace(result, Ok(())) {
                Ok(()) => Ok(Taken::All),
                Err(error) => Err(Error::io("writing to standard output", error)),
            },
        }
    }
}

struct ScreenWriter {
    /// None once it is closed.
    queue: Option<SyncSender<String>>,
    shared: Arc<Shared>,
    style: Style,
}

impl ScreenWriter {
    fn offer(&self, text: String) -> Result<Taken> {
        let Some(queue) = &self.queue else { return Ok(Taken::All) };
        let text = match queue.try_send(text) {
            Ok(()) => return Ok(Taken::All),
            Err(TrySendError::Disconnected(_)) => return self.shared.end(),
            Err(TrySendError::Full(text)) => text,
        };
        // Asked again once the thread can see that someone waits: it may have made room before.
        self.shared.full.store(true, Ordering::SeqCst);
        match queue.try_send(text) {
            Ok(()) => Ok(Taken::All),
            Err(TrySendError::Disconnected(_)) => self.shared.end(),
            Err(TrySendError::Full(_)) => Ok(Taken::Partly),
        }
    }
}

impl Writer<Observation> for ScreenWriter {
    fn write(&mut self, batch: &mut Outgoing<Observation>) -> Result<Taken> {
        while let Some((_, observation)) = batch.peek() {
            if let Some(notification) = &observation.notification
                && self.offer(self.style.notification(notification))? == Taken::Partly
            {
                return Ok(Taken::Partly);
            }
            self.shared.figures().observe(observation);
            batch.pop();
        }
        Ok(Taken::All)
    }

    fn close(&mut self) -> Result<Taken> {
        self.queue = None;
        self.shared.end()
    }
}

/// The thread that writes to the terminal.
struct Show<O, E> {
    out: O,
    err: E,
    /// Whether the live line is redrawn in place.
    redraws: bool,
    /// Whether what goes to standard output appears where the live line is.
    erases: bool,
    style: Style,
    shared: Arc<Shared>,
    began: Instant,
    /// When the rate was measured last, how many prices there were, and what it was.
    drawn: Instant,
    prices: u64,
    rate: u64,
}

impl<O: Write, E: Write> Show<O, E> {
    fn run(mut self, introduction: &str, waiting: &Receiver<String>) {
        let result = self.show_all(introduction, waiting);
        let shared = Arc::clone(&self.shared);
        *shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        shared.waker.wake();
    }

    fn show_all(&mut self, introduction: &str, waiting: &Receiver<String>) -> io::Result<()> {
        self.tell(introduction);
        let every = if self.redraws { REDRAW } else { REPEAT };
        loop {
            let due = (self.drawn + every).saturating_duration_since(clock::instant());
            match waiting.recv_timeout(due) {
                Ok(text) => {
                    self.made_room();
                    self.print(&text)?;
                    if self.redraws {
                        self.draw();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.measure(clock::instant());
                    self.draw();
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let seconds = clock::instant().duration_since(self.began).as_secs();
        let summary = self.style.summary(&self.shared.figures(), seconds);
        self.tell(&format!("{summary}\n"));
        Ok(())
    }

    fn made_room(&self) {
        if self.shared.full.swap(false, Ordering::SeqCst) {
            self.shared.waker.wake();
        }
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        let erase = if self.erases { ERASE } else { "" };
        self.out.write_all(format!("{erase}{text}").as_bytes())?;
        self.out.flush()
    }

    /// Writes what is to stay to standard error.
    fn tell(&mut self, text: &str) {
        let erase = if self.redraws { ERASE } else { "" };
        // Standard error may be gone, which is no reason to end.
        let _ = self.err.write_all(format!("{erase}{text}").as_bytes());
        let _ = self.err.flush();
    }

    fn measure(&mut self, now: Instant) {
        let prices = self.shared.figures().prices;
        let millis = now.duration_since(self.drawn).as_millis().max(1);
        let rate = u128::from(prices - self.prices) * 1000 / millis;
        self.rate = u64::try_from(rate).unwrap_or(u64::MAX);
        (self.drawn, self.prices) = (now, prices);
    }

    /// Draws the live line: over the old one, without wrapping, and back to its beginning. Not
    /// erased first, which would flicker.
    fn draw(&mut self) {
        let line = self.style.live(&self.shared.figures(), self.rate);
        let text = match self.redraws {
            true => format!("\r\x1b[?7l{line}\x1b[?7h\x1b[J\r"),
            false => format!("{line}\n"),
        };
        let _ = self.err.write_all(text.as_bytes());
        let _ = self.err.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A screen, of a terminal or not, and how often the worker was woken.
    fn show<O>(out: O, redraws: bool) -> (Show<O, Vec<u8>>, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let wake = Arc::clone(&woken);
        let waker = Waker::new(move || _ = wake.fetch_add(1, Ordering::SeqCst));
        let show = Show {
            out,
            err: Vec::new(),
            redraws,
            erases: redraws,
            style: plain(),
            shared: Arc::new(Shared::new(waker)),
            began: clock::instant(),
            drawn: clock::instant(),
            prices: 0,
            rate: 0,
        };
        (show, woken)
    }

    fn plain() -> Style {
        Style { colours: false, zone: TimeZone::UTC }
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_live_line_is_redrawn_in_place_and_gives_way() {
        let (mut show, _) = show(Vec::new(), true);
        show.draw();
        let line = "0/s  0 products  alerts 0 fired, 0 open";
        assert_eq!(text(&show.err), format!("\r\x1b[?7l{line}\x1b[?7h\x1b[J\r"));
        show.print("fired\n").unwrap();
        assert_eq!(text(&show.out), "\r\x1b[Jfired\n");
        show.err.clear();
        show.tell("the end\n");
        assert_eq!(text(&show.err), "\r\x1b[Jthe end\n");
    }

    #[test]
    fn where_there_is_no_terminal_lines_are_plain() {
        let (mut show, _) = show(Vec::new(), false);
        let (queue, waiting) = sync_channel(WAITING_MAX);
        queue.send("fired\n".to_owned()).unwrap();
        drop(queue);
        show.show_all("a demo\n", &waiting).unwrap();
        show.draw();
        assert_eq!(text(&show.out), "fired\n");
        assert_eq!(
            text(&show.err),
            "a demo\n0 prices of 0 products in 0 s, 0 alerts fired, 0 still open\n\
             0/s  0 products  alerts 0 fired, 0 open\n"
        );
    }

    #[test]
    fn the_rate_is_of_the_time_since_it_was_measured() {
        let (mut show, _) = show(Vec::new(), true);
        let later = |seconds| show.began + Duration::from_secs(seconds);
        let times = [later(2), later(4)];
        show.shared.figures().prices = 120;
        show.drawn = show.began;
        show.measure(times[0]);
        assert_eq!(show.rate, 60);
        show.measure(times[1]);
        assert_eq!(show.rate, 0);
    }

    #[test]
    fn what_waits_is_bounded_and_room_wakes_the_worker() {
        let (show, woken) = show(Vec::new(), true);
        let shared = Arc::clone(&show.shared);
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let mut writer = ScreenWriter { queue: Some(queue), shared, style: plain() };
        for _ in 0..WAITING_MAX {
            assert_eq!(writer.offer("fired\n".to_owned()).unwrap(), Taken::All);
        }
        assert_eq!(writer.offer("later\n".to_owned()).unwrap(), Taken::Partly);
        assert_eq!(writer.close().unwrap(), Taken::Partly, "nothing is shown yet");
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        show.run("", &waiting);
        // Once because there was room, and once because it has ended.
        assert_eq!(woken.load(Ordering::SeqCst), 2);
        assert_eq!(writer.close().unwrap(), Taken::All);
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_output_is_an_error_and_not_a_wait() {
        let (show, woken) = show(Closed, false);
        let shared = Arc::clone(&show.shared);
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let writer = ScreenWriter { queue: Some(queue), shared, style: plain() };
        assert_eq!(writer.offer("fired\n".to_owned()).unwrap(), Taken::All);
        show.run("", &waiting);
        drop(waiting);
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        let error = writer.offer("more\n".to_owned()).unwrap_err().to_string();
        assert!(error.starts_with("writing to standard output"), "{error}");
    }
}
