//! A graph as a Mermaid flowchart.
//!
//! Invariant: a label is always quoted, and every character in it that Mermaid or its Markdown could
//! take for syntax is an entity, so no name can end a label or add a node.

use std::fmt::Write as _;

use super::{Graph, Node, NodeKind, visible};

pub(super) fn render(graph: &Graph) -> String {
    let mut out = String::from("flowchart LR\n");
    for node in graph.nodes.iter().filter(|node| node.is_on_the_way()) {
        let _ = writeln!(out, "  {}", shape(node));
    }
    for (group, tables) in graph.groups() {
        if let Some(group) = group {
            let _ = writeln!(out, "  subgraph n{}[\"group\"]", group.0);
        }
        for table in tables {
            let _ = writeln!(out, "    {}", shape(table));
        }
        if group.is_some() {
            out.push_str("  end\n");
        }
    }
    for edge in &graph.edges {
        let (Some(from), Some(to)) = (graph.node(edge.from), graph.node(edge.to)) else { continue };
        let arrow = if matches!(to.kind, NodeKind::DeadLetters { .. }) { "-.->" } else { "-->" };
        let label = edge.label.as_deref().map(|l| format!("|\"{}\"|", escape(l)));
        let (from, to) = (from.id.0, to.id.0);
        let _ = writeln!(out, "  n{from} {arrow}{} n{to}", label.unwrap_or_default());
    }
    for used in graph.uses() {
        let (computation, table) = (used.computation.0, used.table.0);
        let _ = if used.write {
            writeln!(out, "  n{computation} <-.->|\"writes\"| n{table}")
        } else {
            writeln!(out, "  n{table} -.->|\"reads\"| n{computation}")
        };
    }
    out
}

fn shape(node: &Node) -> String {
    let (open, close) = match node.kind {
        NodeKind::Source { .. } => ("[/\"", "\"/]"),
        NodeKind::Step { .. } => ("(\"", "\")"),
        NodeKind::Table { .. } => ("[(\"", "\")]"),
        NodeKind::Sink { .. } | NodeKind::DeadLetters { .. } => ("[\\\"", "\"\\]"),
        NodeKind::View { .. } => ("[[\"", "\"]]"),
        NodeKind::Computation { .. } | NodeKind::Group { .. } => ("[\"", "\"]"),
    };
    let lines: Vec<String> = node.lines().iter().map(|line| escape(line)).collect();
    format!("n{}{open}{}{close}", node.id.0, lines.join("<br/>"))
}

/// Mermaid's entities are `#` and a decimal code point, then `;`.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    let text = visible(text);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        // `- ` and `1. ` would begin a list.
        let begins_list = matches!(c, '-' | '.') && rest.peek().is_none_or(|next| *next == ' ');
        let plain = c.is_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.' | ',' | ':' | '/');
        if plain && !begins_list {
            escaped.push(c);
        } else {
            let _ = write!(escaped, "#{};", u32::from(c));
        }
    }
    escaped
}
