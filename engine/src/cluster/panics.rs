//! What a panic means: an echo of a lost process, one record's failure, or the end of this process.
//!
//! Invariant: the threads of timely that talk to other processes panic when one of those is gone;
//! that never reaches standard error. A panic inside [`catch`] is the caller's business alone.
//! Every other panic is a cause: the process ends with it instead of leaving workers that wait.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

use super::failure::Failures;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// Makes every panic of this process one of the three. Call it once, in `main`.
///
/// With `RUST_BACKTRACE` set, a panic that is a cause is printed with its backtrace as well.
pub fn install_panic_hook(failures: &Failures) {
    let failures = failures.clone();
    let verbose = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if CATCHING.get() {
            let echo = is_echo(std::thread::current().name().unwrap_or_default(), info);
            CAUGHT.set(Some(Caught { text: described(info), echo }));
            return;
        }
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        if is_echo(thread, info) {
            failures.echo(in_plain_words(thread, info));
            return;
        }
        if verbose {
            usual(info);
        }
        failures.report(format!("thread `{thread}` panicked: {}", described(info)));
    }));
}

/// Runs `f`; a panic in it is returned as its message and place, and goes nowhere else.
///
/// What `f` was changing may be half changed: the caller undoes it, or ends the process.
///
/// # Errors
/// The panic, in one line.
///
/// ```
/// let caught = anabranch::cluster::catch(|| [1, 2, 3].iter().sum::<i32>());
/// assert_eq!(caught, Ok(6));
/// ```
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_all(f).map_err(|caught| caught.text)
}

/// A panic that was caught.
#[derive(Debug)]
pub(crate) struct Caught {
    /// Its message and place, in one line.
    pub(crate) text: String,
    /// Whether it is timely noticing that another process is gone, and so no cause.
    pub(crate) echo: bool,
}

/// As [`catch`], with whether the panic is an echo.
pub(crate) fn catch_all<T>(f: impl FnOnce() -> T) -> Result<T, Caught> {
    let outer = CATCHING.replace(true);
    let result = catch_within(f);
    CATCHING.set(outer);
    result
}

/// The same for code that is within what [`catch_all`] runs: for a record, it costs nothing if there is no panic.
#[inline(always)]
pub(crate) fn catch_within<T>(f: impl FnOnce() -> T) -> Result<T, Caught> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| caught(&*payload))
}

#[cold]
fn caught(payload: &(dyn Any + Send)) -> Caught {
    // Without our hook, as in tests, only the message is known.
    CAUGHT.take().unwrap_or_else(|| {
        let message = payload.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| payload.downcast_ref::<&str>().copied());
        Caught { text: message.unwrap_or("a value that is no text").to_owned(), echo: false }
    })
}

fn described(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("a value that is no text");
    let message = message.replace('\n', "; ");
    match info.location() {
        Some(place) => format!("{message} ({}:{})", place.file(), place.line()),
        None => message,
    }
}

/// Whether this is timely noticing that another process is gone: on its threads for the sockets,
/// or, by way of their poisoned queues, on workers and whoever joins them.
fn is_echo(thread: &str, info: &PanicHookInfo<'_>) -> bool {
    thread.starts_with("timely:send-")
        || thread.starts_with("timely:recv-")
        || info.location().is_some_and(|place| place.file().contains("timely_communication"))
}

fn in_plain_words(thread: &str, info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or_default();
    match thread.rsplit_once('-').filter(|_| !thread.starts_with("timely:work")) {
        Some((_, peer)) => format!("the data connection to process {peer} failed: {message}"),
        None => format!("a data connection to another process failed: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_panic_is_its_message() {
        assert_eq!(catch(|| panic!("no {}", "price")), Err::<(), _>("no price".to_owned()));
        assert_eq!(
            catch(|| std::panic::panic_any(7)),
            Err::<(), _>("a value that is no text".to_owned())
        );
        assert_eq!(catch(|| catch(|| panic!("inner")).is_err()), Ok(true));
        assert!(!CATCHING.get());
    }
}
