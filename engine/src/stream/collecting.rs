//! Streams that views look at: the last value of each key, as a hidden table.
//!
//! Invariant: it is a table like others, written by a computation like others: kept, restored and ordered.

use super::keyed::{Keyed, ToBeKeyed};
use crate::pipeline::Chain;
use crate::state::{Table, Value, hidden_name};
use crate::{Context, Key, Record, Row};

fn table<K, V>(name: &str) -> Table<K, V> {
    Table::new(hidden_name(name, "collected"))
}

/// Sets the row to the value, or removes it if there is none.
fn set<V: Value>(value: Option<V>, mut row: Row<'_, V>) {
    match value {
        Some(value) => *row = value,
        None => drop(row.remove()),
    }
}

impl<C, F, K> ToBeKeyed<C, F>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    F: Fn(&C::Out) -> K + 'static,
    K: Key,
{
    /// Collects the stream for [views](crate::App::view): of each key what `value` makes of its last record; a
    /// key has no value (any more) when that is none. What is given is a table, hidden behind `name`.
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::{TestDriver, source};
    ///
    /// fn latest(app: &App) -> Result<()> {
    ///     let prices = app
    ///         .source("prices", source::empty::<(String, u64)>())
    ///         .key_by(|(product, _)| product.clone())
    ///         .collect_into("latest-prices", |(_, price)| Some(price));
    ///     app.view("dear", prices, |t| t.filter(|(_, price)| *price >= 1_000));
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(latest).start()?;
    /// for (product, price) in [("BTC", 60_000_u64), ("ETH", 1_200), ("ETH", 900)] {
    ///     driver.send("prices", (product.to_string(), price))?;
    /// }
    /// driver.run()?;
    /// assert_eq!(driver.view("dear")?, [(("BTC".to_string(), 60_000_u64), 1)]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn collect_into<V: Value>(
        self,
        name: &str,
        value: impl Fn(C::Out) -> Option<V> + 'static,
    ) -> Table<K, V> {
        self.keyed().collect_into(name, value)
    }
}

impl<C, F, D> Keyed<C, F, D>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    /// Collects the stream for views; see [`ToBeKeyed::collect_into`].
    pub fn collect_into<V: Value>(
        self,
        name: &str,
        value: impl Fn(D::Out) -> Option<V> + 'static,
    ) -> Table<D::Key, V> {
        let table = table(name);
        self.compute(name, table, move |record, row, _: &mut Context<'_, ()>| {
            set(value(record), row);
        });
        table
    }
}
