//! A client of HTTP that is as plain as can be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A port that nobody listens on.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Asks who listens at that address.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
}

impl Client {
    pub(crate) fn wait_for(&self, path: &str, there: impl Fn(&Answer) -> bool) {
        for _ in 0..6_000 {
            if self.ask(path).is_some_and(|answer| there(&answer)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{path} never answered so: {:?}", self.ask(path).map(|answer| answer.body));
    }

    pub(crate) fn ask(&self, path: &str) -> Option<Answer> {
        self.ask_as("GET", path, &[])
    }

    pub(crate) fn ask_as(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        self.send(method, path, headers, "")
    }

    /// Sends JSON; the answer is JSON too, and of that status.
    pub(crate) fn tell(&self, method: &str, path: &str, body: &Value, status: u16) -> Value {
        let body = body.to_string();
        let length = body.len().to_string();
        let headers = [("Content-Type", "application/json"), ("Content-Length", length.as_str())];
        let answer = self.send(method, path, &headers, &body).unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        answer.json()
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if headers.iter().all(|(name, _)| *name != "Host") {
            head += &format!("Host: {}\r\n", self.address);
        }
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head: head.to_lowercase(), body: body.to_string() })
    }

    /// The status of an answer, and the lines after its head as they come.
    pub(crate) fn lines(&self, path: &str) -> (u16, impl Iterator<Item = String> + use<>) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // By HTTP/1.0 nothing comes in chunks.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        (status, lines)
    }

    /// The events that come from there: their names and data, until there are no more.
    pub(crate) fn watch(&self, path: &str) -> impl Iterator<Item = (String, Value)> + use<> {
        let (status, lines) = self.lines(path);
        assert_eq!(status, 200, "{path}");
        let mut name = String::new();
        lines.filter_map(move |line| {
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.to_string();
            }
            let data = serde_json::from_str(line.strip_prefix("data: ")?).unwrap();
            Some((name.clone(), data))
        })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(path).unwrap_or_else(|| panic!("no answer to {path}"))
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}
