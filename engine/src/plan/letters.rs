//! Who may refuse records, and where dead letters go.
//!
//! Invariant: each operator that may refuse hands on its dead letters by one hub, whoever listens.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::{Owner, Plan, Target};
use crate::letters::{Posted, ToLetterSink};
use crate::pipeline::{Edge, Hub, Identity, ToWorker};

impl Plan {
    /// A computation of that name, in that operator, may refuse records.
    pub(crate) fn refuses(&mut self, name: &str, owner: Owner, letters: Rc<Hub<Posted>>) {
        let (_, names) = self.refusing.entry(owner).or_insert_with(|| (letters, BTreeSet::new()));
        names.insert(name.to_string());
        self.refusers.insert(name.to_string());
    }

    /// Where dead letters are handed on.
    fn letters(&self) -> Vec<(Owner, Rc<Hub<Posted>>)> {
        let refusing = self.refusing.iter().map(|(owner, (hub, _))| (*owner, hub));
        let all = std::iter::once((Owner::Ingest, &self.dead_letters)).chain(refusing);
        all.map(|(owner, hub)| (owner, Rc::clone(hub))).collect()
    }

    /// Leads the dead letters to the sink that the user named.
    pub(super) fn collect_letters(&mut self) {
        let Some(sink) = self.dead_letters_sink else { return };
        for (owner, hub) in self.letters() {
            let outbox = self.edge(owner, Target::Sink(sink));
            let edge = Edge::new(&self.placement, outbox);
            hub.add(ToLetterSink { worker: self.placement.sink_worker(sink), edge });
        }
    }

    /// Leads all that is posted to the log, which is the sink of that index.
    pub(crate) fn post_to(&mut self, sink: usize) {
        for (owner, hub) in self.letters() {
            let outbox = self.edge(owner, Target::Sink(sink));
            let edge = Edge::new(&self.placement, outbox);
            let worker = self.placement.sink_worker(sink);
            hub.add(ToWorker { chain: Identity::new(), worker, edge });
        }
    }

    /// The ports whose computations may refuse records, with the names of these.
    pub(crate) fn refusing_ports(&self) -> impl Iterator<Item = (usize, BTreeSet<String>)> {
        self.refusing.iter().filter_map(|(owner, (_, names))| match owner {
            Owner::Port(port) => Some((*port, names.clone())),
            _ => None,
        })
    }

    /// The worker that reads that partition of the source of that index.
    pub(crate) fn reader(&self, source: usize, partition: usize) -> usize {
        // Retries keep no worker busy that reads nothing else.
        let source = if self.retries == Some(source) { 0 } else { source };
        self.placement.source_worker(source, partition)
    }
}
