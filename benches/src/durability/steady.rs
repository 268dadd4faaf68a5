//! Live readings: first one of every key, as fast as they are taken, then of any key by a schedule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anabranch::clock;
use anabranch::prelude::*;
use anabranch::source::{Frame, FrameReader, Inlet, Nature, OpenContext, Progress};

use super::{LAST, write_line};
use crate::alerts::Random;

/// How often the reader looks at what is due.
const TICK: Duration = Duration::from_millis(1);

/// What comes.
#[derive(Clone)]
pub struct Steady {
    /// Readings are numbered by the nanoseconds since then.
    pub began: Instant,
    /// How many keys there are.
    pub keys: u64,
    /// How many readings a second follow when each key has had one.
    pub rate: u64,
    /// When each key had its first: nanoseconds since `began`; 0 before.
    pub filled: Arc<AtomicU64>,
    /// Ends the input, with a reading [`LAST`].
    pub stop: Arc<AtomicBool>,
}

impl Steady {
    /// Readings of `keys` keys, `rate` a second.
    pub fn new(keys: u64, rate: u64) -> Self {
        let (filled, stop) = (Arc::default(), Arc::default());
        Self { began: clock::instant(), keys, rate, filled, stop }
    }

    /// Only the reading [`LAST`].
    pub fn last() -> Self {
        let only = Self::new(0, 1);
        only.stop.store(true, Ordering::SeqCst);
        only
    }
}

impl Inlet for Steady {
    fn describe(&self) -> String {
        "steady".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        let (waker, ended) = (context.waker.clone(), Arc::new(AtomicBool::new(false)));
        let over = Arc::clone(&ended);
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                waker.wake();
            }
        });
        Ok(Box::new(SteadyReader {
            steady: self.clone(),
            offset: context.resume.from,
            filled: 0,
            due: None,
            sent: 0,
            random: Random(5),
            line: String::new(),
            ended,
        }))
    }
}

struct SteadyReader {
    steady: Steady,
    offset: u64,
    /// How many keys had their first.
    filled: u64,
    /// When the schedule began.
    due: Option<Instant>,
    /// How many readings of the schedule were given.
    sent: u64,
    random: Random,
    line: String,
    ended: Arc<AtomicBool>,
}

impl SteadyReader {
    fn give(
        &mut self,
        (key, value, sent): (u64, i64, u64),
        each: &mut dyn FnMut(Frame<'_>) -> bool,
    ) -> bool {
        write_line(&mut self.line, key, value, sent);
        let offset = self.offset;
        self.offset += 1;
        each(Frame::new(offset, self.line.as_bytes()))
    }
}

impl FrameReader for SteadyReader {
    fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
        while self.filled < self.steady.keys {
            let key = self.filled;
            self.filled += 1;
            if !self.give((key, 1, 0), each) {
                return Ok(Progress::Ready);
            }
        }
        if self.ended.load(Ordering::Relaxed) {
            return Ok(Progress::End);
        }
        if self.steady.stop.load(Ordering::SeqCst) {
            self.ended.store(true, Ordering::Relaxed);
            self.give((0, 0, LAST), each);
            return Ok(Progress::End);
        }
        let now = clock::instant();
        let due = *self.due.get_or_insert(now);
        let since = (due - self.steady.began).as_nanos() as u64;
        self.steady.filled.store(since.max(1), Ordering::SeqCst);
        let interval = 1e9 / self.steady.rate as f64;
        let until = ((now - due).as_nanos() as f64 / interval) as u64;
        while self.sent < until {
            let at = since + (self.sent as f64 * interval) as u64;
            let x = self.random.next_u64();
            self.sent += 1;
            let reading = ((x >> 16) % self.steady.keys.max(1), (x & 0xffff) as i64, at);
            if !self.give(reading, each) {
                return Ok(Progress::Ready);
            }
        }
        Ok(Progress::Idle)
    }
}
