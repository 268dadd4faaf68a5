//! What the tests share: configurations, bounded waits, the workload with its expected result, and
//! processes that do not outlive their test.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anabranch::cluster::{ClusterConfig, Drain, Failures, Limits, Mesh, Secret};
use anabranch::{Result, clock};
use timely::dataflow::operators::{Exchange, Input, Inspect, Probe};
use timely::worker::Worker;

/// The bound of every wait. Far beyond what anything takes.
const BOUND: Duration = Duration::from_secs(60);

/// Polls until `done` gives something.
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = clock::instant();
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(start.elapsed() < BOUND, "waited too long until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn secret(byte: u8) -> Secret {
    Secret::new(&[byte; 32]).unwrap()
}

/// Listeners for `count` processes, and their configurations.
pub(crate) fn cluster(count: usize) -> (Vec<TcpListener>, Vec<ClusterConfig>) {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    let config = |process| ClusterConfig {
        process,
        hosts: hosts.clone(),
        workers: 2,
        secret: secret(1),
        generation: 1,
        fingerprint: 0xfeed,
        limits: Limits { start: BOUND, ..Limits::default() },
    };
    (listeners, (0..count).map(config).collect())
}

pub(crate) type Formed = Result<Option<Mesh>>;

/// Forms one process's mesh on a thread, each with its own failures as if it were a process.
pub(crate) fn form(listener: TcpListener, config: &ClusterConfig) -> JoinHandle<Formed> {
    let config = config.clone();
    thread::spawn(move || Mesh::form_on(listener, &config, &Drain::default(), &Failures::default()))
}

pub(crate) fn mesh(forming: JoinHandle<Formed>) -> Mesh {
    forming.join().unwrap().unwrap().expect("nobody asked to drain")
}

pub(crate) fn refusal(forming: JoinHandle<Formed>) -> String {
    forming.join().unwrap().expect_err("the mesh was formed").to_string()
}

const VALUES: u64 = 1000;

/// Each worker sends 0..1000 to the worker of that index modulo their number, and sums what it gets.
pub(crate) fn exchange_and_sum(worker: &mut Worker) -> u64 {
    let sum = std::rc::Rc::new(std::cell::Cell::new(0));
    let summed = std::rc::Rc::clone(&sum);
    let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
        let (input, stream) = scope.new_input::<Vec<u64>>();
        let summed = stream.exchange(|x| *x).inspect(move |x| summed.set(summed.get() + x));
        (input, summed.probe().0)
    });
    (0..VALUES).for_each(|x| input.send(x));
    input.close();
    while !probe.done() {
        worker.step_or_park(Some(Duration::from_millis(5)));
    }
    sum.get()
}

/// What [`exchange_and_sum`] must give on worker `index` of `peers`, counted another way.
pub(crate) fn expected_sum(index: u64, peers: u64) -> u64 {
    (0..VALUES).filter(|x| x % peers == index).map(|x| x * peers).sum()
}

/// Runs the workload over a formed cluster and checks every worker's sum.
pub(crate) fn assert_works(meshes: Vec<Mesh>) {
    let peers = meshes.iter().map(|mesh| mesh.workers).sum::<usize>() as u64;
    let running: Vec<_> = meshes
        .into_iter()
        .map(|mesh| {
            let failures = Failures::default();
            thread::spawn(move || {
                mesh.execute(timely::WorkerConfig::default(), &failures, exchange_and_sum)
            })
        })
        .collect();
    let sums: Vec<u64> =
        running.into_iter().flat_map(|running| running.join().unwrap().unwrap()).collect();
    let expected: Vec<u64> = (0..peers).map(|index| expected_sum(index, peers)).collect();
    assert_eq!(sums, expected);
}

/// What one connection through a [`Proxy`] has carried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) to_target: Vec<u8>,
    pub(crate) to_dialler: Vec<u8>,
}

/// A proxy that keeps what it carries.
pub(crate) struct Proxy {
    pub(crate) address: String,
    carried: Arc<Mutex<Vec<Arc<Mutex<Carried>>>>>,
}

impl Proxy {
    pub(crate) fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let carried: Arc<Mutex<Vec<Arc<Mutex<Carried>>>>> = Arc::default();
        let (target, all) = (target.to_owned(), Arc::clone(&carried));
        thread::spawn(move || {
            for dialler in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let one: Arc<Mutex<Carried>> = Arc::default();
                all.lock().unwrap().push(Arc::clone(&one));
                let (from, to) = (dialler.try_clone().unwrap(), server.try_clone().unwrap());
                let kept = Arc::clone(&one);
                thread::spawn(move || {
                    carry(from, to, |bytes| kept.lock().unwrap().to_target.extend(bytes));
                });
                thread::spawn(move || {
                    carry(server, dialler, |bytes| one.lock().unwrap().to_dialler.extend(bytes));
                });
            }
        });
        Self { address, carried }
    }

    /// The connections on which the target has said welcome: two hellos, two proofs, a verdict
    /// with its own proof, each with two bytes of length.
    pub(crate) fn handshakes(&self) -> Vec<Carried> {
        let all = self.carried.lock().unwrap();
        let all = all.iter().map(|one| one.lock().unwrap().clone());
        all.filter(|one| one.to_dialler.len() >= HELLO + PROOF + VERDICT + PROOF).collect()
    }
}

/// The sizes of a handshake's frames.
pub(crate) const HELLO: usize = 2 + 84;
pub(crate) const PROOF: usize = 2 + 32;
const VERDICT: usize = 2 + 1;

fn carry(mut from: TcpStream, mut to: TcpStream, keep: impl Fn(&[u8])) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        keep(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A directory of its own for one test, removed at its end.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("anabranch-cluster-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Waits for a file that a process writes, and returns its text.
    pub(crate) fn read(&self, name: &str) -> String {
        until(name, || std::fs::read_to_string(self.path(name)).ok())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes a file so that it is there with all of its text or not at all.
pub(crate) fn publish(path: &Path, text: &str) {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, text).unwrap();
    std::fs::rename(unfinished, path).unwrap();
}

/// This binary, started again as a program; killed with the test.
pub(crate) struct Process {
    child: Child,
    errors: PathBuf,
}

impl Process {
    /// Starts it with settings for [`crate::program`]; its standard error goes to a file.
    pub(crate) fn start(dir: &Dir, name: &str, settings: &[(&str, String)]) -> Self {
        Self::start_copy(&std::env::current_exe().unwrap(), dir, name, settings)
    }

    /// The same of another file of this program.
    pub(crate) fn start_copy(
        program: &Path,
        dir: &Dir,
        name: &str,
        settings: &[(&str, String)],
    ) -> Self {
        let errors = dir.path(&format!("{name}.err"));
        let mut command = Command::new(program);
        command
            .args(["program::program", "--exact", "--include-ignored", "--nocapture"])
            .env("CLUSTER_TEST_DIR", &dir.0)
            .envs(settings.iter().map(|(name, value)| (*name, value.as_str())))
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&errors).unwrap());
        Self { child: command.spawn().unwrap(), errors }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard error.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap()
    }

    pub(crate) fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn end(&mut self) -> ExitStatus {
        until("the process ends", || self.child.try_wait().unwrap())
    }

    /// Sends a signal again and again until it has left: two that come at once are one.
    pub(crate) fn signalled_until_gone(&mut self, name: &str) -> ExitStatus {
        until("it leaves", || {
            let ended = self.child.try_wait().unwrap();
            if ended.is_none() {
                signal(name, self.pid());
            }
            ended
        })
    }

    /// Waits for its end, which must be a failure, and returns its one error line.
    pub(crate) fn failure(&mut self) -> String {
        let status = self.end();
        let errors = self.errors();
        assert_eq!(status.code(), Some(1), "{errors}");
        let mut lines = errors.lines().filter(|line| line.starts_with("error: "));
        let line = lines.next().unwrap_or_else(|| panic!("no error line in: {errors}"));
        assert_eq!(lines.next(), None, "one error line is enough");
        assert!(!errors.contains("timely communication error"), "an echo was printed: {errors}");
        line.to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal, by its name, to one process.
pub(crate) fn signal(name: &str, pid: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

/// Whether a process runs no more; one that nobody has waited for yet counts as gone.
pub(crate) fn gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim().starts_with('Z')),
        Err(_) => true,
    }
}
