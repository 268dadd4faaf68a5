//! A graph as aligned text, for `check`.
//!
//! Invariant: every table, pipeline and connector is there, one a line; a branch of a pipeline is a
//! line of its own, and what several lead to is written out once.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Graph, Node, NodeId, NodeKind, source_nature, visible};

pub(super) fn render(graph: &Graph) -> String {
    let mut out = String::new();
    let count = |is: fn(&NodeKind) -> bool| graph.nodes.iter().filter(|n| is(&n.kind)).count();
    let views = match count(|k| matches!(k, NodeKind::View { .. })) {
        0 => String::new(),
        views => format!("{}, ", number(views, "view")),
    };
    let _ = writeln!(
        out,
        "{}: {}, {}, {}, {views}{}",
        visible(&graph.application),
        number(count(|k| matches!(k, NodeKind::Source { .. })), "source"),
        number(count(|k| matches!(k, NodeKind::Computation { .. })), "computation"),
        number(count(|k| matches!(k, NodeKind::Table { .. })), "table"),
        number(count(|k| matches!(k, NodeKind::Sink { .. })), "sink"),
    );
    section(&mut out, "Tables", tables(graph));
    section(&mut out, "Pipelines", pipelines(graph));
    section(&mut out, "Connectors", connectors(graph));
    out
}

fn number(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Writes `rows` under a heading, their columns aligned.
fn section(out: &mut String, heading: &str, rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{heading}");
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "  {cell:<width$}");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn tables(graph: &Graph) -> Vec<Vec<String>> {
    let uses = graph.uses();
    let users = |table: NodeId, write: bool| {
        let names = uses.iter().filter(|used| used.table == table && used.write == write);
        listed(names.map(|used| used.name))
    };
    let mut rows = Vec::new();
    for (group, members) in graph.groups() {
        let together = match group {
            Some(_) => members.iter().filter_map(|node| node.table_name()).collect(),
            None => Vec::new(),
        };
        for node in &members {
            let NodeKind::Table { name, key, value } = &node.kind else { continue };
            let others = together.iter().copied().filter(|other| other != name);
            rows.push(vec![
                visible(name),
                visible(&format!("{key} -> {value}")),
                format!("written by {}", users(node.id, true)),
                format!("read by {}", users(node.id, false)),
                format!("grouped with {}", listed(others)),
            ]);
        }
    }
    rows
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut seen = BTreeSet::new();
    let names: Vec<String> = names.filter(|name| seen.insert(*name)).map(visible).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// One line from each source, and each view, to its sinks, then one for each further branch.
fn pipelines(graph: &Graph) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut written = BTreeSet::new();
    for node in &graph.nodes {
        let (NodeKind::Source { name, .. } | NodeKind::View { name, .. }) = &node.kind else {
            continue;
        };
        // What is yet to be written: the text that leads there, and where.
        let mut branches = vec![(String::new(), node.id)];
        while let Some((lead, start)) = branches.pop() {
            let line = lead + &walk(graph, start, &mut written, &mut branches);
            rows.push(vec![visible(name), line]);
        }
    }
    rows
}

/// Follows records from `start` by the first way out; the other ways go to `branches`.
fn walk(
    graph: &Graph,
    start: NodeId,
    written: &mut BTreeSet<NodeId>,
    branches: &mut Vec<(String, NodeId)>,
) -> String {
    let mut line = String::new();
    let mut next = Some(start);
    while let Some(node) = next.and_then(|id| graph.node(id)) {
        line.push_str(&node.on_the_line());
        if !written.insert(node.id) {
            line.push_str(" (as above)");
            return line;
        }
        let mut ways: Vec<_> = graph.out_of(node.id).filter(|e| !graph.is_refusal(e.to)).collect();
        let first = if ways.is_empty() { None } else { Some(ways.remove(0)) };
        let arrow = |label: &Option<String>| match label {
            Some(label) => format!(" -[{}]-> ", visible(label)),
            None => " -> ".to_owned(),
        };
        // The last is taken first.
        for way in ways.iter().rev() {
            branches.push((format!("{}{}", node.on_the_line(), arrow(&way.label)), way.to));
        }
        next = first.map(|edge| {
            line.push_str(&arrow(&edge.label));
            edge.to
        });
    }
    line
}

fn connectors(graph: &Graph) -> Vec<Vec<String>> {
    let row = |what: &str, name: &str, connector: &str, more: String| {
        vec![what.to_owned(), visible(name), visible(connector), more]
    };
    let of = |node: &Node| match &node.kind {
        NodeKind::Source { name, connector, live, partitions } => {
            Some(row("source", name, connector, source_nature(*live, *partitions)))
        }
        NodeKind::Sink { name, connector } => Some(row("sink", name, connector, String::new())),
        NodeKind::DeadLetters { connector } => {
            Some(row("dead letters", "", connector, String::new()))
        }
        _ => None,
    };
    graph.nodes.iter().filter_map(of).collect()
}

impl Graph {
    fn is_refusal(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| matches!(node.kind, NodeKind::DeadLetters { .. }))
    }
}

impl Node {
    fn table_name(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Table { name, .. } => Some(name),
            _ => None,
        }
    }

    fn on_the_line(&self) -> String {
        visible(self.lines().first().map_or("", String::as_str))
    }
}
