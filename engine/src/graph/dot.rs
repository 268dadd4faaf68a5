//! A graph in Graphviz's language.
//!
//! Invariant: a label is always a quoted string whose quotes, backslashes and ampersands are
//! escaped, and never one of Graphviz's own HTML, so no name can end a label or add an attribute.

use std::fmt::Write as _;

use super::{Graph, Node, NodeKind, visible};

pub(super) fn render(graph: &Graph) -> String {
    let mut out = format!(
        "digraph \"{}\" {{\n  rankdir=LR;\n  fontname=\"sans-serif\";\n  node [margin=\"0.2,0.1\", fontname=\"sans-serif\"];\n  edge \
         [fontname=\"sans-serif\"];\n",
        escape(&graph.application)
    );
    for node in graph.nodes.iter().filter(|node| node.is_on_the_way()) {
        let _ = writeln!(out, "  {}", boxed(node));
    }
    for (group, tables) in graph.groups() {
        if let Some(group) = group {
            let _ = writeln!(out, "  subgraph cluster_{} {{\n    label=\"group\";", group.0);
        }
        for table in tables {
            let _ = writeln!(out, "    {}", boxed(table));
        }
        if group.is_some() {
            out.push_str("  }\n");
        }
    }
    for edge in &graph.edges {
        let (Some(from), Some(to)) = (graph.node(edge.from), graph.node(edge.to)) else { continue };
        let mut attributes = Vec::new();
        if let Some(label) = &edge.label {
            attributes.push(format!("label=\"{}\"", escape(label)));
        }
        if matches!(to.kind, NodeKind::DeadLetters { .. }) {
            attributes.push("style=dashed".to_owned());
        }
        let (from, to) = (from.id.0, to.id.0);
        let _ = writeln!(out, "  n{from} -> n{to} [{}];", attributes.join(", "));
    }
    for used in graph.uses() {
        let (computation, table) = (used.computation.0, used.table.0);
        let (label, dir) = if used.write { ("writes", "both") } else { ("reads", "back") };
        let _ = writeln!(
            out,
            "  n{computation} -> n{table} [label=\"{label}\", dir={dir}, style=dotted];"
        );
    }
    out.push_str("}\n");
    out
}

fn boxed(node: &Node) -> String {
    let shape = match node.kind {
        NodeKind::Source { .. } | NodeKind::Sink { .. } | NodeKind::DeadLetters { .. } => "cds",
        NodeKind::Step { .. } => "ellipse",
        NodeKind::Table { .. } => "cylinder",
        NodeKind::View { .. } => "component",
        NodeKind::Computation { .. } | NodeKind::Group { .. } => "box",
    };
    let lines: Vec<String> = node.lines().iter().map(|line| escape(line)).collect();
    format!("n{} [shape={shape}, label=\"{}\"];", node.id.0, lines.join("\\n"))
}

/// Graphviz reads entities and backslash sequences in quoted labels.
fn escape(text: &str) -> String {
    visible(text).replace('&', "&amp;").replace('\\', "\\\\").replace('"', "\\\"")
}
