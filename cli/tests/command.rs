//! The command, as a process: in a folder and against a server, what is typed is done, or refused with a next step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A directory that is removed with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let mut random = [0; 8];
        anabranch::clock::entropy(&mut random).unwrap();
        let name = format!("anabranch-cli-{:016x}", u64::from_le_bytes(random));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn name(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn secret(&self, name: &str, text: &str, mode: u32) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        std::fs::set_permissions(self.0.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        self.name(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    for name in ["ANABRANCH_STREAMS", "ANABRANCH_AT", "ANABRANCH_TOKEN_FILE", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn ended(mut child: Child, input: &str) -> Ended {
    let mut to = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end before it has read all.
    let writing = std::thread::spawn(move || drop(to.write_all(input.as_bytes())));
    let told = child.wait_with_output().unwrap();
    writing.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: told.status.code().unwrap(), out: text(told.stdout), err: text(told.stderr) }
}

/// Where streams are: behind `anabranch stream`.
struct Place(Vec<String>, Option<Child>, Folder);

impl Place {
    fn here() -> Self {
        let folder = Folder::new();
        Self(vec!["--dir".into(), folder.name("streams")], None, folder)
    }

    /// A server of its own, with these options.
    fn there(options: &[&str]) -> Self {
        let folder = Folder::new();
        let (url, server) = serve(&folder, options);
        Self(vec!["--at".into(), url], Some(server), folder)
    }

    fn command(&self, args: &[&str]) -> Command {
        let at = self.0.iter().map(String::as_str);
        command(&["stream"].into_iter().chain(at).chain(args.iter().copied()).collect::<Vec<_>>())
    }

    fn run(&self, args: &[&str], input: &str) -> Ended {
        ended(self.command(args).spawn().unwrap(), input)
    }

    #[track_caller]
    fn does(&self, args: &[&str], input: &str) -> String {
        let told = self.run(args, input);
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{args:?}");
        told.out
    }

    #[track_caller]
    fn refuses(&self, code: i32, args: &[&str]) -> String {
        let told = self.run(args, "");
        assert_eq!((told.code, told.out.as_str()), (code, ""), "{args:?}: {}", told.err);
        assert!(told.err.starts_with("error: "), "{}", told.err);
        told.err
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(server) = &mut self.1 {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Serves the streams in `folder`; gives where.
fn serve(folder: &Folder, options: &[&str]) -> (String, Child) {
    let dir = folder.name("streams");
    let args = ["stream", "serve", "--dir", &dir, "--http", "127.0.0.1:0"];
    let args: Vec<&str> = args.into_iter().chain(options.iter().copied()).collect();
    let mut server = command(&args).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_suffix("/api/v1/streams").unwrap_or_else(|| panic!("{line}"));
    (url.to_owned(), server)
}

fn places() -> [Place; 2] {
    [Place::here(), Place::there(&[])]
}

#[test]
fn mb_01_what_was_appended_is_there_after_the_server_was_killed() {
    for mut place in places() {
        place.does(&["create", "buffer"], "");
        assert_eq!(
            place.does(&["append", "buffer", "--record", r#"{"foo":"bar1"}"#], ""),
            "0..1\n"
        );
        assert_eq!(place.does(&["append", "buffer"], "{\"foo\":\"bar2\"}\n"), "1..2\n");
        if let Some(server) = &mut place.1 {
            server.kill().unwrap();
            server.wait().unwrap();
            let (url, server) = serve(&place.2, &[]);
            place.0 = vec!["--at".into(), url];
            place.1 = Some(server);
        }
        assert_eq!(place.does(&["read", "buffer"], ""), "{\"foo\":\"bar1\"}\n{\"foo\":\"bar2\"}\n");
        let lines = place.does(&["read", "buffer", "--from", "1", "--json"], "");
        let record: serde_json::Value = serde_json::from_str(&lines).unwrap();
        assert_eq!((&record["offset"], &record["value"]["foo"]), (&1.into(), &"bar2".into()));
        place.does(&["create", "buffer"], "");
        let table = place.does(&["ls"], "");
        assert_eq!(table, "STREAM  FIRST  END  GROUPS\nbuffer      0    2       0\n");
    }
}

#[test]
fn any_line_is_a_record_as_it_is() {
    let lines: String =
        (0..3_000).map(|n| format!("line {n} <script>\t\u{e9}\n")).collect::<String>() + "\n{\n";
    for place in places() {
        place.does(&["create", "s"], "");
        let told = place.does(&["append", "s", "--batch", "700", "--json"], &lines);
        let last: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        assert_eq!(last["end"], 3_002);
        assert_eq!(place.does(&["read", "s"], ""), lines);
        assert_eq!(
            place.does(&["read", "s", "--limit", "1", "--from", "2999"], ""),
            "line 2999 <script>\t\u{e9}\n"
        );
        assert_eq!(place.does(&["append", "s", "--record", "one\ntwo"], ""), "3002..3003\n");
        assert_eq!(
            place.does(&["append", "s", "--record", "a", "--record", "b"], ""),
            "3003..3005\n"
        );
        assert_eq!(place.does(&["read", "s", "--from", "3002"], ""), "one\ntwo\na\nb\n");
    }
}

#[test]
fn mb_17_what_a_group_has_read_is_reclaimed() {
    for place in places() {
        place.does(&["create", "s"], "");
        place.does(&["append", "s"], "1\n2\n");
        assert_eq!(place.does(&["read", "s", "--group", "g", "--limit", "1"], ""), "1\n");
        assert_eq!(
            place.does(&["groups", "s"], ""),
            "GROUP  NEXT  PENDING\ng         1        1\n"
        );
        assert_eq!(place.does(&["read", "s", "--group", "g"], ""), "2\n");
        assert_eq!(place.does(&["trim", "s"], ""), "dropped 2 records; the first is 2\n");
        assert_eq!(place.does(&["read", "s", "--group", "g"], ""), "");
        assert_eq!(place.does(&["read", "s"], ""), "");
        assert_eq!(
            place.does(&["groups", "s", "--reset", "g", "--from", "end"], ""),
            "g goes on at 2\n"
        );
    }
}

#[test]
fn mb_18_what_nobody_has_read_is_dropped_only_if_that_is_said_and_is_told() {
    for place in places() {
        place.does(&["create", "s"], "");
        place.does(&["append", "s"], "1\n2\n3\n");
        let told = place.does(&["trim", "s", "--max-age", "0ms"], "");
        assert!(
            told.starts_with("dropped 0 records; the first is 0\n3 that are due stay"),
            "{told}"
        );
        let told = place.does(&["trim", "s", "--max-age", "0ms", "--drop-unread"], "");
        assert_eq!(told, "dropped 3 records, of which 3 were unread; the first is 3\n");
        let gone = place.refuses(1, &["read", "s", "--from", "0"]);
        assert!(gone.contains("the first that is there is 3"), "{gone}");
    }
}

#[test]
fn mb_27_streams_are_told_apart() {
    for place in places() {
        for name in ["a", "b"] {
            place.does(&["create", name], "");
            place.does(&["append", name, "--record", name], "");
        }
        assert_eq!(place.does(&["read", "a"], "") + &place.does(&["read", "b"], ""), "a\nb\n");
    }
}

#[test]
fn mb_28_each_record_is_visible_when_it_is_acknowledged() {
    for place in places() {
        place.does(&["create", "s"], "");
        let mut writing = place.command(&["append", "s"]).spawn().unwrap();
        let (mut to, mut told) =
            (writing.stdin.take().unwrap(), BufReader::new(writing.stdout.take().unwrap()));
        for n in 0..5 {
            // It is open and goes on reading; what has come is not held back for more.
            writeln!(to, "{n}").unwrap();
            let mut line = String::new();
            told.read_line(&mut line).unwrap();
            assert_eq!(line, format!("{n}..{}\n", n + 1));
        }
        drop(to);
        assert!(writing.wait().unwrap().success());
        assert_eq!(place.does(&["read", "s"], ""), "0\n1\n2\n3\n4\n");
    }
}

#[test]
fn mbf_7_a_group_has_one_owner() {
    for place in places() {
        place.does(&["create", "s"], "");
        place.does(&["append", "s"], "0\n1\n2\n3\n");
        let mut owner = place.command(&["read", "s", "--group", "g", "--follow"]).spawn().unwrap();
        let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
        for n in 0..4 {
            assert_eq!(lines.next().unwrap().unwrap(), n.to_string());
        }
        let refused = place.refuses(1, &["read", "s", "--group", "g"]);
        assert!(refused.contains("held by"), "{refused}");
        assert_eq!(place.does(&["read", "s", "--group", "other"], ""), "0\n1\n2\n3\n");
        place_append(&place, "4");
        assert_eq!(lines.next().unwrap().unwrap(), "4");
        owner.kill().unwrap();
        owner.wait().unwrap();
    }
}

/// Of a folder that a follower holds open, too.
fn place_append(place: &Place, record: &str) {
    place.does(&["append", "s", "--record", record], "");
}

#[test]
fn what_is_wrong_is_refused_with_a_next_step_and_a_code() {
    for place in places() {
        let none = place.refuses(2, &["read", "none"]);
        assert!(none.contains("there is no stream `none`"), "{none}");
        place.does(&["create", "s"], "");
        place.does(&["append", "s", "--record", "1"], "");
        let unread = place.refuses(1, &["rm", "s"]);
        assert!(unread.contains("next: ") && unread.contains("--drop-unread"), "{unread}");
        place.refuses(2, &["read", "s", "--from", "yesterday"]);
        place.refuses(2, &["trim", "s", "--drop-unread"]);
        place.does(&["rm", "s", "--drop-unread"], "");
        assert_eq!(place.does(&["ls", "--json"], ""), "[]\n");
        for wrong in ["../s", "..", "a/b", "%2e%2e", ".s", ""] {
            for args in [
                &["create", wrong][..],
                &["read", wrong],
                &["read", "s", "--group", wrong],
                &["rm", wrong, "--drop-unread"],
            ] {
                place.refuses(2, args);
            }
        }
    }
    let nowhere = ended(command(&["stream", "ls"]).spawn().unwrap(), "");
    assert!(nowhere.code == 2 && nowhere.err.contains("--dir DIR"), "{}", nowhere.err);
    let both =
        ended(command(&["stream", "ls", "--dir", "a", "--at", "http://b"]).spawn().unwrap(), "");
    assert_eq!(both.code, 2);
    for url in ["ftp://a", "http://me:hunter2@a", "http://a/?token=hunter2", "localhost:1"] {
        let wrong = ended(command(&["stream", "ls", "--at", url]).spawn().unwrap(), "");
        assert!(wrong.code == 2 && !wrong.err.contains("hunter2"), "{}", wrong.err);
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lost =
        ended(command(&["stream", "ls", "--at", &format!("http://{silent}")]).spawn().unwrap(), "");
    assert!(lost.code == 1 && lost.err.contains("does the server run there?"), "{}", lost.err);
}

#[test]
fn a_server_asks_for_its_tokens_and_lets_other_machines_in_with_them_only() {
    let secrets = Folder::new();
    let right = secrets.secret("right", "0123456789abcdef\n", 0o600);
    let wrong = secrets.secret("wrong", "fedcba9876543210\n", 0o600);
    let open = secrets.secret("open", "0123456789abcdef\n", 0o640);
    let place = Place::there(&["--token-file", &right]);
    for args in [&["ls"][..], &["--token-file", &wrong, "ls"]] {
        let refused = place.refuses(2, args);
        assert!(refused.contains("--token-file"), "{refused}");
        assert!(!refused.contains("fedcba9876543210") && !refused.contains("0123456789abcdef"));
    }
    assert!(place.refuses(2, &["--token-file", &open, "ls"]).contains("chmod 600"));
    place.does(&["--token-file", &right, "create", "s"], "");
    let (dir, folder) = (place.2.name("streams"), "stream");
    let open = ended(
        command(&[folder, "serve", "--dir", &dir, "--http", "0.0.0.0:0"]).spawn().unwrap(),
        "",
    );
    assert!(open.code == 2 && open.err.contains("--token-file"), "{}", open.err);
}

#[test]
fn a_server_ends_in_order_when_a_signal_comes() {
    let mut place = Place::there(&[]);
    place.does(&["create", "s"], "");
    let mut server = place.1.take().unwrap();
    let told = Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
    assert!(told.success() && server.wait().unwrap().success());
}

#[test]
fn colours_help_and_completions_are_as_one_expects() {
    let mut plain = command(&["stream", "ls"]);
    let told = ended(plain.env("NO_COLOR", "1").spawn().unwrap(), "");
    assert!(!told.err.contains('\x1b'), "{}", told.err);
    let help = ended(command(&["stream", "--help"]).spawn().unwrap(), "");
    for word in [
        "ls",
        "create",
        "append",
        "read",
        "groups",
        "trim",
        "rm",
        "serve",
        "--dir",
        "--at",
        "--json",
        "--token-file",
    ] {
        assert!(help.out.contains(word), "{word}: {}", help.out);
    }
    assert_eq!((help.code, ended(command(&["nonsense"]).spawn().unwrap(), "").code), (0, 2));
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef anabranch"), ("fish", "complete -c anabranch")]
    {
        let script = ended(command(&["completions", shell]).spawn().unwrap(), "");
        assert!(script.code == 0 && script.out.contains(word), "{shell}");
    }
    let mut whole = String::new();
    let mut version = command(&["--version"]).spawn().unwrap();
    version.stdout.take().unwrap().read_to_string(&mut whole).unwrap();
    assert!(version.wait().unwrap().success() && whole.starts_with("anabranch "));
}
