//! Encoding, decoding and size of rows of tables, by codec.
//!
//! `cargo bench -p anabranch-benches --bench codecs [-- --rows 200000 --rounds 5]`: every round runs
//! all codecs once over the same rows, one row at a time into one buffer, as a checkpoint does.
//! MessagePack, bitcode and abomonation are what a table can choose; postcard and JSON are for
//! reference. What is decoded is owned: of abomonation the value is cloned out of its bytes. The
//! figures are medians over the rounds.

#![allow(clippy::expect_used)]

use std::fmt::Debug;
use std::hint::black_box;

use anabranch::clock;
use anabranch_abomonation::Abomonation;
use anabranch_benches::alerts::Random;
use anabranch_benches::report::{median, option};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Numbers only, as an average over prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    count: u64,
    total: i64,
    lowest: i64,
    highest: i64,
    last_seen: u64,
}

/// Mostly text, as a customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Texts {
    tags: Vec<String>,
    owner: String,
    street: String,
    city: String,
    note: Option<String>,
    since: u64,
}

/// What abomonation keeps of a row: it knows tuples, and a type of ours would need `unsafe`.
trait Row: Clone + Debug + PartialEq + Serialize + DeserializeOwned {
    type Raw: Abomonation + Clone + Debug + PartialEq;
    const WHAT: &'static str;

    fn made(random: &mut Random) -> Self;
    fn raw(&self) -> Self::Raw;
}

impl Row for Flat {
    type Raw = (u64, i64, i64, i64, u64);
    const WHAT: &'static str = "flat";

    fn made(random: &mut Random) -> Self {
        let mut number = |bits: u32| (random.next_u64() >> (64 - bits)) as i64;
        Self {
            count: number(20) as u64,
            total: number(40),
            lowest: number(20),
            highest: number(24),
            last_seen: 1_700_000_000_000_000_000 + number(50) as u64,
        }
    }
    fn raw(&self) -> Self::Raw {
        (self.count, self.total, self.lowest, self.highest, self.last_seen)
    }
}

impl Row for Texts {
    type Raw = (Vec<String>, String, String, String, Option<String>, u64);
    const WHAT: &'static str = "text";

    fn made(random: &mut Random) -> Self {
        let mut text = |words: u64| -> String {
            let word = |i| ["river", "stone", "amber", "quiet", "north", "lantern", "ferry"][i];
            let picked = (0..words).map(|_| word((random.next_u64() % 7) as usize));
            picked.collect::<Vec<_>>().join(" ")
        };
        Self {
            tags: (0..3).map(|_| text(1)).collect(),
            owner: text(2),
            street: text(3),
            city: text(1),
            note: Some(text(8)),
            since: 1_700_000_000,
        }
    }
    fn raw(&self) -> Self::Raw {
        let Self { tags, owner, street, city, note, since } = self.clone();
        (tags, owner, street, city, note, since)
    }
}

/// Nanoseconds a row to encode and to decode, and bytes a row.
type Figures = [f64; 3];

fn measure<T: PartialEq + Debug>(
    rows: &[T],
    encode: impl Fn(&T, &mut Vec<u8>),
    decode: impl Fn(&[u8]) -> T,
) -> Figures {
    let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(rows.len()));
    let began = clock::instant();
    for row in rows {
        encode(row, &mut bytes);
        ends.push(bytes.len());
    }
    let encoded = began.elapsed();
    let began = clock::instant();
    let mut start = 0;
    for end in &ends {
        black_box(decode(&bytes[start..*end]));
        start = *end;
    }
    let decoded = began.elapsed();
    assert_eq!(decode(&bytes[..ends[0]]), rows[0]);
    let count = rows.len() as f64;
    [
        encoded.as_nanos() as f64 / count,
        decoded.as_nanos() as f64 / count,
        bytes.len() as f64 / count,
    ]
}

type Codec<R> = (&'static str, fn(&[R], &[<R as Row>::Raw]) -> Figures);

fn codecs<R: Row>() -> [Codec<R>; 5] {
    [
        ("MessagePack, named fields", |rows, _| {
            measure(
                rows,
                |row, bytes| {
                    let mut serializer = rmp_serde::Serializer::new(bytes).with_struct_map();
                    row.serialize(&mut serializer).expect("it can be encoded");
                },
                |bytes| rmp_serde::from_slice(bytes).expect("it was encoded"),
            )
        }),
        ("bitcode", |rows, _| {
            measure(
                rows,
                |row, bytes| {
                    bytes.extend(bitcode::serialize(row).expect("it can be encoded"));
                },
                |bytes| bitcode::deserialize(bytes).expect("it was encoded"),
            )
        }),
        ("abomonation", |_, raw| {
            measure(
                raw,
                |row, bytes| anabranch_abomonation::encode(row, bytes).expect("it can be encoded"),
                |bytes| anabranch_abomonation::decode(bytes).expect("it was encoded"),
            )
        }),
        ("postcard (reference)", |rows, _| {
            measure(
                rows,
                |row, bytes| {
                    let taken = std::mem::take(bytes);
                    *bytes = postcard::to_extend(row, taken).expect("it can be encoded");
                },
                |bytes| postcard::from_bytes(bytes).expect("it was encoded"),
            )
        }),
        ("JSON (reference)", |rows, _| {
            measure(
                rows,
                |row, bytes| serde_json::to_writer(bytes, row).expect("it can be encoded"),
                |bytes| serde_json::from_slice(bytes).expect("it was encoded"),
            )
        }),
    ]
}

fn table<R: Row>(count: usize, rounds: usize) {
    let mut random = Random(7);
    let rows: Vec<R> = (0..count).map(|_| R::made(&mut random)).collect();
    let raw: Vec<R::Raw> = rows.iter().map(R::raw).collect();
    let codecs = codecs::<R>();
    let mut figures = vec![Vec::<Figures>::new(); codecs.len()];
    for _ in 0..rounds {
        for ((_, run), figures) in codecs.iter().zip(&mut figures) {
            figures.push(run(&rows, &raw));
        }
    }
    for ((name, _), figures) in codecs.iter().zip(&figures) {
        let [encode, decode, bytes] = [0, 1, 2]
            .map(|i| median(&figures.iter().map(|figures| figures[i]).collect::<Vec<_>>()));
        println!("| {} | {name} | {encode:.0} | {decode:.0} | {bytes:.1} |", R::WHAT);
    }
}

fn main() {
    let (rows, rounds) = (option("--rows", 200_000), option("--rounds", 5));
    println!("codecs: {rows} rows, {rounds} rounds");
    println!("| rows | codec | encode, ns/row | decode, ns/row | bytes/row |");
    println!("|---|---|---|---|---|");
    table::<Flat>(rows, rounds);
    table::<Texts>(rows, rounds);
}
