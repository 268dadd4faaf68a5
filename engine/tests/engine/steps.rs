//! Steps: what each does to a stream, in which order, and on any number of workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anabranch::prelude::*;
use anabranch::{Shared, TestDriver, sink, source};
use proptest::prelude::*;

const SEEN: Table<u64, Vec<u64>> = Table::new("seen");

/// What the sinks of that name receive for the numbers `input`, on one to four workers.
fn drive(
    build: impl Fn(&App) -> Result<()> + Clone + Send + Sync + 'static,
    input: impl IntoIterator<Item = u64> + Clone,
    sinks: &[&str],
) -> Vec<Vec<u64>> {
    let mut all: Vec<_> = (1..=4)
        .map(|workers| {
            let driver = TestDriver::new(build.clone()).workers(workers).seed(workers as u64);
            let mut driver = driver.start().unwrap();
            for n in input.clone() {
                driver.send("numbers", n).unwrap();
            }
            driver.run().unwrap();
            let outputs: Vec<Vec<u64>> = sinks.iter().map(|sink| driver.outputs(sink)).collect();
            driver.finish().unwrap();
            outputs
        })
        .collect();
    all.dedup();
    assert_eq!(all.len(), 1, "the same on any number of workers: {all:?}");
    all.remove(0)
}

fn numbers(app: &App) -> Shared<u64> {
    app.source("numbers", source::empty::<u64>())
}

#[test]
fn stateless_steps_do_what_their_names_say() {
    let build = |app: &App| {
        numbers(app)
            .map(|n| n.to_string())
            .filter(|text| text != "3")
            .flat_map(|text| vec![text.clone(), text + "0"])
            .map(|text| text.parse::<u64>().unwrap())
            .sink("out", sink::null());
        Ok(())
    };
    assert_eq!(drive(build, 1..5, &["out"]), [[1, 10, 2, 20, 4, 40]]);
}

#[test]
fn a_branch_splits_and_a_merge_joins_in_order() {
    let build = |app: &App| {
        let (even, odd) = numbers(app).map(|n| n + 1).branch(|n| n % 2 == 0);
        let even = even.sink("even", sink::null());
        let odd = odd.sink("odd", sink::null());
        odd.map(|n| n * 10).merge(even).sink("both", sink::null());
        Ok(())
    };
    let outputs = drive(build, 0..6, &["even", "odd", "both"]);
    assert_eq!(outputs, [vec![2, 4, 6], vec![1, 3, 5], vec![10, 2, 30, 4, 50, 6]]);
}

#[test]
fn of_records_with_the_same_origin_the_first_leg_comes_first() {
    let build = |app: &App| {
        let stream = numbers(app);
        let other = stream.clone().map(|n| n + 100);
        stream.merge(other).merge(numbers_again(app)).sink("out", sink::null());
        Ok(())
    };
    fn numbers_again(app: &App) -> Shared<u64> {
        app.source("again", source::empty::<u64>())
    }
    assert_eq!(drive(build, 1..4, &["out"]), [[1, 101, 2, 102, 3, 103]]);
}

#[test]
fn a_diamond_reaches_a_computation_in_one_order() {
    let build = |app: &App| {
        let stream = numbers(app);
        let twice = stream.clone().flat_map(|n| [10 * n, 10 * n + 1]);
        let thrice = stream.flat_map(|n| [10 * n + 5, 10 * n + 6, 10 * n + 7]);
        twice
            .merge(thrice)
            .key_by(|n| n % 2)
            .compute("see", SEEN, |n, mut seen, out| {
                seen.push(n);
                out.emit(n);
            })
            .sink("out", sink::null());
        Ok(())
    };
    // Places go before legs: first both legs' first outputs, then both legs' second ones.
    let outputs = drive(build, [1, 2], &["out"]);
    assert_eq!(outputs, [[10, 15, 11, 16, 17, 20, 25, 21, 26, 27]]);
}

#[test]
fn several_sinks_and_uses_see_the_same() {
    let build = |app: &App| {
        let stream = numbers(app).map(|n| 2 * n).share();
        stream.clone().sink("one", sink::null()).map(|n| n + 1).sink("two", sink::null());
        stream.filter(|n| n % 4 == 0).sink("three", sink::null());
        Ok(())
    };
    let outputs = drive(build, 0..4, &["one", "two", "three"]);
    assert_eq!(outputs, [vec![0, 2, 4, 6], vec![1, 3, 5, 7], vec![0, 4]]);
}

#[test]
fn side_outputs_keep_the_order_of_what_caused_them() {
    const LARGE: SideOutput<u64> = SideOutput::new("large");
    const EVERY: SideOutput<u64> = SideOutput::new("every");
    const UNUSED: SideOutput<String> = SideOutput::new("unused");
    let build = |app: &App| {
        let sorted = numbers(app)
            .key_by(|n| n % 3)
            .compute("sort", (), |n, (), out: &mut Context<'_, u64>| {
                out.emit_to(UNUSED, n.to_string());
                out.emit_to(EVERY, n);
                if n >= 4 { out.emit_to(LARGE, n) } else { out.emit(n) }
            })
            .compute("again", (), |n, (), out| {
                out.emit_to(EVERY, n + 100);
                out.emit(n);
            });
        let (large, sorted) = sorted.side(LARGE);
        let (every, sorted) = sorted.side(EVERY);
        large.sink("large", sink::null());
        every.sink("every", sink::null());
        sorted.map(|n| n * 2).sink("small", sink::null());
        Ok(())
    };
    let outputs = drive(build, 2..7, &["small", "large", "every"]);
    assert_eq!(outputs, [vec![4, 6], vec![4, 5, 6], vec![2, 102, 3, 103, 4, 5, 6]]);
}

#[test]
fn keyed_steps_keep_the_key() {
    let build = |app: &App| {
        numbers(app)
            .key_by(|n| n % 2)
            .compute("count", SEEN, |n, mut seen, out| {
                seen.push(n);
                out.emit(seen.len() as u64);
            })
            .map(|count| count * 100)
            .filter(|count| *count != 200)
            .flat_map(|count| [count, count + 1])
            .inspect(|count| assert!(count % 100 < 2))
            // The row is still that of `n % 2`, which the record does not tell any more.
            .compute("read", SEEN.read(), |count, seen, out| {
                out.emit(count + 10 * seen.len() as u64);
            })
            .sink("out", sink::null());
        Ok(())
    };
    let outputs = drive(build, 0..6, &["out"]);
    assert_eq!(outputs, [[110, 111, 110, 111, 330, 331, 330, 331]]);
}

#[test]
fn a_record_runs_through_fused_computations_before_the_next() {
    let build = |app: &App| {
        numbers(app)
            .key_by(|_| 0_u64)
            .compute("first", SEEN, |n, mut seen, out| {
                seen.push(n);
                out.emit_all([n, n]);
            })
            .compute("second", SEEN, |n, mut seen, out| {
                seen.push(100 + n);
                out.emit(seen.len() as u64);
            })
            .sink("out", sink::null());
        Ok(())
    };
    assert_eq!(drive(build, 1..3, &["out"]), [[2, 3, 5, 6]]);
    let mut driver = TestDriver::new(build).workers(2).start().unwrap();
    for n in 1..3_u64 {
        driver.send("numbers", n).unwrap();
    }
    driver.run().unwrap();
    assert_eq!(driver.get(SEEN, &0).unwrap(), Some(vec![1, 101, 101, 2, 102, 102]));
}

#[test]
fn pipelines_of_one_group_take_turns_record_by_record() {
    let build = |app: &App| {
        let stream = numbers(app);
        for (index, name) in ["a", "b", "c"].into_iter().enumerate() {
            stream.clone().map(move |n| n * 10 + index as u64).key_by(|_| 0_u64).compute(
                name,
                SEEN,
                |n, mut seen, _: &mut Context<'_, ()>| seen.push(n),
            );
        }
        Ok(())
    };
    for workers in 1..=4 {
        let mut driver = TestDriver::new(build).workers(workers).start().unwrap();
        for n in 1..4_u64 {
            driver.send("numbers", n).unwrap();
        }
        driver.run().unwrap();
        let expected = vec![10, 11, 12, 20, 21, 22, 30, 31, 32];
        assert_eq!(driver.get(SEEN, &0).unwrap(), Some(expected));
    }
}

#[test]
fn a_stream_that_is_dropped_unused_still_runs() {
    let noted: Arc<Mutex<BTreeMap<&str, Vec<u64>>>> = Arc::default();
    let by_steps = Arc::clone(&noted);
    let build = move |app: &App| {
        let note = |name| {
            let noted = Arc::clone(&by_steps);
            move |n: &u64| noted.lock().unwrap().entry(name).or_default().push(*n)
        };
        let stream = numbers(app);
        stream.clone().inspect(note("plain"));
        let (even, odd) = stream.clone().branch(|n| n % 2 == 0);
        even.inspect(note("even"));
        drop(odd);
        stream.clone().merge(stream.clone().map(|n| n + 10)).inspect(note("merged"));
        let computed = stream.key_by(|_| 0_u64).compute("see", SEEN, |n, mut seen, out| {
            seen.push(n);
            out.emit(n);
        });
        computed.inspect(note("computed"));
        Ok(())
    };
    let mut driver = TestDriver::new(build).start().unwrap();
    for n in 1..4_u64 {
        driver.send("numbers", n).unwrap();
    }
    driver.run().unwrap();
    assert_eq!(driver.get(SEEN, &0).unwrap(), Some(vec![1, 2, 3]));
    let mut noted = noted.lock().unwrap().clone();
    // A merge hands on what arrives as it arrives: only what it leads to is in order.
    noted.get_mut("merged").unwrap().sort_unstable();
    let expected = [
        ("computed", vec![1, 2, 3]),
        ("even", vec![2]),
        ("merged", vec![1, 2, 3, 11, 12, 13]),
        ("plain", vec![1, 2, 3]),
    ];
    assert_eq!(noted, BTreeMap::from(expected));
}

/// A stream made of the one before.
#[derive(Clone, Debug)]
enum Shape {
    Source,
    Map(Box<Shape>),
    Filter(Box<Shape>),
    FlatMap(Box<Shape>),
    Branch(Box<Shape>),
    Merge(Box<Shape>, Box<Shape>),
    Compute(Box<Shape>),
}

fn shape() -> impl Strategy<Value = Shape> {
    Just(Shape::Source).prop_recursive(5, 12, 2, |inner| {
        let inner = inner.prop_map(Box::new);
        prop_oneof![
            inner.clone().prop_map(Shape::Map),
            inner.clone().prop_map(Shape::Filter),
            inner.clone().prop_map(Shape::FlatMap),
            inner.clone().prop_map(Shape::Branch),
            inner.clone().prop_map(Shape::Compute),
            (inner.clone(), inner).prop_map(|(a, b)| Shape::Merge(a, b)),
        ]
    })
}

fn spread(n: u64) -> Vec<u64> {
    (0..n % 3).map(|i| n.wrapping_mul(7) + i).collect()
}

const SUMS: [Table<u64, u64>; 8] = [
    Table::new("sums-0"),
    Table::new("sums-1"),
    Table::new("sums-2"),
    Table::new("sums-3"),
    Table::new("sums-4"),
    Table::new("sums-5"),
    Table::new("sums-6"),
    Table::new("sums-7"),
];

impl Shape {
    /// How many computations it has, and levels of places at the most.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Source => (0, 1),
            Self::Map(of) | Self::Filter(of) | Self::Branch(of) => of.size(),
            Self::FlatMap(of) => (of.size().0, of.size().1 + 1),
            Self::Compute(of) => (of.size().0 + 1, of.size().1 + 1),
            Self::Merge(a, b) => (a.size().0 + b.size().0, a.size().1.max(b.size().1) + 1),
        }
    }

    fn draw(&self, source: &Shared<u64>, next: &mut usize) -> Shared<u64> {
        match self {
            Self::Source => source.clone(),
            Self::Map(of) => of.draw(source, next).map(|n| n + 1).share(),
            Self::Filter(of) => of.draw(source, next).filter(|n| n % 4 != 0).share(),
            Self::FlatMap(of) => of.draw(source, next).flat_map(spread).share(),
            Self::Branch(of) => of.draw(source, next).branch(|n| n % 3 == 0).1,
            Self::Merge(a, b) => {
                let a = a.draw(source, next);
                let b = b.draw(source, next);
                a.merge(b)
            }
            Self::Compute(of) => {
                let of = of.draw(source, next);
                let (name, table) = (format!("compute-{next}"), SUMS[*next]);
                *next += 1;
                of.key_by(|n| n % 5)
                    .compute(&name, table, |n, mut sum, out| {
                        *sum = sum.wrapping_mul(31).wrapping_add(n);
                        out.emit_all(spread(n));
                        out.emit(*sum >> 8);
                    })
                    .share()
            }
        }
    }

    /// All records of the stream with their places, in order: one loop a step over everything.
    fn loop_over(&self, input: &[(Vec<u64>, u64)]) -> Vec<(Vec<u64>, u64)> {
        let deeper = |place: &[u64], last| [place, &[last]].concat();
        match self {
            Self::Source => input.to_vec(),
            Self::Map(of) => of.loop_over(input).into_iter().map(|(p, n)| (p, n + 1)).collect(),
            Self::Filter(of) => {
                of.loop_over(input).into_iter().filter(|(_, n)| n % 4 != 0).collect()
            }
            Self::Branch(of) => {
                of.loop_over(input).into_iter().filter(|(_, n)| n % 3 != 0).collect()
            }
            Self::FlatMap(of) => {
                let spread = |(p, n): (Vec<u64>, u64)| {
                    (0_u64..).zip(spread(n)).map(move |(i, n)| (deeper(&p, i), n))
                };
                of.loop_over(input).into_iter().flat_map(spread).collect()
            }
            Self::Merge(a, b) => {
                // The shorter paths are filled up: a record's place is before or after another's
                // with all that comes of it.
                let deepest = a.size().1.max(b.size().1);
                let legs = [a, b].into_iter().zip(0_u64..).flat_map(|(leg, index)| {
                    leg.loop_over(input).into_iter().map(move |(mut p, n)| {
                        p.resize(deepest, 0);
                        (deeper(&p, index), n)
                    })
                });
                let mut merged: Vec<_> = legs.collect();
                merged.sort();
                merged
            }
            Self::Compute(of) => {
                let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
                let mut outputs = Vec::new();
                for (place, n) in of.loop_over(input) {
                    let sum = sums.entry(n % 5).or_default();
                    *sum = sum.wrapping_mul(31).wrapping_add(n);
                    let emitted = spread(n).into_iter().chain([*sum >> 8]);
                    outputs.extend((0..).zip(emitted).map(|(i, n)| (deeper(&place, i), n)));
                }
                outputs
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]
    #[test]
    fn any_shape_is_its_plain_loop(
        shape in shape().prop_filter("fits", |shape| shape.size().0 <= 8 && shape.size().1 <= 6),
        input in proptest::collection::vec(0..1000_u64, 0..40),
        workers in 1..5_usize,
        seed in any::<u64>(),
    ) {
        let drawn = shape.clone();
        let build = move |app: &App| {
            drawn.draw(&numbers(app), &mut 0).sink("out", sink::null());
            Ok(())
        };
        let mut driver = TestDriver::new(build).workers(workers).seed(seed).start().unwrap();
        for n in &input {
            driver.send("numbers", *n).unwrap();
        }
        driver.run().unwrap();
        let outputs: Vec<u64> = driver.outputs("out");
        let input: Vec<_> = (0..).zip(input).map(|(i, n)| (vec![i], n)).collect();
        let expected: Vec<u64> = shape.loop_over(&input).into_iter().map(|(_, n)| n).collect();
        prop_assert_eq!(outputs, expected);
    }
}
