//! Computations of keyed streams whose records have an identity: when one comes again, what was told of it is
//! corrected.
//!
//! Invariant: results are state like all else, in the table `<computation>.results`.

use super::keyed::{Keyed, ToBeKeyed};
use super::uses::Asks;
use crate::computation::{Batched, IdentifiedClosure, Identity, Results};
use crate::pipeline::{Chain, Identity as Nothing};
use crate::reprocess::RESULTS;
use crate::state::{SubKey, Tables, hidden_name};
use crate::{Context, Correction, Key, MapTable, OnIgnore, Record, Undo};

/// A keyed stream whose records, or the items of whose batches, have an identity; made by
/// [`Keyed::identified_by`].
#[must_use = "an identity alone does nothing: add a `try_compute`"]
pub struct Identified<C, F, D, G>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    keyed: Keyed<C, F, D>,
    identity: Identity<G>,
}

impl<C, F, K> ToBeKeyed<C, F>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    F: Fn(&C::Out) -> K + 'static,
    K: Key,
{
    /// Says by what a record is known when it comes again: see [`Keyed::identified_by`].
    pub fn identified_by<I: SubKey, G: Fn(&C::Out) -> I + 'static>(
        self,
        id: G,
    ) -> Identified<C, F, Nothing<K, C::Out>, G> {
        self.keyed().identified_by(id)
    }

    /// Says by what an item of a batch is known when it comes again: see [`Keyed::identified_by`].
    pub fn items_identified_by<T: Record, I: SubKey, G: Fn(&T) -> I + 'static>(
        self,
        id: G,
    ) -> Identified<C, F, Nothing<K, Vec<T>>, G>
    where
        C: Chain<Out = Vec<T>>,
    {
        self.keyed().items_identified_by(id)
    }
}

impl<C, F, D> Keyed<C, F, D>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    /// Says by what a record is known when it comes again, which is unique within its key. The computation that
    /// follows tells its results as [`Upsert`](crate::Upsert)s, of the record's identity and the place among its results; and
    /// when a record comes again, how its results differ from the former ones, at once: what is new is
    /// inserted, what is another is updated, what is gone is deleted, what is the same is not told. Former
    /// results stay until the record's new ones are there: if it fails, nothing is told.
    ///
    /// Rows are as the last time has left them: a computation whose rows are made of several records takes back
    /// what the record has contributed, of which [`Context::former`] reminds it. Results are kept in the
    /// [`MapTable`] `<computation>.results`, from identities to lists of results, until a record comes again
    /// without any.
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::{Correction, TestDriver, sink, source};
    ///
    /// const SUMS: Table<String, u64> = Table::new("sums");
    ///
    /// fn orders(app: &App) -> Result<()> {
    ///     app.source("orders", source::empty::<(String, u32, u64)>())
    ///         .key_by(|(shop, _, _)| shop.clone())
    ///         .identified_by(|(_, number, _)| *number)
    ///         .try_compute("price", SUMS, |(_, _, price), mut sum: Row<u64>, out| {
    ///             *sum -= out.former().first().unwrap_or(&0);
    ///             *sum += price;
    ///             out.emit(*price);
    ///             Ok(())
    ///         })
    ///         .sink("prices", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(orders).start()?;
    /// for (number, price) in [(1_u32, 10_u64), (2, 20), (1, 11), (2, 20)] {
    ///     driver.send("orders", ("here".to_string(), number, price))?;
    /// }
    /// driver.run()?;
    /// let prices = driver.outputs::<Correction<u32, u64>>("prices");
    /// assert_eq!(serde_json::to_string(&prices[0]).unwrap(), r#"{"op":"insert","key":[1,0],"value":10,"before":null}"#);
    /// assert_eq!(serde_json::to_string(&prices[2]).unwrap(), r#"{"op":"update","key":[1,0],"value":11,"before":10}"#);
    /// assert_eq!(prices.len(), 3);
    /// assert_eq!(driver.get(SUMS, &"here".to_string())?, Some(31));
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn identified_by<I: SubKey, G: Fn(&D::Out) -> I + 'static>(
        self,
        id: G,
    ) -> Identified<C, F, D, G> {
        Identified { keyed: self, identity: Identity { id, on_ignore: OnIgnore::Keep } }
    }

    /// Says by what an item of a batch is known when it comes again, in whatever batch: see
    /// [`identified_by`](Self::identified_by).
    pub fn items_identified_by<T: Record, I: SubKey, G: Fn(&T) -> I + 'static>(
        self,
        id: G,
    ) -> Identified<C, F, D, G>
    where
        D: Chain<Out = Vec<T>>,
    {
        Identified { keyed: self, identity: Identity { id, on_ignore: OnIgnore::Keep } }
    }
}

impl<C, F, D, G> Identified<C, F, D, G>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    /// Says what becomes of former results when a record is ignored that has come again; they stay if nothing is
    /// said.
    pub fn on_ignore(self, on_ignore: OnIgnore) -> Self {
        let Self { keyed, identity } = self;
        Self { keyed, identity: Identity { on_ignore, ..identity } }
    }

    /// Applies `compute`, as [`Keyed::try_compute`] does, and tells its results as corrections of former ones.
    pub fn try_compute<S, O, I>(
        self,
        name: &str,
        tables: S,
        compute: impl for<'a> FnMut(&D::Out, S::Rows<'a>, &mut Context<'_, O>) -> Result<(), Undo>
        + 'static,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = Correction<I, O>>>
    where
        S: Tables<D::Key>,
        O: Record + PartialEq,
        I: Record + SubKey,
        G: Fn(&D::Out) -> I + 'static,
    {
        let Self { keyed, identity } = self;
        let tables = (tables, results_of::<D::Key, I, O>(name));
        keyed.computation(name, tables, IdentifiedClosure::new(compute, identity))
    }

    /// Applies `compute` to the items of each batch, as [`Keyed::try_batch`] does, and tells its results as
    /// corrections of former ones.
    #[allow(clippy::type_complexity)]
    pub fn try_batch<S, O, I, T>(
        self,
        name: &str,
        tables: S,
        compute: impl for<'a> FnMut(&T, S::Rows<'a>, &mut Context<'_, O>) -> Result<(), Undo> + 'static,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = Vec<Correction<I, O>>>>
    where
        D: Chain<Out = Vec<T>>,
        T: Record,
        S: Tables<D::Key>,
        O: Record + PartialEq,
        I: Record + SubKey,
        G: Fn(&T) -> I + 'static,
    {
        let Self { keyed, identity } = self;
        let tables = (tables, results_of::<D::Key, I, O>(name));
        let computation = IdentifiedClosure::new(compute, identity);
        keyed.stage(name, tables, Asks::of_batches(), |desk| {
            Batched::new(desk, computation, Results)
        })
    }
}

/// The table of the results of the computation of that name.
fn results_of<K: Key, I: SubKey, O: Record>(name: &str) -> MapTable<K, I, Vec<O>> {
    MapTable::new(hidden_name(name, RESULTS))
}
