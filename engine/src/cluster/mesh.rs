//! Forming the cluster: two authenticated connections between every two processes.
//!
//! Invariant: [`Mesh::form`] returns a mesh only when *every* process has all its connections, all
//! of them agree on the configuration, and nothing listens any more. A process dials those of lower
//! index and is dialled by those of higher index. What is wrong with one process is named by every
//! other one that hears of it.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::drain::Drain;
use super::failure::Failures;
use super::forming::Forming;
use super::link::Links;
use super::restarts::Restarts;
use super::secret::Secret;
use crate::metrics::Counter;
use crate::{Error, Result};

/// How long things may take. The defaults are for production; tests scale them down.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the first attempt until all processes are there (60 s).
    pub start: Duration,
    /// One handshake, all of it (2 s).
    pub handshake: Duration,
    /// Between two heartbeats on a control link (1 s).
    pub heartbeat: Duration,
    /// Without a word from a peer, until it is lost (10 s).
    pub silence: Duration,
    /// For the other processes to end by themselves after one has failed, until the supervisor
    /// kills them (3 s).
    pub ending: Duration,
    /// For whoever used a data directory before to be gone (10 s).
    pub lock: Duration,
    /// When a supervisor starts the cluster again, with a data directory.
    pub restarts: Restarts,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(60),
            handshake: Duration::from_secs(2),
            heartbeat: Duration::from_secs(1),
            silence: Duration::from_secs(10),
            ending: Duration::from_secs(3),
            lock: Duration::from_secs(10),
            restarts: Restarts::default(),
        }
    }
}

/// One process's view of the cluster that it is to be part of.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The index of this process in `hosts`.
    pub process: usize,
    /// The address of every process, `host:port`.
    pub hosts: Vec<String>,
    /// Worker threads in each process.
    pub workers: usize,
    /// The key that all processes share.
    pub secret: Secret,
    /// Which start of the cluster this is; a later generation refuses an earlier one. 0 without a
    /// data directory: then starts are not counted.
    pub generation: u64,
    /// A hash of what must be the same in all processes: the application and its options.
    pub fingerprint: u64,
    /// How long things may take.
    pub limits: Limits,
}

/// A cluster that is complete, as one of its processes sees it.
#[derive(Debug)]
pub struct Mesh {
    /// The index of this process.
    pub process: usize,
    /// Worker threads in each process.
    pub workers: usize,
    /// Which start of the cluster this is.
    pub generation: u64,
    /// The data connection to each process, none to itself: blocking, without delay or timeouts,
    /// as `initialize_networking_from_sockets` wants them.
    pub data: Vec<Option<TcpStream>>,
    /// The control links; say goodbye with them when the dataflow is done.
    pub links: Links,
    /// Connections that were refused while the cluster formed.
    pub refused: Counter,
    /// When an earlier start was asked to make place for this one, of another size.
    pub(crate) rescaled_at: Option<crate::Time>,
}

impl Mesh {
    /// Listens on this process's own address and forms the cluster. None if `drain` was requested
    /// before the cluster had begun: then there is nothing to do, and all is well.
    ///
    /// # Errors
    /// When the address cannot be listened on, when authenticated processes are configured
    /// differently, when a process has not come after [`Limits::start`], or when one is lost.
    pub fn form(
        config: &ClusterConfig,
        drain: &Drain,
        failures: &Failures,
    ) -> Result<Option<Self>> {
        let listener = listen(config)?;
        Self::form_on(listener, config, drain, failures)
    }

    /// The same on a socket that listens already; the other processes must know its address.
    ///
    /// # Errors
    /// As [`Mesh::form`].
    pub fn form_on(
        listener: TcpListener,
        config: &ClusterConfig,
        drain: &Drain,
        failures: &Failures,
    ) -> Result<Option<Self>> {
        failures.set_process(config.process);
        Forming::new(config, drain, failures)?.run(listener, drain)
    }
}

/// Binds the address of this process's own line.
fn listen(config: &ClusterConfig) -> Result<TcpListener> {
    let own = config.hosts.get(config.process).ok_or_else(|| {
        Error::Usage(format!(
            "there is no process {} among {} hosts: indices begin at 0",
            config.process,
            config.hosts.len()
        ))
    })?;
    let found = own.to_socket_addrs().and_then(|mut addresses| {
        addresses.next().ok_or_else(|| ErrorKind::AddrNotAvailable.into())
    });
    found.and_then(TcpListener::bind).map_err(|e| {
        let what = format!(
            "process {} cannot listen on {own}, its line of the hosts file",
            config.process
        );
        Error::io(what, e)
    })
}
