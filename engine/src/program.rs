//! A program: an application with its command line.

use std::sync::Arc;

use crate::Result;
use crate::app::draw;
use crate::metrics::Counters;
use crate::pipeline::Placement;
use crate::sink;
use crate::worker::Build;

/// Draws the application once, without running anything, and reports mistakes.
pub(crate) fn check(build: &Build, workers: usize, partitions: usize) -> Result<()> {
    let placement = Placement::new(partitions, workers, 0, 0..workers);
    draw(placement, Counters::default(), |app| build(app)).map(drop)
}

/// `build`, and a sink for dead letters if it names none.
pub(crate) fn with_dead_letters(build: Build) -> Build {
    Arc::new(move |app| {
        build(app)?;
        if !app.plan.borrow().dead_letters_named {
            app.dead_letters(sink::null());
        }
        Ok(())
    })
}
