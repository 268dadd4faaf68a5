//! [`Product`]: what is traded, as a short text that is copied and never allocated.
//!
//! Invariant: its order, its hash and its key bytes are those of its text. Not a list of what
//! exists: any short printable name is a product.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use anabranch::{Error, Key};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

/// The longest name of a product, in bytes.
pub const PRODUCT_LENGTH_MAX: usize = 24;

/// The name of what is traded (`BTC-USD`): 1 to 24 bytes of printable ASCII without spaces.
///
/// ```
/// use anabranch_connectors::coinbase::Product;
/// let product: Product = "BTC-USD".parse()?;
/// assert_eq!(product.as_str(), "BTC-USD");
/// assert!("ETH-USD".parse::<Product>()? > product);
/// # Ok::<(), anabranch::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Product {
    /// The text, then zeros: no text holds a zero, so comparing these compares the texts.
    bytes: [u8; PRODUCT_LENGTH_MAX],
}

impl Product {
    /// What the earliest feeds, which carried one product and did not name it, mean.
    pub const BTC_USD: Self = {
        let mut bytes = [0; PRODUCT_LENGTH_MAX];
        let (text, mut at) = (b"BTC-USD", 0);
        while at < text.len() {
            bytes[at] = text[at];
            at += 1;
        }
        Self { bytes }
    };

    /// Its text.
    pub fn as_str(&self) -> &str {
        let length = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(PRODUCT_LENGTH_MAX);
        self.bytes.get(..length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl FromStr for Product {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fits = (1..=PRODUCT_LENGTH_MAX).contains(&text.len());
        if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let shown: String = text.chars().take(40).collect();
            return Err(Error::Decode(format!(
                "`{shown}` names no product: it takes 1 to {PRODUCT_LENGTH_MAX} printable ASCII \
                 characters without spaces, such as BTC-USD"
            )));
        }
        let mut bytes = [0; PRODUCT_LENGTH_MAX];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Ok(Self { bytes })
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Hash for Product {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Product {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// A product is placed as its text is: `Table<Product, _>` and `Table<String, _>` agree.
impl Key for Product {
    fn append_bytes(&self, bytes: &mut Vec<u8>) {
        let text = self.as_str().as_bytes();
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text);
    }

    #[inline]
    fn placement_hash(&self) -> u64 {
        let mut bytes = [0; 8 + PRODUCT_LENGTH_MAX];
        let length = self.as_str().len();
        let (head, tail) = bytes.split_at_mut(8);
        head.copy_from_slice(&(length as u64).to_le_bytes());
        tail.copy_from_slice(&self.bytes);
        xxh3_64(bytes.get(..8 + length).unwrap_or_default())
    }
}

impl Serialize for Product {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Product {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Product;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a product's name")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Product, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_its_text(a in "[!-~]{1,24}", b in "[!-~]{1,24}") {
            let (x, y): (Product, Product) = (a.parse().unwrap(), b.parse().unwrap());
            prop_assert_eq!(x.as_str(), &a);
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x.placement_hash(), a.placement_hash());
            let (mut mine, mut text) = (Vec::new(), Vec::new());
            x.append_bytes(&mut mine);
            a.append_bytes(&mut text);
            prop_assert_eq!(mine, text);
            let json = serde_json::to_string(&x).unwrap();
            prop_assert_eq!(serde_json::from_str::<Product>(&json).unwrap(), x);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "BTC USD", "BTC\0USD", "BTC-ÜSD", "ABCDEFGHIJKLMNOPQRSTUVWXY"] {
            assert!(bad.parse::<Product>().is_err(), "{bad}");
            assert!(serde_json::from_value::<Product>(bad.into()).is_err(), "{bad}");
        }
        assert_eq!(Product::BTC_USD, "BTC-USD".parse().unwrap());
    }
}
