//! [`Stream::map_async`]: each record becomes what an outside service answers about it.
//!
//! Invariant: the order of a stream is that of its records, whoever answers first.

use std::rc::Rc;

use super::{Drawing, Shared, Stream};
use crate::computation::Refusals;
use crate::lookup::{Drawn, Lookups, TypedLookup};
use crate::pipeline::{Chain, Edge, Hub, ToWorker};
use crate::plan::{NodeKind, Owner, Target};
use crate::side_output::Sides;
use crate::{Record, Undo};

impl<C: Chain<Key = (), In: Record, Out: Record>> Stream<C> {
    /// Replaces each record by what `ask` answers about it: a database, a service, whatever takes its time.
    /// Many are asked about at a time, as `lookups` says; answers leave in the order of the records, an epoch
    /// when all of its answers are there. A worker does not wait: it goes on with other work. What waits
    /// is in flight, so a slow service slows the sources.
    ///
    /// An error by `?` is tried again by the [`Retry`](crate::Retry) of `lookups`, and so is a call that takes too long. After
    /// the last try the record is a [dead letter](crate::DeadLetter) of the computation `name`, and the stream goes on.
    /// [`Undo::Abort`] and a panic are not tried again; after [`Undo::Ignore`] nothing comes of the record.
    /// The counters `<name>.calls`, `<name>.retries`, `<name>.dead_letters` and `<name>.ignored` count records and tries.
    ///
    /// `ask` makes a future that runs on threads of its own, in a `tokio` runtime: sockets and timers of
    /// `tokio` work there. It may be called again about a record: after a failure, and after a crash for
    /// those answers that were not durable, of which nothing had left. It should therefore only ask, and
    /// change nothing. With a data directory answers (and failures after the last try) are journaled before they
    /// leave; a restart and a replay take them from there and ask nobody, whatever the service would say
    /// now. An answer is of one record: if a changed program brings another one there, it is asked about. A
    /// [`replay`](crate::replay) never asks: what has no answer is a dead letter of kind `unanswered`.
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::{Lookups, TestDriver, Undo, sink, source};
    ///
    /// async fn price(product: &str) -> Result<u64, std::num::ParseIntError> {
    ///     product.trim_start_matches("product-").parse() // asks a shop, really
    /// }
    ///
    /// fn prices(app: &App) -> Result<()> {
    ///     app.source("products", source::empty::<String>())
    ///         .map_async("price", Lookups::new().retry(anabranch::Retry::never()), |product: String| async move {
    ///             let price = price(&product).await?;
    ///             Ok((product, price))
    ///         })
    ///         .sink("prices", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(prices).start()?;
    /// for product in ["product-5", "product-x", "product-7"] {
    ///     driver.send("products", product.to_string())?;
    /// }
    /// driver.run()?;
    /// let prices = driver.outputs::<(String, u64)>("prices");
    /// assert_eq!(prices, [("product-5".to_string(), 5), ("product-7".to_string(), 7)]);
    /// assert_eq!(driver.dead_letters()[0].reason(), "invalid digit found in string");
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    ///
    /// Under a [`TestDriver`](crate::TestDriver) a worker waits for the answers of an epoch, so that a run is a function of its
    /// seed and of what is answered.
    pub fn map_async<O, F, A>(self, name: &str, lookups: Lookups, ask: F) -> Shared<O>
    where
        O: Record,
        F: Fn(C::Out) -> A + Send + Sync + 'static,
        A: Future<Output = Result<O, Undo>> + Send + 'static,
    {
        let Drawing { mut place, hub, chain, .. } = self.take();
        place.deeper::<C>();
        let answers = Hub::new();
        let sides: Rc<Sides> = Rc::default();
        let pipeline = place.trail.clone();
        place.trail = format!("{pipeline} -> {name}");
        {
            let mut plan = place.plan.borrow_mut();
            plan.add_computation(name, &[], &place.trail);
            place.node = plan.node(NodeKind::Computation(Vec::new()), name, vec![place.node]);
            // A letter is named by the record, the look-up, and a count.
            plan.check_depth(place.depth + 2, &place.trail);
            let refusals = Refusals::new(&pipeline, name, 0);
            let letters = sides.letters();
            let hub_of_answers = Rc::clone(&answers);
            let drawn = Drawn { options: lookups, ask, hub: hub_of_answers, sides, refusals };
            plan.lookups.push(Box::new(TypedLookup::<C::Out, O, F>::new(drawn)));
            plan.lookup_count = plan.lookups.len();
            let index = plan.lookup_count - 1;
            let outbox = plan.edge(place.owner, Target::Lookup(index));
            let edge = Edge::new(&plan.placement, outbox);
            let worker = plan.placement.this_worker();
            hub.add(ToWorker { chain, worker, edge });
            (place.owner, place.source) = (Owner::Lookup(index), None);
            plan.refuses(name, place.owner, letters);
        }
        Stream::here(place, answers)
    }
}
