//! A program with a data directory, as users run it: supervised, fed over TCP by a producer that goes
//! on whatever happens. Its worker is killed, and what it releases is timed.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anabranch::prelude::*;
use anabranch::{Error, clock, sink, source};
use anabranch_connectors::{inlet, outlet};

use super::checkpoints::Watch;
use super::{decode, readings, write_line};
use crate::alerts::Random;

/// Set for the program that is killed.
const CHILD: &str = "ANABRANCH_BENCH_CHILD";
/// How often a producer tries to connect, and sends what is due.
const TICK: Duration = Duration::from_millis(2);
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The options of the program that is killed.
#[derive(clap::Args)]
struct Options {
    /// Where readings come from
    #[arg(long)]
    readings: String,
}

/// Whether this process is to be the program that is killed; and its end.
pub fn child() -> Option<ExitCode> {
    std::env::var_os(CHILD)?;
    Some(anabranch::main(|app: &App, options: &Options| {
        let source = source::frames(inlet(&options.readings)?, || decode);
        readings(app, source, sink::frames(outlet("-")?, || sink::Json));
        Ok(())
    }))
}

/// What was seen of the program.
#[derive(Default)]
struct Seen {
    /// The reading that is waited for, and when it or a later one was released.
    wanted: u64,
    released: Option<Instant>,
    /// What it logged, and when.
    log: Vec<(Instant, String)>,
}

type Shared = Arc<Mutex<Seen>>;

fn seen<T>(shared: &Shared, look: impl FnOnce(&mut Seen) -> T) -> T {
    look(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// How long the program was away, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Away {
    /// From the kill until the supervisor starts the next generation.
    pub restarted: f64,
    /// Until its workers have formed and look for a checkpoint.
    pub found: f64,
    /// Until it releases a reading that was sent after the kill.
    pub back: f64,
}

/// The program, and its producer.
pub struct Program {
    child: Child,
    seen: Shared,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Program {
    /// Starts it in `dir`; each of `keys` keys gets a reading at full speed, and then any of them
    /// `rate` a second. Comes back when there is a checkpoint of all.
    ///
    /// # Errors
    /// When it cannot be started, or gets nowhere.
    pub fn start(dir: &str, keys: u64, rate: u64) -> Result<Self> {
        let failed = |e| Error::io("starting the program that is to be killed", e);
        let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let port = free.map_err(failed)?.port();
        let executable = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(executable)
            .args(["--readings", &format!("tcp-listen://127.0.0.1:{port}")])
            .args(["--data-dir", dir, "--checkpoint-interval", "1s"])
            .env(CHILD, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let shared = Shared::default();
        if let (Some(output), Some(log)) = (child.stdout.take(), child.stderr.take()) {
            let (released, logged) = (Arc::clone(&shared), Arc::clone(&shared));
            std::thread::spawn(move || read_released(output, &released));
            std::thread::spawn(move || read_log(log, &logged));
        }
        let (sent, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counted, over) = (Arc::clone(&sent), Arc::clone(&stop));
        std::thread::spawn(move || produce(port, keys, rate, &counted, &over));
        let program = Self { child, seen: shared, sent, stop };
        let began = clock::instant();
        let mut watch = Watch::new(dir);
        watch.until(|made| {
            made.last().is_some_and(|made| made.reached > keys) || began.elapsed() > PATIENCE
        });
        Ok(program)
    }

    /// Kills its worker by SIGKILL, and waits until it is back.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn kill(&self) -> Result<Away> {
        let pid = seen(&self.seen, |seen| {
            seen.log.iter().rev().find_map(|(_, line)| {
                line.rsplit_once(" is pid ").map(|(_, pid)| pid.trim().to_string())
            })
        });
        let pid = pid.ok_or_else(|| lost("it told no pid"))?;
        let killed = clock::instant();
        let told = Command::new("kill").args(["-KILL", &pid]).status();
        let wanted = self.sent.load(Ordering::SeqCst);
        if !told.is_ok_and(|status| status.success()) {
            return Err(lost("it cannot be killed"));
        }
        seen(&self.seen, |seen| (seen.wanted, seen.released) = (wanted, None));
        let back = loop {
            match seen(&self.seen, |seen| seen.released) {
                Some(back) => break back,
                None if killed.elapsed() > PATIENCE => return Err(lost("it does not come back")),
                None => std::thread::sleep(TICK),
            }
        };
        let at = |what: &str| {
            seen(&self.seen, |seen| {
                let after = seen.log.iter().filter(|(at, _)| *at > killed);
                let told = after.filter(|(_, line)| line.contains(what));
                told.map(|(at, _)| (*at - killed).as_secs_f64()).next().unwrap_or(f64::NAN)
            })
        };
        let back = (back - killed).as_secs_f64();
        Ok(Away { restarted: at(" starts"), found: at(" goes on from "), back })
    }

    /// What the program has logged since its start.
    pub fn log(&self) -> Vec<String> {
        seen(&self.seen, |seen| seen.log.iter().map(|(_, line)| line.clone()).collect())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Its children end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lost(what: &str) -> Error {
    Error::Cluster(format!("the program that is to be killed: {what}"))
}

fn read_released(output: impl Read, shared: &Shared) {
    for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
        let Ok(sent) = line.parse::<u64>() else { continue };
        let now = clock::instant();
        seen(shared, |seen| {
            if seen.wanted > 0 && sent > seen.wanted && seen.released.is_none() {
                seen.released = Some(now);
            }
        });
    }
}

fn read_log(log: impl Read, shared: &Shared) {
    for line in BufReader::new(log).lines().map_while(std::result::Result::ok) {
        let now = clock::instant();
        seen(shared, |seen| seen.log.push((now, line)));
    }
}

/// Sends readings numbered from 1 until it is told to stop, on one connection after the other.
fn produce(port: u16, keys: u64, rate: u64, sent: &AtomicU64, stop: &AtomicBool) {
    let (mut random, mut line) = (Random(11), String::new());
    let mut bytes = Vec::new();
    let mut due = None;
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(TICK);
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
        while !stop.load(Ordering::SeqCst) {
            let first = sent.load(Ordering::SeqCst);
            let until = if first < keys {
                (first + 1000).min(keys)
            } else {
                std::thread::sleep(TICK);
                let (since, from) = *due.get_or_insert((clock::instant(), first));
                from + (since.elapsed().as_secs_f64() * rate as f64) as u64
            };
            bytes.clear();
            for number in first..until {
                let x = random.next_u64();
                let key = if number < keys { number } else { (x >> 16) % keys };
                write_line(&mut line, key, (x & 0xffff) as i64, number + 1);
                bytes.extend_from_slice(&(line.len() as u32).to_be_bytes());
                bytes.extend_from_slice(line.as_bytes());
            }
            sent.store(until.max(first), Ordering::SeqCst);
            if stream.write_all(&bytes).is_err() {
                break;
            }
        }
    }
}
