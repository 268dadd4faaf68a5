//! Views: incrementally maintained queries over tables, by differential dataflow.
//!
//! A table that some view looks at tells what each epoch changed in it ([`feed`]); the view's operators are
//! differential's ([`collection`], [`arranged`], [`iterate`]), behind types of ours. What comes out is
//! gathered on one worker, in order ([`change`]), and kept to be looked at ([`rows`]).
//!
//! Invariant: at the end of each epoch a view is a function of its tables, whatever the layout, and before and
//! after a restart. Who draws no view pays nothing for them, in time or in code.

mod arranged;
mod blame;
mod change;
mod collection;
mod feed;
mod handle;
mod iterate;
mod rows;
mod tables;

pub use arranged::{Arrange, Arranged};
pub(crate) use blame::culprit;
pub use change::Change;
pub use collection::{Collection, Tick, ViewData};
pub(crate) use feed::{Source, Tap, Taps, Update};
pub(crate) use handle::Gathered;
pub use handle::View;
pub use iterate::Round;
pub use rows::{Page, Views};
pub use tables::{Selected, ViewTables, Viewed};
