//! Whose a directory is, who uses it, and which start it is: with damage, races and the refusals' words.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

/// A path of its own for one test, removed at its end.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("anabranch-data-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> DataDir {
        DataDir::open(&self.0, "alerts", 1024).unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn refused(path: &Path, program: &str, partitions: u32) -> Error {
    DataDir::open(path, program, partitions).expect_err("it was opened")
}

#[test]
fn a_directory_is_made_for_its_owner_and_opened_again() {
    let at = Temporary::new();
    let data = at.open();
    assert_eq!(fs::metadata(&at.0).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(
        fs::read_to_string(at.0.join("format.json")).unwrap(),
        "{\"format\":1,\"program\":\"alerts\",\"partitions\":1024,\"hash\":\"xxh3\"}\n"
    );
    assert_eq!(fs::read_dir(&at.0).unwrap().count(), 1, "something unfinished was left");
    fs::write(data.path().join("anything"), "").unwrap();
    at.open();
    assert_eq!(data.connectors("out.csv"), at.0.join("connectors/out.csv"));
    assert_eq!(data.connectors(".."), at.0.join("connectors/%2E."));
}

#[test]
fn a_foreign_directory_is_refused_with_what_to_do() {
    let at = Temporary::new();
    at.open();
    let told = refused(&at.0, "prices", 1024);
    assert_eq!(told.exit_code(), 2);
    assert!(told.to_string().contains("belongs to the program `alerts`"), "{told}");
    let told = refused(&at.0, "alerts", 512);
    assert_eq!(told.exit_code(), 2);
    assert!(told.to_string().contains("start with --partitions 1024 instead of 512"), "{told}");

    let at = Temporary::new();
    fs::create_dir_all(&at.0).unwrap();
    fs::write(at.0.join("thesis.tex"), "").unwrap();
    let told = refused(&at.0, "alerts", 1024);
    assert_eq!(told.exit_code(), 2);
    assert!(told.to_string().contains("it has `thesis.tex`"), "{told}");
    assert_eq!(fs::read_dir(&at.0).unwrap().count(), 1, "something was made in it");
}

#[test]
fn what_an_interrupted_first_start_leaves_is_no_obstacle() {
    let at = Temporary::new();
    fs::create_dir_all(at.0.join("lost+found")).unwrap();
    fs::write(at.0.join("format.json.0123456789abcdef"), "{\"form").unwrap();
    at.open();
    at.open();
}

#[test]
fn a_damaged_format_is_named_and_never_taken_for_another() {
    let at = Temporary::new();
    at.open();
    let file = at.0.join("format.json");
    let whole = fs::read(&file).unwrap();
    for length in 0..whole.len() - 1 {
        fs::write(&file, &whole[..length]).unwrap();
        let told = refused(&at.0, "alerts", 1024);
        assert_eq!(told.exit_code(), 3, "{told}");
        assert!(told.to_string().contains("format.json is damaged"), "{told}");
    }
    for at_byte in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at_byte] ^= 1 << bit;
            fs::write(&file, &changed).unwrap();
            // White space may turn into other white space; nothing else is believed.
            if let Ok(data) = DataDir::open(&at.0, "alerts", 1024) {
                let same: serde_json::Value = serde_json::from_slice(&changed).unwrap();
                assert_eq!(same, serde_json::from_slice::<serde_json::Value>(&whole).unwrap());
                drop(data);
            }
        }
    }
    let newer = String::from_utf8(whole).unwrap().replace("\"format\":1", "\"format\":2");
    fs::write(&file, newer).unwrap();
    let told = refused(&at.0, "alerts", 1024);
    assert_eq!(told.exit_code(), 3);
    assert!(told.to_string().contains("has format 2, and this program knows 1"), "{told}");
}

#[test]
fn first_starts_at_the_same_time_agree_on_whose_it_is() {
    let at = Temporary::new();
    let programs = ["a", "b", "c", "d"];
    let opened: Vec<bool> = std::thread::scope(|scope| {
        let opening = programs.map(|program| {
            let path = &at.0;
            scope.spawn(move || DataDir::open(path, program, 8).is_ok())
        });
        opening.into_iter().map(|opening| opening.join().unwrap()).collect()
    });
    assert_eq!(opened.iter().filter(|opened| **opened).count(), 1, "{opened:?}");
}

#[test]
fn a_generation_is_given_once() {
    let at = Temporary::new();
    let data = at.open();
    assert_eq!(data.current().unwrap(), 0);
    assert!(!data.is_current(0).unwrap() && !data.is_current(1).unwrap());
    let claimed: Vec<u64> = std::thread::scope(|scope| {
        let claim = || (0..20).map(|_| data.claim().unwrap()).collect::<Vec<_>>();
        let claiming: Vec<_> = (0..4).map(|_| scope.spawn(claim)).collect();
        claiming.into_iter().flat_map(|claiming| claiming.join().unwrap()).collect()
    });
    assert_eq!(claimed.iter().copied().collect::<BTreeSet<_>>(), (1..=80).collect());
    assert_eq!(claimed.len(), 80);
    assert_eq!(data.current().unwrap(), 80);
}

#[test]
fn only_the_newest_generation_is_current_however_old_the_others_are() {
    let at = Temporary::new();
    let data = at.open();
    for newest in 1..=130 {
        assert_eq!(data.claim().unwrap(), newest);
        assert!(data.is_current(newest).unwrap());
        assert!(!data.is_current(newest + 1).unwrap());
    }
    for old in 1..130 {
        assert!(!data.is_current(old).unwrap(), "generation {old}");
    }
    assert_eq!(fs::read_dir(data.generations()).unwrap().count(), 100);
    // One that was cut off by the end of its machine counts, and so does one of another width.
    fs::write(data.generations().join("0000000131.json"), "").unwrap();
    assert!(!data.is_current(130).unwrap());
    assert_eq!(data.claim().unwrap(), 132);
    fs::write(data.generations().join("99999999999.json"), "").unwrap();
    fs::write(data.generations().join("notes.json"), "").unwrap();
    assert_eq!(data.claim().unwrap(), 100_000_000_000);
}

#[test]
fn one_program_at_a_time_and_the_other_is_told_who() {
    let at = Temporary::new();
    let (one, other) = (at.open(), at.open());
    assert_eq!(one.try_take(Seat::Program).unwrap(), None);
    let holder = other.try_take(Seat::Program).unwrap().unwrap();
    let own = format!("`alerts` (pid {} on ", std::process::id());
    assert!(holder.starts_with(&own) && holder.contains(", since 2"), "{holder}");
    assert!(other.try_take(Seat::Host(1)).unwrap().is_some_and(|told| told == holder));
    let told = other.take(Seat::Program, Duration::ZERO).unwrap_err();
    assert!(told.to_string().contains(&holder) && told.exit_code() == 1, "{told}");
    let shared = one.clone();
    drop(one);
    assert!(other.try_take(Seat::Program).unwrap().is_some(), "a clone holds it still");
    drop(shared);
    // A child that another test is about to start may hold it for a moment more.
    other.take(Seat::Program, Duration::from_secs(60)).unwrap();
}

#[test]
fn a_process_of_an_earlier_start_is_waited_for() {
    let at = Temporary::new();
    let child = at.open();
    child.take(Seat::Process(3), Duration::ZERO).unwrap();
    let next = at.open();
    let told = next.take(Seat::Program, Duration::ZERO).unwrap_err().to_string();
    assert!(told.contains("in use by a process of an earlier start, `alerts` (pid"), "{told}");
    assert!(next.try_take(Seat::Process(3)).unwrap().is_some());
    assert!(at.open().try_take(Seat::Host(3)).unwrap().is_some());
    let waiting = std::thread::spawn(move || next.take(Seat::Program, Duration::from_secs(60)));
    drop(child);
    waiting.join().unwrap().unwrap();
}

#[test]
fn machines_share_a_directory_and_each_index_is_taken_once() {
    let at = Temporary::new();
    let hosts = [at.open(), at.open()];
    for (index, host) in hosts.iter().enumerate() {
        assert_eq!(host.try_take(Seat::Host(index)).unwrap(), None);
        assert_eq!(host.try_take(Seat::Process(index)).unwrap(), None);
    }
    assert!(at.open().try_take(Seat::Host(1)).unwrap().is_some());
    let told = at.open().try_take(Seat::Program).unwrap().unwrap();
    assert!(told.starts_with("`alerts` (pid "), "{told}");
    let third = at.open();
    assert_eq!(third.try_take(Seat::Host(2)).unwrap(), None);
}
