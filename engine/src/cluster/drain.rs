//! The wish that sources end and what is in flight is finished.
//!
//! Invariant: whoever subscribes hears of it exactly once, whether the wish comes before or after.
//! It cannot be taken back, and says nothing about when the drain is done.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

type Subscriber = Box<dyn FnOnce() + Send>;

/// One switch per process: a signal, the supervisor or a peer turns it; sources listen to it.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering::Relaxed}};
/// let drain = anabranch::cluster::Drain::default();
/// let heard = Arc::new(AtomicU32::new(0));
/// for _ in 0..2 {
///     let heard = Arc::clone(&heard);
///     drain.on_request(move || { heard.fetch_add(1, Relaxed); });
///     drain.request();
/// }
/// assert!(drain.requested());
/// assert_eq!(heard.load(Relaxed), 2);
/// ```
#[derive(Clone, Default)]
pub struct Drain(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    requested: bool,
    subscribers: Vec<Subscriber>,
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("requested", &self.requested()).finish_non_exhaustive()
    }
}

impl Drain {
    /// Asks for the drain; asking again does nothing.
    pub fn request(&self) {
        let subscribers = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.requested = true;
            std::mem::take(&mut state.subscribers)
        };
        for subscriber in subscribers {
            subscriber();
        }
    }

    /// Whether anyone has asked.
    pub fn requested(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).requested
    }

    /// Calls `subscriber` once: when someone asks, on the thread that asks, or now if someone has.
    /// It should hand the news on and return.
    pub fn on_request(&self, subscriber: impl FnOnce() + Send + 'static) {
        {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !state.requested {
                state.subscribers.push(Box::new(subscriber));
                return;
            }
        }
        subscriber();
    }
}
