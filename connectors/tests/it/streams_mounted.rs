//! Durable streams that a program answers for beside the rest: written over HTTP and WebSockets, and read by the program.

use std::net::TcpListener;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::{Drain, run_until, sink, source};
use anabranch_connectors::{inlet, stream};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::http_listener::ask;
use crate::support::{Folder, connect};

const SUM: Table<u8, u64> = Table::new("sum");
const JSON: &[&str] = &["Content-Type: application/json"];

#[test]
fn a_program_answers_for_streams_and_reads_what_comes() {
    let folder = Folder::new();
    let dir = folder.as_ref().to_str().unwrap().to_string();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = Config::from_flags(["--http", &port.to_string()]).unwrap();
    let drain = Drain::default();
    stream::Streams::open(&dir).unwrap().create("numbers").unwrap();
    let build = move |app: &App| {
        app.routes(stream::routes(&dir));
        let numbers = inlet(&format!("stream:numbers?dir={dir}&follow=true"))?;
        app.source("numbers", source::frames(numbers, || source::Json))
            .key_by(|_: &u64| 0)
            .compute("add", SUM, |n, mut sum, out| {
                *sum += n;
                out.emit(*sum);
            })
            .sink("out", sink::null());
        Ok(())
    };
    let wish = drain.clone();
    let running = std::thread::spawn(move || run_until(&config, build, &wish).map(drop));
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::yield_now();
    }
    let asked = |what: &str, body: &str| ask(u64::from(port), what, JSON, body);
    let appended = asked("POST /api/v1/streams/numbers/records", "7");
    assert_eq!(appended.status, 200, "{appended:?}");
    let mut socket = connect(u64::from(port), "/api/v1/streams/numbers/append");
    socket.send(Message::text("35")).unwrap();
    let told = socket.read().unwrap().into_text().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["end"], 2);
    while asked("GET /api/v1/tables/sum/0", "").json()["value"] != 42 {
        std::thread::yield_now();
    }
    let described = asked("GET /api/v1/openapi.json", "").json();
    for path in ["/api/v1/streams/{stream}/records", "/api/v1/tables/{table}"] {
        assert!(described["paths"][path].is_object(), "{path}");
    }
    drop(socket);
    drain.request();
    running.join().unwrap().unwrap();
}
