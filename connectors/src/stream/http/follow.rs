//! [`Ends`]: who waits for more of a stream is woken when there is.
//!
//! Invariant: one task looks at a stream however many wait, and it ends with the last of them; those that wait
//! are bounded by places.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};

use super::shared::Shared;
use crate::http::Problem;
use crate::stream::Stream;
use crate::stream::horizon::Horizon;

/// How often a stream is looked at for more.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// By stream, how far it is known to be durable.
#[derive(Default)]
pub(super) struct Ends(Mutex<BTreeMap<String, watch::Sender<u64>>>);

impl Ends {
    /// Tells those who wait how far the stream is; false if nobody waits any more, or it is not known.
    fn tell(&self, name: &str, end: Option<u64>) -> bool {
        let mut ends = self.lock();
        let waiting = ends.get(name).filter(|sender| sender.receiver_count() > 0);
        let (Some(sender), Some(end)) = (waiting, end) else {
            ends.remove(name);
            return false;
        };
        sender.send_if_modified(|known| std::mem::replace(known, end) != end);
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those that wait.
pub(super) fn place(shared: &Shared) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&shared.followers).try_acquire_owned().map_err(|_| {
        Problem::busy("too many wait for more at this moment: try again, or read without waiting")
    })
}

/// Waits until there are records from `next` on, or it cannot be known.
pub(super) async fn beyond(shared: &Arc<Shared>, stream: &Stream, next: u64) {
    let mut known = subscribe(shared, stream);
    // An error: nobody looks any more; the reader finds out why.
    let _ = known.wait_for(|end| *end > next).await;
}

fn subscribe(shared: &Arc<Shared>, stream: &Stream) -> watch::Receiver<u64> {
    let mut ends = shared.ends.lock();
    if let Some(sender) = ends.get(stream.name()) {
        return sender.subscribe();
    }
    let (sender, receiver) = watch::channel(0);
    ends.insert(stream.name().to_owned(), sender);
    drop(ends);
    tokio::spawn(look(Arc::clone(shared), stream.clone()));
    receiver
}

async fn look(shared: Arc<Shared>, stream: Stream) {
    let mut horizon = Some(Horizon::new(&stream));
    loop {
        let looking = horizon.take();
        let of = stream.clone();
        let looked = shared.work(move |shared| {
            shared.is_there(&of)?;
            let mut horizon = looking;
            let end = horizon.as_mut().and_then(|horizon| horizon.refresh().ok());
            Ok((horizon, end))
        });
        let looked = looked.await;
        // An error: the stream cannot be read, and whoever waits finds out why.
        let end = match looked {
            Ok((kept, end)) => {
                horizon = kept;
                end.map(|end| end.next)
            }
            Err(_) => None,
        };
        if !shared.ends.tell(stream.name(), end) {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
