//! What datapipe does, and what it was meant to do, by the ids of its cases.

use std::collections::BTreeMap;
use std::fmt::Debug;

use anabranch::prelude::*;
use anabranch::{DeadLetter, OnFailure, Record, Scoped, TestDriver, TryBatch, Undo, sink, source};

const TOTAL: Table<(), f64> = Table::new("total");
const COUNT: Table<(), u64> = Table::new("count");

/// What one computation of batches tells, of batches one after the other, and how `driver` is left.
fn told<I: Record, O: Record>(
    build: impl Fn(&App) -> Result<()> + Clone + Send + Sync + 'static,
    batches: impl IntoIterator<Item = Vec<I>>,
) -> (Vec<O>, Vec<DeadLetter>, TestDriver) {
    let mut driver = TestDriver::new(build).workers(2).start().unwrap();
    for batch in batches {
        driver.send("items", batch).unwrap();
        driver.run().unwrap();
    }
    let told = driver.outputs::<Vec<O>>("told").into_iter().flatten().collect();
    let letters = driver.dead_letters();
    (told, letters, driver)
}

#[test]
fn dp_02_the_discount_is_of_what_is_told_only() {
    let build = |app: &App| {
        app.source("items", source::empty::<Vec<f64>>())
            .key_by(|_| ())
            .try_batch("sum", TOTAL, |number, mut total: Row<f64>, out| {
                *total += number;
                out.emit((*total * 0.99 * 1e10).round() / 1e10);
                Ok(())
            })
            .sink("told", sink::null());
        Ok(())
    };
    let (told, _, _) = told::<f64, f64>(build, [vec![1.0, 2.0, 3.0, 4.0]]);
    assert_eq!(told, [0.99, 2.97, 5.94, 9.9]);
}

/// Of each item its number, a hundred more, and a thousand more, and `act` at the second before the last: what is
/// told, the sum of all items that counted, and the dead letters.
fn acting(act: fn() -> std::result::Result<bool, Undo>) -> (Vec<u64>, u64, Vec<DeadLetter>) {
    let build = move |app: &App| {
        app.source("items", source::empty::<Vec<u64>>())
            .key_by(|_| ())
            .try_batch("act", COUNT, move |n, mut total: Row<u64>, out| {
                *total += n;
                out.emit(*n);
                out.emit(n + 100);
                if *n == 2 && act()? {
                    return Ok(());
                }
                out.emit(n + 1000);
                Ok(())
            })
            .sink("told", sink::null());
        Ok(())
    };
    let (told, letters, mut driver) = told(build, [vec![1_u64, 2, 3]]);
    (told, driver.get(COUNT, &()).unwrap().unwrap_or_default(), letters)
}

#[test]
fn dp_07_continue_ends_one_item() {
    let (told, total, letters) = acting(|| Ok(true));
    assert_eq!((told, total), (vec![1, 101, 1001, 2, 102, 3, 103, 1003], 6));
    assert!(letters.is_empty());
}

#[test]
fn dp_08_ignore_undoes_one_item() {
    let (told, total, letters) = acting(|| Err(Undo::Ignore));
    assert_eq!((told, total), (vec![1, 101, 1001, 3, 103, 1003], 4));
    assert!(letters.is_empty());
}

#[test]
fn dp_09_break_skips_the_rest() {
    let (told, total, letters) = acting(|| Err(Undo::Break));
    assert_eq!((told, total), (vec![1, 101, 1001], 1));
    assert!(letters.is_empty());
}

#[test]
fn dp_10_abort_undoes_the_whole_batch() {
    let (told, total, letters) = acting(|| Err(Undo::abort("all or nothing")));
    assert_eq!((told, total), (vec![], 0));
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].text(), &*letters[0].reason()), (Some("[1,2,3]"), "all or nothing"));
}

#[test]
fn dp_11_an_error_undoes_one_item_and_is_told() {
    let (told, total, letters) = acting(|| Ok("two".parse::<u64>()? == 2));
    assert_eq!((told, total), (vec![1, 101, 1001, 3, 103, 1003], 4));
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].text(), Some("[2]"));
    assert_eq!(letters[0].failure.kind, "core::num::error::ParseIntError");
    assert_eq!(letters[0].reason(), "invalid digit found in string");
    assert!(letters[0].failure.place.as_deref().unwrap().starts_with(file!()));
}

/// Takes out, or fails on, what is even.
struct Odd {
    refuses: bool,
}

impl TryBatch<(), u64, Table<(), u64>> for Odd {
    type Output = u64;

    fn prepare(
        &mut self,
        (): &(),
        items: &mut Vec<&u64>,
        mut count: Row<u64>,
        _: &mut Context<u64>,
    ) -> std::result::Result<(), Undo> {
        *count += items.len() as u64;
        if self.refuses && items.iter().any(|item| *item % 2 == 0) {
            return Err(Undo::fail("an item is even"));
        }
        items.retain(|item| *item % 2 == 1);
        Ok(())
    }

    fn try_apply(
        &mut self,
        (): &(),
        item: &u64,
        _: Row<u64>,
        out: &mut Context<u64>,
    ) -> std::result::Result<(), Undo> {
        out.emit(*item);
        Ok(())
    }
}

fn odd(refuses: bool) -> impl Fn(&App) -> Result<()> + Clone + Send + Sync + 'static {
    move |app| {
        app.source("items", source::empty::<Vec<u64>>())
            .key_by(|_| ())
            .batch_computation("odd", COUNT, Odd { refuses })
            .sink("told", sink::null());
        Ok(())
    }
}

#[test]
fn dp_12_prepare_takes_items_out() {
    let (told, letters, _) = told::<u64, u64>(odd(false), [vec![1, 2, 3]]);
    assert_eq!((told, letters.len()), (vec![1, 3], 0));
}

#[test]
fn dp_23_a_batch_that_cannot_be_prepared_is_a_dead_letter() {
    let (told, letters, mut driver) = told::<u64, u64>(odd(true), [vec![1, 2, 3], vec![5]]);
    assert_eq!((told, driver.get(COUNT, &()).unwrap()), (vec![5], Some(1)));
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].text(), &*letters[0].reason()), (Some("[1,2,3]"), "an item is even"));
}

/// `imp` makes tens of items; `tag` runs on them, and on numbers of its own, and says how many it has seen of a batch.
fn triggered(app: &App) -> Result<()> {
    const SEEN: Scoped<u64> = Scoped::batch("seen");
    app.source("items", source::empty::<Vec<u64>>())
        .key_by(|_| ())
        .try_batch("imp", (), |item, (), out| {
            out.emit(10 * item);
            Ok(())
        })
        .share()
        .named("imp")
        .sink("imported", sink::null());
    app.source("tags", source::empty::<Vec<u64>>())
        .merge(app.named("imp"))
        .key_by(|_| ())
        .try_batch("tag", (), |item, (), out| {
            *out.scoped(SEEN) += 1;
            let seen = *out.scoped(SEEN);
            out.emit((out.id().to_string(), *item, seen));
            Ok(())
        })
        .sink("told", sink::null());
    Ok(())
}

type Tagged = (String, u64, u64);

#[test]
fn dp_13_a_pipeline_is_triggered_by_name() {
    let (told, _, mut driver) = told::<u64, Tagged>(triggered, [vec![1]]);
    assert_eq!(told, [("items-0-0.0.1".to_string(), 10, 1)]);
    // And by itself.
    let own: Vec<Vec<Tagged>> = driver.eval("tags", vec![7_u64], "told").unwrap();
    assert_eq!(own, [[("tags-0-0".to_string(), 7, 1)]]);
}

#[test]
fn dp_14_a_triggered_pipeline_sees_the_results_of_the_whole_batch() {
    let (told, _, mut driver) = told::<u64, Tagged>(triggered, [vec![1, 2]]);
    let of = |item, seen| ("items-0-0.0.1".to_string(), item, seen);
    assert_eq!(told, [of(10, 1), of(20, 2)]);
    assert_eq!(driver.outputs::<Vec<u64>>("imported"), [[10, 20]]);
}

#[test]
fn dp_16_one_item_alone() {
    let mut driver = TestDriver::new(triggered).start().unwrap();
    let imported: Vec<Vec<u64>> = driver.eval("items", vec![5_u64], "imported").unwrap();
    assert_eq!(imported, [[50]]);
}

#[test]
fn dp_17_one_item_alone_whatever_its_result_is() {
    let build = |app: &App| {
        app.source("items", source::empty::<u64>())
            .key_by(|_| ())
            .try_compute("dep", COUNT, |item, mut count: Row<u64>, out| {
                *count += item;
                out.emit(format!("{} so far", *count));
                Ok(())
            })
            .sink("told", sink::null());
        Ok(())
    };
    let mut driver = TestDriver::new(build).start().unwrap();
    assert_eq!(driver.eval::<u64, String>("items", 3, "told").unwrap(), ["3 so far"]);
}

#[test]
fn dp_18_computations_run_in_the_order_in_which_they_are_declared() {
    let build = |app: &App| {
        let multi =
            app.source("items", source::empty::<Vec<u64>>()).flat_map(|items| items).key_by(|_| ());
        multi
            .compute("m1", (), |item, (), out| out.emit(vec![format!("m1 {item}")]))
            .compute("m2", (), |mut said, (), out| {
                said.push(said.concat().replace("m1", "m2"));
                out.emit(said);
            })
            .sink("told", sink::null());
        Ok(())
    };
    let (told, _, _) = told::<u64, String>(build, [vec![1, 2]]);
    assert_eq!(told, ["m1 1", "m2 1", "m1 2", "m2 2"]);
}

#[test]
fn dp_19_values_live_for_a_chain_of_runs_a_batch_or_an_item() {
    const OF_BATCH: Scoped<u64> = Scoped::batch("count");
    const OF_ITEM: Scoped<u64> = Scoped::record("count");
    let build = |app: &App| {
        app.source("items", source::empty::<Vec<u64>>())
            .key_by(|_| ())
            .try_batch("count", COUNT, |_, mut count: Row<u64>, out| {
                *count += 1;
                *out.scoped(OF_BATCH) += 1;
                *out.scoped(OF_ITEM) += 1;
                out.emit((*count, *out.scoped(OF_BATCH), *out.scoped(OF_ITEM)));
                Ok(())
            })
            .sink("told", sink::null());
        Ok(())
    };
    let (told, _, _) = told::<u64, (u64, u64, u64)>(build, [vec![1, 2], vec![3]]);
    assert_eq!(told, [(1, 1, 1), (2, 2, 1), (3, 1, 1)]);
}

#[test]
fn dp_20_a_batch_of_nothing_does_nothing() {
    let (told, letters, mut driver) = told::<u64, u64>(odd(true), [vec![]]);
    assert_eq!((told, letters.len(), driver.get(COUNT, &()).unwrap()), (vec![], 0, None));
}

#[test]
fn dp_21_a_pipeline_that_does_not_exist_is_a_mistake() {
    let build = |app: &App| {
        app.source("tags", source::empty::<u64>())
            .merge(app.named("nosuch"))
            .share()
            .named("tags")
            .sink("told", sink::null());
        Ok(())
    };
    let Err(error) = TestDriver::new(build).start() else { panic!("nothing is named so") };
    assert_eq!(
        error.to_string(),
        "the application cannot be built: no stream is named `nosuch` here; call `named` on it before it \
         is asked for (named so far: none)"
    );
}

/// A computation that fails on 2, and one that depends on it.
fn depending(failed: OnFailure) -> impl Fn(&App) -> Result<()> + Clone + Send + Sync + 'static {
    move |app| {
        app.source("items", source::empty::<Vec<u64>>())
            .key_by(|_| ())
            .depends("before", COUNT, failed, |item, mut count: Row<u64>, _| {
                *count += item;
                if *item == 2 { Err(Undo::fail("two")) } else { Ok(()) }
            })
            .try_batch("main", COUNT, |item, count: Row<u64>, out| {
                out.emit((*item, *count));
                Ok(())
            })
            .sink("told", sink::null());
        Ok(())
    }
}

#[test]
fn dp_24_an_item_on_which_a_dependency_fails_goes_on_or_does_not() {
    let (goes_on, letters, _) =
        told::<u64, (u64, u64)>(depending(OnFailure::Continue), [vec![1, 2, 3]]);
    assert_eq!((goes_on, letters.len()), (vec![(1, 4), (2, 4), (3, 4)], 1));
    let (blocked, letters, _) =
        told::<u64, (u64, u64)>(depending(OnFailure::Block), [vec![1, 2, 3]]);
    assert_eq!((blocked, letters.len()), (vec![(1, 4), (3, 4)], 1));
}

/// Each item, as it is.
fn each<T: Record + Debug>(app: &App) -> Result<()> {
    app.source("items", source::empty::<Vec<T>>())
        .key_by(|_| ())
        .try_batch("each", (), |item: &T, (), out| {
            out.emit(item.clone());
            Ok(())
        })
        .sink("told", sink::null());
    Ok(())
}

#[test]
fn dp_28_items_that_are_equal_have_a_result_each() {
    assert_eq!(told::<u64, u64>(each::<u64>, [vec![1, 1, 2]]).0, [1, 1, 2]);
}

#[test]
fn dp_29_an_item_may_be_a_map() {
    let item: BTreeMap<String, u64> = [("a".to_string(), 1)].into();
    let (told, letters, _) =
        told::<_, BTreeMap<String, u64>>(each::<BTreeMap<String, u64>>, [vec![item.clone()]]);
    assert_eq!((told, letters.len()), (vec![item], 0));
}

#[test]
fn mbf_6_code_that_panics_costs_one_item_and_the_loop_lives() {
    let (told, total, letters) = acting(|| panic!("out of luck"));
    assert_eq!((told, total), (vec![1, 101, 1001, 3, 103, 1003], 4));
    assert_eq!((letters.len(), &*letters[0].failure.kind), (1, "panic"));
    assert!(letters[0].reason().starts_with("out of luck"));
}
