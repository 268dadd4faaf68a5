//! Each rendering is well-formed and complete, whatever the names.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

/// Names that end quotes, open tags, begin lists and hide entities.
const HOSTILE: [&str; 14] = [
    "say \"hi\"",
    "<script>alert(1)</script>",
    "a --> b",
    "two\nlines",
    "back\\slash\\N",
    "]} end",
    "#35; &amp; &lt;",
    "`code` **bold**",
    "- item",
    "1. item",
    "%%{init: {}}%%",
    "tab\tnull\0bell\u{7}",
    "Überweisung € 日本",
    "\"]; n0 [label=\"x",
];

fn alerts() -> Graph {
    let mut graph = Graph::new("bitcoin-alerts");
    let prices = source(&mut graph, "prices", "wss://feed.example", true);
    let map = graph.add(NodeKind::Step { operation: "map".into() });
    let evaluate = computation(&mut graph, "evaluate-alerts", &["limits"], &["prices", "alerts"]);
    let notify = sink(&mut graph, "notifications", "ws-listen://127.0.0.1:7001");
    let audit = sink(&mut graph, "audit", "file:audit.jsonl");
    let updates = source(&mut graph, "alert-updates", "file:updates.jsonl", false);
    let update = computation(&mut graph, "update-alerts", &[], &["alerts"]);
    let dead = graph.add(NodeKind::DeadLetters { connector: "file:dead.jsonl".into() });
    for (name, value) in [("prices", "Average"), ("alerts", "Entries<Threshold, Alert>")] {
        let (name, key, value) = (name.into(), "Product".into(), value.into());
        graph.add(NodeKind::Table { name, key, value });
    }
    graph.add(NodeKind::Table { name: "limits".into(), key: "u8".into(), value: "u64".into() });
    graph.add(NodeKind::Group { tables: vec!["prices".into(), "alerts".into(), "limits".into()] });
    graph.connect(prices, map);
    graph.connect(map, evaluate);
    graph.connect(evaluate, notify);
    graph.connect_as("late", evaluate, audit);
    graph.connect(updates, update);
    graph.connect(update, audit);
    graph.connect_as("refused", prices, dead);
    graph.connect_as("refused", updates, dead);
    graph
}

fn source(graph: &mut Graph, name: &str, connector: &str, live: bool) -> NodeId {
    let partitions = live.then_some(2);
    let (name, connector) = (name.into(), connector.into());
    graph.add(NodeKind::Source { name, connector, live, partitions })
}

fn sink(graph: &mut Graph, name: &str, connector: &str) -> NodeId {
    graph.add(NodeKind::Sink { name: name.into(), connector: connector.into() })
}

fn computation(graph: &mut Graph, name: &str, reads: &[&str], writes: &[&str]) -> NodeId {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    graph.add(NodeKind::Computation { name: name.into(), reads: own(reads), writes: own(writes) })
}

/// One application in which everything is called `name`.
fn hostile(name: &str) -> Graph {
    let mut graph = Graph::new(name);
    let from = source(&mut graph, name, name, true);
    let step = graph.add(NodeKind::Step { operation: name.into() });
    let compute = computation(&mut graph, name, &[], &[name]);
    let to = sink(&mut graph, name, name);
    let dead = graph.add(NodeKind::DeadLetters { connector: name.into() });
    graph.add(NodeKind::Table { name: name.into(), key: name.into(), value: name.into() });
    graph.add(NodeKind::Group { tables: vec![name.into()] });
    graph.connect(from, step);
    graph.connect(step, compute);
    graph.connect_as(name, compute, to);
    graph.connect_as(name, from, dead);
    graph
}

#[test]
fn json_says_everything_and_reads_back() {
    for graph in HOSTILE.map(hostile).into_iter().chain([alerts()]) {
        assert_eq!(serde_json::from_str::<Graph>(&graph.to_json()).unwrap(), graph);
    }
    let json: serde_json::Value = serde_json::from_str(&alerts().to_json()).unwrap();
    assert_eq!(json["version"], 1);
    let source = serde_json::json!({"id": 0, "kind": "source", "name": "prices", "connector":
        "wss://feed.example", "live": true, "partitions": 2});
    assert_eq!(json["nodes"][0], source);
    assert_eq!(json["nodes"][7]["kind"], "dead-letters");
    assert_eq!(json["edges"][0], serde_json::json!({"from": 0, "to": 1}));
    assert_eq!(json["edges"][3]["label"], "late");
}

#[test]
fn text_is_aligned_and_complete() {
    let expected = "\
bitcoin-alerts: 2 sources, 2 computations, 3 tables, 2 sinks

Tables
  prices  Product -> Average                    written by evaluate-alerts                 read by none             grouped with alerts, limits
  alerts  Product -> Entries<Threshold, Alert>  written by evaluate-alerts, update-alerts  read by none             grouped with prices, limits
  limits  u8 -> u64                             written by none                            read by evaluate-alerts  grouped with prices, alerts

Pipelines
  prices         prices -> map -> evaluate-alerts -> notifications
  prices         evaluate-alerts -[late]-> audit
  alert-updates  alert-updates -> update-alerts -> audit (as above)

Connectors
  source        prices         wss://feed.example          live, 2 partitions
  sink          notifications  ws-listen://127.0.0.1:7001
  sink          audit          file:audit.jsonl
  source        alert-updates  file:updates.jsonl          recorded
  dead letters                 file:dead.jsonl
";
    assert_eq!(alerts().to_text(), expected);
    assert_eq!(
        Graph::new("empty").to_text(),
        "empty: 0 sources, 0 computations, 0 tables, 0 sinks\n"
    );
}

#[test]
fn text_keeps_a_hostile_name_on_its_line() {
    let lines = |graph: &Graph| graph.to_text().lines().count();
    for name in HOSTILE {
        let text = hostile(name).to_text();
        assert_eq!(lines(&hostile(name)), lines(&hostile("plain")), "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
}

#[test]
fn a_way_back_is_shown_and_ends() {
    let mut graph = Graph::new("loop");
    let a = source(&mut graph, "a", "-", true);
    let b = computation(&mut graph, "b", &[], &[]);
    graph.connect(a, b);
    graph.connect(b, b);
    graph.connect(b, NodeId(99));
    assert!(graph.to_text().contains("a -> b -> b (as above)"));
    assert!(!graph.to_mermaid().contains("n99") && !graph.to_dot().contains("n99"));
}

/// The labels of Mermaid's nodes as a page shows them.
fn mermaid_labels(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.trim_start().starts_with('n') && !line.contains("->"))
        .map(|line| {
            let (first, last) = (line.find('"').unwrap(), line.rfind('"').unwrap());
            unescape(&line[first + 1..last])
        })
        .collect()
}

fn unescape(label: &str) -> String {
    let mut shown = String::new();
    let mut rest = label;
    while let Some(at) = rest.find('#') {
        shown.push_str(&rest[..at]);
        let end = at + rest[at..].find(';').unwrap();
        let code: u32 = rest[at + 1..end].parse().unwrap();
        shown.push(char::from_u32(code).unwrap());
        rest = &rest[end + 1..];
    }
    (shown + rest).replace("<br/>", "|")
}

#[test]
fn mermaid_has_each_node_and_each_edge() {
    let text = alerts().to_mermaid();
    let expected = [
        "flowchart LR",
        r#"  n0[/"prices<br/>wss://feed.example<br/>live, 2 partitions"/]"#,
        r#"  n1("map")"#,
        r#"  n2["evaluate-alerts"]"#,
        r#"  n3[\"notifications<br/>ws-listen://127.0.0.1:7001"\]"#,
        r#"  subgraph n11["group"]"#,
        r#"    n9[("alerts<br/>Product -#62; Entries#60;Threshold, Alert#62;")]"#,
        "  end",
        "  n0 --> n1",
        r#"  n2 -->|"late"| n4"#,
        r#"  n0 -.->|"refused"| n7"#,
        r#"  n2 <-.->|"writes"| n8"#,
        r#"  n10 -.->|"reads"| n2"#,
    ];
    for line in expected {
        assert!(text.lines().any(|l| l == line), "`{line}` is not in:\n{text}");
    }
}

#[test]
fn mermaid_labels_show_hostile_names_and_stay_labels() {
    let plain: Vec<String> = hostile("x").to_mermaid().lines().map(shape_of).collect();
    for name in HOSTILE {
        let text = hostile(name).to_mermaid();
        assert_eq!(text.lines().map(shape_of).collect::<Vec<_>>(), plain, "{text}");
        let shown = visible(name);
        let labels = mermaid_labels(&text);
        assert!(labels.contains(&format!("{shown}|{shown}|live, 2 partitions")), "{labels:?}");
        assert!(labels.contains(&format!("{shown}|{shown} -> {shown}")), "{labels:?}");
    }
}

/// A line without what is between its first and its last quote.
fn shape_of(line: &str) -> String {
    match (line.find('"'), line.rfind('"')) {
        (Some(first), Some(last)) => {
            assert!(!line[first + 1..last].contains('"'), "{line}");
            line[..first].to_owned() + &line[last..]
        }
        _ => line.to_owned(),
    }
}

/// Graphviz's picture of `dot`, or none where it is not installed.
fn picture(dot: &str) -> Option<String> {
    let spawned = Command::new("dot")
        .arg("-Tsvg")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: Graphviz is not installed");
            return None;
        }
        Err(e) => panic!("dot: {e}"),
    };
    child.stdin.take().unwrap().write_all(dot.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("rror"), "{errors}\n{dot}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn graphviz_draws_each_node_and_each_edge() {
    let dot = alerts().to_dot();
    assert!(
        dot.contains(
            r#"  n0 [shape=cds, label="prices\nwss://feed.example\nlive, 2 partitions"];"#
        )
    );
    let Some(svg) = picture(&dot) else { return };
    let count = |class: &str| svg.matches(&format!("class=\"{class}\"")).count();
    // Eleven boxes; the group is a frame around three of them. Eight ways and four uses.
    assert_eq!((count("node"), count("cluster"), count("edge")), (11, 1, 12));
}

#[test]
fn graphviz_shows_hostile_names() {
    for name in HOSTILE {
        let Some(svg) = picture(&hostile(name).to_dot()) else { return };
        assert_eq!(svg.matches("class=\"node\"").count(), 6, "{svg}");
        let texts: Vec<String> = svg
            .split("</text>")
            .filter_map(|part| part.rsplit_once("<text").and_then(|(_, text)| text.split_once('>')))
            .map(|(_, text)| plain(text))
            .collect();
        // Once in the source, as its connector and in every other box and label.
        let shown = texts.iter().filter(|text| **text == visible(name)).count();
        assert!(shown >= 8, "{name:?} is shown {shown} times: {texts:?}");
    }
}

/// The text of an SVG element.
fn plain(text: &str) -> String {
    let entities = [("&#45;", "-"), ("&#160;", " "), ("&quot;", "\""), ("&#39;", "'")];
    let entities = entities.into_iter().chain([("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]);
    entities.fold(text.to_owned(), |text, (entity, c)| text.replace(entity, c))
}
