//! [`Refused`]: which records a sink has refused for good.
//!
//! Invariant: that a record was refused is durable before anything behind it is written, and is never
//! decided again.

use super::kept::Kept;
use super::log::{Known, Said};
use super::typed::digest;
use crate::durable::Durable;
use crate::{Error, Failure, Origin, Record, Result};

/// The source under whose name the journal keeps what a sink has refused: no source can be named so.
fn lane_of(sink: &str) -> String {
    format!("refused:{sink}")
}

/// What a sink has refused, and refuses.
pub(crate) struct Refused(Kept);

impl Refused {
    /// As the worker has it that writes the sink of that name.
    ///
    /// # Errors
    /// When the journal is damaged, or cannot be made.
    pub(crate) fn open(
        durable: &Durable,
        sink: &str,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        // No other worker writes the sink.
        Kept::open(durable, &lane_of(sink), (0, 1), wake).map(Self)
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.0
    }

    /// What was refused of `epoch`; asked in the order of epochs.
    ///
    /// # Errors
    /// When the journal is damaged.
    pub(crate) fn known(&mut self, epoch: u64) -> Result<Known> {
        self.0.known(epoch)
    }

    /// Keeps that a record of `epoch` is refused.
    ///
    /// # Errors
    /// When the journal has failed.
    pub(crate) fn keep<T: Record>(
        &mut self,
        epoch: u64,
        (origin, record): (Origin, &T),
        failure: &Failure,
    ) -> Result<()> {
        let failure = rmp_serde::to_vec_named(failure)
            .map_err(|e| Error::Connector(format!("a failure cannot be journaled: {e}")))?;
        let question = digest(record).unwrap_or(0);
        self.0.keep(epoch, origin, question, &Said::Failed(failure))?;
        self.0.hand_over(epoch)
    }

    /// Whether all that was kept survives whatever happens.
    ///
    /// # Errors
    /// When the journal has failed.
    pub(crate) fn is_durable(&self) -> Result<bool> {
        self.0.is_handed_over()
    }
}

/// Why a record was refused; none if it was not.
pub(crate) fn refusal<T: Record>(known: &Known, origin: Origin, record: &T) -> Option<Failure> {
    let (question, said) = known.get(&origin)?;
    let Said::Failed(failure) = said else { return None };
    if *question != digest(record).unwrap_or(0) {
        return None;
    }
    rmp_serde::from_slice(failure).ok()
}
