//! [`Rolling`]: values at each record, over the last so long, the last so many, or all so far.
//!
//! Invariant: the rows of a key are the entries of its tree, which is made of them where it is not there.

use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use super::Caches;
use crate::aggregate::Aggregate;
use crate::state::MapRow;
use crate::window::assign::wrong;
use crate::window::entries::{Ordered, OrderedMut, Stored};
use crate::window::{Combine, RollingCount, RollingTime, Tree, Window};
use crate::{Computation, Context, Key, MapTable, Record, Result, SideOutput, Time, Timer};

/// A value at each record, of the records of its key so far: for
/// [`Keyed::rolling`](crate::Keyed::rolling).
///
/// A record costs a constant number of combines, or with [`over`](Self::over) the logarithm of how many
/// records are newer than it is; a value of the last ten years costs what one of the last second does.
pub struct Rolling<T, A> {
    over: Over<T>,
    aggregate: Rc<A>,
    lateness: Duration,
}

/// Of which records a value is.
enum Over<T> {
    All,
    Records(usize),
    Time { size: Duration, time: Box<dyn Fn(&T) -> Time> },
}

impl<T: 'static, A: Aggregate<T>> Rolling<T, A> {
    /// Over all records.
    pub fn running(aggregate: A) -> Self {
        Self::new(Over::All, aggregate)
    }

    /// Over the last `most` records, in the order in which they are applied.
    pub fn last(most: usize, aggregate: A) -> Self {
        Self::new(Over::Records(most), aggregate)
    }

    /// Over the last `size` of event time, which `time` takes from a record: at a record of time `t` over
    /// those applied so far whose times are after `t - size` and at most `t`.
    ///
    /// The source must say what its [`event_time`](crate::Stream::event_time) is: a record more than the
    /// allowed lateness behind the watermark is too late. It enters nothing and gives nothing, and is
    /// counted; it goes to the side output `<computation>.too-late`.
    pub fn over(size: Duration, time: impl Fn(&T) -> Time + 'static, aggregate: A) -> Self {
        Self::new(Over::Time { size, time: Box::new(time) }, aggregate)
    }

    fn new(over: Over<T>, aggregate: A) -> Self {
        Self { over, aggregate: Rc::new(aggregate), lateness: Duration::ZERO }
    }

    /// How far behind the watermark records are taken; of no meaning if all, or the last so many, are
    /// taken anyway.
    #[must_use]
    pub fn lateness(self, allowed: Duration) -> Self {
        Self { lateness: allowed, ..self }
    }

    /// What is wrong with how it was made.
    ///
    /// # Errors
    ///
    /// [`Error::Application`](crate::Error::Application) if values are over nothing.
    pub fn check(&self) -> Result<()> {
        let nothing = match &self.over {
            Over::All => false,
            Over::Records(most) => *most == 0,
            Over::Time { size, .. } => size.is_zero(),
        };
        let mistake = nothing.then(|| {
            "rolling values over nothing; give at least 1 record, or a nanosecond".to_owned()
        });
        wrong(mistake.as_ref())
    }

    /// Whether it can do without event time.
    pub(crate) fn is_timeless(&self) -> bool {
        !matches!(self.over, Over::Time { .. })
    }
}

/// How a tree combines states.
struct Combines<T, A> {
    aggregate: Rc<A>,
    of: PhantomData<fn(&T)>,
}

impl<T: 'static, A: Aggregate<T>> Combine for Combines<T, A> {
    type State = A::State;

    fn combine(&self, earlier: &mut A::State, later: &A::State) {
        self.aggregate.combine(earlier, later);
    }
}

/// What is cached of a key.
enum Cache<T: 'static, A: Aggregate<T>> {
    Records(RollingCount<Combines<T, A>>),
    Time(RollingTime<Combines<T, A>>),
}

/// The computation of rolling values. Its rows are named by times, or numbers of records.
pub(crate) struct Rolls<K, T: 'static, A: Aggregate<T>> {
    rolling: Rolling<T, A>,
    caches: Caches<K, Cache<T, A>>,
    too_late: SideOutput<T>,
}

/// A row of [`Rolls`].
type Row<'r, S> = MapRow<'r, i64, Stored<S>>;

impl<K: Key, T: Record, A: Aggregate<T>> Rolls<K, T, A> {
    pub(crate) fn new(rolling: Rolling<T, A>, too_late: SideOutput<T>) -> Self {
        Self { rolling, caches: Caches::default(), too_late }
    }

    /// The value at a record of `key`; none if it is too late.
    fn push(
        &mut self,
        key: &K,
        record: &T,
        row: &mut Row<'_, A::State>,
        out: &mut Context<'_, (T, A::Output)>,
    ) -> Option<A::State> {
        let Self { rolling: Rolling { over, aggregate, lateness }, caches, .. } = self;
        if let Over::All = over {
            let update = |value: &mut A::State| {
                aggregate.update(value, record);
                value.clone()
            };
            return OrderedMut::update(row, &0, update).or_else(|| {
                let mut first = aggregate.initial();
                let value = update(&mut first);
                OrderedMut::insert(row, 0, first);
                Some(value)
            });
        }
        let mut state = aggregate.initial();
        aggregate.update(&mut state, record);
        let bound = out.watermark().before(*lateness);
        let cache = caches.entry_ref(key).or_insert_with(|| restored(over, aggregate, bound, row));
        match cache {
            Cache::Records(values) => {
                let number = values.tree().last().map_or(0, |(last, _)| last.saturating_add(1));
                OrderedMut::insert(row, number as i64, state.clone());
                let value = values.push(state);
                let first = values.tree().first().map_or(0, |(first, _)| first);
                evict(row, first as i64);
                value
            }
            Cache::Time(values) => {
                let Over::Time { size, time } = over else { return None };
                let time = time(record);
                if time < bound {
                    return None;
                }
                values.advance(bound);
                evict(row, Window::up_to(bound, *size).start.as_nanos());
                if row.is_empty() {
                    out.set_timer("", time.after(*size).after(*lateness));
                }
                let place = time.as_nanos();
                let there =
                    OrderedMut::update(row, &place, |there| aggregate.combine(there, &state));
                if there.is_none() {
                    OrderedMut::insert(row, place, state.clone());
                }
                values.push(time, state)
            }
        }
    }
}

impl<K, T, A> Computation<K, T, MapTable<K, i64, Stored<A::State>>> for Rolls<K, T, A>
where
    K: Key,
    T: Record,
    A: Aggregate<T>,
{
    type Output = (T, A::Output);
    const TIMERS: bool = true;

    fn apply(
        &mut self,
        key: &K,
        record: T,
        mut row: Row<'_, A::State>,
        out: &mut Context<'_, Self::Output>,
    ) {
        match self.push(key, &record, &mut row, out) {
            Some(value) => {
                let value = self.rolling.aggregate.output(&value);
                out.emit((record, value));
            }
            None => {
                out.count("too_late", 1);
                out.emit_to(self.too_late, record);
            }
        }
    }

    /// The records that a key had when the timer was set are in no value any more.
    fn on_timer(
        &mut self,
        key: &K,
        _: Timer<'_>,
        mut row: Row<'_, A::State>,
        out: &mut Context<'_, Self::Output>,
    ) {
        let Rolling { over: Over::Time { size, .. }, lateness, .. } = &self.rolling else { return };
        let last = row.last().map(|(last, _)| Time::from_nanos(*last));
        let gone = last.map(|last| last.after(*size).after(*lateness));
        if let Some(gone) = gone.filter(|gone| *gone > out.watermark()) {
            out.set_timer("", gone);
            let bound = out.watermark().before(*lateness);
            evict(&mut row, Window::up_to(bound, *size).start.as_nanos());
            if let Some(Cache::Time(values)) = self.caches.get_mut(key) {
                values.advance(bound);
            }
            return;
        }
        row.clear();
        self.caches.remove(key);
    }
}

/// What is cached, made of the rows.
fn restored<T: 'static, A: Aggregate<T>>(
    over: &Over<T>,
    aggregate: &Rc<A>,
    bound: Time,
    row: &Row<'_, A::State>,
) -> Cache<T, A> {
    let combine = Combines { aggregate: Rc::clone(aggregate), of: PhantomData };
    let rows = Ordered::range(row, ..).map(|(place, state)| (*place, state.clone()));
    match over {
        Over::Time { size, .. } => {
            let entries = rows.map(|(place, state)| (Time::from_nanos(place), state));
            let tree = Tree::from_entries(combine, entries);
            Cache::Time(RollingTime::from_tree(*size, bound, tree))
        }
        Over::All | Over::Records(_) => {
            let most = if let Over::Records(most) = over { *most } else { 1 };
            let entries = rows.map(|(place, state)| (place as u64, state));
            Cache::Records(RollingCount::from_tree(most, Tree::from_entries(combine, entries)))
        }
    }
}

/// Removes the rows before `place`.
fn evict<S: Record>(row: &mut Row<'_, S>, place: i64) {
    while row.first().is_some_and(|(first, _)| *first < place) {
        row.pop_first();
    }
}
