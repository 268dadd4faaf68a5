//! The first fault of a worker, and panics turned into faults.
//!
//! Invariant: user code that panics ends the run with an error that names its record; it never
//! leaves the other workers waiting.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::aside::Aside;
use crate::cluster::{self, Caught};
use crate::origin::RecordId;
use crate::state::Port;
use crate::{Error, Result, timer};

/// The first fault of this worker; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Fault(Rc<RefCell<Option<Error>>>);

impl Fault {
    /// Notes `error`, if it is the first.
    pub(crate) fn report(&self, error: Error) {
        self.0.borrow_mut().get_or_insert(error);
    }

    /// The fault, if there is one.
    pub(crate) fn take(&self) -> Option<Error> {
        self.0.borrow_mut().take()
    }

    /// Runs `code`, user code among it.
    pub(crate) fn guard<R>(&self, code: impl FnOnce() -> R) -> Result<R, Panic> {
        cluster::catch_all(code).map_err(Panic)
    }
}

/// What code said when it panicked.
pub(crate) struct Panic(Caught);

impl Panic {
    /// The panic as an error, with where it happened: of the cluster, if it only echoes the loss of
    /// another process.
    pub(crate) fn at(self, place: &str) -> Error {
        let Caught { text, echo } = self.0;
        if echo {
            return Error::Cluster(format!("a data connection to another process failed: {text}"));
        }
        Error::Panic(format!("{place} panicked: {text}"))
    }

    /// The panic as an error, with the computation and the record that was being applied; with
    /// `all` computations of the group, if it was in a step that takes their outputs.
    ///
    /// `set_aside` keeps the record's source, partition and offset with the reason, if there is a data
    /// directory: then the next start goes on without it.
    pub(crate) fn while_applying(
        self,
        ports: &[Box<dyn Port>],
        sources: Option<&Arc<[String]>>,
        all: &str,
        set_aside: impl FnOnce(Aside) -> Result<bool>,
    ) -> Error {
        let Some((origin, computations)) = ports.iter().find_map(|port| port.applying()) else {
            return self.at(&format!("a step after computation {all}"));
        };
        let source = sources.and_then(|names| names.get(origin.source()));
        let id = RecordId { source: source.map_or("", String::as_str), origin };
        let error = self.at(&format!("computation {computations}, at record {id},"));
        let Error::Panic(what) = error else { return error };
        if timer::is_timed(origin) || origin.is_of_view() {
            // There is no record of which it could be said.
            return Error::Panic(what);
        }
        let aside = Aside {
            source: source.cloned().unwrap_or_default(),
            partition: u32::try_from(origin.partition()).unwrap_or(u32::MAX),
            offset: origin.offset(),
            reason: what.clone(),
        };
        let origin = format!("{}-{}-{}", aside.source, aside.partition, aside.offset);
        match set_aside(aside) {
            Ok(true) => Error::SetAside { what, origin },
            Ok(false) => Error::Panic(what),
            Err(error) => Error::Panic(format!("{what}; it could not be set aside: {error}")),
        }
    }
}
