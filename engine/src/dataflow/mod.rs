//! From a plan to timely operators: one for the sources, one a merge, one a group of tables, one a
//! sink; and those of views.
//!
//! Invariant: every worker builds the same operators in the same order. All edges carry the same
//! type, parcels, so an operator is compiled once whatever the application's records are.

mod edges;
mod group;
mod ingest;
mod lookup;
mod operators;
mod sink;
mod topology;
mod view;

pub(crate) use operators::{Assembly, assemble};
pub(crate) use topology::Topology;
pub(crate) use view::Building;
