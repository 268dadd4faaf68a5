//! What frames are to be, without any care for cost: keeps every record and looks through all of them.
//!
//! Invariant: no code of the frames themselves is used here, but the words for what comes of them.

use super::FrameState;

/// What a frame's calculation depends on beside its records.
pub(super) type Fails = fn(start: i64, revision: u32, attempt: u32) -> bool;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) duration: i64,
    pub(super) floor: i64,
    pub(super) anchor: Option<i64>,
    pub(super) ticking: bool,
    pub(super) lateness: i64,
    pub(super) retries: u32,
    pub(super) backoff: i64,
    pub(super) hold: bool,
    pub(super) backfill: Option<(i64, i64)>,
    pub(super) fails: Fails,
}

#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) state: FrameState,
    pub(super) attempts: u32,
    pub(super) revision: u32,
    pub(super) result: Option<Vec<u64>>,
    /// Whether it was done again when its records may have been deleted.
    pub(super) may_miss: bool,
    /// When it is to be tried again.
    again: Option<i64>,
    /// It was removed, and is only to come.
    hole: bool,
}

/// That a frame was calculated (or failed), of a revision; or that a record was late.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    Made { start: i64, revision: u32, failed: bool },
    Late { time: i64, value: u64 },
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    settings: Settings,
    records: Vec<(i64, u64)>,
    /// In no order.
    frames: Vec<Expected>,
    begun: Option<i64>,
    quiet: Option<i64>,
    pub(super) watermark: i64,
    pub(super) now: i64,
    pub(super) told: Vec<Told>,
}

impl Model {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            records: Vec::new(),
            frames: Vec::new(),
            begun: None,
            quiet: None,
            watermark: i64::MIN,
            now: 0,
            told: Vec::new(),
        }
    }

    /// Where the oldest frame starts, and where the next one is to start.
    fn ends(&self) -> (i64, i64) {
        let first = self.frames.iter().map(|frame| frame.start).min();
        let next = self.frames.iter().map(|frame| frame.end).max();
        (first.unwrap(), next.unwrap())
    }

    pub(super) fn record(&mut self, time: i64, value: u64) {
        let (watermark, lateness, now) = (self.watermark, self.settings.lateness, self.now);
        if let Some(begun) = self.begun {
            let (first, next) = self.ends();
            let mut late = false;
            if time < first {
                match self.settings.backfill {
                    Some((reach, quiet)) if time >= begun - reach => self.quiet = Some(now + quiet),
                    _ => late = true,
                }
            } else if time < next {
                let in_it = |frame: &&mut Expected| frame.start <= time && time < frame.end;
                let frame = self.frames.iter_mut().find(in_it).unwrap();
                if frame.state != FrameState::Open {
                    late = watermark.saturating_sub(lateness) > frame.end;
                    if !late {
                        frame.state = FrameState::Open;
                        frame.revision += 1;
                        frame.attempts = 0;
                        frame.again = Some(now);
                        frame.may_miss = false;
                    }
                }
            }
            if late {
                self.told.push(Told::Late { time, value });
                return;
            }
        }
        self.records.push((time, value));
    }

    fn attempt(&mut self, mut frame: Expected) {
        frame.attempts += 1;
        frame.hole = false;
        let failed = (self.settings.fails)(frame.start, frame.revision, frame.attempts);
        if !failed {
            let within = self.records.iter().filter(|(t, _)| frame.start <= *t && *t < frame.end);
            let mut values: Vec<_> = within.map(|(_, value)| *value).collect();
            values.sort_unstable();
            frame.result = Some(values);
            frame.state = FrameState::Calculated;
            frame.again = None;
        } else if frame.attempts <= self.settings.retries {
            frame.again = Some(self.now + (self.settings.backoff << (frame.attempts - 1)));
        } else {
            frame.state = FrameState::Failed;
            frame.again = None;
        }
        if frame.state != FrameState::Open {
            self.told.push(Told::Made { start: frame.start, revision: frame.revision, failed });
        }
        self.frames.push(frame);
    }

    fn new_frame(&mut self, start: i64) {
        self.attempt(Expected {
            start,
            end: start + self.settings.duration,
            state: FrameState::Open,
            attempts: 0,
            revision: 0,
            result: None,
            may_miss: false,
            again: None,
            hole: false,
        });
    }

    pub(super) fn fire(&mut self) {
        loop {
            let earliest = self.records.iter().map(|(time, _)| *time).min();
            let latest = self.records.iter().map(|(time, _)| *time).max();
            let over = self.watermark == i64::MAX;
            let next = match self.begun {
                None => earliest.map(|earliest| match self.settings.anchor {
                    Some(anchor) => {
                        earliest - (earliest - anchor).rem_euclid(self.settings.duration)
                    }
                    None => earliest - earliest.rem_euclid(self.settings.floor),
                }),
                Some(_) => {
                    let next = self.ends().1;
                    let wanted = self.settings.ticking && !over || latest >= Some(next);
                    wanted.then_some(next)
                }
            };
            match next {
                Some(next) if next + self.settings.duration < self.watermark => {
                    self.begun.get_or_insert(next);
                    self.new_frame(next);
                }
                _ => break,
            }
        }
        while let Some(at) =
            self.frames.iter().position(|frame| frame.again.is_some_and(|at| at <= self.now))
        {
            let frame = self.frames.swap_remove(at);
            self.attempt(frame);
        }
        if self.quiet.is_some_and(|quiet| quiet <= self.now) {
            self.quiet = None;
            self.backfill();
        }
    }

    pub(super) fn backfill(&mut self) {
        while self.begun.is_some() && self.records.iter().any(|(time, _)| *time < self.ends().0) {
            self.new_frame(self.ends().0 - self.settings.duration);
        }
    }

    /// The start of a frame to do something with, if there is one.
    pub(super) fn some(&self, index: usize) -> Option<i64> {
        let frames: Vec<_> = self.expected();
        (!frames.is_empty()).then(|| frames[index % frames.len()].start)
    }

    pub(super) fn remove(&mut self, start: i64) {
        let (now, hold) = (self.now, self.settings.hold);
        let frame = self.frames.iter_mut().find(|frame| frame.start == start).unwrap();
        let held = frame.state == FrameState::Open || hold && frame.state == FrameState::Failed;
        frame.may_miss |= !held;
        frame.state = FrameState::Open;
        frame.revision = 0;
        frame.attempts = 0;
        frame.result = None;
        frame.again = Some(now);
        frame.hole = true;
    }

    /// Says whether it had failed.
    pub(super) fn retry(&mut self, start: i64) -> bool {
        let (now, hold) = (self.now, self.settings.hold);
        let frame = self.frames.iter_mut().find(|frame| frame.start == start).unwrap();
        if frame.state != FrameState::Failed {
            return false;
        }
        frame.may_miss |= !hold;
        frame.state = FrameState::Open;
        frame.revision += 1;
        frame.attempts = 0;
        frame.again = Some(now);
        true
    }

    /// When something is to be tried again.
    pub(super) fn next_time(&self) -> Option<i64> {
        self.frames.iter().filter_map(|frame| frame.again).chain(self.quiet).min()
    }

    /// The frames there are, in order.
    pub(super) fn expected(&self) -> Vec<Expected> {
        let mut frames: Vec<_> = self.frames.iter().filter(|frame| !frame.hole).cloned().collect();
        frames.sort_by_key(|frame| frame.start);
        frames
    }
}
