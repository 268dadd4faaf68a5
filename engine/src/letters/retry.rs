//! [`Retry`]: a letter on its way back into the pipeline that refused it.
//!
//! Invariant: it has all that is needed to try again, so a replay needs no log of letters.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A letter that is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retry {
    /// Its name.
    pub(crate) letter: String,
    pub(crate) to: To,
    pub(crate) content: Content,
}

/// Who tries again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum To {
    /// The decoder of a source, or what follows it.
    Source(String),
    /// A computation, for a key.
    Computation { name: String, key: Vec<u8>, hash: u64 },
}

/// What is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Content {
    /// A frame.
    Frame(Vec<u8>),
    /// A record in MessagePack.
    Packed(Vec<u8>),
    /// A record in JSON.
    Json(String),
}

/// How a computation that is tried again ended: none if it did not fail.
pub(crate) type Retried = Option<String>;

impl Retry {
    /// The key and the record of a computation.
    ///
    /// # Errors
    /// When they are none of those types.
    pub(crate) fn keyed<K: DeserializeOwned, T: DeserializeOwned>(&self) -> Result<(K, T)> {
        let To::Computation { key, .. } = &self.to else {
            return Err(Error::Decode("it is of no computation".to_string()));
        };
        let key = rmp_serde::from_slice(key)
            .map_err(|e| Error::Decode(format!("its key is none of this program: {e}")))?;
        Ok((key, self.content.record()?))
    }
}

impl Content {
    /// The record.
    ///
    /// # Errors
    /// When it is none of that type.
    pub(crate) fn record<T: DeserializeOwned>(&self) -> Result<T> {
        let none = |e: String| Error::Decode(format!("it is no record of this program: {e}"));
        match self {
            Self::Packed(bytes) => rmp_serde::from_slice(bytes).map_err(|e| none(e.to_string())),
            Self::Json(text) => serde_json::from_str(text).map_err(|e| none(e.to_string())),
            Self::Frame(bytes) => serde_json::from_slice(bytes).map_err(|e| none(e.to_string())),
        }
    }
}
