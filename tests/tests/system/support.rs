//! What the tests share: bounded waits, folders, the layouts, words and their counts.
//!
//! Invariant: the same everywhere: nothing here reads a random source.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anabranch::clock;

/// The bound of every wait: far beyond what anything takes, also on a machine that does much else.
const BOUND: Duration = Duration::from_secs(180);

/// The layouts that must not change a byte.
pub(crate) const LAYOUTS: [&[&str]; 5] =
    [&["-w", "1"], &["-w", "2"], &["-w", "4"], &["-n", "2", "-w", "2"], &["-n", "3"]];
/// One thread, two threads, two processes.
pub(crate) const FEW_LAYOUTS: [&[&str]; 3] = [&["-w", "1"], &["-w", "2"], &["-n", "2"]];

/// Polls until `done` gives something.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = clock::instant();
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(start.elapsed() < BOUND, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder of one test, removed with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("system-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The same as text, for URLs.
    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.name(name)
    }

    /// The port that a listener has written to a file.
    #[track_caller]
    pub(crate) fn port(&self, name: &str) -> u16 {
        until(&format!("{name} tells its port"), || {
            let text = std::fs::read_to_string(self.path(name)).ok()?;
            text.trim().rsplit_once(':')?.1.parse().ok()
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A key that only its owner can read.
pub(crate) fn key_file(folder: &Folder, name: &str, key: &str) -> String {
    let path = folder.write(name, key);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Ports of this machine that nobody has, for programs that are told where to listen. From below
/// those that the machine gives away by itself: a thousand connections of a test take none of them.
pub(crate) fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    [(); COUNT].map(|()| {
        until("a port is free", || {
            let number = std::process::id() * 37 + NEXT.fetch_add(1, Ordering::Relaxed);
            let port = u16::try_from(10_000 + number % 20_000).unwrap();
            TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
        })
    })
}

/// Numbers that look like chance (Knuth's MMIX).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// A line of up to seven words: few words come often, most seldom; some lines are empty.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        for _ in 0..self.below(8) {
            let rank = self.below(2000);
            let word = self.below(rank + 1);
            let _ = write!(line, "{}w{word}", ["", " ", "\t", "  Ü"][self.below(4) as usize]);
            line.push(' ');
        }
        line
    }
}

/// What `word-count` must write for these lines.
#[derive(Default)]
pub(crate) struct Words(BTreeMap<String, u64>);

impl Words {
    pub(crate) fn count(&mut self, line: &str, output: &mut String) {
        for word in line.split_whitespace().map(str::to_lowercase) {
            let count = self.0.entry(word.clone()).or_default();
            *count += 1;
            let _ = writeln!(output, "{word} {count}");
        }
    }

    /// How often each word came.
    pub(crate) fn counts(&self) -> &BTreeMap<String, u64> {
        &self.0
    }

    pub(crate) fn of<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
        let (mut words, mut output) = (Self::default(), String::new());
        lines.into_iter().for_each(|line| words.count(line, &mut output));
        output
    }
}

/// Compares without printing megabytes.
#[track_caller]
pub(crate) fn assert_same(what: &str, is: &[u8], wanted: &[u8]) {
    if is == wanted {
        return;
    }
    let at = is.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| {
        let window = &bytes[at.saturating_sub(60).min(bytes.len())..(at + 120).min(bytes.len())];
        String::from_utf8_lossy(window).into_owned()
    };
    panic!(
        "{what}: {} bytes instead of {}; from byte {at}:\n{}\ninstead of\n{}",
        is.len(),
        wanted.len(),
        show(is),
        show(wanted)
    );
}
