//! [`Page`]: records of a stream as JSON, on one line each.
//!
//! Invariant: a record is shown as it is: JSON as JSON, other text as text, other bytes in base64. No line break
//! is in one, whatever the record has.

use anabranch::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::stream::{Entry, Reader};

/// A record.
#[derive(Serialize, ToSchema)]
pub(super) struct Record {
    /// Its place: the first one ever has 0.
    offset: u64,
    /// When it was appended, RFC 3339.
    time: String,
    /// The record, if it is a JSON document;
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<Box<RawValue>>,
    /// if it is other text;
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// if it is anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl Record {
    fn of(entry: &Entry<'_>) -> Self {
        let (offset, time) = (entry.offset, entry.time.to_string());
        let mut record = Self { offset, time, value: None, text: None, base64: None };
        match std::str::from_utf8(entry.bytes) {
            Err(_) => record.base64 = Some(STANDARD.encode(entry.bytes)),
            Ok(text) => match serde_json::from_str::<&RawValue>(text) {
                // In JSON a line break is between its parts only.
                Ok(value) => {
                    record.value =
                        RawValue::from_string(value.get().replace(['\n', '\r'], " ")).ok();
                }
                Err(_) => record.text = Some(text.to_owned()),
            },
        }
        record
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// As one line, without its end.
    pub(super) fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Records of a stream.
#[derive(Serialize, ToSchema)]
pub(super) struct Page {
    pub(super) records: Vec<Record>,
    /// Where to go on.
    pub(super) next: u64,
}

impl Page {
    /// Takes what is durable from `next_entry`, up to these bounds.
    pub(super) fn take(
        source: &mut impl Entries,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Self> {
        let (mut records, mut bytes) = (Vec::new(), 0_usize);
        while records.len() < records_max && bytes < bytes_max {
            let Some(entry) = source.next()? else { break };
            bytes += entry.bytes.len() + 64;
            records.push(Record::of(&entry));
        }
        Ok(Self { records, next: source.place() })
    }
}

/// What a page is taken from.
pub(super) trait Entries {
    fn next(&mut self) -> Result<Option<Entry<'_>>>;
    fn place(&self) -> u64;
}

impl Entries for Reader {
    fn next(&mut self) -> Result<Option<Entry<'_>>> {
        self.next_entry()
    }

    fn place(&self) -> u64 {
        self.position()
    }
}

impl Entries for crate::stream::Consumer {
    fn next(&mut self) -> Result<Option<Entry<'_>>> {
        self.next_entry()
    }

    fn place(&self) -> u64 {
        self.position()
    }
}
