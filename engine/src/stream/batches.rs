//! Computations on batches of keyed streams.
//!
//! Invariant: they are computations as others are, on records that are batches: one key, one epoch, one order.

use super::keyed::{Keyed, ToBeKeyed};
use super::uses::Asks;
use crate::computation::{Batched, Closure, Onward, Results};
use crate::pipeline::Chain;
use crate::state::Tables;
use crate::{Context, Key, OnFailure, Record, TryBatch, Undo};

impl<C, F, K, I> ToBeKeyed<C, F>
where
    C: Chain<Key = (), In: Record, Out = Vec<I>>,
    F: Fn(&Vec<I>) -> K + 'static,
    K: Key,
    I: Record,
{
    /// Applies `compute` to each item of a batch: see [`Keyed::try_batch`].
    pub fn try_batch<S, O>(
        self,
        name: &str,
        tables: S,
        compute: impl for<'a> FnMut(&I, S::Rows<'a>, &mut Context<'_, O>) -> Result<(), Undo> + 'static,
    ) -> Keyed<C, F, impl Chain<Key = K, In = Vec<I>, Out = Vec<O>>>
    where
        S: Tables<K>,
        O: Record,
    {
        self.keyed().try_batch(name, tables, compute)
    }

    /// Applies a [`TryBatch`] to each batch: see [`Keyed::try_batch`].
    pub fn batch_computation<S, P>(
        self,
        name: &str,
        tables: S,
        computation: P,
    ) -> Keyed<C, F, impl Chain<Key = K, In = Vec<I>, Out = Vec<P::Output>>>
    where
        S: Tables<K>,
        P: TryBatch<K, I, S>,
    {
        self.keyed().batch_computation(name, tables, computation)
    }

    /// Applies `compute` to each item of a batch, of which the next computation sees the first item after it has
    /// seen the last: see [`Keyed::depends`].
    pub fn depends<S>(
        self,
        name: &str,
        tables: S,
        failed: OnFailure,
        compute: impl for<'a> FnMut(&I, S::Rows<'a>, &mut Context<'_, ()>) -> Result<(), Undo> + 'static,
    ) -> Keyed<C, F, impl Chain<Key = K, In = Vec<I>, Out = Vec<I>>>
    where
        S: Tables<K>,
    {
        self.keyed().depends(name, tables, failed, compute)
    }
}

impl<C, F, D, I> Keyed<C, F, D>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out = Vec<I>>,
    F: Fn(&C::Out) -> D::Key + 'static,
    I: Record,
{
    /// Applies `compute` to the items of each batch, in order, with the rows of the batch's key in `tables`, and
    /// undoes what fails, as [`try_compute`](Self::try_compute) does. A batch is one submission (a request, a
    /// file, a message with many items), decoded as a list of at most
    /// [`BATCH_ITEMS_MAX`](crate::BATCH_ITEMS_MAX); so it has one key, and is applied as one, in one epoch. Of an
    /// item
    ///
    /// | outcome | its effects | the rest of the batch |
    /// |---|---|---|
    /// | `Ok` | stay | goes on |
    /// | [`Undo::Ignore`] | are undone | goes on |
    /// | [`Undo::Break`] | are undone | is skipped; what came before stays |
    /// | [`Undo::Fail`], any error, a panic | are undone, and it is a dead letter: a batch of this item | goes on |
    /// | [`Undo::Abort`] | are undone with those of the whole batch, which is the dead letter | is skipped |
    ///
    /// What was emitted goes on as one batch of results, when the last item was applied: so the next
    /// computation sees all of it, and a batch without results ends here.
    ///
    /// A dead letter that is a batch of several items is tried again item by item too. Unless all of it is aborted
    /// once more, it is closed: what was done stays, and each item that fails is a new dead letter, a batch of this
    /// item, which is named after the request to try again (`@retries-0-7/book`).
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::{TestDriver, Undo, sink, source};
    ///
    /// const BALANCE: Table<String, i64> = Table::new("balance");
    ///
    /// fn transfers(app: &App) -> Result<()> {
    ///     app.source("transfers", source::empty::<Vec<(String, i64)>>())
    ///         .key_by(|batch| batch.first().map(|(bank, _)| bank.clone()).unwrap_or_default())
    ///         .try_batch("book", BALANCE, |(_, amount), mut balance: Row<i64>, out| {
    ///             *balance += amount;
    ///             if *balance < 0 {
    ///                 return Err(Undo::abort("the balance would be negative"));
    ///             }
    ///             out.emit(*balance);
    ///             Ok(())
    ///         })
    ///         .sink("booked", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(transfers).start()?;
    /// for amounts in [[5_i64, -3], [7, -20], [1, -1]] {
    ///     driver.send("transfers", amounts.map(|amount| ("ours".to_string(), amount)).to_vec())?;
    /// }
    /// driver.run()?;
    /// assert_eq!(driver.outputs::<Vec<i64>>("booked"), [[5, 2], [3, 2]]);
    /// assert_eq!(driver.dead_letters()[0].text(), Some(r#"[["ours",7],["ours",-20]]"#));
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn try_batch<S, O>(
        self,
        name: &str,
        tables: S,
        compute: impl for<'a> FnMut(&I, S::Rows<'a>, &mut Context<'_, O>) -> Result<(), Undo> + 'static,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = Vec<O>>>
    where
        S: Tables<D::Key>,
        O: Record,
    {
        self.batch_computation(name, tables, Closure::new(compute))
    }

    /// Applies a [`TryBatch`] to each batch, with the rows of its key in `tables`: see
    /// [`try_batch`](Self::try_batch).
    pub fn batch_computation<S, P>(
        self,
        name: &str,
        tables: S,
        computation: P,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = Vec<P::Output>>>
    where
        S: Tables<D::Key>,
        P: TryBatch<D::Key, I, S>,
    {
        self.batched(name, tables, computation, Results)
    }

    /// Applies `compute` to each item of a batch, as [`try_batch`](Self::try_batch) does, and then hands the batch
    /// itself on: the next computation, which depends on this one, sees its first item after this one has seen
    /// its last. What it is to find there, this one leaves in a table of the same key, or in a
    /// [`Scoped::chain`](crate::Scoped::chain), where there is an example. `failed` says what becomes of items
    /// on which it fails.
    pub fn depends<S>(
        self,
        name: &str,
        tables: S,
        failed: OnFailure,
        compute: impl for<'a> FnMut(&I, S::Rows<'a>, &mut Context<'_, ()>) -> Result<(), Undo> + 'static,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = Vec<I>>>
    where
        S: Tables<D::Key>,
    {
        self.batched(name, tables, Closure::new(compute), failed)
    }

    fn batched<S, P, R>(
        self,
        name: &str,
        tables: S,
        computation: P,
        onward: R,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = R::Out>>
    where
        S: Tables<D::Key>,
        P: TryBatch<D::Key, I, S>,
        R: Onward<I, P::Output>,
    {
        self.stage(name, tables, Asks::of_batches(), |desk| Batched::new(desk, computation, onward))
    }
}
