//! Alerts that come in over one live source fire on prices of another, whatever carries them.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::run::{Running, program};
use crate::sockets::{Socket, dial, framed, read_frame};
use crate::support::{FEW_LAYOUTS, Folder, until};

/// How long a price is given to fire something before it is sent again.
const AGAIN: Duration = Duration::from_millis(50);

/// Hands on, line by line, what a blocking reader gives.
fn read_all(mut read: impl FnMut() -> Option<String> + Send + 'static) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || while read().is_some_and(|line| tell.send(line).is_ok()) {});
    told
}

/// Two live sources have no order but that of their being read: a price is sent again and again,
/// until the alert that was added before it, over the other connection, is there and fires.
fn fired(mut send: impl FnMut(&str), price: &str, received: &Receiver<String>) -> Value {
    let text = until("the alert fires", || {
        send(price);
        match received.recv_timeout(AGAIN) {
            Ok(notification) => Some(notification),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the program has hung up"),
        }
    });
    serde_json::from_str(&text).unwrap()
}

/// `product`, `price`, and direction and ids of each group of alerts.
fn told(notification: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let groups = notification["fired"].as_array().unwrap().iter().map(|group| {
        let alerts = group["alerts"].as_array().unwrap();
        let ids: Vec<_> = alerts.iter().map(|alert| text(&alert["id"])).collect();
        format!(" {} {}: {}", text(&group["direction"]), text(&group["price"]), ids.join(" "))
    });
    let trigger = format!("{} {}", text(&notification["product"]), text(&notification["price"]));
    trigger + &groups.collect::<Vec<_>>().concat()
}

#[test]
fn over_websockets_with_many_producers_and_subscribers() {
    for layout in FEW_LAYOUTS {
        let folder = Folder::new();
        let listen =
            |name: &str| format!("ws-listen://127.0.0.1:0/{name}?port_file={}", folder.name(name));
        let urls = ["prices", "updates", "notify"].map(listen);
        let flags = ["--prices", &urls[0], "--updates", &urls[1], "--notify", &urls[2]];
        let mut running =
            Running::start(&mut program("bitcoin-alerts", [&flags[..], layout].concat()));
        let connect = |name: &str| Socket::connect(folder.port(name), &format!("/{name}"));
        let subscribers: Vec<_> = (0..3)
            .map(|_| {
                let mut socket = connect("notify");
                read_all(move || socket.read())
            })
            .collect();
        let (mut user, mut other_user) = (connect("updates"), connect("updates"));
        let (mut exchange, mut other_exchange) = (connect("prices"), connect("prices"));

        user.send(r#"{"price":"7000","user_id":7}"#);
        let price = r#"{"type":"ticker","price":"7000.00"}"#;
        let first = fired(|price| exchange.send(price), price, &subscribers[0]);
        assert_eq!(told(&first), "BTC-USD 7000 above 7000: 7:above:7000");

        // It fires once: what comes next is of the next alert. The same by other connections, of
        // which one speaks binary.
        let add = r#"{"op":"add","id":"low","product":"ETH-USD","price":"180","user_id":8,"direction":"below"}"#;
        other_user.send_bytes(add.as_bytes());
        let mut number = 0;
        let send = |_: &str| {
            number += 1;
            exchange.send(price);
            other_exchange.send(&format!(
                r#"{{"type":"match","trade_id":{number},"product_id":"ETH-USD","price":"179.5"}}"#
            ));
        };
        let second = fired(send, "", &subscribers[0]);
        assert_eq!(told(&second), "ETH-USD 179.5 below 180: low");

        // All subscribers get the same.
        for subscriber in &subscribers[1..] {
            for wanted in [&first, &second] {
                let got = subscriber.recv_timeout(Duration::from_secs(60)).unwrap();
                assert_eq!(got.parse::<Value>().unwrap(), *wanted);
            }
        }
        running.signal("TERM");
        running.succeeds();
        for subscriber in subscribers {
            assert_eq!(subscriber.iter().count(), 0, "an alert has fired twice");
        }
    }
}

#[test]
fn with_the_framing_and_the_messages_of_wallaroo() {
    for layout in FEW_LAYOUTS {
        let folder = Folder::new();
        let listen = |name: &str| format!("tcp-listen://:0?port_file={}", folder.name(name));
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        let urls = [
            listen("prices"),
            listen("updates"),
            format!("tcp://{}", receiver.local_addr().unwrap()),
        ];
        let flags = ["--prices", &urls[0], "--updates", &urls[1], "--notify", &urls[2]];
        let mut running =
            Running::start(&mut program("bitcoin-alerts", [&flags[..], layout].concat()));
        let mut received = receiver.accept().unwrap().0;
        let notifications = read_all(move || read_frame(&mut received));
        let (mut user, mut exchange) = (dial(folder.port("updates")), dial(folder.port("prices")));
        let send = |stream: &mut TcpStream, message: &str| {
            stream.write_all(&framed(message)).unwrap();
        };
        send(&mut user, r#"{"price":"6500.00","user_id":7}"#);
        send(&mut user, r#"{"price":"7000","user_id":8}"#);
        let price = r#"{"type":"ticker","price":"6600.00"}"#;
        let first = fired(|price| send(&mut exchange, price), price, &notifications);
        assert_eq!(told(&first), "BTC-USD 6600 above 6500: 7:above:6500");
        let price = r#"{"type":"match","price":"14000"}"#;
        let second = fired(|price| send(&mut exchange, price), price, &notifications);
        assert!(told(&second).ends_with(" above 7000: 8:above:7000"), "{second}");
        running.signal("INT");
        assert_eq!(notifications.iter().count(), 0, "an alert has fired twice");
        running.succeeds();
    }
}

#[test]
fn from_standard_input_to_standard_output() {
    for layout in FEW_LAYOUTS {
        let folder = Folder::new();
        let updates = format!("ws-listen://:0?port_file={}", folder.name("updates"));
        let flags = ["--prices", "-", "--updates", &updates, "--notify", "-"];
        let arguments = [&flags[..], layout].concat();
        let mut running =
            Running::start(program("bitcoin-alerts", arguments).stdin(Stdio::piped()));
        let (mut prices, mut lines) = (running.input(), BufReader::new(running.output()).lines());
        let notifications = read_all(move || lines.next()?.ok());
        let mut user = Socket::connect(folder.port("updates"), "/");
        user.send(r#"{"price":"1","user_id":1}"#);
        let send = |price: &str| writeln!(prices, "{price}").unwrap();
        let first = fired(send, r#"{"type":"x","price":"1.50"}"#, &notifications);
        assert_eq!(told(&first), "BTC-USD 1.5 above 1: 1:above:1");
        drop(prices);
        // The end of one source is not the end of the program.
        user.send(r#"{"price":"2","user_id":1}"#);
        running.signal("TERM");
        running.succeeds();
        assert_eq!(notifications.iter().count(), 0);
    }
}

/// The same with an independent implementation of WebSockets.
#[test]
fn with_pythons_websockets() {
    let importable = Command::new("python3")
        .args(["-c", "import websockets"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !importable {
        println!("skipped: `python3 -c 'import websockets'` fails");
        return;
    }
    for layout in FEW_LAYOUTS {
        let folder = Folder::new();
        let urls = ["prices", "updates", "notify"]
            .map(|name| format!("ws-listen://:0/{name}?port_file={}", folder.name(name)));
        let flags = ["--prices", &urls[0], "--updates", &urls[1], "--notify", &urls[2]];
        let mut running =
            Running::start(&mut program("bitcoin-alerts", [&flags[..], layout].concat()));
        let addresses = ["prices", "updates", "notify"]
            .map(|name| format!("ws://127.0.0.1:{}/{name}", folder.port(name)));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/live.py");
        let output = Command::new("python3").arg(script).args(addresses).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        running.signal("TERM");
        running.succeeds();
        let counts = running.counts();
        assert_eq!(counts["updates.records"], 40);
        assert_eq!(counts["updates.dead_letters"], 1);
        assert_eq!(counts["notify.records"], 40);
    }
}
