//! [`Form`]: keys, sub-keys and values as bytes, by the codec of their table.
//!
//! Invariant: what a form wrote, the form of the same codec and type reads, also when fields were
//! added, removed or reordered in between, if the codec is MessagePack.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::Codec;

/// How values of one type become bytes and come back. Errors are reasons, without place.
pub(crate) struct Form<T> {
    codec: Codec,
    encode: fn(&T, &mut Vec<u8>) -> Result<(), String>,
    decode: fn(&[u8]) -> Result<T, String>,
}

impl<T> Clone for Form<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Form<T> {}

impl<T: Serialize + DeserializeOwned> Form<T> {
    /// The form of that codec, of any type that `serde` knows.
    pub(crate) fn of(codec: Codec) -> Self {
        match codec {
            Codec::MessagePack => {
                Self { codec, encode: encode_message_pack, decode: decode_message_pack }
            }
            Codec::Bitcode => Self { codec, encode: encode_bitcode, decode: decode_bitcode },
            Codec::Abomonation => Self { codec, encode: |_, _| no_form(), decode: |_| no_form() },
        }
    }

    /// Reads what the form of `codec` wrote: a table may have had another one.
    pub(crate) fn decode_as(&self, codec: Codec, bytes: &[u8]) -> Result<T, String> {
        if codec == self.codec { (self.decode)(bytes) } else { decode(codec, bytes) }
    }
}

impl<T> Form<T> {
    /// Appends `value` to `bytes`.
    pub(crate) fn encode(&self, value: &T, bytes: &mut Vec<u8>) -> Result<(), String> {
        (self.encode)(value, bytes)
    }
}

#[cfg(feature = "abomonation")]
impl<T: anabranch_abomonation::Abomonation + Clone> Form<T> {
    /// The form of `abomonation`.
    pub(crate) const fn abomonation() -> Self {
        Self {
            codec: Codec::Abomonation,
            encode: |value, bytes| {
                anabranch_abomonation::encode(value, bytes).map_err(|e| e.to_string())
            },
            decode: |bytes| {
                anabranch_abomonation::decode(bytes)
                    .ok_or_else(|| "it is damaged, or another program wrote it".to_string())
            },
        }
    }
}

/// Reads a value that was written by `codec`.
pub(crate) fn decode<T: DeserializeOwned>(codec: Codec, bytes: &[u8]) -> Result<T, String> {
    match codec {
        Codec::MessagePack => decode_message_pack(bytes),
        Codec::Bitcode => decode_bitcode(bytes),
        Codec::Abomonation => no_form(),
    }
}

/// Appends `value` as MessagePack: structs are maps from the names of their fields, variants have
/// their names.
pub(crate) fn encode_message_pack<T: Serialize>(
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    let mut serializer = rmp_serde::Serializer::new(bytes).with_struct_map();
    value.serialize(&mut serializer).map_err(|e| e.to_string())
}

fn decode_message_pack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|e| e.to_string())
}

fn encode_bitcode<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), String> {
    bytes.extend_from_slice(&bitcode::serialize(value).map_err(|e| e.to_string())?);
    Ok(())
}

fn decode_bitcode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    bitcode::deserialize(bytes).map_err(|e| e.to_string())
}

fn no_form<T>() -> Result<T, String> {
    Err("its form is known to a program that gives the table one by `.abomonation()`".to_string())
}

#[cfg(test)]
#[path = "form_tests.rs"]
mod tests;
