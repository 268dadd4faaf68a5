//! Windows: which of them a record belongs to, and what their values are made of.
//!
//! A [`WindowAssigner`] says to which windows a time belongs: [`tumbling`], [`sliding`], [`session`],
//! [`global`], those of a [`calendar`], or your own. [`sessions`] says which windows become one. A
//! [`Tree`] combines the records of any range of time, in order, at a cost that does not grow with the
//! range; [`RollingTime`] and [`RollingCount`] are values at each record made of one. [`pane`] says when
//! the values of windows are told, and what becomes of records that come late.
//!
//! [`frames`] are intervals that stay: calculated once, kept, and asked about later. [`join`] joins
//! records by their times; [`ttl`] says when a row has outlived its time.
//!
//! Invariant: nothing here reads a clock or keeps a record; the same times give the same windows on any
//! machine.

mod aligned;
mod assign;
pub mod calendar;
pub mod frames;
pub mod join;
pub mod pane;
mod rolling;
pub mod sessions;
mod span;
mod stage;
mod tree;
pub mod ttl;

pub use self::aligned::{Aligned, sliding, tumbling};
pub use self::assign::{Global, Session, WindowAssigner, global, session};
pub use self::rolling::{RollingCount, RollingTime};
pub use self::span::Window;
pub(crate) use self::stage::{
    Combining, Framed, Grouped, JoinedStreams, Panes, Rolls, Windowed, check_local,
};
pub use self::stage::{FrameInput, GroupRow, Joining, Local, Partial, Rolling, Windowing};
pub use self::tree::{Combine, Iter, Tree, TreeKey};
