//! The HTTP interface behind TLS, and where it is by default.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch::config::Config;
use anabranch::{Drain, run_until, sink, source};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::http::client::{Client, free};
use crate::support::Memory;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("anabranch-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn write(path: &Path, text: &str, mode: u32) -> String {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_string()
}

/// A source that waits for ever.
fn waiting() -> Memory<i64> {
    Memory {
        nature: source::Nature::Live,
        last_when: Some(Arc::new(|| false)),
        ..Memory::new(vec![vec![(None, 1)]])
    }
}

fn trusting(certificate: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

fn ask(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<String> {
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(address)?);
    stream.write_all(b"GET /api/v1/counters HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    // An end without a goodbye is none of an answer's business.
    match stream.read_to_string(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

#[test]
fn with_a_certificate_it_is_asked_by_tls_alone() {
    let folder = folder("https");
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let certificate = write(&folder.join("cert.pem"), &made.cert.pem(), 0o644);
    let key = write(&folder.join("key.pem"), &made.signing_key.serialize_pem(), 0o600);
    let open_key = write(&folder.join("open.pem"), &made.signing_key.serialize_pem(), 0o644);
    let other_key = write(&folder.join("other.pem"), &other.signing_key.serialize_pem(), 0o600);
    let run = |address: SocketAddr, certificate: &str, key: &str, drain: &Drain| {
        let address = address.to_string();
        let flags = ["--http", &address, "--http-cert", certificate, "--http-key", key];
        let config = Config::from_flags(flags).unwrap();
        run_until(
            &config,
            |app| {
                app.source("numbers", waiting()).sink("out", sink::null());
                Ok(())
            },
            drain,
        )
    };
    for (certificate, key, said) in [
        (&certificate, &open_key, "chmod 600"),
        (&certificate, &other_key, "of no use"),
        (&key, &key, "no CERTIFICATE section"),
        (&certificate, &certificate, ""),
    ] {
        let refused = run(free(), certificate, key, &Drain::default()).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
        assert!(!refused.contains("BEGIN"), "{refused}");
    }

    let (address, drain) = (free(), Drain::default());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(address, &certificate, &key, &drain));
        let trusted = trusting(made.cert.der());
        let answer = loop {
            match ask(address, &trusted) {
                Ok(answer) => break answer,
                Err(_) => std::thread::yield_now(),
            }
        };
        assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
        assert!(ask(address, &trusting(other.cert.der())).is_err(), "it is another's");
        // Somebody who says nothing, and somebody who speaks no TLS.
        let _silent = TcpStream::connect(address).unwrap();
        let mut plain = TcpStream::connect(address).unwrap();
        plain.write_all(b"GET /api/v1/counters HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut told = Vec::new();
        let _ = plain.read_to_end(&mut told);
        assert!(!told.starts_with(b"HTTP"), "{told:?}");
        assert!(ask(address, &trusted).is_ok());
        drain.request();
        running.join().unwrap().unwrap();
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_place_by_default_may_be_taken_and_said_otherwise() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let by_default = |flags: &[&str], address: SocketAddr| {
        let config = Config::from_flags(flags.iter().copied()).unwrap();
        anabranch::run(&config, move |app| {
            app.http(address);
            app.source("none", source::empty::<i64>()).sink("out", sink::null());
            Ok(())
        })
    };
    let port = |flags: &[&str], address| {
        by_default(flags, address).unwrap().snapshot().get("http.port").copied()
    };
    assert_eq!(port(&[], taken.local_addr().unwrap()), None, "it goes on without");
    let free = free();
    assert_eq!(port(&[], free), Some(free.port().into()));
    assert_eq!(port(&["--http", "off"], free), None);
    let said = by_default(&["--http", &taken.local_addr().unwrap().to_string()], free);
    assert!(said.unwrap_err().to_string().contains("another program may listen there"));
}

#[test]
fn what_an_application_adds_is_answered_and_guarded() {
    use anabranch::http::Routes;
    use axum::Router;
    use axum::routing::{get, post};

    let folder = folder("routes");
    let tokens =
        write(&folder.join("tokens"), "read 0123456789abcdef\nwrite fedcba9876543210\n", 0o600);
    let (address, drain) = (free(), Drain::default());
    let http = address.to_string();
    let flags = ["--http", &http, "--http-tokens", &tokens];
    let config = Config::from_flags(flags).unwrap();
    let build = |app: &anabranch::App| {
        let greet = Router::new().route("/hello", get(async || "hello"));
        let greet = greet.route("/more", post(async || "more"));
        app.routes(Routes::new("greetings", move || Ok(greet)));
        app.source("numbers", waiting()).sink("out", sink::null());
        Ok(())
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run_until(&config, build, &drain));
        let client = Client { address };
        client.wait_for("/api/v1/ready", |answer| answer.status == 200);
        let ask = |method: &str, path: &str, token: &str| {
            let headers = [("Authorization", token), ("Content-Length", "0")];
            client.ask_as(method, path, &headers).unwrap()
        };
        let (reader, writer) = ("Bearer 0123456789abcdef", "Bearer fedcba9876543210");
        assert_eq!(ask("GET", "/api/v1/greetings/hello", reader).body, "hello");
        assert_eq!(ask("GET", "/api/v1/greetings/hello", "").status, 401);
        assert_eq!(ask("POST", "/api/v1/greetings/more", reader).status, 403);
        assert_eq!(ask("POST", "/api/v1/greetings/more", writer).body, "more");
        assert_eq!(ask("GET", "/api/v1/greetings/other", reader).status, 404);
        assert_eq!(ask("POST", "/api/v1/greetingsmore", writer).status, 403, "it is for admins");
        drain.request();
        running.join().unwrap().unwrap();
    });
    for taken in ["views", "", "a/b", "../x"] {
        let config = Config::from_flags(["--http", &free().to_string()]).unwrap();
        let refused = anabranch::run(&config, move |app| {
            app.routes(Routes::new(taken, || Ok(Router::new())));
            app.source("none", source::empty::<i64>()).sink("out", sink::null());
            Ok(())
        });
        assert!(refused.unwrap_err().to_string().contains("cannot be named"), "{taken}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
