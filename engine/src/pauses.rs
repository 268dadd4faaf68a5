//! [`Pauses`]: which sources are not read for now.
//!
//! Invariant: what is kept names the sources that are paused, so every process of the next start begins with them. In
//! one start process 0 says what changes, and its worker 0 tells the others.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::data_dir::{DataDir, replace};
use crate::{Error, Result};

/// The file in the data directory.
const FILE: &str = "paused.json";

/// The sources that are paused.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    known: Mutex<Known>,
    /// Counts changes.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    paused: BTreeSet<String>,
    kept_in: Option<PathBuf>,
}

impl Pauses {
    /// Begins with those of `autostart` off, or as an earlier start has left it in `data`.
    ///
    /// # Errors
    /// When what was left cannot be read.
    pub(crate) fn begin(&self, first: &[String], data: Option<&DataDir>) -> Result<()> {
        let kept_in = data.map(|data| data.path().join(FILE));
        let left = kept_in.as_deref().map(crate::data_dir::read).transpose()?.flatten();
        let of_text = |text: String| {
            serde_json::from_str(&text).map_err(|error| {
                Error::Data(format!("{FILE} in the data directory is no list of names: {error}"))
            })
        };
        let paused = match left {
            Some(text) => of_text(text)?,
            None => first.iter().cloned().collect(),
        };
        *self.lock() = Known { paused, kept_in };
        Ok(())
    }

    /// The names of those that are paused.
    pub(crate) fn paused(&self) -> BTreeSet<String> {
        self.lock().paused.clone()
    }

    /// Changes with every change.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Pauses a source, or resumes it; what is kept knows of it when this returns.
    ///
    /// # Errors
    /// When it cannot be kept; then nothing has changed.
    pub(crate) fn set(&self, source: &str, paused: bool) -> Result<()> {
        let mut known = self.lock();
        let mut now = known.paused.clone();
        let changed = if paused { now.insert(source.to_string()) } else { now.remove(source) };
        if !changed {
            return Ok(());
        }
        if let Some(path) = &known.kept_in {
            let text = serde_json::to_vec(&now).map_err(|e| Error::Data(e.to_string()))?;
            replace(path, &text)?;
        }
        known.paused = now;
        drop(known);
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
