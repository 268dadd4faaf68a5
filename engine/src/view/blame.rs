//! Whose code it was that panicked, of those that run within the operators of views.
//!
//! Invariant: who draws a view hands it no code that is called without the view's name being known.

use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    /// The views that are being drawn.
    static DRAWN: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
    /// The views whose code has panicked.
    static CULPRIT: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
}

/// The views that a piece of user code belongs to.
#[derive(Clone)]
pub(super) struct Of(Option<Rc<str>>);

/// Draws views of those names.
pub(super) fn drawing<R>(names: &str, draw: impl FnOnce() -> R) -> R {
    DRAWN.set(Some(Rc::from(names)));
    let of = Of::here();
    let drawn = of.run(draw);
    DRAWN.set(None);
    drawn
}

/// Whom to name if a worker panicked.
pub(crate) fn culprit() -> String {
    CULPRIT.take().map_or_else(|| "a worker".to_string(), |names| format!("view `{names}`"))
}

impl Of {
    /// Those that are being drawn now.
    pub(super) fn here() -> Self {
        Self(DRAWN.with_borrow(Clone::clone))
    }

    /// Runs user code. It costs nothing if there is no panic.
    #[inline(always)]
    pub(super) fn run<R>(&self, code: impl FnOnce() -> R) -> R {
        struct Blame<'a>(&'a Of);
        impl Drop for Blame<'_> {
            fn drop(&mut self) {
                CULPRIT.set(self.0.0.clone());
            }
        }
        let blame = Blame(self);
        let result = code();
        std::mem::forget(blame);
        result
    }
}
