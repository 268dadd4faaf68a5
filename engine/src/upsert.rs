//! [`Upsert`]: what became of a key: a result that is corrected, a value of a view.
//!
//! Invariant: taking down upserts in their order, by key, gives what there is now.

use serde::{Deserialize, Serialize};

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// It has a value, and had none.
    Insert,
    /// It has another value.
    Update,
    /// It has no value any more.
    Delete,
}

/// What was done to the value of a key.
///
/// As JSON: `{"op":"update","key":7,"value":3,"before":2}`, where `value` of what is deleted and `before` of
/// what is inserted are `null`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Upsert<K, V> {
    /// What was done.
    pub op: Op,
    /// To which key.
    pub key: K,
    /// What its value is now.
    pub value: Option<V>,
    /// What it was.
    pub before: Option<V>,
}

impl<K, V: PartialEq> Upsert<K, V> {
    /// What makes `value` of `before`; nothing if they are the same.
    pub fn of(key: K, before: Option<V>, value: Option<V>) -> Option<Self> {
        let op = match (&before, &value) {
            (None, None) => return None,
            (None, Some(_)) => Op::Insert,
            (Some(_), None) => Op::Delete,
            (Some(before), Some(value)) if before == value => return None,
            (Some(_), Some(_)) => Op::Update,
        };
        Some(Self { op, key, value, before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_not_told() {
        assert_eq!(Upsert::<_, u8>::of(1, None, None), None);
        assert_eq!(Upsert::of(1, Some(2), Some(2)), None);
        let update = Upsert::of(7, Some(2), Some(3)).unwrap();
        let json = serde_json::to_string(&update).unwrap();
        assert_eq!(json, r#"{"op":"update","key":7,"value":3,"before":2}"#);
        let json = serde_json::to_string(&Upsert::of(7, Some(2), None)).unwrap();
        assert_eq!(json, r#"{"op":"delete","key":7,"value":null,"before":2}"#);
    }
}
