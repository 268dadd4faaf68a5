//! Edges: records on their way to the workers that own them.
//!
//! Invariant: every parcel holds records of one stream in order of their origins, so that a
//! receiver merges and never sorts. Parcels for this process carry the records themselves,
//! parcels for another one their bytes.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use serde::de::{Deserializer, Visitor};
use serde::ser::{Error as _, SerializeTuple, Serializer};
use serde::{Deserialize, Serialize};

use super::Tagged;
use crate::Record;

/// The most records in one parcel.
const PARCEL_RECORDS_MAX: usize = 1024;

/// Which worker owns which key.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    partitions: u64,
    workers: usize,
    this: usize,
    /// The workers of this process.
    local: Range<usize>,
}

impl Placement {
    /// The placement as worker `this` of `workers` sees it.
    pub(crate) fn new(partitions: usize, workers: usize, this: usize, local: Range<usize>) -> Self {
        Self { partitions: partitions as u64, workers, this, local }
    }

    pub(crate) fn this_worker(&self) -> usize {
        self.this
    }

    /// The worker that writes the sink of that index.
    pub(crate) fn sink_worker(&self, sink: usize) -> usize {
        sink % self.workers
    }

    /// The worker that gathers the view of that index: the last first, as the first ones write sinks.
    pub(crate) fn view_worker(&self, view: usize) -> usize {
        self.workers - 1 - view % self.workers
    }

    /// The worker that reads that partition of the source of that index.
    pub(crate) fn source_worker(&self, source: usize, partition: usize) -> usize {
        (source + partition) % self.workers
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// How many partitions keys fall into.
    pub(crate) fn partitions(&self) -> usize {
        self.partitions as usize
    }

    /// The worker that owns the partition of the key with that hash: workers own contiguous
    /// ranges of partitions.
    #[inline]
    pub(crate) fn worker(&self, hash: u64) -> usize {
        let partition = hash % self.partitions;
        (partition * self.workers as u64 / self.partitions) as usize
    }
}

/// Parcels that wait to be handed to timely.
pub(crate) type Outbox = Rc<RefCell<Vec<Parcel>>>;

/// Records of one stream for one worker.
pub(crate) struct Parcel {
    pub(crate) to: usize,
    pub(crate) body: Body,
}

/// What is in a parcel.
pub(crate) enum Body {
    /// A `Vec<Tagged<T>>`, for a worker of this process.
    Records(Box<dyn Any + Send>),
    /// The same, encoded.
    Bytes(Vec<u8>),
}

impl Body {
    /// The records, as the receiving end of the same edge knows their type.
    ///
    /// # Panics
    /// When bytes from another process are not what its own edge encoded: the processes run
    /// different programs, which the handshake excludes.
    #[allow(clippy::panic)]
    pub(crate) fn records<T: Record>(self) -> Vec<Tagged<T>> {
        match self {
            Self::Records(records) => *records
                .downcast::<Vec<Tagged<T>>>()
                .unwrap_or_else(|_| panic!("an edge received records of another type")),
            Self::Bytes(bytes) => postcard::from_bytes(&bytes)
                .unwrap_or_else(|e| panic!("records from another process cannot be decoded: {e}")),
        }
    }
}

/// The sending end: collects records by worker.
pub(crate) struct Edge<T> {
    open: Vec<Vec<Tagged<T>>>,
    outbox: Outbox,
    local: Range<usize>,
}

impl<T: Record> Edge<T> {
    pub(crate) fn new(placement: &Placement, outbox: Outbox) -> Self {
        let open = (0..placement.workers).map(|_| Vec::new()).collect();
        Self { open, outbox, local: placement.local.clone() }
    }

    #[inline]
    pub(crate) fn push(&mut self, to: usize, record: Tagged<T>) {
        if let Some(open) = self.open.get_mut(to) {
            open.push(record);
            if open.len() >= PARCEL_RECORDS_MAX {
                self.ship(to);
            }
        }
    }

    /// Ships `records`, which are in order of origins, as they are. Nothing may be open for `to`.
    pub(crate) fn send(&self, to: usize, records: Vec<Tagged<T>>) {
        if !records.is_empty() {
            let body = self.body(to, records);
            self.outbox.borrow_mut().push(Parcel { to, body });
        }
    }

    /// Ships what is open, so that the next record may be of any origin.
    pub(crate) fn flush(&mut self) {
        for to in 0..self.open.len() {
            self.ship(to);
        }
    }

    fn ship(&mut self, to: usize) {
        let Some(open) = self.open.get_mut(to) else { return };
        let records = std::mem::take(open);
        self.send(to, records);
    }

    #[allow(clippy::expect_used)]
    fn body(&self, to: usize, records: Vec<Tagged<T>>) -> Body {
        if self.local.contains(&to) {
            return Body::Records(Box::new(records));
        }
        Body::Bytes(postcard::to_stdvec(&records).expect("a record can be serialized"))
    }
}

/// What timely sends between processes: the receiver is known by then, only the bytes matter.
impl Serialize for Parcel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Body::Bytes(bytes) = &self.body else {
            return Err(S::Error::custom("a parcel for this process was sent to another one"));
        };
        let mut parcel = serializer.serialize_tuple(2)?;
        parcel.serialize_element(&(self.to as u64))?;
        parcel.serialize_element(&Raw(bytes))?;
        parcel.end()
    }
}

impl<'de> Deserialize<'de> for Parcel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (to, RawBuf(bytes)) = <(u64, RawBuf)>::deserialize(deserializer)?;
        Ok(Self { to: to as usize, body: Body::Bytes(bytes) })
    }
}

/// Bytes as one run, not as a sequence of numbers.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct RawBuf(Vec<u8>);

impl<'de> Deserialize<'de> for RawBuf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes).map(Self)
    }
}
