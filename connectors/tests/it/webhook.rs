//! The sinks `webhook+http://` and `webhook+https://`, against a real receiver that misbehaves.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::{Time, clock, sink, source};
use anabranch_connectors::{inlet, outlet};
use serde_json::{Value, json};

use crate::support::Folder;

/// Of the program that is killed: its folder and where it POSTs to.
const CHILD: &str = "ANABRANCH_TEST_WEBHOOK";

/// A request as the receiver read it.
#[derive(Clone, Debug)]
struct Got {
    first: String,
    /// By lower-case names.
    headers: BTreeMap<String, String>,
    body: String,
    at: std::time::Instant,
}

impl Got {
    fn id(&self) -> &str {
        &self.headers["idempotency-key"]
    }
}

/// What the receiver does with a request.
enum Reaction {
    /// Answers with that status and these lines of head.
    Answer(u16, &'static str),
    /// Never answers.
    Hang,
    /// Hangs up.
    Close,
    /// Answers half a line and hangs up.
    Garbage,
}

use Reaction::{Answer, Close, Garbage, Hang};

type React = dyn Fn(usize, &Got) -> Reaction + Send + Sync;

/// Receives on a port of this machine, until the test's process ends.
#[derive(Clone)]
struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    /// How many requests wait for an answer, and how many did at most.
    open: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Receiver {
    fn new(react: impl Fn(usize, &Got) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self { port, got: Arc::default(), open: Arc::default() };
        let (served, react): (Self, Arc<React>) = (receiver.clone(), Arc::new(react));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (served, react) = (served.clone(), Arc::clone(&react));
                std::thread::spawn(move || served.serve(stream.unwrap(), &*react));
            }
        });
        receiver
    }

    /// Behind TLS, with a certificate of its own; gives the file of that, too.
    fn secure(folder: &Folder) -> (Self, String) {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let roots = folder.path("roots.pem");
        std::fs::write(&roots, certificate.cert.pem()).unwrap();
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key.unwrap())
            .unwrap();
        let (listener, config) = (TcpListener::bind("localhost:0").unwrap(), Arc::new(config));
        let port = listener.local_addr().unwrap().port();
        let receiver = Self { port, got: Arc::default(), open: Arc::default() };
        let served = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (served, config) = (served.clone(), Arc::clone(&config));
                std::thread::spawn(move || {
                    let tls = rustls::ServerConnection::new(config).unwrap();
                    let stream = rustls::StreamOwned::new(tls, stream.unwrap());
                    served.serve(stream, &|_, _| Answer(200, ""));
                });
            }
        });
        (receiver, roots.display().to_string())
    }

    fn serve(&self, stream: impl std::io::Read + std::io::Write, react: &React) {
        let mut reader = BufReader::new(stream);
        while let Some(got) = read(&mut reader) {
            let open = self.open.0.fetch_add(1, Ordering::SeqCst) + 1;
            self.open.1.fetch_max(open, Ordering::SeqCst);
            let count = {
                let mut all = self.got.lock().unwrap();
                all.push(got.clone());
                all.len() - 1
            };
            let reaction = react(count, &got);
            self.open.0.fetch_sub(1, Ordering::SeqCst);
            let stream = reader.get_mut();
            match reaction {
                Answer(status, lines) => {
                    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{lines}\r\n");
                    if stream.write_all(text.as_bytes()).is_err() {
                        return;
                    }
                }
                Hang => drop(stream.read(&mut [0])),
                Close => return,
                Garbage => return drop(stream.write_all(b"HTTP/1.1 2")),
            }
        }
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn url(&self, options: &str) -> String {
        format!("webhook+http://127.0.0.1:{}/in?theirs=1#{options}", self.port)
    }
}

fn read(reader: &mut BufReader<impl std::io::Read>) -> Option<Got> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        Some(line.trim_end().to_owned())
    };
    let (first, mut headers) = (line()?, BTreeMap::new());
    while let Some((name, value)) = line()?.split_once(": ") {
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Got { first, headers, body: String::from_utf8(body).unwrap(), at: clock::instant() })
}

/// Copies the lines of `from` to `to`, and dead letters to a file.
fn copy(app: &App, from: &str, to: &str, letters: &str) -> Result<()> {
    app.dead_letters(sink::frames(outlet(letters)?, || sink::Json));
    app.source("lines", source::frames(inlet(from)?, || source::Text))
        .sink("hook", sink::frames(outlet(to)?, || sink::Text));
    Ok(())
}

/// Runs a program that POSTs `lines`; gives the dead letters.
fn run(lines: &[String], to: &str) -> Result<Vec<Value>> {
    let folder = Folder::new();
    let (from, letters) = (folder.file("in", lines.join("\n")), folder.url("letters"));
    let to = to.to_owned();
    let config = Config::from_flags(["-w", "2", "--quiet"]).unwrap();
    anabranch::run(&config, move |app| copy(app, &from, &to, &letters))?;
    let text = std::fs::read_to_string(folder.path("letters")).unwrap();
    Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{{\"n\":{n}}}")).collect()
}

fn bodies(got: &[Got]) -> Vec<String> {
    got.iter().map(|got| got.body.clone()).collect()
}

#[test]
fn each_record_is_a_request_in_order_with_a_name_of_its_own() {
    let receiver = Receiver::new(|_, _| Answer(204, ""));
    let mut lines = lines(20);
    lines.push("no JSON <b>".into());
    assert_eq!(run(&lines, &receiver.url("")).unwrap(), Vec::<Value>::new());
    let got = receiver.got();
    assert_eq!(bodies(&got), lines);
    for (n, got) in got.iter().enumerate() {
        assert_eq!(got.first, "POST /in?theirs=1 HTTP/1.1");
        assert_eq!(got.id(), format!("lines-0-{n}"));
        let kind = if n < 20 { "application/json" } else { "text/plain; charset=utf-8" };
        assert_eq!(got.headers["content-type"], kind);
        assert!(!got.headers.contains_key("anabranch-signature"));
    }
    assert_eq!(receiver.open.1.load(Ordering::SeqCst), 1, "one at a time");
}

#[test]
fn several_records_are_one_request_each_with_its_name() {
    let receiver = Receiver::new(|_, _| Answer(200, ""));
    let lines = lines(100);
    run(&lines, &receiver.url("batch=8")).unwrap();
    let mut records = Vec::new();
    for got in receiver.got() {
        let batch: Vec<Value> = serde_json::from_str(&got.body).unwrap();
        assert!((1..=8).contains(&batch.len()));
        let (first, last) =
            (batch[0]["id"].as_str().unwrap(), batch.last().unwrap()["id"].as_str().unwrap());
        let one = batch.len() == 1;
        assert_eq!(got.id(), if one { first.to_owned() } else { format!("{first}..{last}") });
        records.extend(batch);
    }
    let expected = (0..100).map(|n| json!({"id": format!("lines-0-{n}"), "record": {"n": n}}));
    assert_eq!(records, expected.collect::<Vec<_>>());
    assert!(receiver.got().len() < 30, "{}", receiver.got().len());
}

#[test]
fn requests_that_are_answered_at_the_same_time_are_bounded() {
    let receiver = Receiver::new(|_, _| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        Answer(200, "")
    });
    run(&lines(60), &receiver.url("requests=3")).unwrap();
    let mut all = bodies(&receiver.got());
    all.sort_unstable();
    let mut expected = lines(60);
    expected.sort_unstable();
    assert_eq!(all, expected);
    let most = receiver.open.1.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most}");
}

/// Errors, hanging, hanging up, half an answer, a redirect: the record comes again, and nothing overtakes it.
#[test]
fn what_fails_comes_again_under_the_same_name_until_it_is_answered() {
    let receiver = Receiver::new(|count, _| match count {
        1 => Answer(500, ""),
        2 => Close,
        3 => Garbage,
        4 => Hang,
        5 => Answer(302, "Location: /elsewhere\r\n"),
        6 => Answer(404, ""),
        _ => Answer(200, ""),
    });
    let to = receiver.url("pause=1ms&pause_max=5ms&request=1s");
    assert_eq!(run(&lines(3), &to).unwrap(), Vec::<Value>::new());
    let got = receiver.got();
    let ids: Vec<&str> = got.iter().map(Got::id).collect();
    let second = std::iter::repeat_n("lines-0-1", 7);
    let expected: Vec<&str> =
        ["lines-0-0"].into_iter().chain(second).chain(["lines-0-2"]).collect();
    assert_eq!(ids, expected);
    assert!(got.iter().all(|got| got.first.starts_with("POST /in")), "no redirect is followed");
}

#[test]
fn what_is_refused_for_good_is_a_dead_letter_at_once_and_the_next_one_goes_on() {
    let receiver = Receiver::new(|_, got| match got.body.as_str() {
        "{\"n\":1}" => Answer(422, ""),
        _ => Answer(200, ""),
    });
    let letters = run(&lines(4), &receiver.url("")).unwrap();
    assert_eq!(bodies(&receiver.got()), lines(4));
    assert_eq!(letters.len(), 1);
    assert!(letters[0].to_string().contains("422"), "{}", letters[0]);
    assert!(!letters[0].to_string().contains("theirs"), "{}", letters[0]);
}

#[test]
fn after_the_last_try_a_record_is_a_dead_letter() {
    let receiver = Receiver::new(|_, got| match got.body.as_str() {
        "{\"n\":0}" => Answer(503, ""),
        _ => Answer(200, ""),
    });
    let letters = run(&lines(2), &receiver.url("tries=3&pause=1ms")).unwrap();
    let tried = |n| receiver.got().iter().filter(|got| got.body == lines(2)[n]).count();
    assert_eq!((tried(0), tried(1), letters.len()), (3, 1, 1));
    assert!(letters[0].to_string().contains("503"), "{}", letters[0]);
}

/// Of a batch that is refused, only the record that is to blame is a dead letter.
#[test]
fn the_record_that_spoils_a_batch_is_found() {
    let receiver = Receiver::new(|_, got| match got.body.contains("\"n\":13}") {
        true => Answer(400, ""),
        false => Answer(200, ""),
    });
    let letters = run(&lines(30), &receiver.url("batch=10&requests=2")).unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let taken = receiver.got().into_iter().filter(|got| !got.body.contains("\"n\":13}"));
    let taken = taken.flat_map(|got| serde_json::from_str::<Vec<Value>>(&got.body).unwrap());
    let mut taken: Vec<u64> = taken.map(|it| it["record"]["n"].as_u64().unwrap()).collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..30).filter(|n| *n != 13).collect::<Vec<_>>());
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let receiver = Receiver::new(|count, _| match count {
        0 => Answer(429, "Retry-After: 1\r\n"),
        _ => Answer(200, ""),
    });
    run(&lines(2), &receiver.url("pause=1ms")).unwrap();
    let got = receiver.got();
    assert_eq!(
        got.iter().map(Got::id).collect::<Vec<_>>(),
        ["lines-0-0", "lines-0-0", "lines-0-1"]
    );
    assert!(got[1].at - got[0].at >= std::time::Duration::from_secs(1));
}

#[test]
fn a_receiver_that_is_gone_ends_the_program_by_name() {
    let receiver = Receiver::new(|_, _| Answer(410, ""));
    let error = run(&lines(2), &receiver.url("")).unwrap_err().to_string();
    assert!(
        error.contains("410") && error.contains("`hook`") && error.contains("another receiver"),
        "{error}"
    );
    assert!(!error.contains("theirs"), "{error}");
    assert_eq!(receiver.got().len(), 1);
}

/// HMAC-SHA256 by Python, of what was received.
fn signed_by_python(secret: &str, text: &str) -> String {
    let program = "import hmac,sys;print(hmac.new(sys.argv[1].encode(),sys.argv[2].encode(),'sha256').hexdigest())";
    let told = Command::new("python3").args(["-c", program, secret, text]).output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_request_is_signed_with_its_time_and_the_secret_is_never_told() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let (folder, receiver) = (Folder::new(), Receiver::new(|_, _| Answer(200, "")));
    let path = folder.path("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let to = receiver.url(&format!("secret_file={}", path.display()));
    let open = run(&lines(1), &to).unwrap_err().to_string();
    assert!(open.contains("chmod 600") && !open.contains(SECRET), "{open}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let before = clock::now();
    run(&lines(3), &to).unwrap();
    let second = |time: Time| time.as_nanos() / 1_000_000_000;
    for got in receiver.got() {
        let signature = &got.headers["anabranch-signature"];
        let (time, mac) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let at: i64 = time.parse().unwrap();
        assert!(second(before) <= at && at <= second(clock::now()));
        assert_eq!(mac, signed_by_python(SECRET, &format!("{time}.{}", got.body)));
        assert!(!format!("{got:?}").contains(SECRET));
    }
}

#[test]
fn a_variable_can_have_the_secret() {
    // Cargo sets it for every test.
    let (name, receiver) = ("CARGO_PKG_DESCRIPTION", Receiver::new(|_, _| Answer(200, "")));
    run(&lines(1), &receiver.url(&format!("secret_env={name}"))).unwrap();
    let got = receiver.got().remove(0);
    let (time, mac) = got.headers["anabranch-signature"].split_once(",v1=").unwrap();
    let signed = format!("{}.{}", time.strip_prefix("t=").unwrap(), got.body);
    assert_eq!(mac, signed_by_python(&std::env::var(name).unwrap(), &signed));
}

#[test]
fn a_receiver_is_trusted_by_the_roots_that_are_named_and_by_no_others() {
    let folder = Folder::new();
    let (receiver, roots) = Receiver::secure(&folder);
    let to = format!("webhook+https://localhost:{}/in", receiver.port);
    let letters = run(&lines(2), &format!("{to}?tries=1")).unwrap();
    assert_eq!((letters.len(), receiver.got().len()), (2, 0), "{letters:?}");
    assert!(letters[0].to_string().contains("certificate"), "{}", letters[0]);
    assert_eq!(run(&lines(2), &format!("{to}?ca={roots}")).unwrap(), Vec::<Value>::new());
    assert_eq!(bodies(&receiver.got()), lines(2));
}

/// The program that another test kills; alone it does nothing.
#[test]
fn a_program_that_is_killed() {
    let Ok(how) = std::env::var(CHILD) else { return };
    let (folder, to) = how.split_once(';').unwrap();
    let (folder, to) = (std::path::Path::new(folder), to.to_owned());
    let file = |name: &str| format!("file:{}", folder.join(name).display());
    let (from, letters, data) =
        (file("in"), file("letters"), folder.join("data").display().to_string());
    let flags = ["-w", "2", "--data-dir", &data, "--checkpoint-interval", "10ms", "--quiet"];
    let config = Config::from_flags(flags).unwrap();
    anabranch::run(&config, move |app| copy(app, &from, &to, &letters)).unwrap();
}

/// Killed by the receiver, between taking a record and answering: it comes again, under the same name.
#[test]
fn a_program_that_is_killed_brings_every_record_and_repeats_by_name() {
    const COUNT: usize = 300;
    let folder = Folder::new();
    folder.file("in", lines(COUNT).join("\n"));
    let victim = Arc::new(Mutex::new(None::<u32>));
    let killed = Arc::clone(&victim);
    let receiver = Receiver::new(move |count, _| {
        if [20, 95, 160, 161].contains(&count)
            && let Some(victim) = killed.lock().unwrap().take()
        {
            let killed = Command::new("kill").args(["-9", &victim.to_string()]).status();
            assert!(killed.unwrap().success());
            return Hang;
        }
        Answer(200, "")
    });
    let how = format!("{};{}", folder.as_ref().display(), receiver.url("batch=2&pause=1ms"));
    let mut lives = 0;
    loop {
        let mut running = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "webhook::a_program_that_is_killed"])
            .env(CHILD, &how)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        *victim.lock().unwrap() = Some(running.id());
        lives += 1;
        if running.wait().unwrap().success() {
            break;
        }
        assert!(lives < 10);
    }
    assert!(lives > 2, "{lives}");
    let (mut by_id, mut next) = (BTreeMap::new(), 0);
    for got in receiver.got() {
        for record in serde_json::from_str::<Vec<Value>>(&got.body).unwrap() {
            let (id, n) = (record["id"].as_str().unwrap(), record["record"]["n"].as_u64().unwrap());
            assert_eq!(*by_id.entry(id.to_owned()).or_insert(n), n, "one name, one record");
            assert!(n <= next, "{n} came before {next}");
            next = next.max(n + 1);
        }
    }
    assert_eq!((next, by_id.len()), (COUNT as u64, COUNT));
}
