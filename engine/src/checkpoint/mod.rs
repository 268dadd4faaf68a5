//! Checkpoints: all tables, source positions and sink positions at one epoch boundary.

mod rows;

pub use rows::{Codec, RowBytes, Rows, TableSchema};
