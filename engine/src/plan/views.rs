//! The views of a plan.
//!
//! Invariant: a view has its place behind the groups of its tables.

use std::collections::BTreeSet;

use super::{Owner, Plan, Target};
use crate::dataflow::Building;
use crate::{LANES_MAX, Order};

/// Views that are drawn together.
pub(crate) struct ViewPlan {
    /// The tables that they look at.
    pub(crate) tables: Vec<&'static str>,
    /// Their indices.
    pub(crate) views: Vec<usize>,
    /// Builds their operators; taken when it does.
    pub(crate) draw: Option<DrawViews>,
}

/// Builds the operators of views.
pub(crate) type DrawViews = Box<dyn FnOnce(&mut Building<'_, '_>)>;

impl Plan {
    /// Gives the index of the view of that name.
    pub(crate) fn add_view(&mut self, name: &str) -> usize {
        self.check_name("view", name);
        if self.views.iter().any(|known| known == name) {
            self.mistake(format!("two views are named `{name}`; give one another name"));
        }
        self.views.push(name.to_string());
        self.views.len() - 1
    }

    /// A view on what it tells a computation runs.
    pub(crate) fn view_computed_with(&self) -> Option<&str> {
        let found = (0..self.views.len()).find(|view| self.reaches_a_port(Owner::View(*view)))?;
        self.views.get(found).map(String::as_str)
    }

    fn reaches_a_port(&self, from: Owner) -> bool {
        let mut edges = self.edges.iter().filter(|edge| edge.from == from);
        edges.any(|edge| match edge.to {
            Target::Port(_) | Target::Retries(_) => true,
            Target::Relay(relay) => self.reaches_a_port(Owner::Relay(relay)),
            Target::Lookup(lookup) => self.reaches_a_port(Owner::Lookup(lookup)),
            Target::Sink(_) => false,
        })
    }

    /// What is wrong with the views, given the tables that computations use.
    pub(super) fn check_views(&mut self) {
        let mut used = BTreeSet::new();
        self.ports().for_each(|(_, port)| used.extend(port.uses.iter().map(|used| used.name)));
        let names = |drawing: &ViewPlan| -> Vec<&str> {
            let names = drawing.views.iter().filter_map(|view| self.views.get(*view));
            names.map(String::as_str).collect()
        };
        let mut unused = self.drawings.iter().flat_map(|drawing| {
            drawing
                .tables
                .iter()
                .filter(|table| !used.contains(**table))
                .map(move |it| (drawing, it))
        });
        let mistake = unused.next().map(|(drawing, table)| {
            format!(
                "view `{}` looks at table `{table}`, which no computation uses; write it in one, or \
                 collect a stream into it by `collect_into`",
                names(drawing).join("`, `")
            )
        });
        if let Some(mistake) = mistake {
            self.mistake(mistake);
        }
        if !self.views.is_empty() && self.order == Order::Arrival {
            self.mistake(
                "views need the order of records, and the application asks for that of their arrival; \
                 leave `Order::Arrival` out, or the views",
            );
        }
        if self.views.len() > LANES_MAX {
            self.mistake(format!("it has more than {LANES_MAX} views; leave some out"));
        }
    }
}
