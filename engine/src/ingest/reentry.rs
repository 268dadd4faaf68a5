//! [`TypedReentry`]: dead letters of a source, once more through its decoder.
//!
//! Invariant: what is found has the origin of the request to try again, and goes on as all that the source
//! brings.

use std::rc::Rc;

use super::Reentry;
use crate::letters::Content;
use crate::pipeline::{Hub, Tagged};
use crate::source::{Decoder, Frame, Intake};
use crate::{Error, Origin, Record, Result};

/// What takes dead letters of a source with records of type `T`.
pub(super) struct TypedReentry<T> {
    pub(super) decoder: Option<Box<dyn Decoder<T>>>,
    pub(super) hub: Rc<Hub<T>>,
}

impl<T: Record> TypedReentry<T> {
    /// What the decoder finds in a frame.
    fn decode(&mut self, origin: Origin, bytes: &[u8]) -> Result<Vec<Tagged<T>>> {
        let Some(decoder) = &mut self.decoder else {
            let why = "its source has no decoder by which it could be tried again";
            return Err(Error::Decode(why.to_string()));
        };
        let mut intake = Intake::new(origin.source(), origin.partition(), usize::MAX, usize::MAX);
        intake.now = Some(origin.time());
        intake.decode(Frame::new(origin.offset(), bytes), &mut **decoder);
        match intake.refused.pop() {
            Some((_, refusal)) => Err(Error::Decode(refusal.failure.reason())),
            None => Ok(intake.records),
        }
    }
}

impl<T: Record> Reentry for TypedReentry<T> {
    fn enter(&mut self, origin: Origin, content: &Content) -> Result<()> {
        let mut records = match content {
            Content::Frame(bytes) => self.decode(origin, bytes)?,
            record => vec![Tagged { origin, record: record.record()? }],
        };
        self.hub.dispatch(&mut records);
        Ok(())
    }
}
