//! For `#[serde(with = "crate::optional_decimal")]`: a decimal that may be left out, in the form of
//! [`anabranch::decimal`]. Invariant: as there, 16 bytes between processes and text for people.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
struct Exact(#[serde(with = "anabranch::decimal")] Decimal);

#[allow(clippy::ref_option)] // The signature that serde asks for.
pub(crate) fn serialize<S: Serializer>(
    decimal: &Option<Decimal>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    decimal.map(Exact).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Decimal>, D::Error> {
    Ok(Option::<Exact>::deserialize(deserializer)?.map(|exact| exact.0))
}
