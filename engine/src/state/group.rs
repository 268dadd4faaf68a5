//! The one operator of a group of tables: holds records back, and applies an epoch in the order
//! of origins once no input can bring more of it.
//!
//! Invariant: records of one epoch are applied in the order of (ingest time, source, partition,
//! offset, input of the group as declared, path of places), whatever worker they come from; the
//! next record is not begun before a record has run to completion.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::computation::Sides;
use crate::pipeline::{Body, Chain, Hub, Merge, Tagged};
use crate::{Key, Origin, Record};

/// One input of a group: a chain of computations and the records that wait for it.
pub(crate) trait Port {
    /// Keeps `body` until its epoch is applied.
    fn stash(&mut self, epoch: u64, body: Body);
    /// Makes the records of `epoch` the ones that `head` and `apply` speak of.
    fn open(&mut self, epoch: u64);
    /// The origin of the next record.
    fn head(&self) -> Option<Origin>;
    /// Applies the records that come before the head of another port, all if there is none.
    fn apply(&mut self, before: Option<Bound>);
    /// Hands on what was emitted since the last call.
    fn dispatch(&mut self);
    /// The record that is being applied and the computations it passes: whom to name if user code
    /// panicked.
    fn applying(&self) -> Option<(Origin, &str)>;
}

/// The head of another port, up to which a port may go.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) head: Origin,
    /// Whether records of equal entry go first here: this port was declared before the other.
    pub(crate) inclusive: bool,
}

/// The port of a chain whose records are of type `D::In`.
pub(crate) struct ChainPort<D: Chain, F> {
    chain: D,
    key: Rc<F>,
    hub: Rc<Hub<D::Out>>,
    sides: Rc<Sides>,
    waiting: BTreeMap<u64, Merge<D::In>>,
    open: Merge<D::In>,
    outputs: Vec<Tagged<D::Out>>,
    /// Set while records are applied.
    current: Option<Origin>,
    computations: String,
}

impl<D: Chain, F> ChainPort<D, F> {
    pub(crate) fn new(
        chain: D,
        key: Rc<F>,
        hub: Rc<Hub<D::Out>>,
        sides: Rc<Sides>,
        computations: String,
    ) -> Self {
        Self {
            chain,
            key,
            hub,
            sides,
            waiting: BTreeMap::new(),
            open: Merge::default(),
            outputs: Vec::new(),
            current: None,
            computations,
        }
    }
}

impl<K, D, F> Port for ChainPort<D, F>
where
    K: Key,
    D: Chain<Key = K, In: Record, Out: Clone>,
    F: Fn(&D::In) -> K,
{
    fn stash(&mut self, epoch: u64, body: Body) {
        self.waiting.entry(epoch).or_default().add(body.records());
    }

    fn open(&mut self, epoch: u64) {
        if let Some(merge) = self.waiting.remove(&epoch) {
            self.open = merge;
        }
    }

    fn head(&self) -> Option<Origin> {
        self.open.head()
    }

    fn apply(&mut self, before: Option<Bound>) {
        let Self { chain, key, open, outputs, current, .. } = self;
        let each = |Tagged { origin, record }: Tagged<D::In>| {
            *current = Some(origin);
            let key = key(&record);
            let mut place = 0;
            chain.feed(origin, &key, record, &mut |record| {
                let origin = if D::FANS_OUT { origin.child(place) } else { origin };
                place += 1;
                outputs.push(Tagged { origin, record });
            });
        };
        match before {
            None => open.take_all(each),
            Some(Bound { head, inclusive: true }) => {
                let head = head.entry();
                open.take_before(|origin| origin.entry() > head, each);
            }
            Some(Bound { head, inclusive: false }) => {
                let head = head.entry();
                open.take_before(|origin| origin.entry() >= head, each);
            }
        }
        self.current = None;
    }

    fn dispatch(&mut self) {
        self.hub.dispatch(&mut self.outputs);
        self.sides.dispatch();
    }

    fn applying(&self) -> Option<(Origin, &str)> {
        Some((self.current?, &self.computations))
    }
}

/// Applies what the ports have open, in order over all of them.
pub(crate) fn apply_open(ports: &mut [Box<dyn Port>]) {
    if let [port] = ports {
        port.apply(None);
        return;
    }
    while let Some((index, bound)) = least(ports) {
        if let Some(port) = ports.get_mut(index) {
            port.apply(bound);
        }
    }
}

/// The port whose head comes first, and up to where it may go.
fn least(ports: &[Box<dyn Port>]) -> Option<(usize, Option<Bound>)> {
    let mut least: Option<(Origin, usize)> = None;
    let mut next: Option<(Origin, usize)> = None;
    for (index, port) in ports.iter().enumerate() {
        let Some(head) = port.head() else { continue };
        match least {
            Some((first, _)) if first.entry() <= head.entry() => {
                if next.is_none_or(|(next, _)| head.entry() < next.entry()) {
                    next = Some((head, index));
                }
            }
            _ => {
                next = least;
                least = Some((head, index));
            }
        }
    }
    let (_, index) = least?;
    Some((index, next.map(|(head, other)| Bound { head, inclusive: index < other })))
}
