//! [`Graph`]: what an application is made of, as plain data, and how it is shown.
//!
//! Invariant: it only describes, so drawing it opens nothing and runs nothing; whatever a name
//! contains, each rendering stays well-formed and shows the name.

mod dot;
mod mermaid;
mod of_plan;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// An application as a graph: what `graph` and `check` print.
///
/// As JSON it is `{"version":1,"application":..,"nodes":[..],"edges":[..]}`. A node is `{"id":0,
/// "kind":"source",..}` with the fields of its [`NodeKind`]; an edge is `{"from":0,"to":1}` and
/// has a `"label"` where one output of several is meant. Fields may be added within a version.
///
/// ```
/// use anabranch::graph::{Graph, NodeKind};
/// let mut graph = Graph::new("word-count");
/// let text = graph.add(NodeKind::Source {
///     name: "text".into(),
///     connector: "file:book.txt".into(),
///     live: false,
///     partitions: Some(1),
/// });
/// let count = graph.add(NodeKind::Computation {
///     name: "count".into(),
///     reads: vec![],
///     writes: vec!["counts".into()],
/// });
/// graph.connect(text, count);
/// assert!(graph.to_text().contains("text -> count"));
/// assert!(graph.to_mermaid().starts_with("flowchart LR\n"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    version: u32,
    application: String,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

/// Names a node within its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(u32);

/// One part of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its place among the nodes, from 0 in the order in which they were added.
    pub id: NodeId,
    /// What it is.
    #[serde(flatten)]
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NodeKind {
    /// Where records enter; its name is its pipeline's.
    Source {
        /// As the application names it.
        name: String,
        /// What it reads, without secrets.
        connector: String,
        /// Whether input is stamped when it is read, rather than bringing its time.
        live: bool,
        /// How many partitions it has, where that can be told without opening it.
        partitions: Option<usize>,
    },
    /// A step without state.
    Step {
        /// Which: `map`, `filter`, `flat_map`, `branch`, `merge`, `inspect`, `key_by`.
        operation: String,
    },
    /// User code over tables.
    Computation {
        /// As the application names it.
        name: String,
        /// Names of the tables that it only reads.
        reads: Vec<String>,
        /// Names of the tables that it reads and writes.
        writes: Vec<String>,
    },
    /// An incrementally maintained query over tables.
    View {
        /// As the application names it.
        name: String,
        /// Names of the tables that it looks at.
        reads: Vec<String>,
    },
    /// Named state.
    Table {
        /// As the application names it.
        name: String,
        /// The type of its keys.
        key: String,
        /// The type of its values.
        value: String,
    },
    /// Tables that computations use together: one key, one thread, one order.
    Group {
        /// Names of its tables.
        tables: Vec<String>,
    },
    /// Where records leave.
    Sink {
        /// As the application names it.
        name: String,
        /// Where it writes, without secrets.
        connector: String,
    },
    /// Where refused records go.
    DeadLetters {
        /// Where it writes, without secrets.
        connector: String,
    },
}

/// The way of records from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Where they come from.
    pub from: NodeId,
    /// Where they go.
    pub to: NodeId,
    /// Which of several outputs it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Graph {
    /// An application of that name with nothing in it.
    pub fn new(application: impl Into<String>) -> Self {
        Self { version: 1, application: application.into(), nodes: Vec::new(), edges: Vec::new() }
    }

    /// Adds a node; tables and groups are joined to computations by their names, the others by
    /// [`connect`](Graph::connect).
    pub fn add(&mut self, kind: NodeKind) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node { id, kind });
        id
    }

    /// Records go from one node to the other.
    pub fn connect(&mut self, from: NodeId, to: NodeId) {
        self.edges.push(Edge { from, to, label: None });
    }

    /// Records go from the output called `label` of one node to the other.
    pub fn connect_as(&mut self, label: impl Into<String>, from: NodeId, to: NodeId) {
        self.edges.push(Edge { from, to, label: Some(label.into()) });
    }

    /// The application's name.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// All nodes, in the order in which they were added.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All edges, in the order in which they were added.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// A [Mermaid] flowchart, for Markdown pages.
    ///
    /// [Mermaid]: https://mermaid.js.org/syntax/flowchart.html
    pub fn to_mermaid(&self) -> String {
        mermaid::render(self)
    }

    /// A [Graphviz] digraph, for `dot -Tsvg`.
    ///
    /// [Graphviz]: https://graphviz.org/doc/info/lang.html
    pub fn to_dot(&self) -> String {
        dot::render(self)
    }

    /// The names of the sources, in the order in which they were declared.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::Source { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }

    /// JSON, as [`Graph`] says.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists alone: there is nothing in it that JSON cannot say.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Tables, pipelines and connectors, for people.
    pub fn to_text(&self) -> String {
        text::render(self)
    }

    fn out_of(&self, id: NodeId) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == id)
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    fn tables(&self) -> BTreeMap<&str, NodeId> {
        self.nodes
            .iter()
            .filter_map(|node| match &node.kind {
                NodeKind::Table { name, .. } => Some((name.as_str(), node.id)),
                _ => None,
            })
            .collect()
    }

    /// Which computation, or view, uses which table, and whether it writes.
    fn uses(&self) -> Vec<Use<'_>> {
        const NONE: Vec<String> = Vec::new();
        let tables = self.tables();
        let mut uses = Vec::new();
        for node in &self.nodes {
            let (name, reads, writes) = match &node.kind {
                NodeKind::Computation { name, reads, writes } => (name, reads, writes),
                NodeKind::View { name, reads } => (name, reads, &NONE),
                _ => continue,
            };
            let all = reads.iter().map(|t| (t, false)).chain(writes.iter().map(|t| (t, true)));
            for (table, write) in all {
                if let Some(table) = tables.get(table.as_str()) {
                    uses.push(Use { computation: node.id, name, table: *table, write });
                }
            }
        }
        uses
    }

    /// The groups, each with its tables; tables of no group last, under none.
    fn groups(&self) -> Vec<(Option<NodeId>, Vec<&Node>)> {
        let tables = self.tables();
        let mut placed = BTreeSet::new();
        let mut groups = Vec::new();
        for node in &self.nodes {
            let NodeKind::Group { tables: names } = &node.kind else { continue };
            let ids = names.iter().filter_map(|name| tables.get(name.as_str()));
            let members = ids.filter(|id| placed.insert(**id)).filter_map(|id| self.node(*id));
            groups.push((Some(node.id), members.collect()));
        }
        let is_left = |node: &&Node| {
            matches!(node.kind, NodeKind::Table { .. }) && !placed.contains(&node.id)
        };
        groups.push((None, self.nodes.iter().filter(is_left).collect()));
        groups
    }
}

/// A computation's use of a table, or a view's.
struct Use<'a> {
    computation: NodeId,
    name: &'a str,
    table: NodeId,
    write: bool,
}

impl Node {
    /// What is written in its box, line by line.
    fn lines(&self) -> Vec<String> {
        match &self.kind {
            NodeKind::Source { name, connector, live, partitions } => {
                vec![name.clone(), connector.clone(), source_nature(*live, *partitions)]
            }
            NodeKind::Step { operation } => vec![operation.clone()],
            NodeKind::Computation { name, .. } => vec![name.clone()],
            NodeKind::Table { name, key, value } => vec![name.clone(), format!("{key} -> {value}")],
            NodeKind::View { name, .. } => vec![name.clone(), "view".to_owned()],
            NodeKind::Group { .. } => vec!["group".to_owned()],
            NodeKind::Sink { name, connector } => vec![name.clone(), connector.clone()],
            NodeKind::DeadLetters { connector } => {
                vec!["dead letters".to_owned(), connector.clone()]
            }
        }
    }

    /// Whether it is drawn as a box of its own in the way of records.
    fn is_on_the_way(&self) -> bool {
        !matches!(self.kind, NodeKind::Table { .. } | NodeKind::Group { .. })
    }
}

/// `live, 2 partitions`.
fn source_nature(live: bool, partitions: Option<usize>) -> String {
    let nature = if live { "live" } else { "recorded" };
    match partitions {
        None => nature.to_owned(),
        Some(1) => format!("{nature}, 1 partition"),
        Some(n) => format!("{nature}, {n} partitions"),
    }
}

/// Control characters as people write them, so that a name stays on its line.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}
