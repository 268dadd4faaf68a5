//! What happens to records between a source and a sink on one worker: fused chains of steps,
//! hubs where a stream is used several times, edges to other workers, and the merge of what
//! arrives from them.

mod chain;
mod edge;
mod hub;
mod merge;

pub use chain::{Chain, Identity};
pub(crate) use chain::{Entering, Filter, FlatMap, Inspect, Map, of_chain};
pub(crate) use edge::{Body, Edge, Outbox, Parcel, Placement};
pub(crate) use hub::{Branch, Consumer, Discard, Hub, ToHub, ToKeys, ToWorker, run};
pub(crate) use merge::Merge;

use serde::{Deserialize, Serialize};

use crate::Origin;

/// A record and where it came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tagged<T> {
    pub(crate) origin: Origin,
    pub(crate) record: T,
}
