//! A URL is understood whole, or refused with what would be right.

use anabranch::Error;
use anabranch_connectors::{coinbase, inlet, market, outlet};

fn refused_source(url: &str) -> String {
    usage(&inlet(url).err().unwrap_or_else(|| panic!("{url} is accepted")))
}

fn refused_sink(url: &str) -> String {
    usage(&outlet(url).err().unwrap_or_else(|| panic!("{url} is accepted")))
}

fn usage(error: &Error) -> String {
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn an_unknown_scheme_is_refused_with_those_of_the_direction_and_an_example() {
    for url in ["kafka://broker/topic", "prices.jsonl", "", "http://localhost:9000/", "tcp://a:1"] {
        let text = refused_source(url);
        for scheme in [
            "ws://",
            "wss://",
            "ws-listen://",
            "http-listen://",
            "tcp-listen://",
            "file:",
            "stream:",
            "`-`",
            "gen:",
        ] {
            assert!(text.contains(scheme), "{scheme} in: {text}");
        }
        assert!(text.contains("example `ws-listen://127.0.0.1:9000/updates`"), "{text}");
    }
    for url in ["kafka://broker/topic", "alerts.jsonl", "", "ws://a/", "tcp-listen://:1"] {
        let text = refused_sink(url);
        for scheme in
            ["ws-listen://", "webhook+https://", "tcp://", "file:", "stream:", "`-`", "null:"]
        {
            assert!(text.contains(scheme), "{scheme} in: {text}");
        }
        assert!(text.contains("example `ws-listen://127.0.0.1:9001/notify`"), "{text}");
    }
    assert!(refused_source("prices.jsonl").contains("`file:prices.jsonl`"));
    assert!(refused_source("tcp://a:1").contains("`tcp-listen://HOST:PORT`"));
    assert!(refused_sink("https://a/").contains("`webhook+https://HOST/PATH`"));
    assert!(refused_source("http://a/").contains("`http-listen://HOST:PORT/PATH`"));
    assert!(refused_sink("ws://a/").contains("`ws-listen://HOST:PORT/PATH`"));
}

#[test]
fn a_malformed_address_is_refused_with_its_form() {
    for url in [
        "ws-listen://",
        "ws-listen:9000",
        "ws-listen://9000",
        "ws-listen://a:b/",
        "http-listen://",
        "http-listen://9000",
        "tcp-listen://:",
        "tcp-listen://:70000",
        "tcp-listen://::1:9000",
        "tcp-listen://a/b:9000",
        "ws://",
        "wss:///x",
        "ws:host",
        "ws://ho st/",
        "file:",
        "file:a,,b",
        "stream:",
        "stream:a",
        "stream:?dir=d",
        "stream:../a?dir=d",
        "stream:a/b?dir=d",
        "stream:a?dir=",
        "stream:a?dir=d&from=-1",
        "stream:a?dir=d&from=yesterday",
        "stream:a?dir=d&from=end",
        "file://elsewhere/a",
    ] {
        let text = refused_source(url);
        assert!(text.contains('`') || text.contains("WebSocket URL"), "{text}");
    }
    for url in [
        "webhook+http://",
        "webhook+https:a",
        "webhook+https://?batch=1",
        "webhook+http://a:b/",
        "webhook+http://a/?batch=0",
        "webhook+http://a/?batch=10001",
        "webhook+http://a/?requests=65",
        "webhook+http://a/?ca=x",
        "webhook+http://a/?secret_file=a&secret_env=b",
    ] {
        refused_sink(url);
    }
    for url in ["tcp://", "tcp://:9000", "tcp://host", "null:x", "file:", "tcp://a:1/b", "stream:a"]
    {
        refused_sink(url);
    }
}

#[test]
fn without_a_host_only_this_machine_can_connect() {
    for (url, described) in [
        ("ws-listen://:9000/a?ping=1s", "ws-listen://127.0.0.1:9000/a"),
        ("ws-listen://0.0.0.0:9000", "ws-listen://0.0.0.0:9000/"),
        ("ws-listen://[::1]:9000/", "ws-listen://[::1]:9000/"),
        ("http-listen://:9000/in?ack=true", "http-listen://127.0.0.1:9000/in"),
        ("tcp-listen://:9000", "tcp-listen://127.0.0.1:9000"),
        ("wss://feed.example.com/a?token=secret#idle=9s", "wss://feed.example.com/a"),
        ("file:a.jsonl,b-?.jsonl?line_max=1KiB", "file:a.jsonl,b-?.jsonl"),
        ("file:///tmp/a", "file:/tmp/a"),
        ("-?line_max=1KiB", "-"),
        ("stream:a?dir=d&from=2026-01-01T00:00:00Z", "stream:a"),
        ("stream:a?dir=d&from=end&follow=true", "stream:a"),
    ] {
        assert_eq!(inlet(url).unwrap().describe(), described);
    }
    let hook = outlet("webhook+https://example.com/in?token=secret#batch=9").unwrap();
    assert_eq!(hook.describe(), "webhook+https://example.com/in");
    assert_eq!(outlet("tcp://[::1]:7000").unwrap().describe(), "tcp://[::1]:7000");
}

#[test]
fn credentials_are_refused_and_never_repeated() {
    for url in [
        "ws://me:hunter2@host/",
        "ws-listen://me:hunter2@:1/",
        "http-listen://hunter2@:1/",
        "tcp-listen://hunter2@a:1",
    ] {
        let text = refused_source(url);
        assert!(text.contains("credentials") && !text.contains("hunter2"), "{text}");
    }
    for url in ["tcp://hunter2@a:1", "webhook+https://me:hunter2@host/in"] {
        assert!(!refused_sink(url).contains("hunter2"));
    }
}

#[test]
fn what_is_meant_for_the_server_is_told_from_options() {
    let text = refused_source("wss://stream.example.com/ws?streams=btcusdt@trade");
    assert!(text.contains("no option `streams`") && text.contains("before a `#`"), "{text}");
    inlet("wss://stream.example.com/ws?streams=btcusdt@trade#").unwrap();
    refused_source("wss://stream.example.com/ws?streams=btcusdt@trade#idel=9s");
}

/// The table of options in the crate's documentation is the code's.
#[test]
fn the_documented_options_are_the_accepted_ones() {
    let page = include_str!("../../docs/urls.md");
    let (page, of_markets) = page.split_once("## Market data").unwrap();
    market_options_are_the_accepted_ones(of_markets);
    let (_, table) = page.split_once("| option |").unwrap();
    let mut rows = 0;
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [option, places, value, ..] = cells[..] else { panic!("{line}") };
        let (option, value) = (option.trim_matches('`'), value.trim_matches('`'));
        for place in places.split(", ") {
            let (url, is_source) = match place {
                "ws" => ("ws://a/", true),
                "wss" => ("wss://a/", true),
                "ws-listen source" => ("ws-listen://:0/", true),
                "ws-listen sink" => ("ws-listen://:0/", false),
                "http-listen" => ("http-listen://:0/", true),
                "webhook+http" => ("webhook+http://a/", false),
                "webhook+https" => ("webhook+https://a/", false),
                "tcp-listen" => ("tcp-listen://:0", true),
                "tcp" => ("tcp://a:1", false),
                "file source" => ("file:a", true),
                "file sink" => ("file:a", false),
                "- source" => ("-", true),
                "- sink" => ("-", false),
                "stream source" => ("stream:a", true),
                "stream sink" => ("stream:a", false),
                other => panic!("no such place: {other}"),
            };
            let needed = if url == "stream:a" && option != "dir" { "&dir=d" } else { "" };
            let url = format!("{url}?{option}={value}{needed}");
            let accepted = if is_source { inlet(&url).err() } else { outlet(&url).err() };
            assert!(accepted.is_none(), "{url}: {accepted:?}");
            rows += 1;
        }
    }
    // And no others: the refusal of an unknown option lists what is asked for.
    let mut listed = 0;
    for url in [
        "ws://a/",
        "ws-listen://:0/",
        "http-listen://:0/",
        "tcp-listen://:0",
        "file:a",
        "-",
        "stream:a",
    ] {
        listed += options_in(&refused_source(&format!("{url}?no=1")));
    }
    listed += options_in(&refused_source("wss://a/?no=1"));
    for url in [
        "ws-listen://:0/",
        "webhook+http://a/",
        "webhook+https://a/",
        "tcp://a:1",
        "file:a",
        "-",
        "stream:a",
    ] {
        listed += options_in(&refused_sink(&format!("{url}?no=1")));
    }
    assert_eq!(rows, listed, "options that the table lacks");
}

fn market_options_are_the_accepted_ones(page: &str) {
    let (_, table) = page.split_once("| option |").unwrap();
    let mut rows = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [option, scheme, value, ..] = cells[..] else { panic!("{line}") };
        let (option, value) = (option.trim_matches('`'), value.trim_matches('`'));
        let refusal = market_refusal(&format!("{scheme}:?{option}={value}"));
        assert!(refusal.is_none(), "{line}: {refusal:?}");
        rows.push((scheme, option));
    }
    for scheme in ["coinbase", "gen"] {
        let refusal = market_refusal(&format!("{scheme}:?no=1")).unwrap();
        let of_scheme = rows.iter().filter(|(of, _)| *of == scheme).map(|(_, option)| *option);
        let documented = of_scheme.collect::<Vec<_>>().join(", ");
        assert!(refusal.contains(&format!("(options: {documented})")), "{documented}: {refusal}");
    }
}

fn market_refusal(url: &str) -> Option<String> {
    let refused = match url.starts_with("gen:") {
        true => market::parse(url).err(),
        false => coinbase::Address::parse(url).err(),
    };
    refused.map(|error| usage(&error))
}

fn options_in(refusal: &str) -> usize {
    let list = refusal.split_once("its options: ").unwrap().1.split(". ").next().unwrap();
    list.split(", ").count()
}
