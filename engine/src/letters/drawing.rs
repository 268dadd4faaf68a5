//! [`keep`]: adds to a drawn application what keeps its dead letters and brings retries in.
//!
//! Invariant: it comes after all that the user drew, so no index of a source, a port or a sink changes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64;

use super::entry::{Answer, Outcome, Posted};
use super::requests::{RequestDecoder, Requests};
use super::retry::{Retry, To};
use super::writer::LetterSink;
use crate::DeadLetter;
use crate::config::LettersBound;
use crate::delivery::TypedSink;
use crate::graph::Graph;
use crate::ingest::{Reentry, TypedSource};
use crate::pipeline::{Consumer, Edge, Hub, Placement, Tagged};
use crate::plan::{Owner, Plan, SinkPlan, SourcePlan, Target};
use crate::source::{Nature, frames};

/// The source that retries enter by; no user can give one this name.
pub(crate) const RETRIES: &str = "@retries";
/// The sink that is the log.
pub(crate) const LETTERS: &str = "@dead-letters";

/// How dead letters are kept.
#[derive(Clone, Debug)]
pub(crate) struct Keeping {
    pub(crate) folder: PathBuf,
    pub(crate) bound: LettersBound,
    /// Whether they are kept; else retries that were come in again.
    pub(crate) anew: bool,
    /// The letters from that entry of the log on are closed first: their records are computed anew.
    pub(crate) closes_from: Option<u64>,
}

/// Lets `plan` keep its dead letters, unless it only looks at what was kept, and try them again.
pub(crate) fn keep(plan: &mut Plan, keeping: Keeping) {
    let Keeping { folder, bound, anew, closes_from } = keeping;
    if anew {
        let version = plan.version.clone().unwrap_or_else(|| {
            let graph = Graph::of_plan("", plan).to_json();
            format!("{:016x}", xxh3_64(graph.as_bytes()))
        });
        let index = plan.sinks.len();
        let log = LetterSink { folder: folder.clone(), version, bound, closes_from };
        let sink = TypedSink::new(log);
        plan.sinks.push(SinkPlan { name: LETTERS.to_string(), sink: Box::new(sink) });
        plan.post_to(index);
        plan.keeps_letters.set(true);
    }
    let recorded = plan.sources.iter().all(|it| it.source.nature() == Nature::Recorded);
    let nature = if recorded { Nature::Recorded } else { Nature::Live };
    let source = TypedSource::new(frames(Requests { folder, nature }, || RequestDecoder));
    let reentries = plan.sources.iter().map(|it| (it.name.clone(), it.source.reentry())).collect();
    let ports: Vec<(usize, BTreeSet<String>)> = plan.refusing_ports().collect();
    let mut edges = Vec::new();
    for (port, computations) in ports {
        let outbox = plan.edge(Owner::Ingest, Target::Retries(port));
        edges.push((computations, Edge::new(&plan.placement, outbox)));
    }
    source.hub().add(Dispatcher {
        placement: plan.placement.clone(),
        reentries,
        edges,
        posts: Rc::clone(&plan.dead_letters),
        posted: Vec::new(),
    });
    plan.retries = Some(plan.sources.len());
    let (name, source) = (RETRIES.to_string(), Box::new(source));
    plan.sources.push(SourcePlan { name, source, event_time: None });
}

/// Hands on the letters, and nothing else, to the sink that the user named.
pub(crate) struct ToLetterSink {
    pub(crate) worker: usize,
    pub(crate) edge: Edge<DeadLetter>,
}

impl Consumer<Posted> for ToLetterSink {
    fn consume(&mut self, batch: &mut Vec<Tagged<Posted>>) {
        for Tagged { origin, record } in batch.drain(..) {
            if let Posted::Letter(posted) = record {
                self.edge.push(self.worker, Tagged { origin, record: posted.0 });
            }
        }
        self.edge.flush();
    }
}

/// Brings each retry to where its letter came from.
struct Dispatcher {
    placement: Placement,
    /// By the name of the source.
    reentries: Vec<(String, Box<dyn Reentry>)>,
    /// To the ports that have these computations.
    edges: Vec<(BTreeSet<String>, Edge<Retry>)>,
    posts: Rc<Hub<Posted>>,
    posted: Vec<Tagged<Posted>>,
}

impl Dispatcher {
    /// Hands it on; gives how it ended, if that is known.
    fn dispatch(&mut self, tagged: Tagged<Retry>) -> Option<(String, Outcome)> {
        let Tagged { origin, record: retry } = &tagged;
        let failed = |why: String| Some((retry.letter.clone(), Outcome::Failed(why)));
        match &retry.to {
            To::Source(name) => {
                let Some((_, source)) = self.reentries.iter_mut().find(|(known, _)| known == name)
                else {
                    return failed(format!("the program has no source `{name}` any more"));
                };
                match source.enter(*origin, &retry.content) {
                    Ok(()) => Some((retry.letter.clone(), Outcome::Closed)),
                    Err(error) => failed(error.to_string()),
                }
            }
            To::Computation { name, hash, .. } => {
                let Some((_, edge)) = self.edges.iter_mut().find(|(it, _)| it.contains(name))
                else {
                    return failed(format!("the program has no computation `{name}` that tries"));
                };
                edge.push(self.placement.worker(*hash), tagged);
                None
            }
        }
    }
}

impl Consumer<Retry> for Dispatcher {
    fn consume(&mut self, batch: &mut Vec<Tagged<Retry>>) {
        for tagged in batch.drain(..) {
            let origin = tagged.origin;
            if let Some((letter, outcome)) = self.dispatch(tagged) {
                let (request, time) = (origin.offset(), origin.time());
                let record = Posted::Answer(Box::new(Answer { request, letter, time, outcome }));
                self.posted.push(Tagged { origin, record });
            }
        }
        self.edges.iter_mut().for_each(|(_, edge)| edge.flush());
        self.posts.dispatch(&mut self.posted);
    }
}
