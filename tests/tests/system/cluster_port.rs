//! Strangers at the cluster's port neither end a run nor hold it up: garbage, silence, a thousand
//! idle connections, before the cluster is formed and afterwards.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::run::{Running, program};
use crate::support::{Folder, Words, free_ports, key_file};

const CROWD: usize = 1000;
const KEY: &str = "0123456789abcdef0123456789abcdef";

struct Cluster {
    folder: Folder,
    ports: [u16; 2],
}

impl Cluster {
    fn new() -> Self {
        let folder = Folder::new();
        key_file(&folder, "cluster.key", KEY);
        let ports = free_ports();
        folder.write("hosts", ports.map(|port| format!("127.0.0.1:{port}\n")).concat());
        Self { folder, ports }
    }

    fn start(&self, process: usize) -> Running {
        self.start_with("cluster.key", process)
    }

    fn start_with(&self, key: &str, process: usize) -> Running {
        let (hosts, key) = (self.folder.name("hosts"), self.folder.name(key));
        let process = process.to_string();
        let flags = ["-p", &process, "--hosts", &hosts, "--cluster-key-file", &key, "-w", "2"];
        Running::start(program("word-count", flags).stdin(Stdio::piped()))
    }
}

/// Connects, says something and stays; a port that nobody listens on any more is no failure.
fn stranger(port: u16, words: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    // It may be dropped while this is written.
    let _ = stream.write_all(words);
    Some(stream)
}

fn babble() -> [&'static [u8]; 6] {
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0; 4096],
        &[0xff; 4096],
        b"\x16\x03\x01",
        b"\0\x54",
        b"",
    ]
}

/// A crowd that says nothing, and one of each kind of garbage.
fn crowd(port: u16) -> Vec<TcpStream> {
    let mut all: Vec<_> = babble().iter().filter_map(|words| stranger(port, words)).collect();
    all.extend((0..CROWD).filter_map(|_| stranger(port, b"")));
    all.extend(babble().iter().filter_map(|words| stranger(port, words)));
    all
}

#[test]
fn strangers_neither_end_nor_delay_a_cluster() {
    let cluster = Cluster::new();
    let mut first = cluster.start(0);
    // Process 0 listens and waits for process 1: the crowd is there before it.
    let early = crate::support::until("process 0 listens", || stranger(cluster.ports[0], b"x"));
    let mut crowds = vec![early];
    crowds.extend(crowd(cluster.ports[0]));
    assert!(crowds.len() > CROWD, "only {} strangers have come in", crowds.len());
    let mut second = cluster.start(1);
    // More come while it forms.
    crowds.extend(crowd(cluster.ports[0]));
    first.logs("the cluster is formed");
    second.logs("the cluster is formed");

    // It works, while more of them knock.
    let lines = ["to be or not to be", "that is the question", "to be"];
    let (mut input, mut output) = (first.input(), BufReader::new(first.output()));
    let mut counts = String::new();
    for (index, line) in lines.iter().enumerate() {
        for port in cluster.ports {
            crowds.extend(babble().iter().filter_map(|words| stranger(port, words)));
            crowds.extend((0..100).filter_map(|_| stranger(port, b"")));
        }
        writeln!(input, "{line}").unwrap();
        let wanted = Words::of(lines[..=index].iter().copied());
        while counts.len() < wanted.len() {
            assert!(output.read_line(&mut counts).unwrap() > 0, "{}", first.errors());
        }
        assert_eq!(counts, wanted);
    }
    drop(input);
    drop(second.input());
    first.succeeds();
    second.succeeds();
    // Refusing them is told of, but not a line each.
    let refusals = first.errors().matches("was refused").count();
    assert!((1..=60).contains(&refusals), "{refusals} lines: {}", first.errors());
    drop(crowds);
}

#[test]
fn a_process_with_another_key_is_a_stranger() {
    let cluster = Cluster::new();
    let mut first = cluster.start(0);
    key_file(&cluster.folder, "other.key", "another key, of 32 bytes or more, not ours");
    let mut impostor = cluster.start_with("other.key", 1);
    crate::support::until("the impostor is refused", || {
        first.errors().contains("was refused").then_some(())
    });
    assert!(first.is_running(), "{}", first.errors());
    impostor.logs("does not have this cluster's key");
    impostor.signal("KILL");
    assert_eq!(impostor.code(), None);
    let mut second = cluster.start(1);
    second.logs("the cluster is formed");
    drop((first.input(), second.input()));
    first.succeeds();
    second.succeeds();
    for running in [&first, &second] {
        assert!(!running.errors().contains(&KEY[..16]), "the key was logged");
    }
}
