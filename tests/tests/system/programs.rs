//! The programs under test, built once.
//!
//! Invariant: what is tested is what the sources say now, in the profile of the tests: cargo
//! decides whether anything has to be built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Where the executable of that name is.
pub(crate) fn path(name: &str) -> PathBuf {
    // Those of this package were built with the tests.
    match name {
        "asking" => return env!("CARGO_BIN_EXE_asking").into(),
        "pricing" => return env!("CARGO_BIN_EXE_pricing").into(),
        _ => {}
    }
    static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    BUILT.get_or_init(known_or_built)[name].clone()
}

/// Nextest runs each test in a process of its own: the first of a run builds, the others read what
/// it has noted.
fn known_or_built() -> BTreeMap<String, PathBuf> {
    let Ok(run) = std::env::var("NEXTEST_RUN_ID") else { return build() };
    let note = Path::new(env!("CARGO_TARGET_TMPDIR")).join("system-programs");
    let noted = std::fs::read_to_string(&note).unwrap_or_default();
    if let Some(paths) = noted.strip_prefix(&run) {
        return serde_json::from_str(paths).unwrap();
    }
    let paths = build();
    let text = run + &serde_json::to_string(&paths).unwrap();
    let unfinished = note.with_extension(std::process::id().to_string());
    std::fs::write(&unfinished, text).unwrap();
    std::fs::rename(unfinished, note).unwrap();
    paths
}

fn build() -> BTreeMap<String, PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("build").args(["--quiet", "--profile", &profile()]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    // All programs, and this test beside them: so cargo chooses the features of dependencies as for
    // the tests of the whole workspace, and builds none of them a second time for the programs.
    let workspace = ["--workspace", "--test", "system"];
    cargo.args(workspace).args(match cfg!(feature = "failpoints") {
        // What the test of faults on request needs, as they are built for nothing else.
        true => ["--bin=word-count", "--features=failpoints"].as_slice(),
        false => ["--bins"].as_slice(),
    });
    // What the outer cargo sets for this test would make build scripts that look at it run again.
    let of_this_test = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "NEXTEST"];
    for (name, _) in std::env::vars_os() {
        if of_this_test.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    cargo.env_remove("CARGO").env_remove("CARGO_PRIMARY_PACKAGE").env_remove("CARGO_TARGET_TMPDIR");
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the programs cannot be built");
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    messages
        .filter(|message| message["target"]["kind"][0] == "bin")
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(message["executable"].as_str()?)))
        })
        .collect()
}

/// The profile that this test was built in.
fn profile() -> String {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).and_then(Path::file_name).unwrap();
    match folder.to_str().unwrap() {
        "debug" => "dev".to_owned(),
        profile => profile.to_owned(),
    }
}
