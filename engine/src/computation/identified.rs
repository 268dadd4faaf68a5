//! [`IdentifiedClosure`]: a computation that corrects what it has told of a record when that comes again.
//!
//! Invariant: what was told of a record, corrections taken down, is what the table of results has of it: what the
//! last time gave that did not fail.

use std::marker::PhantomData;
use std::rc::Rc;

use super::{Computation, Context, TryBatch};
use crate::reprocess::Former;
use crate::state::{Differing, MapRow, MapStore, Snapshot as _, SubKey, Tables};
use crate::upsert::Upsert;
use crate::{Key, MapTable, Record, Undo};

/// What becomes of former results when a record comes again and is [ignored](crate::Undo::Ignore).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnIgnore {
    /// They stay.
    #[default]
    Keep,
    /// They are taken back.
    Retract,
}

/// The name of a result: of which record, and its place among the record's results.
pub type ResultKey<D> = (D, u32);

/// What became of a result of records that are known by a `D`.
pub type Correction<D, O> = Upsert<ResultKey<D>, O>;

/// What records have an identity by, and what becomes of results.
pub(crate) struct Identity<F> {
    pub(crate) id: F,
    pub(crate) on_ignore: OnIgnore,
}

/// The tables of a computation with the one of its results.
type WithResults<K, S, D, O> = (S, MapTable<K, D, Vec<O>>);

/// Their rows of one key.
type RowsWithResults<'a, K, S, D, O> = <WithResults<K, S, D, O> as Tables<K>>::Rows<'a>;

/// What is told the corrections of a key.
type Tell<'a, K, D, O> = &'a mut dyn FnMut(&K, Vec<Correction<D, O>>);

type Corrections<'a, D, O> = Context<'a, Correction<D, O>>;

/// Calls `call` with the former results, and tells how what it emits differs.
fn corrected<D, O>(
    id: &D,
    results: &mut MapRow<'_, D, Vec<O>>,
    out: &mut Corrections<'_, D, O>,
    call: impl FnOnce(&mut Context<'_, O>) -> Result<(), Undo>,
) -> Result<(), Undo>
where
    D: SubKey,
    O: Record + PartialEq,
{
    let former = results.get(id).cloned().unwrap_or_default();
    let mut now = Vec::new();
    out.with_outputs(&mut now, &former, call)?;
    settle(id, former, now, results, out);
    Ok(())
}

/// Puts `now` in the place of the `former` results.
fn settle<D, O>(
    id: &D,
    former: Vec<O>,
    now: Vec<O>,
    results: &mut MapRow<'_, D, Vec<O>>,
    out: &mut Corrections<'_, D, O>,
) where
    D: SubKey,
    O: Record + PartialEq,
{
    if former == now {
        return;
    }
    if now.is_empty() {
        results.remove(id);
    } else {
        results.insert(id.clone(), now.clone());
    }
    out.emit_all(corrections(id, former, now));
}

/// What makes `now` of the `former` results of a record, place by place.
fn corrections<D: SubKey, O: PartialEq>(
    id: &D,
    former: Vec<O>,
    now: Vec<O>,
) -> impl Iterator<Item = Correction<D, O>> {
    let places = u32::try_from(former.len().max(now.len())).unwrap_or(u32::MAX);
    let (mut former, mut now) = (former.into_iter(), now.into_iter());
    (0..places).filter_map(move |place| Upsert::of((id.clone(), place), former.next(), now.next()))
}

/// Tells, by key, how the results that there are differ from those that an earlier program has told.
fn settle_all<K, D, O>(results: &MapStore<K, D, Vec<O>>, former: &Former, tell: Tell<'_, K, D, O>)
where
    K: Key,
    D: SubKey,
    O: Record + PartialEq,
{
    let was = former.stores.map_store_of(&results.schema().name);
    results.differences(
        was,
        |key| former.partition(key),
        |key, records| {
            let of_record = |(id, was, now): Differing<D, Vec<O>>| {
                corrections(&id, was.unwrap_or_default(), now.unwrap_or_default())
                    .collect::<Vec<_>>()
            };
            tell(key, records.into_iter().flat_map(of_record).collect());
        },
    );
}

/// Takes back what was told of a record that is ignored now.
fn retract<D, O>(id: &D, results: &mut MapRow<'_, D, Vec<O>>, out: &mut Corrections<'_, D, O>)
where
    D: SubKey,
    O: Record + PartialEq,
{
    let former = results.get(id).cloned().unwrap_or_default();
    settle(id, former, Vec::new(), results, out);
}

/// A closure on records, or on the items of batches; made by [`Identified::try_compute`] and
/// [`Identified::try_batch`].
///
/// [`Identified::try_compute`]: crate::Identified::try_compute
/// [`Identified::try_batch`]: crate::Identified::try_batch
pub(crate) struct IdentifiedClosure<F, G, O> {
    apply: F,
    identity: Identity<G>,
    of: PhantomData<fn() -> O>,
}

impl<F, G, O> IdentifiedClosure<F, G, O> {
    pub(crate) fn new(apply: F, identity: Identity<G>) -> Self {
        Self { apply, identity, of: PhantomData }
    }
}

impl<K, I, S, O, D, F, G> Computation<K, I, WithResults<K, S, D, O>> for IdentifiedClosure<F, G, O>
where
    K: Key,
    S: Tables<K>,
    D: SubKey,
    O: Record + PartialEq,
    F: for<'a> FnMut(&I, S::Rows<'a>, &mut Context<'_, O>) -> Result<(), Undo> + 'static,
    G: Fn(&I) -> D + 'static,
{
    type Output = Correction<D, O>;
    const TRIES: bool = true;
    const CORRECTS: bool = true;

    /// It is tried instead.
    fn apply(
        &mut self,
        _: &K,
        _: I,
        _: (S::Rows<'_>, MapRow<'_, D, Vec<O>>),
        _: &mut Corrections<'_, D, O>,
    ) {
    }

    fn attempt(
        &mut self,
        _: &K,
        record: &I,
        (rows, mut results): (S::Rows<'_>, MapRow<'_, D, Vec<O>>),
        out: &mut Corrections<'_, D, O>,
    ) -> Result<(), Undo> {
        let Self { apply, identity, .. } = self;
        corrected(&(identity.id)(record), &mut results, out, |out| apply(record, rows, out))
    }

    fn settle(
        (_, results): &(S::Bound, Rc<MapStore<K, D, Vec<O>>>),
        former: &Former,
        tell: Tell<'_, K, D, O>,
    ) {
        settle_all(results, former, tell);
    }

    fn has_ignored(
        &mut self,
        _: &K,
        record: &I,
        (_, mut results): (S::Rows<'_>, MapRow<'_, D, Vec<O>>),
        out: &mut Corrections<'_, D, O>,
    ) {
        if self.identity.on_ignore == OnIgnore::Retract {
            retract(&(self.identity.id)(record), &mut results, out);
        }
    }
}

impl<K, I, S, O, D, F, G> TryBatch<K, I, WithResults<K, S, D, O>> for IdentifiedClosure<F, G, O>
where
    K: Key,
    I: Record,
    S: Tables<K>,
    D: SubKey,
    O: Record + PartialEq,
    F: for<'a> FnMut(&I, S::Rows<'a>, &mut Context<'_, O>) -> Result<(), Undo> + 'static,
    G: Fn(&I) -> D + 'static,
{
    type Output = Correction<D, O>;
    const CORRECTS: bool = true;

    fn try_apply(
        &mut self,
        key: &K,
        item: &I,
        rows: RowsWithResults<'_, K, S, D, O>,
        out: &mut Corrections<'_, D, O>,
    ) -> Result<(), Undo> {
        Computation::<K, I, WithResults<K, S, D, O>>::attempt(self, key, item, rows, out)
    }

    fn settle(
        (_, results): &(S::Bound, Rc<MapStore<K, D, Vec<O>>>),
        former: &Former,
        tell: Tell<'_, K, D, O>,
    ) {
        settle_all(results, former, tell);
    }

    fn has_ignored(
        &mut self,
        key: &K,
        item: &I,
        rows: RowsWithResults<'_, K, S, D, O>,
        out: &mut Corrections<'_, D, O>,
    ) {
        Computation::<K, I, WithResults<K, S, D, O>>::has_ignored(self, key, item, rows, out);
    }
}
