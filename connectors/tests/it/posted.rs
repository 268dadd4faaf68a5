//! A source that is fed through the program's own HTTP interface.

use std::net::TcpListener;
use std::path::Path;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::{Drain, run_until, sink, source};
use anabranch_connectors::posted;

use crate::http_listener::{Answer, ask};
use crate::support::Folder;

const SUM: Table<u8, u64> = Table::new("sum");

/// Runs a program that adds what is posted, and lets `act` ask it.
fn running(data: Option<&Path>, act: impl FnOnce(&dyn Fn(&str, &str, &str) -> Answer)) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut flags = vec!["--http".to_owned(), port.to_string()];
    flags.extend(data.into_iter().flat_map(|dir| ["--data-dir".into(), dir.display().to_string()]));
    let config = Config::from_flags(&flags).unwrap();
    let build = |app: &App| {
        let numbers = posted("numbers")?.beginning_with(vec![b"40".to_vec(), b"1".to_vec()]);
        app.routes(numbers.routes());
        app.source("numbers", source::frames(numbers, || source::Json))
            .key_by(|_: &u64| 0)
            .compute("add", SUM, |n, mut sum, out| {
                *sum += n;
                out.emit(*sum);
            })
            .sink("out", sink::null());
        Ok(())
    };
    let drain = Drain::default();
    let wish = drain.clone();
    let program = std::thread::spawn(move || run_until(&config, build, &wish).map(drop));
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::yield_now();
    }
    act(&|what, kind, body| ask(port.into(), what, &[&format!("Content-Type: {kind}")], body));
    drain.request();
    program.join().unwrap().unwrap();
}

fn until(ask: &dyn Fn(&str, &str, &str) -> Answer, sum: u64) {
    while ask("GET /api/v1/tables/sum/0", "text/plain", "").json()["value"] != sum {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_posted_comes_and_what_is_wrong_is_refused() {
    running(None, |ask| {
        until(ask, 41);
        let json = "application/json";
        let answer = ask("POST /api/v1/numbers", json, "1");
        assert_eq!((answer.status, &answer.json()["taken"]), (202, &1.into()), "{answer:?}");
        assert_eq!(ask("POST /api/v1/numbers", json, "[2,3]").json()["taken"], 2);
        assert_eq!(ask("POST /api/v1/numbers", "application/x-ndjson", "4\n5\n").status, 202);
        until(ask, 41 + 15);
        assert_eq!(ask("GET /api/v1/numbers", json, "").status, 405);
        assert_eq!(ask("POST /api/v1/numbers", json, "{").status, 400);
        assert_eq!(ask("POST /api/v1/numbers/more", json, "1").status, 404);
    });
}

#[test]
fn what_was_answered_is_durable_and_what_it_begins_with_comes_once() {
    let folder = Folder::new();
    for sum in [42, 43] {
        running(Some(folder.as_ref()), |ask| {
            until(ask, sum - 1);
            let answer = ask("POST /api/v1/numbers", "application/json", "1");
            assert_eq!(
                (answer.status, &answer.json()["durable"]),
                (200, &true.into()),
                "{answer:?}"
            );
            until(ask, sum);
        });
    }
}

#[test]
fn names_are_words() {
    for name in ["", "a/b", "A", "a b", ".."] {
        assert!(posted(name).unwrap_err().to_string().contains("a-z"), "{name}");
    }
}
