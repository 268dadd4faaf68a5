//! Computations of keyed streams that may fail.
//!
//! Invariant: they are computations as others are, but tried.

use super::keyed::{Keyed, ToBeKeyed};
use crate::computation::{Closure, Trying};
use crate::pipeline::Chain;
use crate::state::Tables;
use crate::{Context, Key, Record, TryComputation, Undo};

impl<C, F, K> ToBeKeyed<C, F>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    F: Fn(&C::Out) -> K + 'static,
    K: Key,
{
    /// Applies `compute` to each record, and undoes what it did where it fails: see
    /// [`Keyed::try_compute`].
    pub fn try_compute<S, O>(
        self,
        name: &str,
        tables: S,
        compute: impl for<'a> FnMut(&C::Out, S::Rows<'a>, &mut Context<'_, O>) -> Result<(), Undo>
        + 'static,
    ) -> Keyed<C, F, impl Chain<Key = K, In = C::Out, Out = O>>
    where
        S: Tables<K>,
        O: Record,
    {
        self.keyed().try_compute(name, tables, compute)
    }

    /// Applies a [`TryComputation`] to each record, and undoes what it did where it fails: see
    /// [`Keyed::try_compute`].
    pub fn try_computation<S, P>(
        self,
        name: &str,
        tables: S,
        computation: P,
    ) -> Keyed<C, F, impl Chain<Key = K, In = C::Out, Out = P::Output>>
    where
        S: Tables<K>,
        P: TryComputation<K, C::Out, S>,
    {
        self.keyed().try_computation(name, tables, computation)
    }
}

impl<C, F, D> Keyed<C, F, D>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    /// Applies `compute`, which may fail, to each record, with the rows of the same key in `tables`: if it
    /// gives an error, or panics, all that it did for this record is undone (rows, entries of rows, what it
    /// emitted, timers), and the pipeline goes on with the next. What failed is a
    /// [dead letter](crate::App::dead_letters), for the reason that the error says; what gave
    /// [`Undo::Ignore`](crate::Undo::Ignore) is only counted. A row is copied when it is first written,
    /// entries of a [`MapRow`](crate::MapRow) one by one.
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::{TestDriver, Undo, sink, source};
    ///
    /// const SUMS: Table<String, u64> = Table::new("sums");
    ///
    /// fn sums(app: &App) -> Result<()> {
    ///     app.source("orders", source::empty::<(String, String)>())
    ///         .key_by(|(shop, _)| shop.clone())
    ///         .try_compute("sum", SUMS, |(_, amount), mut sum: Row<u64>, out| {
    ///             if amount.is_empty() {
    ///                 return Err(Undo::Ignore);
    ///             }
    ///             *sum += 1;
    ///             *sum += amount.parse::<u64>()?;
    ///             out.emit(*sum);
    ///             Ok(())
    ///         })
    ///         .sink("sums", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(sums).start()?;
    /// for amount in ["5", "five", "", "6"] {
    ///     driver.send("orders", ("here".to_string(), amount.to_string()))?;
    /// }
    /// driver.run()?;
    /// assert_eq!(driver.outputs::<u64>("sums"), [6, 13]);
    /// let letters = driver.dead_letters();
    /// assert_eq!(letters.len(), 1);
    /// assert_eq!(letters[0].text(), Some(r#"["here","five"]"#));
    /// assert_eq!(letters[0].reason(), "invalid digit found in string");
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn try_compute<S, O>(
        self,
        name: &str,
        tables: S,
        compute: impl for<'a> FnMut(&D::Out, S::Rows<'a>, &mut Context<'_, O>) -> Result<(), Undo>
        + 'static,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = O>>
    where
        S: Tables<D::Key>,
        O: Record,
    {
        self.try_computation(name, tables, Closure::new(compute))
    }

    /// Applies a [`TryComputation`] to each record, with the rows of the same key in `tables`, and undoes what
    /// it did where it fails: see [`try_compute`](Self::try_compute).
    pub fn try_computation<S, P>(
        self,
        name: &str,
        tables: S,
        computation: P,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = P::Output>>
    where
        S: Tables<D::Key>,
        P: TryComputation<D::Key, D::Out, S>,
    {
        self.computation(name, tables, Trying(computation))
    }
}
