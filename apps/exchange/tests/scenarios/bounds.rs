//! The exchange's own limits: what it does to clients that ask too much or too little.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anabranch_exchange::{Exchange, ExchangeConfig, ExchangeLimits};

use crate::bench::{PATIENCE, config};

fn start(limits: ExchangeLimits) -> Exchange {
    Exchange::start(ExchangeConfig { limits, ..config(&[]) }).unwrap()
}

fn connect(url: &str) -> TcpStream {
    let address = url.split_once("//").unwrap().1;
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a request and reads until the exchange hangs up.
fn ask(url: &str, request: &str) -> String {
    let mut stream = connect(url);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(exchange: &Exchange, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ask(&exchange.http_url(), &request)
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn who_does_not_subscribe_is_disconnected() {
    let within = Duration::from_millis(50);
    let exchange = start(ExchangeLimits { subscribe_within: within, ..ExchangeLimits::default() });
    let answer = ask(&exchange.ws_url(), UPGRADE);
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("no subscribe in time"));
    assert_eq!(exchange.counters()["unsubscribed"], 1);
}

#[test]
fn requests_and_connections_beyond_the_limit_get_429() {
    let limits =
        ExchangeLimits { requests_per_second: 1, requests_burst: 3, ..ExchangeLimits::default() };
    let exchange = start(limits);
    let answers: Vec<String> = (0..6).map(|_| get(&exchange, "/products")).collect();
    assert!(answers[0].contains(r#""id":"BTC-USD""#), "{}", answers[0]);
    let throttled = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 429")).count();
    assert!(throttled >= 1, "{answers:?}");
    assert!(answers.iter().any(|answer| answer.to_lowercase().contains("retry-after: 1")));
}

#[test]
fn connections_are_bounded() {
    let exchange = start(ExchangeLimits { connections_max: 2, ..ExchangeLimits::default() });
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&exchange.ws_url());
        stream.write_all(UPGRADE.as_bytes()).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 101");
        kept.push(stream);
    }
    let mut third = connect(&exchange.ws_url());
    let mut answer = Vec::new();
    // Hung up on, with or without a reset.
    let _ = third.read_to_end(&mut answer);
    assert!(answer.is_empty());
    assert_eq!(exchange.counters()["turned_away"], 1);
}

#[test]
fn pages_of_trades_go_backwards_by_the_cursor() {
    let exchange = start(ExchangeLimits::default());
    let newest = get(&exchange, "/products/BTC-USD/trades?limit=2").to_lowercase();
    assert!(newest.starts_with("http/1.1 200"), "{newest}");
    let cursor = newest.split("cb-after: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let after: u64 = cursor.parse().unwrap();
    let older = get(&exchange, &format!("/products/BTC-USD/trades?limit=2&after={after}"));
    assert!(older.contains(&format!("\"trade_id\":{},", after - 1)), "{older}");
    assert!(!older.contains(&format!("\"trade_id\":{after},")));
    assert!(get(&exchange, "/products/NO-SUCH/trades").starts_with("HTTP/1.1 404"));
}
