//! Price alerts.
fn main() {}
