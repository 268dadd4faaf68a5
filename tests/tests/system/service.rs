//! An outside service that programs ask: it never says the same twice, it fails at times, and it is slow.
//!
//! Invariant: it remembers every question of every process and what it said, so it knows by itself, without the
//! programs, what an answer is of and who was asked about more often than they should.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::run::is_gone;
use crate::support::until;

/// What was asked about a record: its name, and which of its key it is.
pub(crate) type Question = (String, u64);

/// All that it has heard and said.
#[derive(Default)]
struct Heard {
    /// What it said, by the number that it said: the question, and whether it had an answer.
    said: BTreeMap<u64, (Question, bool)>,
    asked: BTreeMap<String, u64>,
    calls: u64,
    /// Questions that wait for it, by the process that waits.
    under_way: BTreeMap<u64, u32>,
    /// It says nothing for now.
    holds: bool,
    /// Records of which an answer was released.
    settled: BTreeSet<String>,
    asked_again: Vec<String>,
    ends: bool,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    released: Condvar,
}

/// A service on a port of this machine; it ends with its test.
pub(crate) struct Service {
    shared: Arc<Shared>,
    pub(crate) address: String,
    listening: Option<JoinHandle<()>>,
}

fn hash(record: &str) -> u64 {
    record.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
}

/// Of these it knows nothing, however often it is asked.
pub(crate) fn refuses(record: &str) -> bool {
    hash(record) % 23 == 3
}

/// Of these it hangs up at the first question.
fn hangs_up(record: &str) -> bool {
    hash(record) % 5 == 2
}

impl Service {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared: Arc<Shared> = Arc::default();
        let of = Arc::clone(&shared);
        let listening = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if of.heard().ends {
                    return;
                }
                let (Ok(connection), of) = (connection, Arc::clone(&of)) else { continue };
                // It ends with the connection, as that does with the program.
                std::thread::spawn(move || of.serve(&connection));
            }
        });
        Self { shared, address, listening: Some(listening) }
    }

    /// How often it was asked.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.heard().calls
    }

    /// How many records were asked about more than once.
    pub(crate) fn asked_more_than_once(&self) -> usize {
        self.shared.heard().asked.values().filter(|times| **times > 1).count()
    }

    /// What it said by that number.
    pub(crate) fn said(&self, number: u64) -> Option<(Question, bool)> {
        self.shared.heard().said.get(&number).cloned()
    }

    /// Says nothing any more, and waits until somebody waits for it; false if `over` is so before.
    #[track_caller]
    pub(crate) fn hold(&self, mut over: impl FnMut() -> bool) -> bool {
        self.shared.heard().holds = true;
        until("the service is asked", || match self.waiting() {
            0 => over().then_some(false),
            _ => Some(true),
        })
    }

    /// How many questions of processes that live wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        let waiting: Vec<u32> = self.shared.heard().under_way.values().copied().collect();
        waiting.into_iter().filter(|process| !is_gone(*process)).count()
    }

    /// Says what it has to say.
    pub(crate) fn release(&self) {
        self.shared.heard().holds = false;
        self.shared.released.notify_all();
    }

    /// Something was released about this record, so nobody is to ask about it any more. False if that was so
    /// before.
    pub(crate) fn settle(&self, record: &str) -> bool {
        self.shared.heard().settled.insert(record.to_string())
    }

    /// Records that were asked about though something had been released of them.
    pub(crate) fn asked_again(&self) -> Vec<String> {
        self.shared.heard().asked_again.clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.heard().ends = true;
        self.release();
        // So that it looks.
        let _ = TcpStream::connect(&self.address);
        let _ = self.listening.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }

    /// Answers one question after the other, until the other end is gone.
    fn serve(&self, mut connection: &TcpStream) {
        for line in BufReader::new(connection).lines().map_while(Result::ok) {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap();
            let process = word().parse().unwrap();
            let question = (word().to_string(), word().parse().unwrap());
            let Some(answer) = self.answer(process, question) else { return };
            // Who has asked may have been killed.
            if connection.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// None if it hangs up.
    fn answer(&self, process: u32, question: Question) -> Option<String> {
        let (record, place) = question.clone();
        let mut heard = self.heard();
        let number = heard.calls;
        heard.calls += 1;
        let times = heard.asked.entry(record.clone()).or_default();
        *times += 1;
        let is_first = *times == 1;
        // A question of one that was killed may be read only now.
        if heard.settled.contains(&record) && !is_gone(process) {
            heard.asked_again.push(record.clone());
        }
        heard.under_way.insert(number, process);
        heard = self.released.wait_while(heard, |heard| heard.holds && !heard.ends).unwrap();
        drop(heard);
        // It is slow, some times more than others: what comes later may be answered before.
        std::thread::sleep(Duration::from_millis(number.wrapping_mul(2_654_435_761) >> 7 & 3));
        let mut heard = self.heard();
        heard.under_way.remove(&number);
        if is_first && hangs_up(&record) {
            return None;
        }
        let knows = !refuses(&record);
        heard.said.insert(number, (question, knows));
        Some(match knows {
            true => format!("yes {number}\n"),
            false => format!("no {number} {record} {place}\n"),
        })
    }
}
