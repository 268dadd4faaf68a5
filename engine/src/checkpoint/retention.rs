//! [`Retention`]: which checkpoints are kept beside the two newest, and from where on the journal is:
//! `--keep-journal`.
//!
//! Invariant: all that is kept of the journal can be replayed. Either it goes back to its very
//! beginning, or a checkpoint is kept at or before its first epoch. Where it begins never moves back.
//! Checkpoints are bounded in number: a step of the limit apart, whatever the time between them is.

use std::path::{Path, PathBuf};

use super::CheckpointId;
use crate::config::KeepJournal;
use crate::journal::{self, Extent};
use crate::{Result, Time};

/// The limit has so many steps: where the journal begins moves on by one of them.
const STEPS: u32 = 16;

/// What decides.
#[derive(Debug)]
pub(crate) struct Retention {
    keep: KeepJournal,
    journal: Option<PathBuf>,
    /// Whether the journal goes back to its beginning.
    whole: bool,
}

/// A checkpoint that can be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Old {
    pub(super) id: CheckpointId,
    pub(super) time: Time,
}

/// What was decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) checkpoints: Vec<CheckpointId>,
    /// What is before this boundary is dropped.
    pub(super) journal_from: u64,
}

impl Retention {
    /// Keeps the journal of the program, which is in the folder `journal`, as `keep` says.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) fn new(keep: KeepJournal, journal: &Path) -> Result<Self> {
        let whole = journal::has_beginning(journal)?;
        Ok(Self { keep, journal: Some(journal.to_owned()), whole })
    }

    /// Keeps nothing but the two newest.
    pub(super) fn needed() -> Self {
        Self { keep: KeepJournal::Needed, journal: None, whole: false }
    }

    /// Decides, of all checkpoints that there are now, oldest first.
    ///
    /// # Errors
    /// When the journal cannot be measured.
    pub(super) fn decide(&mut self, all: &[Old], now: Time) -> Result<Kept> {
        let extent = match (&self.journal, self.keep) {
            (Some(journal), KeepJournal::Size(_)) => Extent::of(journal)?,
            _ => Extent::default(),
        };
        let kept = choose(self.keep, self.whole, all, now, |epoch| extent.since(epoch));
        self.whole &= kept.journal_from == 0;
        Ok(kept)
    }
}

/// `since` says how many bytes the journal has from a boundary on; it is `whole` if it goes back to its
/// beginning, for which no checkpoint is needed.
fn choose(
    keep: KeepJournal,
    whole: bool,
    all: &[Old],
    now: Time,
    since: impl Fn(u64) -> u64,
) -> Kept {
    let [.., before, _] = all else {
        // Were the only one damaged, the whole journal would be what is left.
        return Kept { checkpoints: all.iter().map(|old| old.id).collect(), journal_from: 0 };
    };
    let first = if whole { None } else { all.first() };
    let begin = match keep {
        KeepJournal::Needed => Some(before),
        KeepJournal::Forever => first,
        // It was written after all that is before it had entered.
        KeepJournal::Age(age) => all.iter().rfind(|old| old.time.after(age) <= now).or(first),
        KeepJournal::Size(most) if whole && since(0) <= most => None,
        KeepJournal::Size(most) => {
            Some(all.iter().find(|old| since(old.id.epoch) <= most).unwrap_or(before))
        }
    };
    let journal_from = begin.map_or(0, |begin| begin.id.epoch.min(before.id.epoch));
    let far = |last: &Old, next: &Old| match keep {
        KeepJournal::Needed | KeepJournal::Forever => false,
        KeepJournal::Age(age) => last.time.after(age / STEPS) <= next.time,
        KeepJournal::Size(most) => {
            since(next.id.epoch) + most.div_ceil(STEPS.into()) <= since(last.id.epoch)
        }
    };
    // Each next one that is kept is far from the last that was, so that what was kept once is kept until
    // the journal begins after it.
    let mut kept: Vec<&Old> = Vec::new();
    for old in all.iter().filter(|old| old.id.epoch >= journal_from) {
        let is_begin = old.id.epoch == journal_from;
        let next = match kept.last() {
            None => is_begin || !matches!(keep, KeepJournal::Forever),
            Some(last) => far(last, old),
        };
        if next || old.id >= before.id {
            kept.push(old);
        }
    }
    Kept { checkpoints: kept.into_iter().map(|old| old.id).collect(), journal_from }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn old(epoch: u64, seconds: i64) -> Old {
        let id = CheckpointId { generation: 1, epoch };
        Old { id, time: Time::from_nanos(seconds * SECOND) }
    }

    fn keeps() -> impl Strategy<Value = KeepJournal> {
        prop_oneof![
            Just(KeepJournal::Needed),
            Just(KeepJournal::Forever),
            (1..500_u64).prop_map(|age| KeepJournal::Age(Duration::from_secs(age))),
            (1..5_000_u64).prop_map(KeepJournal::Size),
        ]
    }

    proptest! {
        /// Against a program that never forgets: what is kept is what was promised, of the journal and of
        /// the checkpoints to begin with.
        #[test]
        fn what_is_kept_can_be_replayed_and_is_bounded(
            keep in keeps(),
            steps in proptest::collection::vec((1..20_i64, 1..9_u64, 0..300_u64), 1..200),
            begins in any::<bool>(),
        ) {
            let (mut now, mut epoch, mut whole) = (1_000_i64, 100, begins);
            // Every checkpoint ever, and the journal's bytes up to it.
            let mut ever: Vec<(Old, u64)> = Vec::new();
            let (mut total, mut from, mut kept) = (0, 0, Vec::<Old>::new());
            for (seconds, epochs, bytes) in steps {
                (now, epoch, total) = (now + seconds, epoch + epochs, total + bytes);
                let new = old(epoch, now);
                ever.push((new, total));
                kept.push(new);
                let upto = |boundary: u64| {
                    let known = ever.iter().find(|(old, _)| old.id.epoch == boundary);
                    known.map_or(0, |(_, upto)| *upto)
                };
                // What was dropped counts no more.
                let head = from;
                let since = |boundary: u64| total - upto(boundary.max(head));
                let chosen = choose(keep, whole, &kept, new.time, since);
                prop_assert!(chosen.journal_from >= from, "the journal went back");
                whole &= chosen.journal_from == 0;
                from = chosen.journal_from;
                kept.retain(|old| chosen.checkpoints.contains(&old.id));

                let newest: Vec<_> = ever.iter().rev().take(2).map(|(old, _)| old.id).collect();
                prop_assert!(newest.iter().all(|id| chosen.checkpoints.contains(id)));
                let begin = kept.first().map(|old| old.id.epoch);
                prop_assert!(from == 0 || begin == Some(from), "no checkpoint to replay it from");
                prop_assert!(kept.len() <= 4 + STEPS as usize, "{} are kept", kept.len());
                let second = newest.last().map_or(0, |id| id.epoch);
                let alone = newest.len() < 2;
                prop_assert!(alone || from <= second);
                match keep {
                    _ if alone => prop_assert_eq!(from, 0),
                    KeepJournal::Needed => prop_assert_eq!(from, second),
                    KeepJournal::Forever if begins => prop_assert_eq!((from, kept.len()), (0, 2)),
                    KeepJournal::Forever => prop_assert_eq!(from, ever[0].0.id.epoch),
                    KeepJournal::Age(age) => {
                        // Nothing that is younger was dropped, and little that is much older is kept.
                        let age = age.as_secs() as i64;
                        let at = |epoch| ever.iter().find(|(old, _)| old.id.epoch == epoch);
                        if let Some((begin, _)) = at(from) {
                            let forced = !begins && begin.id == ever[0].0.id;
                            let young = begin.time > Time::from_nanos((now - age) * SECOND);
                            prop_assert!(!young || forced || from == second);
                            if let Some(next) = kept.get(1).filter(|old| old.id.epoch < second) {
                                prop_assert!(next.time > Time::from_nanos((now - age) * SECOND));
                            }
                        } else {
                            let first = ever[0].0.time;
                            prop_assert!(first > Time::from_nanos((now - age) * SECOND));
                        }
                    }
                    KeepJournal::Size(most) => {
                        prop_assert!(since(from) <= most || from == second);
                        // Less than a step, and one checkpoint's bytes, below the limit.
                        let forced = !begins && from == ever[0].0.id.epoch;
                        if from > 0 && from < second && !forced {
                            let before = ever.iter().rev().find(|(old, _)| old.id.epoch < from);
                            let before = before.map_or(total, |(_, upto)| total - upto);
                            prop_assert!(before + most / 16 + 600 > most, "{before} of {most}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_day_of_checkpoints_each_ten_seconds_leaves_a_few() {
        let (mut kept, day) = (Vec::new(), Duration::from_hours(24));
        for step in 0..30_000_u64 {
            kept.push(old(step + 1, step as i64 * 10));
            let now = kept[kept.len() - 1].time;
            let chosen = choose(KeepJournal::Age(day), true, &kept, now, |_| 0);
            kept.retain(|old| chosen.checkpoints.contains(&old.id));
            assert!(kept.len() <= 20, "{}", kept.len());
            let span = step as i64 * 10 - kept[0].time.as_nanos() / SECOND;
            let needed = 24 * 3600;
            assert!(step < 8_640 || (needed..=needed * 17 / 16 + 20).contains(&span), "{span}");
        }
        assert!(kept.len() > 16, "{}", kept.len());
    }
}
