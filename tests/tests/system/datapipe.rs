//! datapipe's own samples, as programs: `discount-sum` and `depends`, by the ids of their cases.

use crate::run::{ended, program};
use crate::support::Folder;

/// What a program says of numbers, a batch a line, on that many workers.
fn said(name: &str, batches: &str, workers: &str) -> String {
    let folder = Folder::new();
    let url = format!("file:{}", folder.write("numbers", batches));
    let said = ended(&mut program(name, ["--numbers", &url, "-w", workers]));
    assert_eq!(said.code, Some(0), "{}", said.errors);
    said.output
}

fn twenty() -> String {
    format!("[{}]\n", ["1"; 20].join(","))
}

fn numbers(output: &str) -> Vec<f64> {
    let batches = output.lines().map(|line| serde_json::from_str::<Vec<f64>>(line).unwrap());
    batches.flatten().collect()
}

#[test]
fn dp_01_a_discounted_sum() {
    assert_eq!(said("discount-sum", "[1,2,3,4]\n", "1"), "[1.0,2.99,5.9601,9.900499]\n");
}

#[test]
fn dp_04_twenty_numbers_at_once() {
    for workers in ["1", "2", "4"] {
        let sums = numbers(&said("discount-sum", &twenty(), workers));
        assert_eq!(sums.len(), 20);
        let some = [sums[9], sums[10], sums[19]];
        assert_eq!(some, [9.561_792_499_1, 10.466_174_574_1, 18.209_306_240_3], "{workers}");
    }
}

#[test]
fn dp_05_twenty_numbers_in_two_batches() {
    let tens = format!("[{0}]\n[{0}]\n", ["1"; 10].join(","));
    for workers in ["1", "2", "4"] {
        let sums = numbers(&said("discount-sum", &tens, workers));
        assert_eq!(sums, numbers(&said("discount-sum", &twenty(), "1")), "{workers}");
    }
}

#[test]
fn dp_06_a_computation_that_sees_the_whole_batch_first() {
    for workers in ["1", "2"] {
        let shares = said("depends", "[1,2]\n[3,1]\n", workers);
        assert_eq!(shares, "[0.3333333333,0.6666666667]\n[0.75,0.25]\n");
    }
}

#[test]
fn mbf_9_bad_json_is_a_dead_letter_and_the_source_goes_on() {
    let folder = Folder::new();
    let lines = "[1]\n{\"no\": \"batch\"}\n[2\n[0,0]\n[3]\n";
    let url = format!("file:{}", folder.write("numbers", lines));
    let said = ended(&mut program("depends", ["--numbers", &url]));
    assert_eq!((said.code, &*said.output), (Some(0), "[1.0]\n[1.0]\n"), "{}", said.errors);
    for letter in
        ["numbers-0-1: not the JSON", "numbers-0-2: not the JSON", "numbers-0-3 of `share`"]
    {
        assert!(said.errors.contains(&format!("dead letter {letter}")), "{}", said.errors);
    }
}
