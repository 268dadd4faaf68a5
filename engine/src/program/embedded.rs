//! Applications run by other programs, for themselves and for measurements: [`run`], [`replay`],
//! [`verify`].

use std::sync::Arc;
use std::time::Duration;

use super::setup::{
    data_dir, drawing, drawing_to_run, keep, left_data, looking, plan, run_alone, setup,
    worker_config,
};
use crate::cluster::{Drain, Progress};
use crate::compare::{self, Verified};
use crate::config::{Config, Layout};
use crate::control;
use crate::data_dir::Seat;
use crate::durable::{Durable, Span};
use crate::metrics::Counters;
use crate::reprocess::order;
use crate::worker::Build;
use crate::{App, Error, Result, Time};

/// How long an embedded program waits for its data directory.
const SEAT_WAIT: Duration = Duration::from_secs(10);

/// Runs the application that `build` draws in this process, until its sources end: for programs
/// and measurements that embed the engine. No signal is handled and no cluster formed.
///
/// # Errors
/// [`Error::Application`] if the drawing has a mistake, [`Error::Usage`] if `config` asks for more
/// than one process, else the first fault of a source, a sink or user code.
///
/// ```
/// use anabranch::config::Config;
/// use anabranch::{Time, sink, source};
///
/// let config = Config::from_flags(["-w", "2"])?;
/// let counters = anabranch::run(&config, |app| {
///     let words = vec![vec![(Time::ZERO, "hello".to_string())]];
///     app.source("words", source::memory(words.into())).sink("out", sink::null());
///     Ok(())
/// })?;
/// assert_eq!(counters.snapshot()["out.records"], 1);
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn run(
    config: &Config,
    build: impl Fn(&App) -> Result<()> + Send + Sync + 'static,
) -> Result<Counters> {
    run_until(config, build, &Drain::default())
}

/// As [`run`], until the sources end or `drain` is requested, by any thread: then no more input is
/// taken, and what was accepted is completed.
///
/// # Errors
/// As [`run`].
///
/// ```
/// use anabranch::config::Config;
/// use anabranch::{Drain, sink, source};
///
/// let drain = Drain::default();
/// drain.request();
/// let build = |app: &anabranch::App| {
///     app.source("words", source::empty::<String>()).sink("out", sink::null());
///     Ok(())
/// };
/// anabranch::run_until(&Config::default(), build, &drain)?;
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn run_until(
    config: &Config,
    build: impl Fn(&App) -> Result<()> + Send + Sync + 'static,
    drain: &Drain,
) -> Result<Counters> {
    if !matches!(config.layout(), Layout::Local { processes: 1 }) {
        return Err(Error::Usage(
            "an embedded application runs in one process; leave out -n and -p, or start the \
             application by `anabranch::main`"
                .to_string(),
        ));
    }
    let build: Build = Arc::new(build);
    let (graph, said) = drawing_to_run(config, &build)?;
    let config = &config.clone().or_http(said.address);
    let counters = Counters::default();
    let mut setup = setup(config, build, &counters);
    setup.control.pauses().begin(config.paused(), None)?;
    if let Some(data) = data_dir(config)? {
        data.take(Seat::Program, SEAT_WAIT)?;
        let generation = data.claim()?;
        let progress = Progress::default();
        keep(config, data, (generation, config.workers()), progress, &mut setup)?;
    }
    let control = Arc::clone(&setup.control);
    drain.on_request(move || control.stop());
    let _serving = control::serve(config, &graph, &setup, None, said)?;
    run_alone(setup, worker_config(config))?;
    Ok(counters)
}

/// Replays what an earlier start of the application has journaled in the data directory of `config`
/// and what came of it, for the records of `span`, at full speed: a pure function of the journal. It
/// begins at a checkpoint at or before the span, or where the journal begins. Live sources are not
/// touched, and nothing in the data directory changes, which may be in use. Recorded sources are read
/// again. Sinks begin anew: point them elsewhere. The counters that are returned have a digest of each
/// table's content at the end (`digest.prices`): that of two replays is the same, on any number of
/// workers, unless a computation is not deterministic.
///
/// # Errors
/// As [`run`]; [`Error::Usage`] without a data directory, [`Error::Data`] if what is there is damaged.
pub fn replay(
    config: &Config,
    span: Span,
    build: impl Fn(&App) -> Result<()> + Send + Sync + 'static,
) -> Result<Counters> {
    replay_build(config, span, Arc::new(build))
}

/// Whether the application is a pure function of what an earlier start of it has journaled in the
/// data directory of `config`: replays it on 1, 2 and 4 workers at once, and compares every row that
/// changed and every record that a sink was given with each other, and at the boundaries of checkpoints
/// with what the program had when it ran. As [`replay`], it touches nothing that is live.
///
/// ```
/// use anabranch::config::Config;
/// use anabranch::prelude::*;
/// use anabranch::{Span, sink, source};
///
/// const COUNTS: Table<u8, u64> = Table::new("counts");
///
/// fn count(app: &App) -> Result<()> {
///     let numbers = (0..1000).map(|i| (Time::from_nanos(i), i)).collect();
///     app.source("numbers", source::memory(vec![numbers].into()))
///         .key_by(|number| (number % 7) as u8)
///         .compute("count", COUNTS, |_, mut count, out| {
///             *count += 1;
///             out.emit(*count);
///         })
///         .sink("counts", sink::null());
///     Ok(())
/// }
///
/// let path = std::env::temp_dir().join(format!("anabranch-verify-{}", std::process::id()));
/// let config = Config::from_flags(["--data-dir", &path.to_string_lossy()])?;
/// anabranch::run(&config, count)?;
/// let verified = anabranch::verify(&config, Span::default(), count)?;
/// assert_eq!((verified.outputs, verified.difference), (1000, None));
/// # std::fs::remove_dir_all(&path).unwrap();
/// # Ok::<(), anabranch::Error>(())
/// ```
///
/// # Errors
/// As [`replay`].
pub fn verify(
    config: &Config,
    span: Span,
    build: impl Fn(&App) -> Result<()> + Send + Sync + 'static,
) -> Result<Verified> {
    compare::verify_build(config, span, Arc::new(build))
}

/// Orders that the next start of the application, which was changed since, computes anew what was computed in the
/// data directory of `config`: since `from`, or all that is kept. That start replays its input with nothing
/// told, then tells how the results of identified records ([`Keyed::identified_by`](crate::Keyed::identified_by))
/// differ from what was told, at once, and goes on. Gives what it will do, in words.
///
/// # Errors
/// [`Error::Usage`] when it cannot be done, with what to do: if no record of the application has an identity; if
/// there is no checkpoint, or the journal has something after the newest one; if nothing is kept of what came
/// before; if dead letters were tried again since. [`Error::Cluster`] if the directory is in use.
///
/// ```
/// use anabranch::config::Config;
/// use anabranch::prelude::*;
/// use anabranch::{reprocess, run, sink, source};
///
/// fn taxed(app: &App, tax: u64) -> Result<()> {
///     let orders = vec![vec![(Time::ZERO, (7_u32, 100_u64)), (Time::ZERO, (8, 0))]];
///     app.source("orders", source::memory(orders.into()))
///         .key_by(|_| ())
///         .identified_by(|(number, _)| *number)
///         .try_compute("tax", (), move |(_, price), (), out| {
///             out.emit(price * tax);
///             Ok(())
///         })
///         .sink("taxes", sink::null());
///     Ok(())
/// }
///
/// # let dir = std::env::temp_dir().join(format!("anabranch-taxes-{}", std::process::id()));
/// # let dir = dir.to_str().unwrap_or("taxes").to_string();
/// let config = Config::from_flags(["--data-dir", &dir])?;
/// let counters = run(&config, |app| taxed(app, 2))?;
/// assert_eq!(counters.snapshot()["taxes.records"], 2);
///
/// let told = reprocess(&config, None, |app| taxed(app, 3))?;
/// assert!(told.starts_with("the next start of this program computes anew"));
/// let counters = run(&config, |app| taxed(app, 3))?;
/// assert_eq!(counters.snapshot()["taxes.records"], 1, "nothing of nothing is the same");
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn reprocess(
    config: &Config,
    from: Option<Time>,
    build: impl Fn(&App) -> Result<()> + Send + Sync + 'static,
) -> Result<String> {
    reprocess_build(config, &(Arc::new(build) as Build), from)
}

pub(super) fn reprocess_build(
    config: &Config,
    build: &Build,
    from: Option<Time>,
) -> Result<String> {
    let plan = plan(build, config.workers(), config.partitions() as usize)?;
    order(config, &plan, from)
}

pub(super) fn replay_build(config: &Config, span: Span, build: Build) -> Result<Counters> {
    let data = left_data(config)?;
    drawing(config, &build)?;
    let start = (Durable::beginning(config, &data, span)?, span);
    let setup = looking(config, build, &data, start)?;
    let counters = setup.counters.clone();
    run_alone(setup, worker_config(config))?;
    Ok(counters)
}
