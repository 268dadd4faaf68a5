//! One process of a cluster: a line of a hosts file, or a child of the supervisor.
//!
//! Invariant: a child obeys its control pipe and nothing else. When the pipe ends, so does the
//! child, whatever its workers are doing: the supervisor is gone, and there are no orphans.

use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::drain::Drain;
use super::failure::Failures;
use super::link::spawn;
use super::mesh::{ClusterConfig, Mesh};
use super::pipe::{ORDERS, Order, REPORTS, Report, Scale, read_line, write_line};
use super::secret::Secret;
use super::{Placement, hosts, signals};
use crate::data_dir::Seat;
use crate::{Error, Result, Time};

/// Marks a child of the supervisor: its index, the number of processes, and if they are other than its options say,
/// the workers of each, as `1/3` or `1/3/4`.
pub(super) const CHILD: &str = "ANABRANCH_CHILD";

/// One process of a cluster, before it is formed.
#[derive(Debug)]
pub struct Member {
    process: usize,
    processes: usize,
    placement: Placement,
    drain: Drain,
    failures: Failures,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// One line of a hosts file.
    Listed(Listed),
    /// Started by the supervisor, perhaps for one line of a hosts file.
    Child { reports: File, start: Mutex<Receiver<Start>>, listed: Option<Listed> },
}

/// What the files of a cluster on several machines say.
#[derive(Debug)]
struct Listed {
    hosts: Vec<String>,
    secret: Secret,
}

/// What a child is started with.
struct Start {
    generation: u64,
    /// None for a line of a hosts file.
    cluster: Option<Listed>,
    rescaled_at: Option<Time>,
}

impl Member {
    /// The index of this process.
    pub fn process(&self) -> usize {
        self.process
    }

    /// How many processes the cluster has.
    pub fn processes(&self) -> usize {
        self.processes
    }

    /// Where to say that something which lasts was brought forward: see [`Progress`].
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn progress(&self) -> Result<Progress> {
        let Kind::Child { reports, .. } = &self.kind else { return Ok(Progress::default()) };
        let reports =
            reports.try_clone().map_err(|e| Error::io("the pipe to the supervisor", e))?;
        Ok(Progress(Some(Arc::new((reports, AtomicBool::new(false))))))
    }

    /// Asks the supervisor for another size; none if it cannot give one.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(crate) fn rescaler(&self) -> Result<Option<Rescaler>> {
        let Kind::Child { reports, listed: None, .. } = &self.kind else { return Ok(None) };
        if self.placement.data.is_none() {
            return Ok(None);
        }
        let reports =
            reports.try_clone().map_err(|e| Error::io("the pipe to the supervisor", e))?;
        Ok(Some(Rescaler(Arc::new(reports))))
    }

    /// Process `process` of those in the hosts file.
    pub(super) fn listed(
        process: usize,
        placement: &Placement,
        drain: &Drain,
        failures: &Failures,
    ) -> Result<Self> {
        let listed = read_files(process, placement)?;
        let processes = listed.hosts.len();
        Ok(Self::new((process, processes), placement, drain, failures, Kind::Listed(listed)))
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
        let (process, processes, _) = marks(marked).ok_or_else(wrong)?;
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
        let answers = reports.try_clone().map_err(failed)?;
        spawn("cluster:orders".to_owned(), move || obey(orders, &answers, &started, &obeyed))?;
        let listed = placement.process.map(|listed| read_files(listed, placement)).transpose()?;
        let kind = Kind::Child { reports, start: Mutex::new(start), listed };
        Ok(Self::new((process, processes), placement, drain, failures, kind))
    }

    fn new(
        (process, processes): (usize, usize),
        placement: &Placement,
        drain: &Drain,
        failures: &Failures,
        kind: Kind,
    ) -> Self {
        let (drain, failures) = (drain.clone(), failures.clone());
        Self { process, processes, placement: placement.clone(), drain, failures, kind }
    }

    /// Forms the cluster, or returns none if it was asked to drain before the cluster had begun:
    /// then the process has nothing to do, and should end with success. With a data directory, the
    /// directory is this process's to use from here on, and not before.
    ///
    /// # Errors
    /// As [`Mesh::form`], or when an earlier start still uses the data directory.
    pub fn connect(&self) -> Result<Option<Mesh>> {
        match &self.kind {
            Kind::Listed(listed) => {
                signals::watch(&self.drain)?;
                Mesh::form(&self.config(0, listed), &self.drain, &self.failures)
            }
            Kind::Child { reports, start, listed } => {
                if let Some(data) = &self.placement.data {
                    data.take(Seat::Process(self.process), self.placement.limits.lock)?;
                }
                let report = |report| {
                    write_line(reports, &report)
                        .map_err(|e| Error::io("reporting to the supervisor", e))
                };
                let mesh = match listed {
                    Some(listed) => self.connect_listed(listed, start, report)?,
                    None => self.connect_local(start, report)?,
                };
                if mesh.is_some() {
                    report(Report::Formed)?;
                }
                Ok(mesh)
            }
        }
    }

    /// On loopback, with processes and a key that the supervisor names.
    fn connect_local(
        &self,
        start: &Mutex<Receiver<Start>>,
        report: impl Fn(Report) -> Result<()>,
    ) -> Result<Option<Mesh>> {
        let failed = |e| Error::io("listening on loopback", e);
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        report(Report::Listening(address))?;
        let Start { generation, cluster, rescaled_at } = received(start)?;
        let config = self.config(generation, &cluster.ok_or_else(lost_supervisor)?);
        let mesh = Mesh::form_on(listener, &config, &self.drain, &self.failures)?;
        Ok(mesh.map(|mesh| Mesh { rescaled_at, ..mesh }))
    }

    /// As a line of a hosts file, once the supervisor has found out which start this is.
    fn connect_listed(
        &self,
        listed: &Listed,
        start: &Mutex<Receiver<Start>>,
        report: impl Fn(Report) -> Result<()>,
    ) -> Result<Option<Mesh>> {
        let own = listed.hosts.get(self.process).cloned().unwrap_or_default();
        report(Report::Listening(own))?;
        let Start { generation, .. } = received(start)?;
        Mesh::form(&self.config(generation, listed), &self.drain, &self.failures)
    }

    fn config(&self, generation: u64, listed: &Listed) -> ClusterConfig {
        ClusterConfig {
            process: self.process,
            hosts: listed.hosts.clone(),
            workers: self.placement.workers,
            secret: listed.secret.clone(),
            generation,
            fingerprint: self.placement.fingerprint,
            limits: self.placement.limits.clone(),
        }
    }
}

/// Tells the supervisor, once, that this start has brought something forward that lasts: such as a
/// checkpoint, or an epoch that no earlier start had released. Failures after it begin a new row,
/// so that a cluster which gets on is restarted however often it fails. Without a supervisor it
/// does nothing.
#[derive(Clone, Debug, Default)]
pub struct Progress(Option<Arc<(File, AtomicBool)>>);

impl Progress {
    /// Says so, if it was not said before.
    pub fn made(&self) {
        let Some((reports, said)) = self.0.as_deref() else { return };
        if !said.swap(true, Ordering::Relaxed) {
            // A supervisor that is gone is noticed by the end of its orders.
            let _ = write_line(reports, &Report::Progress);
        }
    }
}

/// Asks the supervisor for a start of another size.
#[derive(Clone, Debug)]
pub(crate) struct Rescaler(Arc<File>);

impl Rescaler {
    /// Ends this start in order, and begins the next one with that many processes and workers of each.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub(crate) fn ask(&self, scale: Scale) -> Result<()> {
        write_line(&*self.0, &Report::Rescale(scale))
            .map_err(|e| Error::io("asking the supervisor", e))
    }
}

/// What marks a child: its index, the number of processes, and the workers of each.
fn marks(marked: &str) -> Option<(usize, usize, Option<usize>)> {
    let mut numbers = marked.split('/').map(|number| number.parse().ok());
    let (process, processes) = (numbers.next()??, numbers.next()??);
    let workers = numbers.next();
    match workers {
        None => Some((process, processes, None)),
        Some(workers) => numbers.next().is_none().then_some((process, processes, Some(workers?))),
    }
}

/// The workers of each process, if this is a child of a start of another size than its options say.
pub(crate) fn rescaled_workers() -> Option<usize> {
    marks(&std::env::var(CHILD).ok()?)?.2
}

fn received(start: &Mutex<Receiver<Start>>) -> Result<Start> {
    let start = start.lock().map_err(|_| lost_supervisor())?;
    start.recv().map_err(|_| lost_supervisor())
}

/// Reads and checks the files of process `process` of a cluster on several machines.
fn read_files(process: usize, placement: &Placement) -> Result<Listed> {
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
    Ok(Listed { hosts, secret: Secret::read(key)? })
}

/// How many processes the hosts file has, once all is checked that needs no other machine.
pub(super) fn listed_processes(process: usize, placement: &Placement) -> Result<usize> {
    read_files(process, placement).map(|listed| listed.hosts.len())
}

fn lost_supervisor() -> Error {
    Error::Cluster("the supervisor is gone".to_owned())
}

/// Opens a descriptor that this process was started with.
fn descriptor(number: i32, how: &OpenOptions) -> Option<File> {
    ["/proc/self/fd", "/dev/fd"].iter().find_map(|at| how.open(format!("{at}/{number}")).ok())
}

/// Obeys the supervisor, until it is gone.
fn obey(orders: File, answers: &File, started: &SyncSender<Start>, drain: &Drain) {
    let mut orders = BufReader::new(orders);
    loop {
        match read_line(&mut orders) {
            Ok(Some(Order::Start { generation, secret, hosts, rescaled_at })) => {
                let secret = secret.map(|secret| Secret::new(secret.as_bytes())).transpose();
                let Ok(secret) = secret else { break };
                let cluster = secret.map(|secret| Listed { hosts, secret });
                let _ = started.try_send(Start { generation, cluster, rescaled_at });
            }
            // That it cannot be written is noticed by the end of the orders.
            Ok(Some(Order::Ping)) => drop(write_line(answers, &Report::Alive)),
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
