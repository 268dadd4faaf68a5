//! Cases MB-19 and MB-20, and what else emitters promised.
//!
//! Invariant: expected batches are those of the table of cases.

use anabranch::TestDriver;
use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    options: Options,
}

fn parse(arguments: &str) -> Result<Options, clap::Error> {
    let arguments = std::iter::once("sorted-emitter").chain(arguments.split_whitespace());
    Program::try_parse_from(arguments).map(|program| program.options)
}

fn driver(arguments: &str, workers: usize) -> TestDriver {
    let options = parse(arguments).unwrap();
    let build = move |app: &App| sorted_emitter(app, &options);
    TestDriver::new(build).workers(workers).start().unwrap()
}

/// What is told when that number has come, at its second.
fn told(driver: &mut TestDriver, text: &str) -> Vec<Vec<i64>> {
    let (time, value) = number(text).unwrap();
    let to_go = time.unwrap().as_nanos() - driver.now().as_nanos();
    driver.advance(Duration::from_nanos(u64::try_from(to_go).unwrap()));
    driver.send("numbers", value).unwrap();
    driver.run().unwrap();
    driver.outputs("batches")
}

const NONE: [Vec<i64>; 0] = [];

#[test]
fn mb_20_the_smallest_even_numbers_leave_in_pairs_and_the_others_wait() {
    for workers in [1, 3] {
        let mut driver = driver("", workers);
        for number in &NUMBERS[..10] {
            assert_eq!(told(&mut driver, number), NONE, "nobody has looked");
        }
        // What is left: the odd ones, which wait, and 8, which leaves with the next.
        assert_eq!(told(&mut driver, "13@1.1"), [[0, 2], [4, 6]]);
        assert_eq!(told(&mut driver, "15@2.5"), NONE);
        assert_eq!(told(&mut driver, "10@2.6"), NONE);
        assert_eq!(told(&mut driver, "16@3.1"), [[8, 10]]);
        assert_eq!(told(&mut driver, "18@3.2"), NONE);
        driver.finish().unwrap();
        assert_eq!(driver.lines("batches"), ["[16,18]"], "the end is looked at too");
    }
}

#[test]
fn mb_20_the_numbers_of_the_program() {
    let mut driver = driver("", 1);
    let mut batches: Vec<_> = NUMBERS.iter().flat_map(|number| told(&mut driver, number)).collect();
    driver.finish().unwrap();
    batches.extend(driver.outputs("batches"));
    assert_eq!(batches, [[0, 2], [4, 6], [8, 10]]);
}

#[test]
fn mb_21_zero_is_a_number_like_others() {
    let mut driver = driver("--size 1", 1);
    for number in ["0@0", "0@0.1", "1@0.2"] {
        assert_eq!(told(&mut driver, number), NONE);
    }
    assert_eq!(told(&mut driver, "1@5"), [[0], [0]]);
}

#[test]
fn mb_26_batches_of_nothing_are_refused() {
    let refused = parse("--size 0").unwrap_err().to_string();
    assert!(refused.contains("0 is not in 1.."), "{refused}");
}

/// There, what failed in the middle took two records with it.
#[test]
fn mb_19_what_cannot_be_read_takes_nothing_with_it() {
    let mut driver = driver("--numbers -", 1);
    for line in ["4@0", " 2 ", "x@1", "6@-1", "8@soon", "8.5"] {
        driver.send_bytes("numbers", line).unwrap();
    }
    driver.run().unwrap();
    assert_eq!(driver.dead_letters().len(), 4);
    assert_eq!(driver.outputs::<Vec<i64>>("batches"), NONE);
    driver.finish().unwrap();
    assert_eq!(driver.outputs::<Vec<i64>>("batches"), [[2, 4]]);
}
