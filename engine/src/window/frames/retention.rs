//! Retention: before which time nothing is needed any more, and deleting it.
//!
//! Invariant: only what is strictly before a cutoff is deleted, and no cutoff is after the start of a
//! frame that is open, is to come, or may be corrected.

use super::{FrameMethod, FrameState, FrameStore, Task};
use crate::Time;
use crate::window::entries::{Ordered, OrderedMut};

/// The least of the cutoffs of those that read the same records, but at most `limit`. `None`, so that
/// nothing may be deleted, if one of them has none as it has not begun.
///
/// ```
/// use anabranch::Time;
/// use anabranch::window::frames::least_cutoff;
///
/// let [now, a, b] = [60, 30, 10].map(|second| Time::from_millis(second * 1_000));
/// assert_eq!(least_cutoff(now, [Some(a), Some(b)]), Some(b));
/// assert_eq!(least_cutoff(now, [Some(a), None]), None);
/// assert_eq!(least_cutoff(now, []), Some(now));
/// ```
pub fn least_cutoff(
    limit: Time,
    consumers: impl IntoIterator<Item = Option<Time>>,
) -> Option<Time> {
    consumers.into_iter().try_fold(limit, |least, cutoff| cutoff.map(|cutoff| least.min(cutoff)))
}

impl<T, M: FrameMethod<T>> Task<T, M> {
    /// Before which time the task needs nothing any more: where the first frame starts that is open, or
    /// may still be corrected, or is to be made next. `None` as long as there was no frame.
    pub fn cutoff<S: FrameStore<M::Entry, M::Output>>(
        &self,
        store: &S,
        watermark: Time,
    ) -> Option<Time> {
        let head = store.head();
        head.begun?;
        let open = store.rework().first().map(|(start, _)| *start);
        // The last time that may be in a frame that is closed to late records; the one after it may be
        // corrected.
        let closed =
            Time::from_nanos(watermark.before(self.options.lateness).as_nanos().saturating_sub(1));
        let frame = store.frames().range(..=closed).next_back().map(|(_, frame)| frame);
        let correctable = frame.filter(|frame| frame.end > closed).map_or(closed, |f| f.start);
        let first = store.entries().first().map(|(place, _)| place.time);
        let wanted = self.options.backfill.is_some() && head.forgotten.is_none();
        let history = first.filter(|time| wanted && *time < head.first);
        let cutoffs = [Some(head.next), open, Some(correctable), history];
        cutoffs.into_iter().flatten().min()
    }

    /// Deletes what no frame needs, and forgets frames that are older than is kept.
    pub(super) fn clean<S: FrameStore<M::Entry, M::Output>>(&self, store: &mut S, watermark: Time) {
        self.forget(store, watermark);
        let own = self.cutoff(store, watermark);
        let least = own.and_then(|own| store.least_cutoff(own).map(|least| least.min(own)));
        let Some(cutoff) = least else { return };
        let mut deleted = false;
        while let Some(place) = store.entries().first().map(|(place, _)| *place)
            && place.time < cutoff
        {
            store.entries_mut().remove(&place);
            deleted = true;
        }
        if deleted {
            let head = store.head_mut();
            head.cut = head.cut.max(Some(cutoff));
        }
    }

    fn forget<S: FrameStore<M::Entry, M::Output>>(&self, store: &mut S, watermark: Time) {
        let Some(keep) = self.options.keep else { return };
        let over = watermark.before(keep.max(self.options.lateness));
        // One more than can be made, so that an end is in sight.
        for _ in 0..=self.options.batch {
            let Some((start, frame)) = store.frames().first() else { break };
            let (start, end) = (*start, frame.end);
            let again = store.rework().first().is_some_and(|(first, _)| *first <= start);
            if again || frame.state == FrameState::Open || end >= over {
                break;
            }
            store.frames_mut().remove(&start);
            let head = store.head_mut();
            head.first = end;
            head.forgotten = Some(end);
        }
    }
}
