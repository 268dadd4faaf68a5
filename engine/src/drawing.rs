//! The plan as a [`Graph`], for `graph` and `check`.

use std::collections::BTreeMap;

use crate::Result;
use crate::graph::{Graph, NodeId, NodeKind};
use crate::plan::{Node, Plan};
use crate::source::Nature;

impl Plan {
    /// Describes the application; opens nothing.
    pub(crate) fn graph(&self, application: &str) -> Result<Graph> {
        let mut graph = Graph::new(application);
        let mut ids: Vec<NodeId> = Vec::new();
        for node in &self.nodes {
            let id = graph.add(self.describe(node)?);
            let parents = node.parents.iter().filter_map(|parent| ids.get(*parent));
            parents.for_each(|parent| graph.connect(*parent, id));
            ids.push(id);
        }
        for table in self.stores.tables() {
            graph.add(NodeKind::Table {
                name: table.name.to_string(),
                key: table.key.clone(),
                value: table.value.clone(),
            });
        }
        let ports: BTreeMap<_, _> = self.ports().collect();
        for group in self.groups() {
            let members = group.iter().filter_map(|port| ports.get(port));
            let mut tables: Vec<String> =
                members.flat_map(|port| &port.uses).map(|used| used.name.to_string()).collect();
            tables.sort();
            tables.dedup();
            graph.add(NodeKind::Group { tables });
        }
        Ok(graph)
    }

    fn describe(&self, node: &Node) -> Result<NodeKind> {
        let name = node.name.clone();
        Ok(match &node.kind {
            crate::plan::NodeKind::Source(index) => {
                let source = self.sources.get(*index).map(|planned| &planned.source);
                NodeKind::Source {
                    name,
                    connector: source.map(|source| source.describe()).unwrap_or_default(),
                    live: source.is_some_and(|source| source.nature() == Nature::Live),
                    partitions: source.and_then(|source| source.partitions().ok()),
                }
            }
            crate::plan::NodeKind::Step => NodeKind::Step { operation: name },
            crate::plan::NodeKind::Computation(uses) => {
                let names = |write: bool| {
                    let named = uses.iter().filter(move |used| used.write == write);
                    named.map(|used| used.name.to_string()).collect()
                };
                NodeKind::Computation { name, reads: names(false), writes: names(true) }
            }
            crate::plan::NodeKind::Sink(index) => {
                let sink = self.sinks.get(*index);
                let connector = sink.map(|planned| planned.sink.describe()).unwrap_or_default();
                if self.dead_letters_named && node.parents.is_empty() {
                    NodeKind::DeadLetters { connector }
                } else {
                    NodeKind::Sink { name, connector }
                }
            }
        })
    }
}
