//! Values come back by every codec, and by MessagePack also as another version of their type.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

fn encoded<T: Serialize + DeserializeOwned>(codec: Codec, value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    Form::of(codec).encode(value, &mut bytes).unwrap();
    bytes
}

/// How a later version of a program reads what an earlier one wrote.
fn read_later<Old: Serialize + DeserializeOwned, New: Serialize + DeserializeOwned>(
    old: &Old,
) -> New {
    Form::of(Codec::MessagePack)
        .decode_as(Codec::MessagePack, &encoded(Codec::MessagePack, old))
        .unwrap()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nested<I> {
    name: String,
    inner: I,
    maybe: Option<I>,
    many: Vec<I>,
    by_name: BTreeMap<String, I>,
    event: Event<I>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event<I> {
    Nothing,
    Tuple(I, u8),
    Named { first: I, count: u64 },
}

fn nested<I: Clone>(inner: &I, event: Event<I>) -> Nested<I> {
    Nested {
        name: "n".into(),
        inner: inner.clone(),
        maybe: Some(inner.clone()),
        many: vec![inner.clone(), inner.clone()],
        by_name: BTreeMap::from([("k".into(), inner.clone())]),
        event,
    }
}

fn nested_everywhere<Old, New>(old: &Old, new: &New)
where
    Old: Clone + Serialize + DeserializeOwned,
    New: Clone + Debug + PartialEq + Serialize + DeserializeOwned,
{
    assert_eq!(&read_later::<Old, New>(old), new);
    let events = [
        (Event::Nothing, Event::Nothing),
        (Event::Tuple(old.clone(), 7), Event::Tuple(new.clone(), 7)),
        (
            Event::Named { first: old.clone(), count: 8 },
            Event::Named { first: new.clone(), count: 8 },
        ),
    ];
    for (old_event, new_event) in events {
        let read: Nested<New> = read_later(&nested(old, old_event));
        assert_eq!(read, nested(new, new_event));
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    owner: String,
    cents: i64,
    limit: Option<u32>,
}

#[test]
fn fields_can_be_added_removed_and_reordered_at_any_depth() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Added {
        owner: String,
        cents: i64,
        limit: Option<u32>,
        #[serde(default)]
        tags: Vec<String>,
        note: Option<String>,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Removed {
        cents: i64,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Reordered {
        limit: Option<u32>,
        cents: i64,
        owner: String,
    }
    for limit in [None, Some(5)] {
        let old = Account { owner: "ann".into(), cents: -3, limit };
        let (owner, cents, tags, note) = (old.owner.clone(), old.cents, Vec::new(), None);
        nested_everywhere(&old, &Added { owner: owner.clone(), cents, limit, tags, note });
        nested_everywhere(&old, &Removed { cents });
        nested_everywhere(&old, &Reordered { limit, cents, owner });
    }
}

#[test]
fn variants_can_be_added_and_reordered() {
    #[derive(Clone, Serialize, Deserialize)]
    enum Old {
        Unit,
        One(u8),
        Named { a: u8 },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum New {
        Added,
        Named { b: Option<u8>, a: u8 },
        Unit,
        One(u16),
    }
    nested_everywhere(&Old::Unit, &New::Unit);
    nested_everywhere(&Old::One(1), &New::One(1));
    nested_everywhere(&Old::Named { a: 2 }, &New::Named { b: None, a: 2 });
    assert_ne!(New::Added, New::Unit);
}

#[test]
fn a_missing_field_without_default_and_an_unknown_form_are_errors_that_say_why() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Needs {
        iban: String,
    }
    let bytes = encoded(Codec::MessagePack, &Account::default());
    let problem = decode::<Needs>(Codec::MessagePack, &bytes).unwrap_err();
    assert!(problem.contains("iban"), "{problem}");
    let problem = decode::<Account>(Codec::Abomonation, &bytes).unwrap_err();
    assert!(problem.contains(".abomonation()"), "{problem}");
}

type Everything = (
    Option<i64>,
    (u8, i128, char, bool, ()),
    Vec<String>,
    BTreeMap<u32, Option<Vec<u8>>>,
    Result<String, f32>,
);

proptest! {
    #[test]
    fn values_come_back_and_damage_never_panics(
        value: Everything, at: prop::sample::Index, flip in 1..=255_u8,
    ) {
        prop_assume!(!matches!(value.4, Err(number) if number.is_nan()));
        for codec in [Codec::MessagePack, Codec::Bitcode] {
            let mut bytes = encoded(codec, &value);
            prop_assert_eq!(&decode::<Everything>(codec, &bytes).unwrap(), &value);
            let at = at.index(bytes.len());
            let _ = decode::<Everything>(codec, &bytes[..at]);
            bytes[at] ^= flip;
            let _ = decode::<Everything>(codec, &bytes);
        }
    }
}

#[cfg(feature = "abomonation")]
#[test]
fn what_abomonation_wrote_comes_back() {
    type Row = (u64, String, Option<String>);
    let form = Form::<Row>::abomonation();
    let value = (7, "text".to_string(), Some("more".to_string()));
    let mut bytes = Vec::new();
    form.encode(&value, &mut bytes).unwrap();
    assert_eq!(form.decode_as(Codec::Abomonation, &bytes).unwrap(), value);
    bytes.pop();
    assert!(form.decode_as(Codec::Abomonation, &bytes).is_err());
    let earlier = encoded(Codec::MessagePack, &value);
    assert_eq!(form.decode_as(Codec::MessagePack, &earlier).unwrap(), value);
}
