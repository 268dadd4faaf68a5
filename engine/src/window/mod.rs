//! Windows of streams, and what else is made of records by their times.
//!
//! | of a stream | is made by | of |
//! |---|---|---|
//! | values of windows | [`Keyed::window`](crate::Keyed::window) | [`pane::Windows`], [`pane::Sliding`], [`pane::Counts`] |
//! | the same, combined before they travel | [`ToBeKeyed::local_window`](crate::ToBeKeyed::local_window) | exact aggregates |
//! | a value at each record | [`Keyed::rolling`](crate::Keyed::rolling) | [`Rolling`] |
//! | records joined by time | [`ToBeKeyed::join`](crate::ToBeKeyed::join) | [`join::IntervalJoin`], [`join::WindowJoin`], [`join::AsOf`] |
//! | groups of several inputs | [`Keyed::co_group`](crate::Keyed::co_group) | [`join::CoGroup`] |
//! | intervals that stay | [`Keyed::frames`](crate::Keyed::frames) | [`frames`] |
//! | tables whose rows expire | [`Table::expiring`](crate::Table::expiring) | [`ttl::Ttl`] |
//!
//! A [`WindowAssigner`] says to which windows a time belongs: [`tumbling`], [`sliding`], [`session`],
//! [`global`], those of a [`calendar`], or your own; [`aggregate`](crate::aggregate) says what is made of
//! their records; [`pane`] when it is told, and what becomes of records that come late. Time is *event time*
//! throughout: what a function takes from a record; how far it has come is said by the
//! [`Watermarks`](crate::Watermarks) of the sources.
//!
//! Beneath: [`sessions`] says which windows become one. A [`Tree`] combines the records of any range of
//! time, in order, at a cost that does not grow with the range; [`RollingTime`] and [`RollingCount`] are made
//! of one.
//!
//! Invariant: nothing here reads a clock or keeps a record; the same times give the same windows on any
//! machine.

mod aligned;
mod assign;
pub mod calendar;
pub mod entries;
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
    Combining, Framed, Grouped, JoinedStreams, PaneRows, Panes, Rolls, SharedFrames, Windowed,
    check_local,
};
pub use self::stage::{FrameInput, GroupRow, Joining, Local, Partial, Rolling, Windowing};
pub use self::tree::{Combine, Iter, Tree, TreeKey};
