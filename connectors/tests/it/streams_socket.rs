//! Durable streams over WebSockets: appending message by message, and following.

use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::streams_http::Server;
use crate::support::{Folder, close_code, connect, try_connect};

fn socket(server: &Server, path: &str) -> WebSocket<TcpStream> {
    connect(server.port(), &format!("/api/v1/streams{path}"))
}

fn told(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        match socket.read().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn each_message_is_answered_with_its_offsets_when_it_is_durable() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    let mut one = socket(&server, "/s/append");
    for n in 0..500_u64 {
        one.send(Message::text(format!("{{\"n\":{n}}}"))).unwrap();
    }
    for n in 0..500_u64 {
        assert_eq!(told(&mut one), json!({"message": n, "first": n, "end": n + 1}));
    }
    assert_eq!(server.done("GET /s", "")["end"], 500);
    let mut many = socket(&server, "/s/append?records=json");
    many.send(Message::text("[1,2,3]")).unwrap();
    many.send(Message::binary(b"[]".to_vec())).unwrap();
    many.send(Message::text("4")).unwrap();
    assert_eq!(told(&mut many), json!({"message": 0, "first": 500, "end": 503}));
    assert_eq!(told(&mut many), json!({"message": 1, "first": 503, "end": 503}));
    assert_eq!(told(&mut many), json!({"message": 2, "first": 503, "end": 504}));
    let page = server.done("GET /s/records?from=499&limit=10", "");
    let values: Vec<&Value> =
        page["records"].as_array().unwrap().iter().map(|it| &it["value"]).collect();
    assert_eq!(values, [&json!({"n": 499}), &json!(1), &json!(2), &json!(3), &json!(4)]);
}

#[test]
fn a_message_that_is_wrong_is_told_and_what_came_before_is_kept() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    let mut socket = socket(&server, "/s/append?records=lines");
    socket.send(Message::text("1\n2")).unwrap();
    assert_eq!(told(&mut socket)["end"], 2);
    socket.send(Message::text("3\n<script>")).unwrap();
    let problem = told(&mut socket);
    assert_eq!(
        (problem["status"].as_u64(), problem["refused"][0]["place"].as_u64()),
        (Some(400), Some(1))
    );
    assert_eq!(close_code(&mut socket), Some(1008));
    assert_eq!(server.done("GET /s", "")["end"], 2);
}

#[test]
fn a_message_above_the_cap_is_closed_with_1009() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    let mut socket = socket(&server, "/s/append");
    let _ = socket.send(Message::binary(vec![0; (1 << 20) + 1]));
    assert_eq!(close_code(&mut socket), Some(1009));
    assert_eq!(server.done("GET /s", "")["end"], 0);
}

#[test]
fn who_follows_gets_all_and_what_comes() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    server.done("POST /s/records", "[0,1,2]");
    let mut all = socket(&server, "/s/follow?from=1");
    let mut new = socket(&server, "/s/follow?from=end");
    for n in 1..3 {
        assert_eq!(told(&mut all)["value"], n);
    }
    for n in 3..50 {
        server.done("POST /s/records", &n.to_string());
        for socket in [&mut all, &mut new] {
            let record = told(socket);
            assert_eq!((record["offset"].as_u64(), record["value"].as_u64()), (Some(n), Some(n)));
        }
    }
}

#[test]
fn who_follows_a_stream_that_is_removed_is_told() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    let mut following = socket(&server, "/s/follow?from=end");
    server.done("POST /s/records", "1");
    assert_eq!(told(&mut following)["value"], 1);
    server.done("DELETE /s?drop_unread=true", "");
    assert_eq!(told(&mut following)["status"], 404);
    assert_eq!(close_code(&mut following), Some(1008));
}

#[test]
fn what_is_no_websocket_or_no_stream_is_refused_before() {
    let folder = Folder::new();
    let server = Server::new(folder.as_ref());
    server.done("PUT /s", "");
    for (path, status) in [
        ("/none/append", 404),
        ("/%2e%2e/follow", 404),
        ("/s/follow?from=9", 400),
        ("/s/append?records=x", 400),
    ] {
        match try_connect(server.port(), &format!("/api/v1/streams{path}")) {
            Err(Error::Http(answer)) => {
                let told = answer.status().as_u16();
                assert!(told == status || told == 400, "{path}: {told}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    let plain = crate::http_listener::ask(server.port(), "GET /api/v1/streams/s/append", &[], "");
    assert_eq!(plain.status, 426);
}
