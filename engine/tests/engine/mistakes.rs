//! What types cannot rule out is caught when the application is built or a test driver is used
//! wrongly, with an error that names the pipeline, the table and what to do.

use std::time::Duration;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::{Error, TestDriver, Time, run, sink, source};

use crate::support::bounded;

const COUNTS: Table<u64, u64> = Table::new("counts");
const OTHERS: Table<u64, u64> = Table::new("others");

/// The mistake in what `build` draws; on three workers the same as on one, and nothing is run.
fn mistake(build: impl Fn(&App) -> Result<()> + Clone + Send + Sync + 'static) -> String {
    let (again, third) = (build.clone(), build.clone());
    let refused = TestDriver::new(build).start().err().expect("a mistake");
    assert_eq!(refused.exit_code(), 2, "{refused}");
    let on_three = TestDriver::new(again).workers(3).start().err().expect("a mistake");
    assert_eq!(refused.to_string(), on_three.to_string());
    let run = bounded(move || run(&Config::default(), third).map(drop)).unwrap_err();
    assert_eq!(refused.to_string(), run.to_string());
    refused.to_string()
}

/// Asserts that `text` names all of `parts`.
#[track_caller]
fn names(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

fn numbers(app: &App, name: &str) -> anabranch::Shared<u64> {
    app.source(name, source::empty::<u64>())
}

fn count(n: u64, mut count: Row<'_, u64>, out: &mut Context<'_, u64>) {
    *count += n;
    out.emit(*count);
}

#[test]
fn a_table_has_one_type() {
    let error = mistake(|app| {
        numbers(app, "one").key_by(|n| *n).compute("count", COUNTS, count);
        let text: Table<u64, String> = Table::new("counts");
        numbers(app, "two").key_by(|n| *n).compute(
            "name",
            text,
            |n, mut name, _: &mut Context<'_, ()>| *name = n.to_string(),
        );
        Ok(())
    });
    names(
        &error,
        &[
            "`name`",
            "`two -> name`",
            "`counts`",
            "u64 -> String here",
            "u64 -> u64 else",
            "another name",
        ],
    );
    let error = mistake(|app| {
        numbers(app, "one").key_by(|n| *n).compute("count", COUNTS, count);
        let other_key: Table<u8, u64> = Table::new("counts");
        numbers(app, "two").key_by(|n| *n as u8).compute(
            "read",
            other_key.read(),
            |_, _, _: &mut Context<'_, ()>| {},
        );
        Ok(())
    });
    names(&error, &["`two -> read`", "`counts`", "u8 -> u64 here", "u64 -> u64 else"]);
    let error = mistake(|app| {
        numbers(app, "one").key_by(|n| *n).compute("count", COUNTS, count);
        let map: MapTable<u64, u8, u64> = MapTable::new("counts");
        numbers(app, "two").key_by(|n| *n).compute("map", map, |_, _, _: &mut Context<'_, ()>| {});
        Ok(())
    });
    names(&error, &["`two -> map`", "`counts`", "Entries<u8, u64> here"]);
}

#[test]
fn a_computation_names_a_table_once() {
    let error = mistake(|app| {
        numbers(app, "one").key_by(|n| *n).compute(
            "twice",
            (COUNTS, OTHERS, COUNTS.read()),
            |_, _, _: &mut Context<'_, ()>| {},
        );
        Ok(())
    });
    names(&error, &["`twice`", "`one -> twice`", "`counts` twice", "name it once"]);
}

#[test]
fn names_are_unique() {
    let error = mistake(|app| {
        numbers(app, "one");
        numbers(app, "one");
        Ok(())
    });
    names(&error, &["two sources are named `one`", "another name"]);
    let error = mistake(|app| {
        numbers(app, "one").sink("out", sink::null()).sink("out", sink::null());
        Ok(())
    });
    names(&error, &["two sinks are named `out`", "another name"]);
    let error = mistake(|app| {
        numbers(app, "one").sink("one", sink::null());
        Ok(())
    });
    names(&error, &["a source and a sink are both named `one`", "`one.records`", "another name"]);
    let error = mistake(|app| {
        numbers(app, "one").sink("two", sink::null());
        numbers(app, "two");
        Ok(())
    });
    names(&error, &["a source and a sink are both named `two`"]);
    let error = mistake(|app| {
        numbers(app, "one").key_by(|n| *n).compute("count", COUNTS, count);
        numbers(app, "two").key_by(|n| *n).compute("count", COUNTS, count);
        Ok(())
    });
    names(&error, &["two computations are named `count`", "another name"]);
    let error = mistake(|app| {
        numbers(app, "one").sink("dead-letters", sink::null());
        app.dead_letters(sink::null());
        Ok(())
    });
    names(&error, &["two sinks are named `dead-letters`"]);
    let error = mistake(|app| {
        numbers(app, "one");
        app.dead_letters(sink::null());
        app.dead_letters(sink::null());
        Ok(())
    });
    names(&error, &["the sink of dead letters is named twice", "name it once"]);
}

#[test]
fn names_are_plain() {
    let long = "x".repeat(65);
    for bad in ["", "a b", "a/b", "é", "a\n", &long] {
        let escaped = bad.escape_debug().to_string();
        for what in ["source", "sink", "computation"] {
            let bad = bad.to_string();
            let error = mistake(move |app| {
                let name = |this| if what == this { bad.as_str() } else { "good-1_2.3" };
                numbers(app, name("source"))
                    .key_by(|n| *n)
                    .compute(name("computation"), COUNTS, count)
                    .sink(name("sink"), sink::null());
                Ok(())
            });
            names(&error, &[&format!("the {what} name `{escaped}`"), "1 to 64 ASCII letters"]);
        }
    }
}

#[test]
fn an_application_has_a_source() {
    names(&mistake(|_| Ok(())), &["has no source", "app.source(name, source)"]);
}

#[test]
fn what_the_builder_says_is_the_error() {
    let error = mistake(|_| Err(Error::Usage("--prices is no URL".to_string())));
    assert_eq!(error, "--prices is no URL");
}

#[test]
fn a_path_that_returns_to_a_group_is_refused_with_the_path() {
    let error = mistake(|app| {
        numbers(app, "orders")
            .key_by(|n| *n)
            .compute("count", COUNTS, count)
            .key_by(|n| n + 1)
            .compute("other", OTHERS, count)
            .key_by(|n| n + 2)
            .compute("again", COUNTS.read(), |_, _, _: &mut Context<'_, ()>| {});
        Ok(())
    });
    let path = "{counts} by count and again -> {others} by other -> {counts} by count and again";
    let turned = "{others} by other -> {counts} by count and again -> {others} by other";
    assert!(error.contains(path) || error.contains(turned), "{error}");
    names(
        &error,
        &["`orders -> count`", "`orders -> count -> other -> again`", "tables of its own"],
    );
}

#[test]
fn a_path_returns_also_through_tables_that_another_computation_joins() {
    let error = mistake(|app| {
        numbers(app, "orders")
            .key_by(|n| *n)
            .compute("count", COUNTS, count)
            .key_by(|n| n + 1)
            .compute("other", OTHERS, count);
        numbers(app, "joins").key_by(|n| *n).compute(
            "join",
            (COUNTS, OTHERS),
            |_, _, _: &mut Context<'_, ()>| {},
        );
        Ok(())
    });
    names(&error, &["{counts, others} by", "join", "`orders -> count -> other`"]);
}

#[test]
fn a_path_is_as_long_as_an_origin_can_tell() {
    fn build(app: &App, levels: usize) -> Result<()> {
        let mut stream = numbers(app, "deep");
        for _ in 0..levels {
            stream = stream.flat_map(|n| [n, n]).share();
        }
        stream.sink("out", sink::null());
        Ok(())
    }
    let mut driver = TestDriver::new(|app| build(app, 6)).start().unwrap();
    driver.send("deep", 1_u64).unwrap();
    driver.run().unwrap();
    assert_eq!(driver.outputs::<u64>("out").len(), 64);
    names(
        &mistake(|app| build(app, 7)),
        &["pipeline `deep` passes more than 6 computations", "join some of them"],
    );
}

#[test]
fn a_side_output_has_one_type() {
    const NUMBERS: SideOutput<u64> = SideOutput::new("aside");
    const WORDS: SideOutput<String> = SideOutput::new("aside");
    let error = mistake(|app| {
        let counted = numbers(app, "one").key_by(|n| *n).compute("count", COUNTS, count);
        let (_, counted) = counted.side(NUMBERS);
        let (_, _) = counted.side(WORDS);
        Ok(())
    });
    names(&error, &["side output `aside`", "`one -> count`", "two record types", "another name"]);
    // What is emitted is known only when it is emitted.
    let mut driver = TestDriver::new(|app| {
        let emit = |n: u64, (), out: &mut Context<'_, ()>| out.emit_to(NUMBERS, n);
        let (words, _) = numbers(app, "one").key_by(|n| *n).compute("emit", (), emit).side(WORDS);
        words.sink("out", sink::null());
        Ok(())
    })
    .start()
    .unwrap();
    driver.send("one", 1_u64).unwrap();
    let error = driver.run().unwrap_err().to_string();
    names(&error, &["`emit`", "one-0-0", "side output `aside` takes records of another type"]);
}

#[test]
fn streams_do_not_outlive_the_builder() {
    let error = mistake(|app| {
        std::mem::forget(numbers(app, "one"));
        Ok(())
    });
    names(&error, &["a stream outlives the builder function", "let it go there"]);
    let error = mistake(|app| {
        std::mem::forget(numbers(app, "one").key_by(|n| *n).compute("count", COUNTS, count));
        Ok(())
    });
    names(&error, &["a keyed stream outlives the builder function"]);
}

fn one_number(app: &App) -> Result<()> {
    numbers(app, "numbers").sink("out", sink::null());
    Ok(())
}

#[test]
fn a_test_driver_says_what_was_sent_wrongly() {
    let mut driver = TestDriver::new(one_number).workers(2).start().unwrap();
    let error = driver.send("words", 1_u64).unwrap_err().to_string();
    names(&error, &["no source `words`", "there are `numbers`"]);
    let error = driver.send("numbers", "one".to_string()).unwrap_err().to_string();
    names(&error, &["`numbers`", "u64", "String"]);
    let error = driver.send_bytes("numbers", "1").unwrap_err().to_string();
    names(&error, &["`numbers`", "no decoder"]);
    // Nothing of that ends the application.
    driver.send("numbers", 7_u64).unwrap();
    driver.run().unwrap();
    assert_eq!(driver.outputs::<u64>("out"), [7]);
    driver.finish().unwrap();
}

#[test]
fn a_test_driver_can_begin_at_any_time() {
    for nanos in [i64::MIN / 2, -5, 0, 1_700_000_000_000_000_000] {
        let start = Time::from_nanos(nanos);
        let ids = bounded(move || {
            let mut driver = TestDriver::new(one_number).time(start).start().unwrap();
            driver.send("numbers", 7_u64).unwrap();
            driver.run().unwrap();
            driver.advance(Duration::from_secs(1));
            driver.send("numbers", 8_u64).unwrap();
            driver.run().unwrap();
            driver.ids("out")
        });
        assert_eq!(ids, ["numbers-0-0", "numbers-0-1"]);
    }
}

#[test]
fn an_embedded_application_is_one_process() {
    let config = Config::from_flags(["-n", "2"]).unwrap();
    let refused = run(&config, one_number).map(drop).unwrap_err();
    assert_eq!(refused.exit_code(), 2);
    names(&refused.to_string(), &["one process", "anabranch::main"]);
}
