//! The sink `null:`: takes everything, keeps nothing; for measurements.
//!
//! Invariant: only counted.

use anabranch::metrics::Counter;
use anabranch::sink::{FrameWriter, Outlet, Taken};
use anabranch::source::OpenContext;
use anabranch::{RecordId, Result};

/// Nowhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Null;

impl Outlet for Null {
    fn describe(&self) -> String {
        "null:".into()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn FrameWriter>> {
        let counter = |name| context.counters.counter(name);
        Ok(Box::new(NullWriter { frames: counter("frames"), bytes: counter("bytes") }))
    }
}

struct NullWriter {
    frames: Counter,
    bytes: Counter,
}

impl FrameWriter for NullWriter {
    fn write(&mut self, _: RecordId<'_>, frame: &[u8]) -> Result<Taken> {
        self.frames.add(1);
        self.bytes.add(frame.len() as u64);
        Ok(Taken::All)
    }
}
