//! Durable streams over HTTP: what is answered is durable, everything has its bound, and nobody comes in who may not.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use anabranch_connectors::stream::{From, ServeOptions, ServiceLimits, Serving, Streams, serve};
use serde_json::{Value, json};

use crate::http_listener::{Answer, ask};
use crate::streams::rest;
use crate::support::{Folder, tcp};

pub(crate) const JSON: &str = "Content-Type: application/json";
const LINES: &str = "Content-Type: application/x-ndjson";

/// A server of the streams in `dir`.
pub(crate) struct Server(Serving);

impl Server {
    pub(crate) fn new(dir: &Path) -> Self {
        Self::with(dir, ServiceLimits::default(), &ServeOptions::default())
    }

    pub(crate) fn with(dir: &Path, limits: ServiceLimits, options: &ServeOptions) -> Self {
        Self(serve(Streams::open(dir).unwrap(), limits, options).unwrap())
    }

    pub(crate) fn port(&self) -> u64 {
        self.0.address().port().into()
    }

    /// `asked` is a method and what is behind `/api/v1/streams`.
    pub(crate) fn ask(&self, asked: &str, lines: &[&str], body: impl AsRef<[u8]>) -> Answer {
        let (method, path) = asked.split_once(' ').unwrap();
        ask(self.port(), &format!("{method} /api/v1/streams{path}"), lines, body)
    }

    #[track_caller]
    pub(crate) fn done(&self, asked: &str, body: &str) -> Value {
        let told = self.ask(asked, &[JSON], body);
        assert!((200..300).contains(&told.status), "{asked}: {told:?}");
        if told.body.is_empty() { Value::Null } else { told.json() }
    }

    pub(crate) fn status(&self, asked: &str, body: &str) -> u16 {
        self.ask(asked, &[JSON], body).status
    }

    /// The values of all records.
    fn values(&self, stream: &str) -> Vec<Value> {
        let page = self.done(&format!("GET /{stream}/records?limit=1000"), "");
        page["records"].as_array().unwrap().iter().map(|it| it["value"].clone()).collect()
    }
}

#[test]
fn mb_01_what_was_appended_is_there_after_a_restart() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    assert_eq!(server.ask("PUT /buffer", &[], "").status, 201);
    assert_eq!(
        server.done("POST /buffer/records", r#"{"foo":"bar1"}"#),
        json!({"first": 0, "end": 1})
    );
    assert_eq!(
        server.done("POST /buffer/records", r#"{"foo":"bar2"}"#),
        json!({"first": 1, "end": 2})
    );
    let docs = [json!({"foo": "bar1"}), json!({"foo": "bar2"})];
    assert_eq!(server.values("buffer"), docs);
    drop(server);
    let server = Server::new(folder.as_ref());
    assert_eq!(server.values("buffer"), docs);
    assert_eq!(server.ask("PUT /buffer", &[], "").status, 200, "it is there already");
    assert_eq!(server.done("GET /buffer", "")["end"], 2);
    // What is in the folder, by the library.
    drop(server);
    let stream = Streams::open(folder.as_ref()).unwrap().stream("buffer").unwrap();
    let all = rest(&mut stream.read(From::Beginning).unwrap());
    assert_eq!(all[1], (1, br#"{"foo":"bar2"}"#.to_vec()));
}

#[test]
fn records_are_shown_as_what_they_are() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    assert_eq!(server.done("POST /s/records", "[{\"a\" : 1.50},\n\"<script>\"]")["end"], 2);
    assert_eq!(server.ask("POST /s/records", &[LINES], "{\"b\":1}\n\n2\n").json()["end"], 4);
    assert_eq!(server.ask("POST /s/records", &[], "{\n\"c\":\r\n1}").json()["end"], 5);
    assert_eq!(server.ask("POST /s/records", &[], "<b>no JSON</b>\n").json()["end"], 6);
    assert_eq!(server.ask("POST /s/records", &[], [0xff, 0]).json()["end"], 7);
    assert_eq!(server.ask("POST /s/records?split=lines", &[], "x\n\n{").json()["end"], 10);
    let told = server.ask("GET /s/records?from=0&limit=100", &["Accept: application/x-ndjson"], "");
    assert!(told.head.contains("content-type: application/x-ndjson"), "{told:?}");
    assert!(told.head.contains("x-content-type-options: nosniff"), "{told:?}");
    assert!(told.head.contains("anabranch-next: 10"), "{told:?}");
    let lines: Vec<Value> =
        told.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown = |n: usize| {
        let mut line = lines[n].clone();
        assert_eq!(line["offset"], n);
        assert!(line["time"].as_str().unwrap().parse::<anabranch::Time>().is_ok());
        let line = line.as_object_mut().unwrap();
        line.retain(|name, _| name != "offset" && name != "time");
        serde_json::to_value(line).unwrap()
    };
    assert!(told.body.starts_with("{\"offset\":0") && told.body.contains("{\"a\" : 1.50}"));
    assert_eq!(shown(1), json!({"value": "<script>"}));
    assert_eq!(shown(4), json!({"value": {"c": 1}}));
    assert_eq!(shown(5), json!({"text": "<b>no JSON</b>\n"}));
    assert_eq!(shown(6), json!({"base64": "/wA="}));
    assert_eq!(
        [shown(7), shown(8), shown(9)],
        [json!({"text": "x"}), json!({"text": ""}), json!({"text": "{"})]
    );
    let page = server.done("GET /s/records?from=2&limit=3", "");
    assert_eq!((page["next"].as_u64(), page["records"].as_array().unwrap().len()), (Some(5), 3));
}

#[test]
fn appends_at_the_same_time_each_get_offsets_of_their_own() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    let port = server.port();
    let append = |writer: u64| {
        std::thread::spawn(move || {
            let mut mine = Vec::new();
            for n in 0..25 {
                let body = format!("[[{writer},{n},0],[{writer},{n},1]]");
                let told = ask(port, "POST /api/v1/streams/s/records", &[JSON], body).json();
                assert_eq!(told["end"], told["first"].as_u64().unwrap() + 2);
                mine.push((told["first"].as_u64().unwrap(), json!([writer, n, 0])));
            }
            mine
        })
    };
    let writers: Vec<_> = (0..8).map(append).collect();
    let told: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    let values = server.values("s");
    assert_eq!(values.len(), 400);
    for (first, value) in told {
        assert_eq!(values[usize::try_from(first).unwrap()], value);
    }
}

#[test]
fn reading_begins_at_a_time() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    for n in 0..4 {
        server.done("POST /s/records", &n.to_string());
    }
    let page = server.done("GET /s/records", "");
    let times: Vec<&str> =
        page["records"].as_array().unwrap().iter().map(|it| it["time"].as_str().unwrap()).collect();
    for time in &times {
        let read = server.done(&format!("GET /s/records?from={}", time.replace(':', "%3A")), "");
        // Times never go back, and several records may have one.
        let first = times.iter().position(|it| it == time).unwrap();
        assert_eq!(read["records"][0]["offset"], first);
    }
    let read = server.done("GET /s/records?from=9999-01-01T00:00:00Z", "");
    assert_eq!(read["records"], json!([]));
}

#[test]
fn mb_17_what_all_groups_have_read_is_reclaimed() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    server.done("POST /s/records", "[1,2]");
    let joined = server.done("POST /s/groups/g/consumers", "");
    assert_eq!(joined["next"], 0);
    let mine = format!("/s/groups/g/consumers/{}", joined["consumer"].as_str().unwrap());
    for n in 0..2 {
        let page = server.done(&format!("POST {mine}/read?limit=1"), "");
        assert_eq!(page["records"][0]["value"], n + 1);
        server.done(&format!("POST {mine}/commit"), &json!({"next": n + 1}).to_string());
    }
    assert_eq!(server.done("GET /s/groups", ""), json!([{"group": "g", "next": 2, "pending": 0}]));
    let kept = json!({"first": 2, "dropped": 2, "dropped_unread": 0, "retained_unread": 0});
    assert_eq!(server.done("POST /s/trim", ""), kept);
    assert_eq!(server.values("s"), Vec::<Value>::new());
}

#[test]
fn mb_18_what_nobody_has_read_is_dropped_only_if_that_is_said_and_is_told() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    server.done("POST /s/records", "[1,2,3]");
    let kept = server.done("POST /s/retain", r#"{"max_age_ms":0}"#);
    assert_eq!(kept, json!({"first": 0, "dropped": 0, "dropped_unread": 0, "retained_unread": 3}));
    assert_eq!(server.values("s").len(), 3);
    let kept = server.done("POST /s/retain", r#"{"max_age_ms":0,"drop_unread":true}"#);
    assert_eq!(kept, json!({"first": 3, "dropped": 3, "dropped_unread": 3, "retained_unread": 0}));
    assert_eq!(server.done("GET /s", "")["dropped_unread"], 3);
    let gone = server.ask("GET /s/records?from=1", &[], "");
    assert_eq!(gone.status, 410, "{gone:?}");
    assert!(gone.json()["detail"].as_str().unwrap().contains("the first that is there is 3"));
    for wrong in ["{}", "", r#"{"max_age":0}"#, "[]"] {
        assert_eq!(server.status("POST /s/retain", wrong), 400, "{wrong}");
    }
}

#[test]
fn mb_27_streams_are_told_apart() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    for (name, value) in [("a", "1"), ("b", "2")] {
        server.done(&format!("PUT /{name}"), "");
        server.done(&format!("POST /{name}/records"), value);
    }
    assert_eq!((server.values("a"), server.values("b")), (vec![json!(1)], vec![json!(2)]));
    let names: Vec<Value> =
        server.done("GET ", "").as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn mb_28_every_record_is_visible_when_it_is_acknowledged() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    for n in 0..5 {
        server.done("POST /s/records", &n.to_string());
        assert_eq!(server.values("s").len(), n + 1);
    }
}

#[test]
fn mbf_7_a_group_has_one_owner_and_each_group_gets_all() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    server.done("POST /s/records", "[0,1,2,3]");
    let one = server.done("POST /s/groups/g/consumers", "");
    let refused = server.ask("POST /s/groups/g/consumers", &[], "");
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(server.status("PUT /s/groups/g", r#"{"from":"end"}"#), 409);
    let one = format!("/s/groups/g/consumers/{}", one["consumer"].as_str().unwrap());
    let read = |mine: &str| {
        let page = server.done(&format!("POST {mine}/read?limit=2"), "");
        page["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["value"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!((read(&one), read(&one)), (vec![0, 1], vec![2, 3]));
    // Half of it was dealt with.
    assert_eq!(server.done(&format!("POST {one}/commit"), r#"{"next":2}"#)["next"], 2);
    for wrong in [r#"{"next":1}"#, r#"{"next":5}"#, "{}", ""] {
        assert_eq!(server.status(&format!("POST {one}/commit"), wrong), 400, "{wrong}");
    }
    server.done(&format!("DELETE {one}"), "");
    assert_eq!(server.status(&format!("POST {one}/read"), ""), 404, "it has left");
    let two = server.done("POST /s/groups/g/consumers", r#"{"from":"beginning"}"#);
    assert_eq!(two["next"], 2, "it goes on where the group was");
    let two = format!("/s/groups/g/consumers/{}", two["consumer"].as_str().unwrap());
    assert_eq!(read(&two), [2, 3]);
    let other = server.done("POST /s/groups/other/consumers", "");
    let other = format!("/s/groups/other/consumers/{}", other["consumer"].as_str().unwrap());
    assert_eq!((read(&other), read(&other)), (vec![0, 1], vec![2, 3]));
    assert_eq!(server.done("GET /s/groups/g", "")["pending"], 2);
    assert_eq!(server.status("GET /s/groups/none", ""), 404);
}

/// The events that come, as their ids and data.
fn events(server: &Server, from: &str, lines: &str, count: usize) -> Vec<(u64, Value)> {
    let mut stream = tcp(server.port());
    let head = format!(
        "GET /api/v1/streams/s/records?from={from} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{lines}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (mut events, mut id) = (Vec::new(), None);
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        if let Some(told) = line.strip_prefix("id: ") {
            id = Some(told.parse().unwrap());
        }
        if let Some(data) = line.strip_prefix("data: ") {
            let data: Value = serde_json::from_str(data).unwrap();
            events.push((id.take().unwrap(), data["value"].clone()));
        }
        if events.len() == count {
            break;
        }
    }
    events
}

#[test]
fn events_are_all_records_and_those_that_come_and_go_on_behind_the_last_one() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    server.done("POST /s/records", "[0,1]");
    std::thread::scope(|scope| {
        let following = scope.spawn(|| events(&server, "beginning", "", 4));
        server.done("POST /s/records", "[2]");
        server.done("POST /s/records", "[3]");
        assert_eq!(following.join().unwrap(), (0..4).map(|n| (n, json!(n))).collect::<Vec<_>>());
    });
    assert_eq!(events(&server, "beginning", "Last-Event-ID: 2\r\n", 1), [(3, json!(3))]);
}

#[test]
fn a_stream_is_removed_when_it_is_read_or_when_that_is_said() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    assert_eq!(server.status("DELETE /s", ""), 404);
    server.done("PUT /s", "");
    server.done("POST /s/records", "[1,2]");
    let refused = server.ask("DELETE /s", &[], "");
    assert_eq!((refused.status, refused.body.contains("2 frames")), (409, true), "{refused:?}");
    let mine = server.done("POST /s/groups/g/consumers", "");
    assert_eq!(server.status("DELETE /s?drop_unread=true", ""), 409, "somebody reads it");
    let mine = format!("/s/groups/g/consumers/{}", mine["consumer"].as_str().unwrap());
    server.done(&format!("POST {mine}/read"), "");
    server.done(&format!("POST {mine}/commit"), r#"{"next":2}"#);
    server.done(&format!("DELETE {mine}"), "");
    assert_eq!(server.ask("DELETE /s", &[], "").status, 204);
    assert_eq!(server.status("GET /s", ""), 404);
    server.done("PUT /s", "");
    server.done("POST /s/records", "3");
    assert_eq!(server.values("s"), [json!(3)]);
    server.done("DELETE /s?drop_unread=true", "");
    assert_eq!(server.done("GET ", ""), json!([]));
    assert_eq!(std::fs::read_dir(folder.as_ref()).unwrap().count(), 0);
}
