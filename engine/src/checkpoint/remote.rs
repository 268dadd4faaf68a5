//! Object stores as a place for checkpoints, in programs that were built for them.
//!
//! Invariant: a URL whose store is not built in is refused with the feature that is missing.

use std::sync::Arc;

use super::store::Backend;
use crate::{Error, Result};

pub(super) fn open(feature: &str, _url: &str) -> Result<Arc<dyn Backend>> {
    Err(Error::Usage(format!(
        "--store: this program was built without the feature `{feature}`; build it with \
         `--features anabranch/{feature}`, or give a directory"
    )))
}
