//! [`DeadLetter`]: a frame that a decoder or its transport refused, or a record that a computation did, with the
//! reason.
//!
//! Invariant: nothing that was accepted from outside is lost without a dead letter; the bytes are
//! kept exactly, but for the end of a frame above the cap of its transport.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::log::Limited;
use crate::{Failure, Time};

/// A record that was refused, as the sink named by `app.dead_letters(sink)` receives it.
///
/// As JSON: `{"source","partition","offset","time","pipeline","kind","reason","text"}`, or `"hex"` instead of
/// `"text"` when the bytes are not UTF-8; with `"computation"` after the pipeline, if one refused it, with
/// `"place"` after the reason, if it is known, and with all of `"causes"`, if there are some.
///
/// ```
/// use anabranch::{DeadLetter, Failure, Time};
///
/// let failure =
///     Failure { kind: "refused".into(), chain: vec!["not JSON".into()], place: None };
/// let letter = DeadLetter {
///     source: "prices".into(),
///     partition: 0,
///     offset: 3,
///     time: Time::ZERO,
///     pipeline: "prices".into(),
///     computation: None,
///     failure,
///     bytes: b"{".to_vec(),
/// };
/// assert_eq!(
///     serde_json::to_string(&letter)?,
///     r#"{"source":"prices","partition":0,"offset":3,"time":"1970-01-01T00:00:00Z","pipeline":"prices","kind":"refused","reason":"not JSON","text":"{"}"#
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
    /// The source, and the computations before the one that refused it, as ` -> ` joins them.
    pub pipeline: String,
    /// The computation that refused it; none if a decoder did.
    pub computation: Option<String>,
    /// Why it was refused.
    pub failure: Failure,
    /// The frame, exactly; of one above the cap of its transport, the beginning. Of what a computation refused,
    /// its record as JSON.
    pub bytes: Vec<u8>,
}

impl DeadLetter {
    /// The bytes as text, where they are UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// Why it was refused, in one line.
    pub fn reason(&self) -> String {
        self.failure.reason()
    }

    /// Tells `log` of it, with how it begins.
    pub(crate) fn warn(&self, log: &Limited) {
        let Self { source, partition, offset, computation, failure, bytes, .. } = self;
        let reason = failure.reason();
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
        let Self { source, partition, offset, time, pipeline, computation, failure, bytes } = self;
        let readable = serializer.is_human_readable();
        let mut letter = serializer.serialize_struct("DeadLetter", 8)?;
        letter.serialize_field("source", source)?;
        letter.serialize_field("partition", partition)?;
        letter.serialize_field("offset", offset)?;
        if !readable {
            letter.serialize_field("time", time)?;
            letter.serialize_field("pipeline", pipeline)?;
            letter.serialize_field("computation", computation)?;
            letter.serialize_field("failure", failure)?;
            letter.serialize_field("bytes", bytes)?;
            return letter.end();
        }
        letter.serialize_field("time", &time.to_string())?;
        letter.serialize_field("pipeline", pipeline)?;
        if let Some(computation) = computation {
            letter.serialize_field("computation", computation)?;
        }
        letter.serialize_field("kind", &failure.kind)?;
        letter.serialize_field("reason", &failure.reason())?;
        if let Some(place) = &failure.place {
            letter.serialize_field("place", place)?;
        }
        if let [_, causes @ ..] = &*failure.chain
            && !causes.is_empty()
        {
            letter.serialize_field("causes", causes)?;
        }
        match self.text() {
            Some(text) => letter.serialize_field("text", text)?,
            None => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                letter.serialize_field("hex", &hex)?;
            }
        }
        letter.end()
    }
}
