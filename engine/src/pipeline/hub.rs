//! Hubs: points of a pipeline where whole batches are handed to every use of a stream.
//!
//! Invariant: every consumer of a hub sees every batch, in the same order; one virtual call a
//! batch and consumer.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Chain, Edge, Placement, Tagged};
use crate::{Key, Record};

/// One use of a stream.
pub(crate) trait Consumer<T> {
    /// Takes the records of `batch`, which is in order of origins, and leaves it empty.
    fn consume(&mut self, batch: &mut Vec<Tagged<T>>);
}

/// Where a stream is handed to its uses.
pub(crate) struct Hub<T> {
    consumers: RefCell<Vec<Box<dyn Consumer<T>>>>,
}

impl<T> Hub<T> {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { consumers: RefCell::new(Vec::new()) })
    }

    pub(crate) fn add(&self, consumer: impl Consumer<T> + 'static) {
        self.consumers.borrow_mut().push(Box::new(consumer));
    }
}

impl<T: Clone> Hub<T> {
    /// Hands `batch` to every consumer and leaves it empty.
    pub(crate) fn dispatch(&self, batch: &mut Vec<Tagged<T>>) {
        if batch.is_empty() {
            return;
        }
        let mut consumers = self.consumers.borrow_mut();
        if let Some((last, others)) = consumers.split_last_mut() {
            for consumer in others {
                consumer.consume(&mut batch.clone());
            }
            last.consume(batch);
        }
        batch.clear();
    }
}

/// Takes `batch` through `chain`; gives each output with its origin to `each`.
#[inline]
pub(crate) fn run<C: Chain<Key = ()>>(
    chain: &mut C,
    batch: &mut Vec<Tagged<C::In>>,
    mut each: impl FnMut(Tagged<C::Out>),
) {
    for Tagged { origin, record } in batch.drain(..) {
        let mut place = 0;
        chain.feed(origin, &(), record, &mut |record| {
            let origin = if C::FANS_OUT { origin.child(place) } else { origin };
            place += 1;
            each(Tagged { origin, record });
        });
    }
}

/// A chain that ends in another hub.
pub(crate) struct ToHub<C: Chain> {
    chain: C,
    hub: Rc<Hub<C::Out>>,
    outputs: Vec<Tagged<C::Out>>,
}

impl<C: Chain> ToHub<C> {
    pub(crate) fn new(chain: C, hub: Rc<Hub<C::Out>>) -> Self {
        Self { chain, hub, outputs: Vec::new() }
    }
}

impl<C: Chain<Key = (), Out: Clone>> Consumer<C::In> for ToHub<C> {
    fn consume(&mut self, batch: &mut Vec<Tagged<C::In>>) {
        run(&mut self.chain, batch, |output| self.outputs.push(output));
        self.hub.dispatch(&mut self.outputs);
    }
}

/// A chain whose outputs go one of two ways.
pub(crate) struct Branch<C: Chain, F> {
    pub(crate) chain: C,
    pub(crate) test: F,
    pub(crate) hubs: [Rc<Hub<C::Out>>; 2],
    pub(crate) outputs: [Vec<Tagged<C::Out>>; 2],
}

impl<C, F> Consumer<C::In> for Branch<C, F>
where
    C: Chain<Key = (), Out: Clone>,
    F: FnMut(&C::Out) -> bool,
{
    fn consume(&mut self, batch: &mut Vec<Tagged<C::In>>) {
        let [yes, no] = &mut self.outputs;
        run(&mut self.chain, batch, |output| {
            if (self.test)(&output.record) { yes.push(output) } else { no.push(output) }
        });
        for (hub, outputs) in self.hubs.iter().zip(&mut self.outputs) {
            hub.dispatch(outputs);
        }
    }
}

/// A chain whose outputs nobody takes: it is there for what its steps do.
pub(crate) struct Discard<C>(pub(crate) C);

impl<C: Chain<Key = ()>> Consumer<C::In> for Discard<C> {
    fn consume(&mut self, batch: &mut Vec<Tagged<C::In>>) {
        run(&mut self.0, batch, drop);
    }
}

/// A chain whose outputs travel to the workers that own their keys.
pub(crate) struct ToKeys<C: Chain, F> {
    pub(crate) chain: C,
    pub(crate) key: Rc<F>,
    pub(crate) placement: Placement,
    pub(crate) edge: Edge<C::Out>,
}

impl<C, K, F> Consumer<C::In> for ToKeys<C, F>
where
    C: Chain<Key = (), Out: Record>,
    K: Key,
    F: Fn(&C::Out) -> K,
{
    fn consume(&mut self, batch: &mut Vec<Tagged<C::In>>) {
        let Self { chain, key, placement, edge } = self;
        if placement.workers() > 1 {
            run(chain, batch, |output| {
                let worker = placement.worker(key(&output.record).placement_hash());
                edge.push(worker, output);
            });
        } else if let Some(batch) = C::pass(batch) {
            edge.send(0, batch);
        } else {
            run(chain, batch, |output| edge.push(0, output));
        }
        edge.flush();
    }
}

/// A chain whose outputs all travel to one worker.
pub(crate) struct ToWorker<C: Chain> {
    pub(crate) chain: C,
    pub(crate) worker: usize,
    pub(crate) edge: Edge<C::Out>,
}

impl<C: Chain<Key = (), Out: Record>> Consumer<C::In> for ToWorker<C> {
    fn consume(&mut self, batch: &mut Vec<Tagged<C::In>>) {
        let Self { chain, worker, edge } = self;
        match C::pass(batch) {
            Some(batch) => edge.send(*worker, batch),
            None => run(chain, batch, |output| edge.push(*worker, output)),
        }
        edge.flush();
    }
}
