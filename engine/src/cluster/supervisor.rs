//! The process that starts this program's processes on this machine, and watches them.
//!
//! `-n N` starts N of them. With a data directory there is a supervisor for one process too, and
//! for each line of a hosts file, and it starts its processes again when one fails: first all of
//! them end, then the start gets a generation of its own. Of several machines, that of process 0
//! takes it, and the others wait until it appears in the directory that all of them share.
//!
//! Invariant: no child outlives the supervisor (its control pipe ends with it), and the supervisor
//! does not outlive its children. It computes nothing: records never pass through it. What it
//! prints of a failure is one line with the first cause.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use signal_hook::consts::SIGCHLD;

use super::failure::Cause;
use super::mesh::Limits;
use super::pipe::Scale;
use super::restarts::{Next, Row, in_kind};
use super::signals;
use super::started::Event;
use super::watch::{Ended, Plan, Watch};
use super::wire::Deadline;
use crate::data_dir::{DataDir, Seat};
use crate::{Error, Result, Time};

/// How often the data directory is looked at while something is waited for there.
const LOOK: Duration = Duration::from_millis(20);
/// Shorter waits for the data directory are not spoken of.
const SAID_AFTER: Duration = Duration::from_millis(500);

/// Starts and watches the processes of a cluster on this machine.
#[derive(Debug)]
pub struct Supervisor {
    /// The one process here of a cluster on several machines.
    pub(super) process: Option<usize>,
    pub(super) processes: usize,
    pub(super) data: Option<DataDir>,
    pub(super) limits: Limits,
}

/// What came of waiting for the data directory.
enum Waited<T> {
    Done(T),
    Drained,
    Late,
}

impl Supervisor {
    /// Starts this program again, once for each process and with the same arguments, and waits
    /// until all of them have ended. The first SIGINT or SIGTERM is handed on as a drain; the
    /// second ends this process at once, and with it its children.
    ///
    /// With a data directory, processes that fail are started again, all together: after a pause
    /// that grows, and not for ever. See [`Restarts`](super::Restarts). Then success means that all
    /// that was ever accepted there is completed.
    ///
    /// # Errors
    /// When a child cannot be started, or one has failed: the first cause, in one line. By then
    /// all children have ended. With a data directory, when starting again cannot help or has not; also
    /// when it was asked to drain while none of them computed, and the journal may have more to complete.
    pub fn run(self) -> Result<()> {
        let (tell, events) = sync_channel(1024);
        let signalled = tell.clone();
        signals::on_signals(&[SIGCHLD], move |signal| {
            let event = if signal == SIGCHLD { Event::Ended } else { Event::Drain };
            let _ = signalled.send(event);
        })?;
        if let Some(data) = &self.data {
            return self.again_and_again(data, &tell, &events);
        }
        match self.once((0, 0), (self.scale(), None), &tell, &events)?.cause {
            None => Ok(()),
            Some(cause) => Err(Error::Cluster(cause.text)),
        }
    }

    /// One start, from the first process to the end of the last.
    fn once(
        &self,
        (start, generation): (u64, u64),
        (scale, rescaled_at): (Scale, Option<Time>),
        tell: &SyncSender<Event>,
        events: &Receiver<Event>,
    ) -> Result<Ended> {
        let (listed, pings) = (self.process.is_some(), self.data.is_some());
        let plan = Plan { start, generation, listed, pings, rescaled_at, limits: &self.limits };
        let mut watch = Watch::new(plan);
        let here = self.process.map_or(0..scale.processes, |process| process..process + 1);
        for process in here {
            watch.start(process, scale, tell)?;
        }
        watch.until_all_ended(events)
    }

    /// What the options say.
    fn scale(&self) -> Scale {
        Scale { processes: self.processes, workers: None }
    }

    /// Start after start, until one ends well, or the wish to drain ends them all. It ends well when all
    /// that was accepted is completed, by whichever start: before processes compute, or between two
    /// starts, nobody completes anything.
    fn again_and_again(
        &self,
        data: &DataDir,
        tell: &SyncSender<Event>,
        events: &Receiver<Event>,
    ) -> Result<()> {
        // Of this supervisor's starts none is in it.
        let before = data.current()?;
        if !self.take_place(data, events)? {
            return not_begun(data, before);
        }
        let mut row = Row::new(&self.limits.restarts);
        let (mut last, mut used) = (None, None);
        let (mut scale, mut rescaled_at) = (self.scale(), None);
        for start in 0.. {
            let ended = match self.generation(data, last, used, events) {
                Ok(None) => return not_begun(data, before),
                Err(replaced @ Error::Replaced(_)) => return Err(replaced),
                Ok(Some(generation)) => {
                    tracing::info!("generation {generation} starts");
                    last = Some(generation);
                    let size = (scale, rescaled_at.take());
                    let ended = self.once((start, generation), size, tell, events);
                    if ended.as_ref().is_ok_and(|ended| ended.formed) {
                        used = Some(generation);
                    }
                    ended
                }
                Err(error) => Err(error),
            };
            // What keeps a start from beginning is a failure like one after it.
            let ended = ended.unwrap_or_else(|error| Ended::before_it_began(&error));
            if let Some((wanted, since)) = ended.rescale.filter(|_| !ended.drained) {
                scale = wanted;
                rescaled_at = Some(since).filter(|_| ended.cause.is_none());
                if ended.cause.is_none() {
                    continue;
                }
            }
            let Some(cause) = ended.cause else {
                return if ended.formed { Ok(()) } else { not_begun(data, before.max(start)) };
            };
            if ended.drained {
                return Err(in_kind(&cause));
            }
            let told = cause.to_string();
            match row.failed(cause, &ended.went) {
                Next::GiveUp(error) => return Err(error),
                Next::Start { after, attempt: 0 } => {
                    tracing::warn!("{told}; its record was set aside, starting again in {after:?}");
                    if drained(events, after) {
                        return Err(remains(data, &told));
                    }
                }
                Next::Start { after, attempt } => {
                    let limit = self.limits.restarts.limit;
                    tracing::warn!("{told}; restart {attempt} of at most {limit} in {after:?}");
                    if drained(events, after) {
                        return Err(remains(data, &told));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the data directory for this supervisor, once nobody from before uses it. False if it
    /// was asked to drain meanwhile.
    fn take_place(&self, data: &DataDir, events: &Receiver<Event>) -> Result<bool> {
        let seat = self.process.map_or(Seat::Program, Seat::Host);
        let mut holder = String::new();
        let free = || {
            Ok(match data.try_take(seat)? {
                None => Some(()),
                Some(other) => {
                    holder = other;
                    None
                }
            })
        };
        let what = format!("{} to be free", data.path().display());
        match wait_for(&what, self.limits.lock, events, free)? {
            Waited::Done(()) => Ok(true),
            Waited::Drained => Ok(false),
            Waited::Late => Err(data.in_use(&holder)),
        }
    }

    /// The generation of the next start; none if asked to drain meanwhile. `last` was that of the
    /// start before; `used` that of an earlier one, and is none of a later.
    fn generation(
        &self,
        data: &DataDir,
        last: Option<u64>,
        used: Option<u64>,
        events: &Receiver<Event>,
    ) -> Result<Option<u64>> {
        if self.process.is_none_or(|process| process == 0) {
            // Nobody else takes one as long as this program has its place.
            last.map_or(Ok(()), |last| data.check_place(last))?;
            return data.claim().map(Some);
        }
        // If it is an old one, some process of the newer refuses this one, which then looks again.
        let used = used.unwrap_or(0);
        let newer = || Ok(Some(data.current()?).filter(|current| *current > used));
        let what = format!("a generation after {used}");
        match wait_for(&what, self.limits.start, events, newer)? {
            Waited::Done(generation) => Ok(Some(generation)),
            Waited::Drained => Ok(None),
            Waited::Late => Err(Error::Cluster(format!(
                "process 0 has made no generation after {used} in {} within {:?}: is it running, \
                 and is that directory the same for all machines?",
                data.generations().display(),
                self.limits.start
            ))),
        }
    }
}

/// What is said when it is asked to end before anything was computed. `before` is not 0 if there was a
/// start that may have left something.
fn not_begun(data: &DataDir, before: u64) -> Result<()> {
    match before {
        0 => Ok(()),
        _ => Err(remains(data, "no process had begun to compute")),
    }
}

fn remains(data: &DataDir, why: &str) -> Error {
    Error::Cluster(format!(
        "{why}; then it was asked to end: what was accepted and is not completed remains in the journal \
         in {}, and the next start completes it",
        data.path().display()
    ))
}

impl Ended {
    /// A start that came to nothing.
    fn before_it_began(error: &Error) -> Self {
        let (text, code) = (error.to_string(), error.exit_code());
        let cause = Some(Cause { process: None, lost: false, text, code, aside: None });
        let went = super::restarts::Went::default();
        Self { cause, drained: false, formed: false, went, rescale: None }
    }
}

/// Waits for a pause to end. True if it was ended by the wish to drain.
fn drained(events: &Receiver<Event>, pause: Duration) -> bool {
    let by = Deadline::after(pause);
    loop {
        let left = by.left();
        match events.recv_timeout(left.as_ref().copied().unwrap_or_default()) {
            Ok(Event::Drain) => return true,
            // All that is left of an earlier start; and a wish that waits behind it is found.
            Ok(Event::Ended | Event::Heard(_) | Event::Report(..)) => {}
            Err(RecvTimeoutError::Timeout) if left.is_ok() => {}
            Err(_) => return false,
        }
    }
}

/// Looks again and again until there is something.
fn wait_for<T>(
    what: &str,
    limit: Duration,
    events: &Receiver<Event>,
    mut ready: impl FnMut() -> Result<Option<T>>,
) -> Result<Waited<T>> {
    let (by, mut say) = (Deadline::after(limit), Some(Deadline::after(SAID_AFTER)));
    loop {
        if let Some(ready) = ready()? {
            return Ok(Waited::Done(ready));
        }
        if by.passed() {
            return Ok(Waited::Late);
        }
        if say.take_if(|say| say.passed()).is_some() {
            tracing::info!("waiting for {what}");
        }
        if drained(events, LOOK) {
            return Ok(Waited::Drained);
        }
    }
}
