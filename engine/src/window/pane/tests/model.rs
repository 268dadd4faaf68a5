//! A model of [`Windows`] that keeps every record of every window, and makes each pane anew.
//!
//! Invariant: it keeps no aggregate, no timers and no rows; it looks through all its windows.

use super::*;

#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Whether it is told when it ends, or only when it closes.
    pub(super) on_time: bool,
    pub(super) records: u64,
    pub(super) engine: i64,
    pub(super) event: i64,
    pub(super) discards: bool,
    pub(super) allowed: i64,
    pub(super) too_late: TooLate,
    pub(super) empties: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    records: Vec<u32>,
    /// How many of the records were told.
    told: usize,
    firings: u64,
    ended: bool,
    empty_before: u64,
    engine: Option<i64>,
    event: Option<i64>,
}

pub(super) struct Model<W> {
    pub(super) assigner: W,
    pub(super) plan: Plan,
    pub(super) open: BTreeMap<Window, Kept>,
    pub(super) watermark: i64,
    pub(super) now: i64,
    pub(super) out: Vec<Fired<Vec<u32>>>,
}

impl<W: WindowAssigner> Model<W> {
    fn close(&self, window: Window) -> i64 {
        window.end.as_nanos().saturating_add(self.plan.allowed)
    }

    fn fire(&mut self, window: Window, kind: Kind) {
        let kept = self.open.get_mut(&window).unwrap();
        let from = if self.plan.discards { kept.told } else { 0 };
        let value = kept.records[from..].to_vec();
        let (count, index) = (value.len() as u64, kept.firings);
        self.out.push(Fired { window, value, count, index, kind });
        kept.told = kept.records.len();
        kept.firings += 1;
    }

    pub(super) fn record(&mut self, time: i64, record: u32) -> Outcome {
        let entered = self.enter(time, record);
        if entered != Outcome::Dropped {
            return entered;
        }
        match self.plan.too_late {
            TooLate::Drop => Outcome::Dropped,
            TooLate::SideOutput => Outcome::SideOutput,
            TooLate::FirePerRecord => {
                let mut windows = Vec::new();
                self.assigner.assign(nanos(time), &mut windows);
                let window = *windows.last().unwrap();
                let kind = Kind::TooLate;
                self.out.push(Fired { window, value: vec![record], count: 1, index: 0, kind });
                Outcome::FiredAlone
            }
            TooLate::OldestOpen => {
                match self.enter(self.watermark.saturating_sub(self.plan.allowed), record) {
                    Outcome::Dropped | Outcome::Outside => Outcome::Dropped,
                    _ => Outcome::Moved,
                }
            }
        }
    }

    fn enter(&mut self, time: i64, record: u32) -> Outcome {
        let mut windows = Vec::new();
        self.assigner.assign(nanos(time), &mut windows);
        if windows.is_empty() {
            return Outcome::Outside;
        }
        let late = windows.iter().any(|window| window.end.as_nanos() <= self.watermark);
        windows.retain(|window| self.close(*window) > self.watermark);
        for window in &windows {
            let ended = window.end.as_nanos() <= self.watermark;
            let kept = self.open.entry(*window);
            let kept = kept.or_insert_with(|| Kept { ended, ..Kept::default() });
            kept.records.push(record);
            let fresh = kept.records.len() - kept.told;
            if kept.engine.is_none() || fresh == 1 {
                kept.engine = Some(self.now + self.plan.engine);
            }
            if kept.event.is_none() || fresh == 1 {
                let from = if self.watermark == i64::MIN { time } else { self.watermark };
                kept.event = Some((from.div_euclid(self.plan.event) + 1) * self.plan.event);
            }
            let corrects = kept.ended && self.plan.on_time;
            if corrects || fresh as u64 >= self.plan.records {
                let kind = if kept.ended { Kind::Late } else { Kind::Early };
                self.fire(*window, kind);
            }
        }
        match (windows.is_empty(), late) {
            (true, _) => Outcome::Dropped,
            (false, true) => Outcome::Late,
            (false, false) => Outcome::InTime,
        }
    }

    /// When something is to be done about a window: the time, and whether it is the window's own.
    fn due(&self, window: Window, kept: &Kept, past: i64) -> i64 {
        let own = if kept.ended { self.close(window) } else { window.end.as_nanos() };
        kept.event.filter(|event| *event > past).map_or(own, |event| event.min(own))
    }

    pub(super) fn watermark(&mut self, to: i64) {
        let past = std::mem::replace(&mut self.watermark, to);
        // Times at which a window was looked at do not count again.
        let mut seen: BTreeMap<Window, i64> = BTreeMap::new();
        loop {
            let of = |(window, kept): (&Window, &Kept)| {
                let past = seen.get(window).copied().unwrap_or(past);
                (self.due(*window, kept, past), *window)
            };
            let next = self.open.iter().map(of).min();
            let Some((time, window)) = next.filter(|(time, _)| *time <= to) else { return };
            seen.insert(window, time);
            self.look(window, time);
        }
    }

    fn look(&mut self, window: Window, time: i64) {
        let on_time = self.plan.on_time;
        let end = window.end.as_nanos();
        let over = self.watermark == i64::MAX;
        let kept = self.open.get(&window).unwrap();
        if over && kept.records.is_empty() && kept.firings == 0 {
            self.open.remove(&window);
            return;
        }
        let kept = self.open.get_mut(&window).unwrap();
        let fresh = kept.records.len() > kept.told;
        let overtaken = !kept.ended && end <= self.watermark;
        if kept.event.is_some_and(|event| event <= time) && !overtaken {
            kept.event = None;
            let kind = if kept.ended { Kind::Late } else { Kind::Early };
            if fresh {
                self.fire(window, kind);
            }
        }
        let kept = self.open.get_mut(&window).unwrap();
        if !kept.ended && end <= time {
            kept.ended = true;
            let fresh = kept.records.len() > kept.told;
            let came = kept.event.is_some_and(|event| event <= self.watermark);
            if came {
                kept.event = None;
            }
            let empty = kept.records.is_empty();
            let run = if empty { kept.empty_before + 1 } else { 0 };
            if on_time || (came && fresh) {
                self.fire(window, Kind::OnTime);
            }
            if run < self.plan.empties
                && !over
                && let Some(next) = self.assigner.next(window)
            {
                let fresh = || Kept { empty_before: run, ..Kept::default() };
                self.open.entry(next).or_insert_with(fresh);
            }
        }
        let kept = self.open.get(&window).unwrap();
        if kept.ended && self.close(window) <= time {
            if !on_time || kept.records.len() > kept.told {
                self.fire(window, Kind::Final);
            }
            self.open.remove(&window);
        }
    }

    pub(super) fn now(&mut self, to: i64) {
        self.now = to;
        loop {
            let of = |(window, kept): (&Window, &Kept)| Some((kept.engine?, *window));
            let next = self.open.iter().filter_map(of).min();
            let Some((_, window)) = next.filter(|(time, _)| *time <= to) else { return };
            let kept = self.open.get_mut(&window).unwrap();
            kept.engine = None;
            let kind = if kept.ended { Kind::Late } else { Kind::Early };
            if kept.records.len() > kept.told {
                self.fire(window, kind);
            }
        }
    }
}
