//! What a user drew, as a graph.
//!
//! Invariant: nothing is opened; where a source cannot tell its partitions without that, the graph
//! does not tell them either.

use std::collections::BTreeSet;

use super::{Graph, NodeId, NodeKind};
use crate::plan::{self, Plan};
use crate::source::Nature;

impl Graph {
    /// The graph of `plan`, for an application of that name.
    pub(crate) fn of_plan(application: &str, plan: &Plan) -> Self {
        let mut graph = Self::new(application);
        let mut ids: Vec<NodeId> = Vec::new();
        for node in &plan.nodes {
            let id = graph.add(kind(plan, node));
            for parent in node.parents.iter().filter_map(|parent| ids.get(*parent)) {
                graph.connect(*parent, id);
            }
            ids.push(id);
        }
        graph.add_refusals(plan);
        for table in plan.stores.tables() {
            let (key, value) = (table.key.clone(), table.value.clone());
            graph.add(NodeKind::Table { name: table.name.to_owned(), key, value });
        }
        for group in plan.groups() {
            let ports = plan.ports().filter(|(index, _)| group.contains(index));
            let tables: BTreeSet<&str> =
                ports.flat_map(|(_, port)| port.uses.iter().map(|used| used.name)).collect();
            if !tables.is_empty() {
                let tables = tables.into_iter().map(str::to_owned).collect();
                graph.add(NodeKind::Group { tables });
            }
        }
        graph
    }

    /// Every source can refuse a record, every computation that tries, and every sink that does.
    fn add_refusals(&mut self, plan: &Plan) {
        let of = |is: &dyn Fn(&NodeKind) -> bool| -> Vec<NodeId> {
            self.nodes.iter().filter(|node| is(&node.kind)).map(|node| node.id).collect()
        };
        let refuse = of(&|kind| match kind {
            NodeKind::Source { .. } => true,
            NodeKind::Computation { name, .. } | NodeKind::Sink { name, .. } => {
                plan.refusers.contains(name)
            }
            _ => false,
        });
        for letters in of(&|kind| matches!(kind, NodeKind::DeadLetters { .. })) {
            for refusing in &refuse {
                self.connect_as("refused", *refusing, letters);
            }
        }
    }
}

fn kind(plan: &Plan, node: &plan::Node) -> NodeKind {
    let name = node.name.clone();
    match &node.kind {
        plan::NodeKind::Source(index) => {
            let source = plan.sources.get(*index).map(|planned| &planned.source);
            NodeKind::Source {
                name,
                connector: source.map_or_else(String::new, |source| source.describe()),
                live: source.is_some_and(|source| source.nature() == Nature::Live),
                partitions: source.and_then(|source| source.partitions().ok()),
            }
        }
        plan::NodeKind::Step => NodeKind::Step { operation: name },
        plan::NodeKind::Computation(uses) => {
            let of = |write: bool| {
                uses.iter().filter(|u| u.write == write).map(|u| u.name.to_owned()).collect()
            };
            NodeKind::Computation { name, reads: of(false), writes: of(true) }
        }
        plan::NodeKind::View(uses) => {
            let reads = uses.iter().map(|used| used.name.to_owned()).collect();
            NodeKind::View { name, reads }
        }
        plan::NodeKind::Sink(index) => {
            let sink = plan.sinks.get(*index).map(|planned| &planned.sink);
            let connector = sink.map_or_else(String::new, |sink| sink.describe());
            // No pipeline leads to the sink of dead letters: the engine itself does.
            if node.parents.is_empty() {
                NodeKind::DeadLetters { connector }
            } else {
                NodeKind::Sink { name, connector }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Counters;
    use crate::pipeline::Placement;
    use crate::{App, MapTable, Result, Table, sink, source};

    const PRICES: Table<String, u64> = Table::new("prices");
    const ALERTS: MapTable<String, u64, bool> = MapTable::new("alerts");
    const TOTALS: Table<String, u64> = Table::new("totals");

    fn build(app: &App) -> Result<()> {
        app.source("prices", source::empty::<String>())
            .map(|price| price)
            .key_by(|price| price.clone())
            .compute("evaluate", (PRICES, ALERTS.read()), |price, (mut seen, _), out| {
                *seen += 1;
                out.emit(price);
            })
            .sink("notifications", sink::null());
        app.source("trades", source::empty::<String>()).key_by(|trade| trade.clone()).try_compute(
            "add-up",
            TOTALS,
            |trade, mut total, out| {
                *total += 1;
                out.emit(trade.clone());
                Ok(())
            },
        );
        app.dead_letters(sink::null());
        app.view("large", TOTALS, |t| t.filter(|(_, total)| *total > 9))
            .sink("large", sink::null());
        Ok(())
    }

    #[test]
    fn the_graph_shows_what_was_drawn() {
        let app =
            crate::app::draw(Placement::new(8, 1, 0, 0..1), Counters::default(), build).unwrap();
        let graph = Graph::of_plan("alerts", &app.into_plan().unwrap());
        let text = graph.to_text();
        let squeezed: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for line in [
            "alerts: 2 sources, 2 computations, 3 tables, 1 view, 2 sinks",
            "prices String -> u64 written by evaluate read by none grouped with alerts",
            "alerts String -> Entries<u64, bool> written by none read by evaluate grouped with prices",
            "totals String -> u64 written by add-up read by large grouped with none",
            "prices prices -> map -> key_by -> evaluate -> notifications",
            "trades trades -> key_by -> add-up",
            "large large -> large",
        ] {
            assert!(squeezed.iter().any(|l| l == line), "`{line}` is not in:\n{text}");
        }
        let refusals = graph.edges().iter().filter(|edge| edge.label.as_deref() == Some("refused"));
        assert_eq!(refusals.count(), 3, "both sources, and what tries");
    }
}
