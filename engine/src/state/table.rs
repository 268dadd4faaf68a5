//! [`Table`] and [`MapTable`]: typed names of state.
//!
//! Invariant: one name, one key type, one value type, one codec.

use std::any::type_name;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::form::Form;
use super::map_row::Entries;
use crate::checkpoint::Codec;
#[cfg(feature = "abomonation")]
use anabranch_abomonation::Abomonation;

/// A table: named state, a map from keys to values.
///
/// ```
/// use anabranch::Table;
/// use anabranch::checkpoint::Codec;
///
/// const COUNTS: Table<String, u64> = Table::new("counts");
/// const SUMS: Table<String, u64> = Table::new("sums").codec(Codec::Bitcode);
/// assert_eq!((COUNTS.name(), SUMS.name()), ("counts", "sums"));
/// ```
pub struct Table<K, V> {
    pub(super) name: &'static str,
    pub(super) codec: Codec,
    /// Other forms than those of the codec for any type.
    pub(super) forms: Option<(Form<K>, Form<V>)>,
}

impl<K, V> Table<K, V> {
    /// The table of that name. State belongs to the name: to give it another one, say so by
    /// [`App::renamed`](crate::App::renamed).
    pub const fn new(name: &'static str) -> Self {
        Self { name, codec: Codec::MessagePack, forms: None }
    }

    /// The same table, kept by that codec in checkpoints. The default is [`Codec::MessagePack`];
    /// [`Codec::Abomonation`] is chosen by `abomonation()` instead.
    #[must_use]
    pub const fn codec(self, codec: Codec) -> Self {
        Self { codec, forms: None, name: self.name }
    }

    /// The same table, kept as its memory is: [`Codec::Abomonation`], for trusted storage.
    ///
    /// A debug build may abort where a value has a `Vec` of numbers behind text: `abomonation` puts
    /// them where they are not aligned.
    #[cfg(feature = "abomonation")]
    #[must_use]
    pub const fn abomonation(self) -> Self
    where
        K: Abomonation + Clone,
        V: Abomonation + Clone,
    {
        let forms = Some((Form::abomonation(), Form::abomonation()));
        Self { codec: Codec::Abomonation, forms, name: self.name }
    }

    /// The same table, for a computation that only reads it.
    #[must_use]
    pub const fn read(self) -> Read<Self> {
        Read(self)
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn usage(self, write: bool) -> TableUse {
        TableUse { name: self.name, key: short::<K>(), value: short::<V>(), write }
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

/// A map table: named state, a map from keys to ordered sub-keys to values.
///
/// For rows that grow large: they are read, changed, undone and kept entry by entry.
pub struct MapTable<K, S, V> {
    pub(super) name: &'static str,
    pub(super) codec: Codec,
    /// Other forms than those of the codec for any type.
    pub(super) forms: Option<(Form<K>, Form<S>, Form<V>)>,
}

impl<K, S, V> MapTable<K, S, V> {
    /// The table of that name. State belongs to the name: to give it another one, say so by
    /// [`App::renamed`](crate::App::renamed).
    pub const fn new(name: &'static str) -> Self {
        Self { name, codec: Codec::MessagePack, forms: None }
    }

    /// The same table, kept by that codec in checkpoints; see [`Table::codec`].
    #[must_use]
    pub const fn codec(self, codec: Codec) -> Self {
        Self { codec, forms: None, name: self.name }
    }

    /// The same table, kept as its memory is; see [`Table::abomonation`].
    #[cfg(feature = "abomonation")]
    #[must_use]
    pub const fn abomonation(self) -> Self
    where
        K: Abomonation + Clone,
        S: Abomonation + Clone,
        V: Abomonation + Clone,
    {
        let forms = Some((Form::abomonation(), Form::abomonation(), Form::abomonation()));
        Self { codec: Codec::Abomonation, forms, name: self.name }
    }

    /// The same table, for a computation that only reads it.
    #[must_use]
    pub const fn read(self) -> Read<Self> {
        Read(self)
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn usage(self, write: bool) -> TableUse {
        TableUse { name: self.name, key: short::<K>(), value: short::<Entries<S, V>>(), write }
    }
}

impl<K, S, V> Clone for MapTable<K, S, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, S, V> Copy for MapTable<K, S, V> {}

/// A table that a computation only reads: a write through it does not compile.
#[derive(Clone, Copy)]
pub struct Read<T>(pub(super) T);

/// How a computation uses a table, for checks and for the graph.
#[derive(Clone, Debug)]
pub struct TableUse {
    pub(crate) name: &'static str,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) write: bool,
}

/// A type's name without the paths of its modules.
pub(super) fn short<T>() -> String {
    let mut short = String::new();
    let mut word = String::new();
    for c in type_name::<T>().chars() {
        match c {
            ':' => word.clear(),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            c => {
                short.push_str(&std::mem::take(&mut word));
                short.push(c);
            }
        }
    }
    short + &word
}

/// The name of what belongs to a computation, or to a table, and is hidden: a table, a side output. Names live
/// for ever, as those that users give are constants; so each is made once, however often an application is
/// drawn.
pub(crate) fn hidden_name(owner: &str, what: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let name = format!("{owner}.{what}");
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name.as_str()) {
        return known;
    }
    let name: &'static str = Box::leak(name.into_boxed_str());
    names.insert(name);
    name
}
