//! From a mesh to timely's workers and back.
//!
//! Invariant: a run over a mesh succeeds in all its processes or in none, and what it fails with
//! is the first cause, not the panic of a thread that noticed it.

use std::any::Any;

use timely::WorkerConfig;
use timely::communication::Hooks;
use timely::communication::allocator::thread::ThreadBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::worker::Worker;

use super::failure::Failures;
use super::mesh::Mesh;
use super::panics::catch;
use crate::{Error, Result};

/// The allocators of workers that are all in this process.
pub(crate) fn allocators_within(workers: usize, hooks: Hooks) -> Vec<AllocatorBuilder> {
    if workers == 1 {
        return vec![AllocatorBuilder::Thread(ThreadBuilder)];
    }
    let builders = ProcessBuilder::new_typed_vector(workers, hooks.refill, hooks.spill);
    builders.into_iter().map(AllocatorBuilder::Process).collect()
}

impl Mesh {
    /// Runs `logic` on this process's workers until all dataflows are complete, says goodbye to the
    /// other processes, waits for theirs, and returns what `logic` returned, by worker.
    ///
    /// With [`Failures::exit_on_first`] a failure ends the process even if workers hang; without,
    /// this returns when the workers do.
    ///
    /// # Errors
    /// The first cause, wherever in the cluster it was.
    pub fn execute<T, F>(
        mut self,
        worker: WorkerConfig,
        failures: &Failures,
        logic: F,
    ) -> Result<Vec<T>>
    where
        T: Send + 'static,
        F: Fn(&mut Worker) -> T + Send + Sync + 'static,
    {
        let (builders, others) = self.allocators(Hooks::default())?;
        let run = || {
            let guards = timely::execute::execute_from(builders, others, worker, logic)?;
            // Waits for the workers, and then for timely's threads to have sent and received all.
            guards.join().into_iter().collect::<Result<Vec<T>, String>>()
        };
        let run = catch(run).and_then(|results| results);
        let failed = |what| Error::Cluster(format!("a worker ended: {what}"));
        let results = run.map_err(|what| failures.fatal(failed(what)))?;
        self.links.goodbye()?;
        Ok(results)
    }

    /// Hands the data connections to timely: what `timely::execute::execute_from` wants first. For
    /// callers that do not use [`Mesh::execute`]; they say [`goodbye`](super::Links::goodbye)
    /// themselves.
    ///
    /// # Errors
    /// When timely's threads cannot be started.
    pub fn allocators(
        &mut self,
        hooks: Hooks,
    ) -> Result<(Vec<AllocatorBuilder>, Box<dyn Any + Send>)> {
        let data = std::mem::take(&mut self.data);
        if data.len() == 1 {
            return Ok((allocators_within(self.workers, hooks), Box::new(())));
        }
        let inner = ProcessBuilder::new_typed_vector(
            self.workers,
            hooks.refill.clone(),
            hooks.spill.clone(),
        );
        let (process, workers) = (self.process, self.workers);
        let (builders, guard) =
            initialize_networking_from_sockets(inner, data, process, workers, hooks)
                .map_err(|e| Error::io("starting timely's threads", e))?;
        Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard)))
    }
}
