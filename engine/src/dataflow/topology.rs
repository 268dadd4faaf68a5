//! Which operators a plan needs, and in which order they can be built.
//!
//! Invariant: the operators form no cycle; a path that returns to a group is refused, with the
//! path.

use std::collections::BTreeSet;

use crate::plan::{Owner, Plan, Target};
use crate::{Error, Result};

/// An operator of the dataflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operator {
    Ingest,
    Group(usize),
    Relay(usize),
    /// Views that are drawn together.
    View(usize),
    Lookup(usize),
    Sink(usize),
}

/// The operators of a plan.
pub(crate) struct Topology {
    /// The ports of each group.
    pub(crate) groups: Vec<Vec<usize>>,
    /// All operators, each after those that it receives from.
    pub(crate) order: Vec<Operator>,
    /// The ends of each edge of the plan, by its index.
    pub(crate) edges: Vec<(Operator, Operator)>,
}

impl Topology {
    /// The tables that groups have.
    pub(crate) fn tables(&self, plan: &Plan) -> BTreeSet<&'static str> {
        let ports = self.groups.iter().flatten().filter_map(|port| plan.port(*port));
        ports.flat_map(|port| &port.uses).map(|used| used.name).collect()
    }

    /// The operators of `plan`.
    ///
    /// # Errors
    /// When a path returns to a group.
    pub(crate) fn of(plan: &Plan) -> Result<Self> {
        let groups = plan.groups();
        let group_of = |port: usize| groups.iter().position(|ports| ports.contains(&port));
        let from = |owner| match owner {
            Owner::Ingest => Operator::Ingest,
            Owner::Port(port) => Operator::Group(group_of(port).unwrap_or_default()),
            Owner::Relay(relay) => Operator::Relay(relay),
            Owner::View(view) => {
                let drawing = plan.drawings.iter().position(|it| it.views.contains(&view));
                Operator::View(drawing.unwrap_or_default())
            }
            Owner::Lookup(lookup) => Operator::Lookup(lookup),
            Owner::Sink(sink) => Operator::Sink(sink),
        };
        let to = |target| match target {
            Target::Port(port) | Target::Retries(port) => {
                Operator::Group(group_of(port).unwrap_or_default())
            }
            Target::Relay(relay) => Operator::Relay(relay),
            Target::Lookup(lookup) => Operator::Lookup(lookup),
            Target::Sink(sink) => Operator::Sink(sink),
        };
        let edges: Vec<_> = plan.edges.iter().map(|edge| (from(edge.from), to(edge.to))).collect();
        let mut waiting: BTreeSet<Operator> = std::iter::once(Operator::Ingest)
            .chain((0..plan.relays.len()).map(Operator::Relay))
            .chain((0..plan.lookups.len()).map(Operator::Lookup))
            .chain((0..groups.len()).map(Operator::Group))
            .chain((0..plan.drawings.len()).map(Operator::View))
            .chain((0..plan.sinks.len()).map(Operator::Sink))
            .collect();
        let mut ways = edges.clone();
        ways.extend(looks(plan, &groups));
        let mut order = Vec::new();
        while let Some(next) = waiting.iter().copied().find(|operator| {
            !ways.iter().any(|(from, to)| to == operator && waiting.contains(from))
        }) {
            waiting.remove(&next);
            order.push(next);
        }
        if waiting.is_empty() {
            return Ok(Self { groups, order, edges });
        }
        Err(Error::Application(describe_cycle(plan, &groups, &ways, &waiting)))
    }

    /// The edges that enter `operator`: for a group, those of its ports, in their order.
    pub(crate) fn inputs(&self, plan: &Plan, operator: Operator) -> impl Iterator<Item = usize> {
        let mut inputs: Vec<(usize, usize)> = Vec::new();
        for (index, (edge, (_, to))) in plan.edges.iter().zip(&self.edges).enumerate() {
            if *to == operator {
                let port = match edge.to {
                    Target::Port(port) | Target::Retries(port) => port,
                    Target::Relay(_) | Target::Lookup(_) | Target::Sink(_) => 0,
                };
                inputs.push((port, index));
            }
        }
        inputs.sort_unstable();
        inputs.into_iter().map(|(_, index)| index)
    }
}

/// From the groups to the views that look at their tables.
fn looks(plan: &Plan, groups: &[Vec<usize>]) -> Vec<(Operator, Operator)> {
    let mut looks = Vec::new();
    for (index, drawing) in plan.drawings.iter().enumerate() {
        for (port, planned) in plan.ports() {
            if planned.uses.iter().any(|used| drawing.tables.contains(&used.name))
                && let Some(group) = groups.iter().position(|ports| ports.contains(&port))
            {
                looks.push((Operator::Group(group), Operator::View(index)));
            }
        }
    }
    looks
}

/// Walks back from an operator that waits for itself, and names what it passes.
fn describe_cycle(
    plan: &Plan,
    groups: &[Vec<usize>],
    edges: &[(Operator, Operator)],
    waiting: &BTreeSet<Operator>,
) -> String {
    let mut path: Vec<Operator> = waiting.first().copied().into_iter().collect();
    while let Some(last) = path.last().copied() {
        let before = edges.iter().find(|(from, to)| *to == last && waiting.contains(from));
        let Some((before, _)) = before else { break };
        if let Some(start) = path.iter().position(|operator| operator == before) {
            path.drain(..start);
            path.push(*before);
            break;
        }
        path.push(*before);
    }
    path.reverse();
    let steps: Vec<String> = path.iter().map(|operator| name(plan, groups, *operator)).collect();
    let trails: BTreeSet<&str> = path
        .iter()
        .filter_map(
            |operator| {
                if let Operator::Group(group) = operator { groups.get(*group) } else { None }
            },
        )
        .flatten()
        .filter_map(|port| Some(plan.ports().find(|(index, _)| index == port)?.1.trail.as_str()))
        .collect();
    format!(
        "a path returns to a group of tables: {} (pipelines {}). Let the pipeline end in one \
         `compute` over all the tables it needs, or give the later computation tables of its own",
        steps.join(" -> "),
        trails.iter().map(|trail| format!("`{trail}`")).collect::<Vec<_>>().join(", ")
    )
}

fn name(plan: &Plan, groups: &[Vec<usize>], operator: Operator) -> String {
    match operator {
        Operator::Ingest => "sources".to_string(),
        Operator::Relay(_) => "merge".to_string(),
        Operator::View(drawing) => {
            let views = plan.drawings.get(drawing).into_iter().flat_map(|it| &it.views);
            let names: Vec<&str> =
                views.filter_map(|view| plan.views.get(*view).map(String::as_str)).collect();
            format!("view `{}`", names.join("`, `"))
        }
        Operator::Lookup(lookup) => plan
            .lookups
            .get(lookup)
            .map_or_else(String::new, |lookup| format!("look-up `{}`", lookup.name())),
        Operator::Sink(sink) => {
            plan.sinks.get(sink).map_or_else(String::new, |sink| format!("sink `{}`", sink.name))
        }
        Operator::Group(group) => {
            let members = groups.get(group).into_iter().flatten();
            let ports = members.filter_map(|port| plan.ports().find(|(index, _)| index == port));
            let mut tables: Vec<&str> = Vec::new();
            let mut computations: Vec<&str> = Vec::new();
            for (_, port) in ports {
                tables.extend(port.uses.iter().map(|used| used.name));
                computations.extend(port.computations.iter().map(String::as_str));
            }
            tables.sort_unstable();
            tables.dedup();
            format!("{{{}}} by {}", tables.join(", "), computations.join(" and "))
        }
    }
}
