//! One process of a cluster: a line of a hosts file, or a child of the supervisor.
//!
//! Invariant: a child obeys its control pipe and nothing else. When the pipe ends, so does the
//! child, whatever its workers are doing: the supervisor is gone, and there are no orphans.

use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::drain::Drain;
use super::failure::Failures;
use super::link::spawn;
use super::mesh::{ClusterConfig, Mesh};
use super::pipe::{ORDERS, Order, REPORTS, Report, read_line, write_line};
use super::secret::Secret;
use super::{GENERATION, Placement, hosts, signals};
use crate::{Error, Result};

/// Marks a child of the supervisor: its index and the number of processes, as `1/3`.
pub(super) const CHILD: &str = "ANABRANCH_CHILD";

/// One process of a cluster, before it is formed.
#[derive(Debug)]
pub struct Member {
    process: usize,
    placement: Placement,
    drain: Drain,
    failures: Failures,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// One line of a hosts file.
    Listed { hosts: Vec<String>, secret: Secret },
    /// Started by the supervisor.
    Child { reports: File, start: Mutex<Receiver<(Secret, Vec<String>)>> },
}

impl Member {
    /// The index of this process.
    pub fn process(&self) -> usize {
        self.process
    }

    /// Process `process` of those in the hosts file.
    pub(super) fn listed(
        process: usize,
        placement: &Placement,
        drain: &Drain,
        failures: &Failures,
    ) -> Result<Self> {
        let need = |what: &str| Error::Usage(format!("--process needs {what}"));
        let file = placement.hosts.as_deref();
        let file = file.ok_or_else(|| need("--hosts FILE, one host:port a line"))?;
        let key = placement.key_file.as_deref();
        let key = key.ok_or_else(|| {
            need("--cluster-key-file FILE: make one with `openssl rand -hex 32`, mode 600")
        })?;
        let hosts = hosts::read(file)?;
        let count = hosts.len();
        if placement.processes.is_some_and(|processes| processes != count) {
            return Err(Error::Usage(format!(
                "--processes and the {count} lines of {} differ: leave --processes out",
                file.display()
            )));
        }
        if process >= count {
            return Err(Error::Usage(format!(
                "--process {process} is none of 0 to {} (the lines of {})",
                count - 1,
                file.display()
            )));
        }
        let kind = Kind::Listed { hosts, secret: Secret::read(key)? };
        Ok(Self::new(process, placement, drain, failures, kind))
    }

    /// The child that the supervisor has marked as `marked`.
    pub(super) fn child(
        marked: &str,
        placement: &Placement,
        drain: &Drain,
        failures: &Failures,
    ) -> Result<Self> {
        let wrong =
            || Error::Usage(format!("{CHILD} is for the children of `--processes`: do not set it"));
        let (process, _) = marked.split_once('/').ok_or_else(wrong)?;
        let process = process.parse().map_err(|_| wrong())?;
        // Before anything is reported: from then on the supervisor speaks for us.
        signals::ignore()?;
        let orders = descriptor(ORDERS, OpenOptions::new().read(true)).ok_or_else(wrong)?;
        let reports = descriptor(REPORTS, OpenOptions::new().write(true)).ok_or_else(wrong)?;
        let failed = |e| Error::io("the pipe to the supervisor", e);
        let causes = reports.try_clone().map_err(failed)?;
        failures.set_process(process);
        failures.set_silent();
        failures.on_first(move |cause| {
            let _ = write_line(&causes, &Report::Failed(cause.clone()));
        });
        let (started, start) = sync_channel(1);
        let obeyed = drain.clone();
        spawn("cluster:orders".to_owned(), move || obey(orders, &started, &obeyed))?;
        let kind = Kind::Child { reports, start: Mutex::new(start) };
        Ok(Self::new(process, placement, drain, failures, kind))
    }

    fn new(
        process: usize,
        placement: &Placement,
        drain: &Drain,
        failures: &Failures,
        kind: Kind,
    ) -> Self {
        let (drain, failures) = (drain.clone(), failures.clone());
        Self { process, placement: placement.clone(), drain, failures, kind }
    }

    /// Forms the cluster, or returns none if it was asked to drain before the cluster had begun:
    /// then the process has nothing to do, and should end with success.
    ///
    /// # Errors
    /// As [`Mesh::form`].
    pub fn connect(&self) -> Result<Option<Mesh>> {
        match &self.kind {
            Kind::Listed { hosts, secret } => {
                signals::watch(&self.drain)?;
                let config = self.config(secret.clone(), hosts.clone());
                Mesh::form(&config, &self.drain, &self.failures)
            }
            Kind::Child { reports, start } => {
                let failed = |e| Error::io("listening on loopback", e);
                let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?.to_string();
                write_line(reports, &Report::Listening(address))
                    .map_err(|e| Error::io("reporting to the supervisor", e))?;
                let start = start.lock().map_err(|_| lost_supervisor())?;
                let (secret, hosts) = start.recv().map_err(|_| lost_supervisor())?;
                let config = self.config(secret, hosts);
                Mesh::form_on(listener, &config, &self.drain, &self.failures)
            }
        }
    }

    fn config(&self, secret: Secret, hosts: Vec<String>) -> ClusterConfig {
        ClusterConfig {
            process: self.process,
            hosts,
            workers: self.placement.workers,
            secret,
            generation: GENERATION,
            fingerprint: self.placement.fingerprint,
            limits: self.placement.limits.clone(),
        }
    }
}

fn lost_supervisor() -> Error {
    Error::Cluster("the supervisor is gone".to_owned())
}

/// Opens a descriptor that this process was started with.
fn descriptor(number: i32, how: &OpenOptions) -> Option<File> {
    ["/proc/self/fd", "/dev/fd"].iter().find_map(|at| how.open(format!("{at}/{number}")).ok())
}

/// Obeys the supervisor, until it is gone.
fn obey(orders: File, started: &SyncSender<(Secret, Vec<String>)>, drain: &Drain) {
    let mut orders = BufReader::new(orders);
    loop {
        match read_line(&mut orders) {
            Ok(Some(Order::Start { secret, hosts })) => {
                let Ok(secret) = Secret::new(secret.as_bytes()) else { break };
                let _ = started.try_send((secret, hosts));
            }
            // It may take locks that a busy worker holds: the pipe's end must be seen regardless.
            Ok(Some(Order::Drain)) => {
                let drain = drain.clone();
                if spawn("cluster:drain".to_owned(), move || drain.request()).is_err() {
                    break;
                }
            }
            Ok(None) | Err(_) => break,
        }
    }
    tracing::info!("the supervisor is gone, so this process ends");
    std::process::exit(1);
}
