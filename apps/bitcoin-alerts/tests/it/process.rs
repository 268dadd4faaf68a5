//! The program as a process, with a bounded wait for everything.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anabranch::clock;

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder of a test, empty.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The program, running; killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    folder: PathBuf,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    /// Starts it; what it prints goes to files in `folder`.
    pub(crate) fn start<S: AsRef<str>>(folder: &Path, arguments: &[S]) -> Self {
        let file = |name: &str| File::create(folder.join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bitcoin-alerts"))
            .args(arguments.iter().map(AsRef::as_ref))
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        Self { child, folder: folder.to_path_buf() }
    }

    /// What it has printed.
    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(self.folder.join("stdout")).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr")).unwrap()
    }

    /// Waits until `done` holds.
    pub(crate) fn wait_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let began = clock::instant();
        while !done(self) {
            let waited = clock::instant().duration_since(began);
            assert!(waited < PATIENCE, "{what}: not in time; it said:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits until it has ended.
    pub(crate) fn end(mut self) -> Ended {
        let mut status = None;
        self.wait_until("its end", |this| {
            status = this.child.try_wait().unwrap();
            status.is_some()
        });
        Ended { status: status.unwrap(), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Does nothing to one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it until it has ended by itself.
pub(crate) fn run<S: AsRef<str>>(folder: &Path, arguments: &[S]) -> Ended {
    Program::start(folder, arguments).end()
}

/// A run over recorded files, which must succeed: the bytes of notifications and dead letters.
pub(crate) fn run_recorded(
    folder: &Path,
    prices: &str,
    updates: &str,
    layout: &[&str],
) -> (String, String) {
    let file = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let (notify, dead_letters) = (file("notify"), file("letters"));
    let mut arguments: Vec<String> = vec![
        "--quiet".into(),
        format!("--prices={prices}"),
        format!("--updates={updates}"),
        format!("--notify=file:{notify}"),
        format!("--dead-letters=file:{dead_letters}"),
    ];
    arguments.extend(layout.iter().map(|argument| (*argument).to_string()));
    let ended = run(folder, &arguments);
    assert_eq!(ended.status.code(), Some(0), "{layout:?}: {}", ended.stderr);
    assert_eq!(ended.stdout, "");
    let text = |path| std::fs::read_to_string(path).unwrap();
    (text(notify), text(dead_letters))
}

/// Layouts that must not make a difference.
pub(crate) const LAYOUTS: [&[&str]; 4] = [&["-w1"], &["-w2"], &["-w4"], &["-n2", "-w2"]];
