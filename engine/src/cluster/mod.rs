//! Processes: how they find each other, prove themselves, watch each other, and end.
//!
//! A run goes so. `main` makes a [`Drain`] and [`Failures`], calls [`install_panic_hook`] and asks
//! [`role`] what this process is. [`Role::Alone`]: no cluster; `main` calls [`watch_signals`] and
//! runs. [`Role::Supervisor`] (`-n N`): starts N copies of the program, each with a control pipe,
//! collects the loopback addresses on which they listen, makes a key, hands both out, and from then
//! on only passes a drain on and remembers the first failure. With a data directory
//! ([`Placement::data`]) there is a supervisor for one process too, and for each line of a hosts
//! file: it starts its processes again when they fail ([`Restarts`]), each time as the next
//! generation ([`Mesh::generation`]), and gives up one that does not answer. [`Role::Member`] (such a child, or
//! `-p I --hosts FILE`): [`Member::connect`] forms the mesh. Each process dials those of lower index
//! and admits those of higher index; every connection begins with the handshake by the shared key,
//! and strangers lose only their own connection. When each process has two connections to each
//! other one, data and control, all say that they are ready, and nobody listens any more: a
//! connection attempt later is refused by the machine and does no harm. The data connections go to
//! timely ([`Mesh::execute`]); the control links carry heartbeats, a drain, a goodbye, or why
//! something failed. At the end of the dataflow each process says goodbye and waits for the others:
//! a run has succeeded when it has everywhere. If anything fails anywhere, its cause runs through
//! the links faster than its echo through timely, every process ends with it
//! ([`Failures::exit_on_first`], [`Failures::exit`]), and the exit code is 1.
//!
//! Invariant: no byte reaches timely from a connection that has not proved that it has the key; the
//! cluster stands or falls as one: no process is replaced in a running cluster, all are started
//! again. What they find again is not known here, only which start they are.
//!
//! ```no_run
//! use anabranch::cluster::{self, Drain, Failures, Placement, Role};
//! # use anabranch::Result;
//! fn run(placement: &Placement, drain: &Drain, failures: &Failures) -> Result<()> {
//!     match cluster::role(placement, drain, failures)? {
//!         Role::Supervisor(supervisor) => supervisor.run(),
//!         Role::Alone => {
//!             cluster::watch_signals(drain)?;
//!             Ok(()) // run the workers of this process
//!         }
//!         Role::Member(member) => {
//!             let Some(mesh) = member.connect()? else { return Ok(()) };
//!             mesh.execute(timely::WorkerConfig::default(), failures, |worker| {
//!                 worker.index(); // build the dataflow, step
//!             })?;
//!             Ok(())
//!         }
//!     }
//! }
//! fn main() {
//!     let (drain, failures) = (Drain::default(), Failures::default());
//!     cluster::install_panic_hook(&failures);
//!     failures.exit_on_first();
//!     if let Err(error) = run(&Placement::default(), &drain, &failures) {
//!         failures.exit(&error);
//!     }
//! }
//! ```

mod door;
mod drain;
mod failure;
mod forming;
mod handshake;
mod hosts;
mod link;
mod member;
mod mesh;
mod panics;
mod pipe;
mod restarts;
mod run;
mod seats;
mod secret;
mod signals;
mod started;
mod supervisor;
mod watch;
mod wire;

use std::path::PathBuf;

pub use drain::Drain;
pub use failure::{Cause, Failures};
pub use link::Links;
pub use member::{Member, Progress};
pub(crate) use member::{Rescaler, rescaled_workers};
pub use mesh::{ClusterConfig, Limits, Mesh};
pub(crate) use panics::{Caught, catch_all, catch_within};
pub use panics::{catch, install_panic_hook};
pub(crate) use pipe::Scale;
pub use restarts::Restarts;
pub(crate) use run::allocators_within;
pub use secret::Secret;
pub(crate) use secret::read_secret_file;
pub use signals::watch as watch_signals;
pub use supervisor::Supervisor;

use crate::data_dir::DataDir;
use crate::{Error, Result};

/// Where the processes of an application are, as its options say.
#[derive(Clone, Debug)]
pub struct Placement {
    /// `--workers`: worker threads in each process.
    pub workers: usize,
    /// `--processes`: how many processes to start on this machine; with `process`, how many lines
    /// the hosts file should have.
    pub processes: Option<usize>,
    /// `--process`: which line of the hosts file this process is.
    pub process: Option<usize>,
    /// `--hosts`: the file of the processes' addresses.
    pub hosts: Option<PathBuf>,
    /// `--cluster-key-file`: the file of the shared key.
    pub key_file: Option<PathBuf>,
    /// The directory of what outlives a start. With it a supervisor starts the cluster again when
    /// it fails, also one of a single process.
    pub data: Option<DataDir>,
    /// A hash of what must be the same in all processes: the application and its options.
    pub fingerprint: u64,
    /// How long things may take.
    pub limits: Limits,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            workers: 1,
            processes: None,
            process: None,
            hosts: None,
            key_file: None,
            data: None,
            fingerprint: 0,
            limits: Limits::default(),
        }
    }
}

/// What this process is.
#[derive(Debug)]
pub enum Role {
    /// The only process: no cluster.
    Alone,
    /// The one that starts and watches the others, and computes nothing.
    Supervisor(Supervisor),
    /// One of several that compute.
    Member(Member),
}

/// Finds out what this process is. Call it early: a child obeys its supervisor from here on.
///
/// # Errors
/// When the options contradict each other, or the hosts or key file is wrong.
///
/// ```
/// use anabranch::cluster::{self, Drain, Failures, Placement, Role};
/// let (drain, failures) = (Drain::default(), Failures::default());
/// let alone = cluster::role(&Placement::default(), &drain, &failures)?;
/// assert!(matches!(alone, Role::Alone));
/// let three = Placement { processes: Some(3), ..Placement::default() };
/// assert!(matches!(cluster::role(&three, &drain, &failures)?, Role::Supervisor(_)));
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn role(placement: &Placement, drain: &Drain, failures: &Failures) -> Result<Role> {
    if placement.workers == 0 {
        return Err(Error::Usage("--workers must be at least 1".to_owned()));
    }
    if let Ok(marked) = std::env::var(member::CHILD) {
        return Member::child(&marked, placement, drain, failures).map(Role::Member);
    }
    let supervisor = |process, processes| {
        Role::Supervisor(Supervisor {
            process,
            processes,
            data: placement.data.clone(),
            limits: placement.limits.clone(),
        })
    };
    if let (Some(process), Some(_)) = (placement.process, &placement.data) {
        let processes = member::listed_processes(process, placement)?;
        return Ok(supervisor(Some(process), processes));
    }
    if let Some(process) = placement.process {
        return Member::listed(process, placement, drain, failures).map(Role::Member);
    }
    if placement.hosts.is_some() || placement.key_file.is_some() {
        return Err(Error::Usage(
            "--hosts and --cluster-key-file are for a cluster on several machines: say with \
             --process which line of the hosts file this process is"
                .to_owned(),
        ));
    }
    match placement.processes.unwrap_or(1) {
        0 => Err(Error::Usage("--processes must be at least 1".to_owned())),
        1 if placement.data.is_none() => Ok(Role::Alone),
        processes if processes > hosts::PROCESSES_MAX => Err(Error::Usage(format!(
            "--processes {processes} is more than the limit of {}",
            hosts::PROCESSES_MAX
        ))),
        processes => Ok(supervisor(None, processes)),
    }
}
