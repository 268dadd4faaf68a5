//! Fused steps and what travels between them.

use serde::{Deserialize, Serialize};

use crate::Origin;

/// A record and where it came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tagged<T> {
    pub(crate) origin: Origin,
    pub(crate) record: T,
}
