use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{MapTable, Stores, Table};
use super::*;
use crate::checkpoint::Codec;

fn keys(found: &Found) -> Vec<Json> {
    found.rows.iter().map(|(key, _)| key.clone()).collect()
}

/// A store with these rows, of which some were there and are gone.
fn store(
    rows: &BTreeMap<(String, i32), u64>,
    tracked: bool,
) -> std::rc::Rc<Store<(String, i32), u64>> {
    let store = Stores::default().store(Table::<(String, i32), u64>::new("rows"));
    if tracked {
        super::super::Snapshot::track(&*store, 8);
    }
    for (key, value) in rows {
        let mut locked = super::super::store::Locked::new(&store);
        *locked.row(key) = *value;
        locked.settle(key);
        let gone = (key.0.clone() + "?", key.1);
        *locked.row(&gone) = 1;
        locked.settle(&gone);
        locked.row(&gone).remove();
        locked.settle(&gone);
    }
    store
}

proptest! {
    #[test]
    fn some_rows_are_those_that_a_sorted_map_has(
        rows in proptest::collection::btree_map(("[a-c]{0,2}", -3..3_i32), any::<u64>(), 0..30),
        from in proptest::option::of(("[a-c]{0,2}", -3..3_i32)),
        to in proptest::option::of(("[a-c]{0,2}", -3..3_i32)),
        after in any::<bool>(),
        most in 0..12_usize,
        tracked in any::<bool>(),
    ) {
        let text = |key: &Option<(String, i32)>| {
            key.as_ref().map(|key| serde_json::to_string(key).unwrap())
        };
        let span = Span { from: text(&from), after, to: text(&to), most };
        let found = Looked::rows(&*store(&rows, tracked), &span).unwrap();
        let expected: Vec<_> = rows
            .iter()
            .filter(|(key, _)| from.as_ref().is_none_or(|from| *key > from || !after && *key == from))
            .filter(|(key, _)| to.as_ref().is_none_or(|to| *key < to))
            .collect();
        prop_assert_eq!(found.total, rows.len());
        prop_assert_eq!(found.more, expected.len() > most);
        let told: Vec<_> = found.rows.iter().map(|(key, row)| (key.to_string(), row.get())).collect();
        let expected: Vec<_> = expected.iter().take(most).map(|(key, row)| {
            (serde_json::to_string(key).unwrap(), row.to_string())
        }).collect();
        let told: Vec<_> = told.into_iter().map(|(key, row)| (key, row.to_string())).collect();
        prop_assert_eq!(told, expected);
    }
}

#[test]
fn a_row_is_found_by_its_key_as_json_or_as_text() {
    let stores = &mut Stores::default();
    let texts = stores.store(Table::<String, Vec<u8>>::new("texts"));
    let mut locked = super::super::store::Locked::new(&texts);
    *locked.row(&"12".to_string()) = vec![1, 2];
    locked.settle(&"12".to_string());
    drop(locked);
    for key in ["12", "\"12\""] {
        assert_eq!(Looked::place(&*texts, key), Ok("12".to_string().placement_hash()));
        let found = texts.row(key, &Span::default()).unwrap().unwrap();
        assert_eq!((found.rows[0].1.get(), found.total), ("[1,2]", 1));
    }
    assert!(texts.row("13", &Span::default()).unwrap().is_none());

    let numbers = stores.store(Table::<u8, u8>::new("numbers"));
    let wrong = Looked::place(&*numbers, "256").unwrap_err();
    assert!(wrong.starts_with("`256` is no key of this table, which are of type u8: "), "{wrong}");
}

#[test]
fn entries_of_a_row_are_some_of_it() {
    let entries = Stores::default().map_store(MapTable::<u8, u32, char>::new("entries"));
    let mut locked = super::super::LockedMap::new(&entries);
    let mut row = locked.row(&7);
    (0..10).for_each(|n| assert_eq!(row.insert(n * 10, 'x'), None));
    drop(row);
    locked.settle(&7);
    drop(locked);
    let span = |from: Option<u32>, after, to: Option<u32>, most| {
        let text = |n: Option<u32>| n.map(|n| n.to_string());
        Span { from: text(from), after, to: text(to), most }
    };
    for (span, expected, more) in [
        (span(None, false, None, 3), vec![0, 10, 20], true),
        (span(Some(20), false, None, 2), vec![20, 30], true),
        (span(Some(20), true, None, 2), vec![30, 40], true),
        (span(Some(85), false, None, 2), vec![90], false),
        (span(Some(20), true, Some(40), 9), vec![30], false),
        (span(Some(40), true, Some(40), 9), vec![], false),
        (span(Some(50), false, Some(40), 9), vec![], false),
    ] {
        let found = entries.row("7", &span).unwrap().unwrap();
        let expected: Vec<Json> = expected.into_iter().map(Json::from).collect();
        assert_eq!((keys(&found), found.more, found.total), (expected, more, 10), "{span:?}");
    }
    assert!(entries.row("8", &Span::default()).unwrap().is_none());
    let all = Looked::rows(&*entries, &Span { most: 9, ..Span::default() }).unwrap();
    assert_eq!((keys(&all), all.rows[0].1.get()), (vec![Json::from(7)], "10"));
}

#[test]
fn what_json_has_no_form_for_is_shown_as_exports_do() {
    type Odd = BTreeMap<u8, i128>;
    let table = Table::<u64, Odd>::new("odd").codec(Codec::Bitcode);
    let odd = Stores::default().store(table);
    let mut locked = super::super::store::Locked::new(&odd);
    *locked.row(&1) = Odd::from([(3, 4)]);
    locked.settle(&1);
    drop(locked);
    let found = odd.row("1", &Span::default()).unwrap().unwrap();
    assert_eq!(found.rows[0].1.get(), r#"{"3":4}"#);
}

#[test]
fn a_list_that_begins_a_key_bounds_a_range() {
    let rows = BTreeMap::from([(("a".into(), 1), 1), (("b".into(), -2), 2), (("b".into(), 2), 3)]);
    let span = Span { from: Some(r#"["b"]"#.into()), most: 9, ..Span::default() };
    let found = Looked::rows(&*store(&rows, false), &span).unwrap();
    assert_eq!(keys(&found), [serde_json::json!(["b", -2]), serde_json::json!(["b", 2])]);
}
