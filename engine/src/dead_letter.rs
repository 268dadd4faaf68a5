//! [`DeadLetter`]: a frame that a decoder or its transport refused, or a record that a computation did, with the
//! reason.
//!
//! Invariant: nothing that was accepted from outside is lost without a dead letter; the bytes are
//! kept exactly, but for the end of a frame above the cap of its transport.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::Time;
use crate::log::Limited;

/// A record that was refused, as the sink named by `app.dead_letters(sink)` receives it.
///
/// As JSON: `{"source","partition","offset","time","reason","text"}`, or `"hex"` instead of
/// `"text"` when the bytes are not UTF-8; with `"computation"` before the reason, if one refused it.
///
/// ```
/// let letter = anabranch::DeadLetter {
///     source: "prices".into(),
///     partition: 0,
///     offset: 3,
///     time: anabranch::Time::ZERO,
///     computation: None,
///     reason: "not JSON".into(),
///     bytes: b"{".to_vec(),
/// };
/// assert_eq!(
///     serde_json::to_string(&letter)?,
///     r#"{"source":"prices","partition":0,"offset":3,"time":"1970-01-01T00:00:00Z","reason":"not JSON","text":"{"}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DeadLetter {
    /// The name of the source that it entered by.
    pub source: String,
    /// The partition of the source.
    pub partition: usize,
    /// The index of the frame within the partition, from 0.
    pub offset: u64,
    /// The ingest time.
    pub time: Time,
    /// The computation that refused it; none if a decoder did.
    pub computation: Option<String>,
    /// Why it was refused.
    pub reason: String,
    /// The frame, exactly; of one above the cap of its transport, the beginning. Of what a computation refused,
    /// its record as JSON.
    pub bytes: Vec<u8>,
}

impl DeadLetter {
    /// The bytes as text, where they are UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// Tells `log` of it, with how it begins.
    pub(crate) fn warn(&self, log: &Limited) {
        let Self { source, partition, offset, computation, reason, bytes, .. } = self;
        let start = String::from_utf8_lossy(bytes.get(..80).unwrap_or(bytes));
        let of = computation.as_ref().map(|name| format!(" of `{name}`")).unwrap_or_default();
        log.warn(format_args!(
            "dead letter {source}-{partition}-{offset}{of}: {reason}: {start:?}"
        ));
    }
}

/// For people where the format is for people; field by field, in order, between processes.
impl Serialize for DeadLetter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let readable = serializer.is_human_readable();
        let mut letter = serializer.serialize_struct("DeadLetter", 7)?;
        letter.serialize_field("source", &self.source)?;
        letter.serialize_field("partition", &self.partition)?;
        letter.serialize_field("offset", &self.offset)?;
        if readable {
            letter.serialize_field("time", &self.time.to_string())?;
        } else {
            letter.serialize_field("time", &self.time)?;
        }
        if !readable || self.computation.is_some() {
            letter.serialize_field("computation", &self.computation)?;
        }
        letter.serialize_field("reason", &self.reason)?;
        match self.text() {
            _ if !readable => letter.serialize_field("bytes", &self.bytes)?,
            Some(text) => letter.serialize_field("text", text)?,
            None => {
                let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                letter.serialize_field("hex", &hex)?;
            }
        }
        letter.end()
    }
}
