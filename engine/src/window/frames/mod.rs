//! Time frames: the intervals of a stream, side by side, each calculated once its time is over, kept, and
//! asked about later.
//!
//! A window emits its value and is forgotten. A [`Frame`] stays: whether it was calculated, what came of
//! it, how long that took, how often it was tried. Frames follow one another without a gap, from the
//! first record's minute (or an anchor) on, as far as the watermark has come; where no records were they
//! are empty. [`frames`] says how long they are, and what else is special; a value is made by an
//! aggregate, which keeps no records, or by a function of the records, which are kept until then.
//!
//! * *When.* A frame is made when the watermark is after its end (at its end, a record of that time may
//!   be the newest there is). At most so many are made at one go ([`Frames::batch`]); then the others'
//!   turn is asked for, and nothing sleeps.
//! * *Gaps.* Empty frames are made as soon as a record after them is there, or, if asked for
//!   ([`Frames::ticking`]), as time passes: a key that has fallen silent costs nothing by default.
//! * *Order.* Frames are made in the order of their times. Only what is done again (a retry, a
//!   correction, a frame that was removed) and history come out of it.
//! * *Failures.* A calculation that fails is tried again, in engine time; then its frame is marked failed
//!   and handed out as a dead letter. Others go on meanwhile.
//! * *Late records.* A record is late if its frame has been calculated. Within the allowed lateness the
//!   frame is calculated again; else the record is handed out as late.
//! * *History.* Records before the oldest frame can be let in ([`Frames::backfill`]): frames for them are
//!   made towards the past, newest first.
//! * *Retention.* Records are deleted before a [`cutoff`](Task::cutoff) that no frame needs any more:
//!   strictly before, and, where several read the same records, the [`least`](least_cutoff) of theirs.
//!
//! A [`Task`] is the logic for the frames of any key. It keeps nothing: what it knows of a key is in the
//! key's [`FrameStore`], in which a record touches one entry.
//!
//! Invariant: for each start there is at most one frame, and frames share no time. No clock is read: what
//! a calculation took is what the caller's stopwatch says, and it decides nothing.

mod calculate;
mod frame;
mod method;
mod options;
pub mod query;
mod retention;
mod shared;
mod store;
mod task;
#[cfg(test)]
mod tests;

pub use self::frame::{Attempt, Frame, FrameEvent, FrameState};
pub use self::method::{Aggregated, CleanedUp, FrameMethod, Items, insert_item};
pub use self::options::{Frames, frames};
pub use self::retention::least_cutoff;
pub use self::shared::OfTask;
pub use self::store::{FrameStore, FrameTimer, Head, Place, Rework};
pub use self::task::{Placed, Task, Turn};
