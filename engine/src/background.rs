//! Threads whose work can wait: they write and compact checkpoints beside the workers.

use std::thread::{Builder, JoinHandle};

use crate::error::{Error, Result};

/// How much nicer such a thread is than the process: where both want a core, it gets a tenth of
/// what a worker gets.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// Starts a thread that leaves the cores to the workers while they want them.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let yielding = move || {
        yields();
        work()
    };
    let thread = Builder::new().name(name.to_owned()).spawn(yielding);
    thread.map_err(|error| Error::io(format!("starting the thread of {name}"), error))
}

/// On other systems than Linux a priority is one of the whole process.
fn yields() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        let nicer = |nice: i32| setpriority_process(None, nice.saturating_add(NICER));
        if let Err(error) = getpriority_process(None).and_then(nicer) {
            tracing::debug!("a thread goes on at the priority of the others: {error}");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).unwrap_or(i32::MIN)
    }

    #[test]
    fn only_the_thread_itself_yields() {
        let before = nice();
        let yielding = spawn("checkpoints", nice).unwrap().join().unwrap();
        assert_eq!(yielding, (before + NICER).min(19));
        assert_eq!(nice(), before);
    }
}
