//! [`Record`]: what can travel through a pipeline.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can travel through a pipeline: cloned to several sinks, sent to other workers, encoded
/// for other processes.
///
/// Every type that is `Clone + Send + Serialize + DeserializeOwned` is a record.
pub trait Record: Clone + Send + Serialize + DeserializeOwned + 'static {}

impl<T: Clone + Send + Serialize + DeserializeOwned + 'static> Record for T {}
